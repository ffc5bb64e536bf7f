"""Checkpoints that are damaged in many ways, and asked for back.

Nothing that is not what was saved may come back: `soak.py` does this long, the tests
short, and once with a writer and a reader that know no fingerprints.
"""

import functools
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samt_jax import checkpoint, manifest
from samt_jax.loop import state_sha256


def corrupt_checkpoints(count: int, seed: int) -> dict[str, Any]:
    """Damages checkpoints in many ways, and asks for them back.

    Args:
      count: How many times.
      seed: Of the damages.

    Returns:
      How many were refused, how many gave back what was saved (the damage had changed
      nothing), and how many something else, which must be none.
    """
    generator = random.Random(seed)
    results: Counter[str] = Counter()
    wrong: list[str] = []
    identity = manifest.Identity({"seed": 0}, ["Dense_0"], {})
    states = {step: _state_of(step) for step in (3, 6, 9)}
    with tempfile.TemporaryDirectory(prefix="corruptions-") as home:
        folder = Path(home, "checkpoints")
        for step, state in states.items():
            checkpoint.save(folder, step, state, identity)
        digests = {step: state_sha256(state) for step, state in states.items()}
        older, newest = checkpoint.list_checkpoints(folder)[-2:]
        for number in range(count):
            kind = generator.choice(tuple(DAMAGES))
            undo = _damage(newest, older, kind, generator)
            # The whole way back now and then: an older one then has to be read.
            found = _read_back(folder, newest, states[9], identity, number % 100 == 0)
            undo()
            results[found[0]] += 1
            results[kind] += 1
            if found[0] != "refused" and found[2] != digests[found[1]]:
                wrong.append(f"{kind} was accepted as step {found[1]}")
        last = checkpoint.restore(folder, states[9], identity)
        if last.step != 9:
            wrong.append("the campaign did not undo its damages")
    return {"count": count, **results, "wrong": wrong}


def _state_of(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {
        "kernel": rng.normal(size=(40, 30)).astype(np.float32),
        "zeros": np.zeros(500, np.float32),
        "count": np.int32(step),
    }


def _read_back(
    folder: Path, newest: Path, like: Any, identity: manifest.Identity, whole: bool
) -> tuple[str, int, str]:
    """What comes back: how, of which step, with which fingerprint."""
    try:
        if whole:
            restored = checkpoint.restore(folder, like, identity)
            if restored.step != 9:
                assert restored.refused
            how = "accepted" if restored.step == 9 else "older"
            return how, restored.step, state_sha256(restored.state)
        known = checkpoint.read_manifest(newest)
        state = checkpoint.restore_one(newest, known, like, identity)
        return "accepted", known.step, state_sha256(state)
    except checkpoint.CheckpointError:
        return "refused", 0, ""


def _flip(data: bytes, other: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(data))
    changed = data[place] ^ (1 << generator.randrange(8))
    return data[:place] + bytes([changed]) + data[place + 1 :]


def _hole(data: bytes, other: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(data))
    return (data[:place] + bytes(64) + data[place + 64 :])[: len(data)]


def _cut(data: bytes, other: bytes, generator: random.Random) -> bytes:
    return data[: generator.randrange(len(data))]


def _lengthen(data: bytes, other: bytes, generator: random.Random) -> bytes:
    return data + generator.randbytes(generator.randint(1, 64))


def _swap(data: bytes, other: bytes, generator: random.Random) -> bytes:
    return other


# What becomes of a file, given the file, another one and a generator; `None`: it goes.
DAMAGES: dict[str, Callable[[bytes, bytes, random.Random], bytes] | None] = {
    "flip": _flip,
    "hole": _hole,
    "cut": _cut,
    "lengthen": _lengthen,
    "other_file": _swap,
    "other_step": _swap,
    "gone": None,
}


def _damage(
    newest: Path, older: Path, kind: str, generator: random.Random
) -> Callable[[], int]:
    """Damages one file of a checkpoint, and says how to undo that."""
    path, another = generator.sample(_files(newest), 2)
    if kind == "other_step":
        # Of the same place where there is one: Orbax draws names for some.
        same = older / path.relative_to(newest)
        another = same if same.exists() else generator.choice(_files(older))
    data, change = path.read_bytes(), DAMAGES[kind]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(data, another.read_bytes(), generator))
    return functools.partial(path.write_bytes, data)


@functools.cache
def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.stat().st_size
    )
