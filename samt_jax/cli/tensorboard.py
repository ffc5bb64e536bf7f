"""Logs for TensorBoard: the numbers of `metrics.jsonl`, an epoch a point.

tensorboardX writes them; neither TensorFlow nor TensorBoard is needed for that, and it
is imported only where logs were asked for.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samt_jax.features import FEATURE_NAMES

FOLDER = "tensorboard"
FLUSH_SECONDS = 2


@contextlib.contextmanager
def tensorboard_log(
    folder: Path, seeds: Sequence[int]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Opens the logs of a run, one below ``<folder>/tensorboard/`` for every seed.

    Args:
      folder: The run folder.
      seeds: The run's seeds.

    Yields:
      ``log(line)``, which writes a line of metrics; it can be looked at a moment later,
      while the run goes on.
    """
    from tensorboardX import SummaryWriter

    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                SummaryWriter(
                    str(folder / FOLDER / f"seed_{seed}"), flush_secs=FLUSH_SECONDS
                )
            )
            for seed in seeds
        ]

        def log(line: Mapping[str, Any]) -> None:
            for index, writer in enumerate(writers):
                for tag, value in scalars(line, index).items():
                    writer.add_scalar(tag, value, line["epoch"])

        yield log


def scalars(line: Mapping[str, Any], index: int) -> dict[str, float]:
    """The numbers of a line by the names that TensorBoard shows them under.

    Args:
      line: A line of metrics.
      index: Which of its seeds.

    Returns:
      Numbers by tag: ``test/accuracy``, ``step_sizes/Dense_0``,
      ``features/Dense_0/norm``. Words, counts by cause and what is not finite are
      left out: a gap in the curve.

    Example:
      >>> line = {"epoch": 1, "status": ["running"], "test_loss": [0.5, 0.6]}
      >>> scalars(line | {"step_sizes": {"Dense_0": [0.1, 0.2]}}, 1)
      {'test/loss': 0.6, 'step_sizes/Dense_0': 0.2}
    """
    found: dict[str, float] = {}
    for name, values in line.items():
        if name in ("epoch", "step", "status", "skipped"):
            continue
        part, _, measure = name.partition("_")
        is_part = part in ("train", "validation", "test", "evaluate")
        tag = f"{part}/{measure}" if is_part else name
        by_block = values if isinstance(values, Mapping) else {"": values}
        for block, each in by_block.items():
            of_seed = each[index] if isinstance(each, list) else each
            found |= _flat(f"{tag}/{block}".rstrip("/"), of_seed)
    return found


def _flat(tag: str, value: Any) -> dict[str, float]:
    """One number, or one a feature."""
    if not isinstance(value, list):
        is_finite = value is not None and math.isfinite(value)
        return {tag: float(value)} if is_finite else {}
    known = len(value) == len(FEATURE_NAMES)
    names = FEATURE_NAMES if known else map(str, range(len(value)))
    return {
        path: number
        for name, each in zip(names, value, strict=True)
        for path, number in _flat(f"{tag}/{name}", each).items()
    }
