"""What `samt doctor` tries out: whether a run here repeats itself, and is kept safe."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from samt_jax.base import Batches
from samt_jax.checkpoint import KEEP
from samt_jax.cli.memory import in_units
from samt_jax.loop import state_sha256
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import supervised
from samt_jax.runs import RUNS, RunFolderError, locked, sync, write_json

REPEATS = 50


class Probe(NamedTuple):
    """What was tried, how it went, and what to do about it.

    Attributes:
      name: What was tried.
      good: Whether it went as it should.
      found: What came of it.
      advice: What to do where it is not good; else empty.
    """

    name: str
    good: bool
    found: str
    advice: str


def probe_all(out: Path | None) -> list[Probe]:
    """Tries everything out.

    Args:
      out: The folder in which runs are to be kept; it, or the nearest one above it that
        exists, is tried. By default `RUNS`.

    Returns:
      One probe each.
    """
    wanted = (RUNS if out is None else out).absolute()
    place = next(path for path in (wanted, *wanted.parents) if path.is_dir())
    return [probe_repeats(), probe_folder(place), probe_lock(place), probe_space(place)]


def probe_repeats() -> Probe:
    """The same compiled gradient step on the same buffers: it must give the same bits.

    Runs are taken up to the bit only where it does.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (256, 784))
    params = [
        0.05 * jax.random.normal(key, shape)
        for key, shape in zip(keys[1:], ((784, 400), (400, 10)), strict=True)
    ]

    def loss(params: list) -> jax.Array:
        return jnp.mean((jax.nn.leaky_relu(inputs @ params[0]) @ params[1]) ** 2)

    step = jax.jit(jax.grad(loss)).lower(params).compile()
    digests = {state_sha256(step(params)) for _ in range(REPEATS)}
    good = len(digests) == 1
    advice = (
        "run on one thread (taskset -c 0 samt …), or a resumed run may differ from an "
        "unbroken one in the last digits"
    )
    return Probe(
        "the same step repeated",
        good,
        f"{REPEATS} calls, {len(digests)} different results",
        "" if good else advice,
    )


def probe_folder(place: Path) -> Probe:
    """Writes, has it on the disk, renames, removes."""

    def attempt(folder: Path) -> str:
        write_json(folder / "probe.json", {})
        sync(folder / "probe.json")
        return "written, renamed, removed"

    return _attempt(
        "the folder of runs", place, attempt, "name a folder that can be written"
    )


def probe_lock(place: Path) -> Probe:
    """Locks a folder, and sees whether a second lock is refused."""

    def attempt(folder: Path) -> str:
        with locked(folder):
            try:
                with locked(folder):
                    raise OSError(0, "two locks were given on one folder")
            except RunFolderError:
                return "a second run is refused"

    advice = "keep runs on a file system with locks, or start one run at a time"
    return _attempt("the lock of a run", place, attempt, advice)


def probe_space(place: Path) -> Probe:
    """Holds the free space against the checkpoints of the paper's MLP under SAMT-S."""
    one = checkpoint_bytes()
    # One is written before an old one goes.
    needed, free = (KEEP + 1) * one, shutil.disk_usage(place).free
    return Probe(
        "free space",
        free >= needed,
        f"{in_units(free)} in {place}; a checkpoint of SAMT-S on 784-400-10 has "
        f"{in_units(one)}, and {KEEP + 1} of them are there at times",
        "" if free >= needed else "make room, or name another folder with --out",
    )


def checkpoint_bytes() -> int:
    """Bytes of the state of the paper's MLP, 784-400-10, under SAMT-S."""
    model = build_model("mlp", num_outputs=10, hidden=(400,))
    algorithm = make_optimizer("samt-s")
    batch = (jnp.zeros((2, 28, 28, 1)), jnp.zeros(2, jnp.int32))
    part = [batch] * 3
    problem = supervised(_Images("classification", *part), model)

    def state_of(key: jax.Array) -> tuple:
        params, _ = problem.init(key)
        made = algorithm(problem.loss_fn, key, 1)
        return params, made.init(params, Batches(batch, batch), key)

    shapes = jax.eval_shape(state_of, jax.random.key(0))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


class _Images(NamedTuple):
    """Images of MNIST's size, as a data set."""

    task: str
    train: tuple
    validation: tuple
    test: tuple


def _attempt(
    name: str, place: Path, attempt: Callable[[Path], str], advice: str
) -> Probe:
    try:
        with tempfile.TemporaryDirectory(prefix=".samt-doctor-", dir=place) as folder:
            found = attempt(Path(folder))
    except OSError as error:
        return Probe(name, False, f"{place}: {error.strerror or error}", advice)
    return Probe(name, True, f"{place}: {found}", "")
