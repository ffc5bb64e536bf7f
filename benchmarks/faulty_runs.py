"""What the fault campaigns run: a tiny run of SAMT, kept as `samt train` keeps one.

A life is a process: forked from a controller that has imported everything and started
nothing, given programs that the first life compiled, it takes the run up from its
newest good checkpoint and goes on until it is killed or done. Where it is, it marks in
memory that it shares with the controller and that outlives it.

This file and `faults.py` reach into the library, which benchmarks otherwise do not:
the places to be killed at, and the ways to break a writer, lie inside.
"""

import contextlib
import json
import mmap
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import serialize_executable

from samt_jax import checkpoint, trainer, training
from samt_jax.base import BatchSpec, from_optax
from samt_jax.cli import keeping
from samt_jax.loop import state_sha256
from samt_jax.problem import Problem
from samt_jax.runs import append_line, locked, read_lines
from samt_jax.samt import samt_sweep

EPOCHS, BATCH_SIZE, EVERY, SEED = 6, 64, 3, 7
# What decides the numbers of a run stands in its checkpoints.
CONFIG = {"blocks": ["Dense_0", "Dense_1"], "environment": {}, "seed": SEED}
PLACES = (
    "start", "between", "restore", "step", "evaluate",
    "write", "sync", "manifest", "publish", "remove",
)  # fmt: skip
IN_SAVE = frozenset({"write", "sync", "manifest", "publish", "remove"})


class OneLayerEta(nn.Module):
    """The smallest eta model."""

    num_steps: int

    @nn.compact
    def __call__(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One layer for both outputs."""
        raw = nn.Dense(2 * self.num_steps)(features)
        return raw[: self.num_steps], raw[self.num_steps :]


def make_problem() -> Problem:
    """A regression in two layers with ten batches an epoch."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(10 * BATCH_SIZE, 32)).astype(np.float32)
    targets = np.tanh(inputs @ rng.normal(size=(32, 4))).astype(np.float32)

    def init(key: jax.Array) -> tuple[Any, Any]:
        keys = jax.random.split(key)
        first = jax.random.normal(keys[0], (32, 64)) / 6
        last = jax.random.normal(keys[1], (64, 4)) / 8
        return {"Dense_0": {"kernel": first}, "Dense_1": {"kernel": last}}, ()

    def squares(params: Any, batch: Any) -> jax.Array:
        x, y = batch
        hidden = jax.nn.leaky_relu(x @ params["Dense_0"]["kernel"])
        return jnp.mean((hidden @ params["Dense_1"]["kernel"] - y) ** 2, axis=1)

    data = (inputs, targets)
    return Problem(
        init=init,
        loss_fn=lambda params, batch: jnp.mean(squares(params, batch)),
        train=data,
        evaluation={"test": (inputs[:99], targets[:99])},
        measure=lambda params, _, batch: {"loss": squares(params, batch)},
    )


def make_algorithm(loss_fn: Any, key: Any, num_steps: int) -> Any:
    """SAMT-S, with blocks in random order, and so a key at work in every step."""
    tx = samt_sweep(
        0.1,
        order="random",
        eta_model=OneLayerEta,
        meta_optimizer=optax.adam(1e-2),
        direction=optax.trace(0.5),
        seed=key,
    )
    return from_optax(tx, loss_fn, BatchSpec(meta="next"))


class Marks:
    """Memory shared with a life: where it is, how often it was where, what it saved."""

    def __init__(self) -> None:
        """Starts with nothing marked."""
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.clear()

    def clear(self) -> None:
        """Forgets, for a next life."""
        self._memory[: 8 * (len(PLACES) + 2)] = bytes(8 * (len(PLACES) + 2))

    def _get(self, index: int) -> int:
        return struct.unpack_from("q", self._memory, 8 * index)[0]

    def _set(self, index: int, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * index, value)

    @property
    def place(self) -> str:
        """Where the life is, or was last."""
        return PLACES[self._get(0)]

    @property
    def saved(self) -> int:
        """The step of the last save that returned."""
        return self._get(1)

    def save(self, step: int) -> None:
        """Marks a save as done."""
        self._set(1, step)

    def visits(self, place: str) -> int:
        """How often the life has come to a place."""
        return self._get(2 + PLACES.index(place))

    def go_to(self, place: str) -> None:
        """Marks where the life is from now on."""
        index = PLACES.index(place)
        self._set(0, index)
        self._set(2 + index, self._get(2 + index) + 1)

    @contextlib.contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Marks a place for as long as it takes."""
        before = self._get(0)
        self.go_to(place)
        yield
        self._set(0, before)

    def wrap(self, home: Any, name: str, place: str) -> None:
        """Has a function mark a place whenever it runs."""
        inner = getattr(home, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.at(place):
                return inner(*args, **kwargs)

        setattr(home, name, wrapped)


def keep_programs(folder: Path) -> None:
    """Has programs compiled once, by whichever life comes first, and kept in a folder.

    Lives then run the same machine code, and start in a fraction of the time.
    """
    compile_afresh = trainer._compile
    names = iter(("weights", "evaluate", "init", "train"))

    def compile_once(*args: Any) -> Any:
        path = folder / f"{next(names)}.program"
        if path.exists():
            program, shape = pickle.loads(path.read_bytes())
            call = serialize_executable.deserialize_and_load(*program)
            return trainer._Compiled(call, shape)
        compiled = compile_afresh(*args)
        program = serialize_executable.serialize(compiled.call)
        path.write_bytes(pickle.dumps((program, compiled.shape)))
        return compiled

    trainer._compile = compile_once  # type: ignore[assignment]  # Any for its types.


def live(
    folder: Path,
    programs: Path,
    marks: Marks,
    break_writer: Callable[[], None] | None = None,
) -> None:
    """One life, from its start to the end of the run.

    Args:
      folder: The run folder.
      programs: Where the compiled programs are.
      marks: Where to mark.
      break_writer: Breaks it on purpose.
    """
    marks.go_to("start")
    for name, place in (
        ("_write_state", "write"), ("_sync_files", "sync"),
        ("write_manifest", "manifest"), ("_publish", "publish"),
        ("remove_old", "remove"), ("restore", "restore"),
    ):  # fmt: skip
        marks.wrap(checkpoint, name, place)
    marks.wrap(trainer, "_advance", "step")
    marks.wrap(training, "_judge", "evaluate")
    keep_programs(programs)
    if break_writer is not None:
        break_writer()
    with locked(folder):
        problem = make_problem()
        compiled = trainer.prepare(
            problem, make_algorithm, epochs=EPOCHS, batch_size=BATCH_SIZE, seeds=(SEED,)
        )
        start = keeping.take_up(folder, CONFIG, problem, compiled)
        marks.go_to("between")
        kept = keeping.make_keeping(folder, CONFIG, problem, EVERY, lambda: False)

        def save(progress: trainer.Progress, is_finite: bool) -> None:
            kept.save(progress, is_finite)
            marks.save(progress.step)

        for record in training.run(compiled, start.progress, kept._replace(save=save)):
            loss = record.metrics.info.value.tolist()
            line = {"epoch": record.epoch, "step": record.step, "train_loss": loss}
            line["test_loss"] = record.evaluation["test"]["loss"].tolist()
            append_line(folder / keeping.METRICS, line)
        (folder / "digest").write_text(state_sha256(record.state))


def fork(
    folder: Path,
    programs: Path,
    marks: Marks,
    break_writer: Callable[[], None] | None = None,
) -> int:
    """Starts a life in a process of its own.

    Returns:
      Its process id; it exits with 0 when the run is done.
    """
    marks.clear()
    if process := os.fork():
        return process
    code = 1
    try:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        live(folder, programs, marks, break_writer)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        # Not the controller's handlers, nor its buffers.
        os._exit(code)


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished run leaves that must not depend on how often it was killed."""
    lines = read_lines(folder / keeping.METRICS)
    return {"digest": (folder / "digest").read_text(), "metrics": json.dumps(lines)}


def newest_whole(folder: Path) -> tuple[int, list[str]]:
    """The newest checkpoint of a run, and what is wrong with any.

    No array is read: in the controller nothing may be started that a fork would break.
    """
    newest, wrong = 0, []
    for path in checkpoint.list_checkpoints(folder / keeping.CHECKPOINTS):
        try:
            manifest = checkpoint.read_manifest(path)
            checkpoint.check_files(path, manifest)
            newest = manifest.step
        except checkpoint.CheckpointError as error:
            wrong.append(str(error))
    return newest, wrong
