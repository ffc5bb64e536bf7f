"""How the command keeps a run: whose its checkpoints are, when they are made, which.

Orbax is imported when the first checkpoint is made or read; most runs have none.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from samt_jax.loop import state_sha256
from samt_jax.manifest import Identity, MismatchError
from samt_jax.problem import Problem
from samt_jax.runs import append_line, keep_epochs, sync, to_json
from samt_jax.trainer import Progress, Trainer
from samt_jax.training import Keeping

CHECKPOINTS, METRICS, HISTORY = "checkpoints", "metrics.jsonl", "history.jsonl"
# What `config.json` has beside what decides the numbers of a run.
_INCIDENTAL = {"blocks", "command", "data_dir", "environment", "notes"}


class TakenUp(NamedTuple):
    """Where a run goes on from.

    Attributes:
      progress: Where it stood; `None` where nothing had been saved.
      lines: Its metrics up to there.
    """

    progress: Progress | None
    lines: list[dict[str, Any]]


def identity_of(config: dict[str, Any], problem: Problem) -> Identity:
    """Says which run it is: options, data to the bit, blocks in order; environment.

    Args:
      config: What `config.json` says.
      problem: What is trained.

    Returns:
      What its checkpoints carry and are held against.
    """
    # As a file gives it back.
    config = json.loads(to_json(config))
    parts = {name: config[name] for name in ("blocks", "environment")}
    deciding = {k: value for k, value in config.items() if k not in _INCIDENTAL}
    # The evaluation is among it: a resumed run must not mix two tests in one table.
    deciding["data_sha256"] = state_sha256((problem.train, dict(problem.evaluation)))
    return Identity(deciding, **parts)


def make_keeping(
    folder: Path,
    config: dict[str, Any],
    problem: Problem,
    every: int | None,
    should_stop: Callable[[], bool],
) -> Keeping:
    """Says how a run is kept in its folder.

    Args:
      folder: The run folder.
      config: What `config.json` says.
      problem: What is trained.
      every: Steps between two checkpoints; `None`: only when it is told to stop.
      should_stop: Whether it has been told to.

    Returns:
      What the loop asks.
    """
    known: list[Identity] = []
    if every is not None:
        # Not when the first one is due, nor when there is little time left.
        import samt_jax.checkpoint  # noqa: F401

        known.append(identity_of(config, problem))

    def save(progress: Progress, is_finite: bool) -> None:
        from samt_jax import checkpoint

        identity = known[0] if known else identity_of(config, problem)
        # What a checkpoint is beyond must not be lost to it.
        sync(folder / METRICS)
        checkpoint.save(
            folder / CHECKPOINTS,
            progress.step,
            progress,
            identity,
            is_finite=is_finite,
        )

    return Keeping(save, every, should_stop)


def take_up(
    folder: Path, config: dict[str, Any], problem: Problem, trainer: Trainer
) -> TakenUp:
    """Finds the newest good checkpoint of a run; says what was wrong with others.

    Args:
      folder: The run folder.
      config: What `config.json` would say if it were started now.
      problem: What is trained.
      trainer: The compiled run.

    Returns:
      Where to go on from, the metrics cut back to it.

    Raises:
      CheckpointError: None is good, or one is of another run.
      RunFolderError: The metrics up to there are lost.
    """
    from samt_jax import checkpoint

    if not checkpoint.list_checkpoints(folder / CHECKPOINTS):
        _say("nothing had been saved; the run starts from its first step.")
        return TakenUp(None, keep_epochs(folder / METRICS, 0))
    found = checkpoint.restore(
        folder / CHECKPOINTS, trainer.shape, identity_of(config, problem)
    )
    progress: Progress = found.state
    if progress.step != found.step:
        raise MismatchError(f"{found.path} holds the state of step {progress.step}.")
    lines = keep_epochs(folder / METRICS, int(progress.epoch))
    for path, reason in found.refused:
        aside = checkpoint.set_aside(path)
        _say(f"a damaged checkpoint is refused and kept as {aside.name}: {reason}")
    _say(f"going on from {found.path}, step {found.step}.")
    for change in found.changes:
        _say(f"the last digits may differ from here on, {change}")
    entry = {
        "step": found.step,
        "refused": [reason for _, reason in found.refused],
        "changes": list(found.changes),
    }
    append_line(folder / HISTORY, entry)
    return TakenUp(progress, lines)


def last_good(folder: Path) -> str | None:
    """The newest checkpoint of a run whose state was finite, or `None`."""
    if not (folder / CHECKPOINTS).is_dir():
        return None
    from samt_jax import checkpoint

    path = checkpoint.newest_finite(folder / CHECKPOINTS)
    return None if path is None else str(path)


@contextlib.contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM has come; while this is open, that ends nothing by itself.

    Yields:
      The question.
    """
    told: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield lambda: bool(told)
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def _say(words: str) -> None:
    print(f"samt: {words}", file=sys.stderr, flush=True)
