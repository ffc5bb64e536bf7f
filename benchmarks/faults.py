"""Fault campaigns: runs that are killed, checkpoints that are damaged, writers broken.

    python -m benchmarks.faults kills --count 50 --seed 0
    python -m benchmarks.faults kills --count 8 --break no_temporary_folder
    python -m benchmarks.faults corruptions --count 2000 --seed 0

Each prints one JSON object and exits with 1 if it found anything wrong. `soak.py` runs
them long; the tests run them short, and once with every broken writer, which has to be
found out.
"""

import argparse
import functools
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import faulty_runs as runs
from samt_jax import checkpoint, manifest, trainer
from samt_jax.loop import state_sha256

# Where a kill is aimed, and so where most land; a life goes a few saves far.
AIMS = (
    "start", "restore", "step", "evaluate", "write", "write", "sync", "manifest",
    "publish", "remove", "step", "write", "sync", "remove",
)  # fmt: skip
LONGEST_DELAY = 0.03
LONGEST_LIFE = 120.0


def save_in_place() -> None:
    """Writes a checkpoint where it is to stand, and not under another name first."""

    def save(
        folder: Path,
        step: int,
        state: Any,
        identity: manifest.Identity,
        *,
        is_finite: bool = True,
    ) -> None:
        path = folder / f"step_{step:010d}"
        path.mkdir(parents=True, exist_ok=True)
        leaves = checkpoint._write_state(path / checkpoint.STATE, state)
        files = checkpoint._sync_files(path)
        known = manifest.Manifest(step, is_finite, identity, leaves, files)
        checkpoint.write_manifest(path, known)
        checkpoint.remove_old(folder, checkpoint.KEEP)

    checkpoint.save = save


def forget_key() -> None:
    """Gives a run that is taken up another key."""
    _after_restore(
        lambda p: p._replace(state=p.state._replace(key=np.zeros_like(p.state.key)))
    )


def forget_eta_model() -> None:
    """Gives a run that is taken up an eta model of zeros."""

    def forget(progress: trainer.Progress) -> trainer.Progress:
        state, samt_state = progress.state, progress.state.algorithm_state
        samt_state = samt_state._replace(
            meta=jax.tree.map(np.zeros_like, samt_state.meta)
        )
        return progress._replace(state=state._replace(algorithm_state=samt_state))

    _after_restore(forget)


def shift_data() -> None:
    """Has a run that is taken up see the batches of one step on."""
    inner = trainer._Plan.indices

    def shift(progress: trainer.Progress) -> trainer.Progress:
        trainer._Plan.indices = lambda plan, first, count: inner(plan, first + 1, count)
        return progress

    _after_restore(shift)


def leave_out_hashes() -> None:
    """Writes no fingerprints, and asks for none."""
    checkpoint.check_files = lambda path, known: None
    inner = checkpoint._leaf_of
    checkpoint._leaf_of = lambda *args: inner(*args)._replace(sha256="")


def _after_restore(change: Callable[[trainer.Progress], trainer.Progress]) -> None:
    inner = checkpoint.restore

    def restore(*args: Any) -> checkpoint.Restored:
        restored = inner(*args)
        return restored._replace(state=change(restored.state))

    checkpoint.restore = restore


BROKEN = {
    "no_temporary_folder": save_in_place,
    "no_key": forget_key,
    "no_eta_model": forget_eta_model,
    "data_index_off_by_one": shift_data,
    "no_hash": leave_out_hashes,
}


def kill_runs(
    count: int,
    seed: int,
    break_writer: Callable[[], None] | None = None,
    *,
    home: Path | None = None,
    minutes: float = 1e9,
) -> dict[str, Any]:
    """Kills runs at many places, has each taken up, and looks at what is left.

    A kill waits until a life has come to a place, and then a random moment longer;
    where it was at its death is what counts. A run that comes to its end is compared
    with one that nothing disturbed, and another is begun.

    Args:
      count: How many kills.
      seed: Of the places and moments.
      break_writer: Breaks the writer of every life but the undisturbed one; the
        campaign ends when it has found that out.
      home: Where campaigns keep the compiled programs and what the undisturbed run
        came to, to share them; a temporary folder by default.
      minutes: After how long to be content with fewer kills.

    Returns:
      Where the kills landed, how many runs came to their end, and what was wrong.
    """
    generator, marks = random.Random(seed), runs.Marks()
    landed: Counter[str] = Counter()
    wrong: list[str] = []
    deadline = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        programs = Path(scratch) if home is None else home
        folders = (_make_folder(scratch, number) for number in itertools.count())
        wanted = _undisturbed(next(folders), programs, marks)
        folder, saved, finished = next(folders), 0, 0
        while not wrong and (landed.total() < count or saved):
            process = runs.fork(folder, programs, marks, break_writer)
            count = count if time.monotonic() < deadline else landed.total()
            aim = _aim(generator) if landed.total() < count else None
            code = _end_of_life(process, marks, aim)
            saved = max(saved, marks.saved)
            newest, damaged = runs.newest_whole(folder)
            wrong += damaged
            if newest < saved:
                wrong.append(f"step {saved} was saved, and {newest} is left")
            if code == -signal.SIGKILL:
                landed[marks.place] += 1
                continue
            finished += 1
            wrong += _differences(code, folder, wanted)
            shutil.rmtree(folder)
            folder, saved = next(folders), 0
    return {
        "kills": landed.total(),
        "landed": {place: landed[place] for place in runs.PLACES},
        "in_save": sum(landed[place] for place in runs.IN_SAVE),
        "runs_finished": finished,
        "wrong": wrong,
    }


class Aim(NamedTuple):
    """When to kill: at which visit to which place, and how many seconds after."""

    place: str
    visit: int
    delay: float


def _aim(generator: random.Random) -> Aim:
    place = generator.choice(AIMS)
    # Half of them at once: most places are left again within milliseconds.
    delay = generator.choice((0.0, generator.uniform(0, LONGEST_DELAY)))
    return Aim(place, generator.randint(1, 3), delay)


def _end_of_life(process: int, marks: runs.Marks, aim: Aim | None) -> int:
    """Waits for a life to end, or ends it; its exit code, negative for a signal's."""
    deadline = time.monotonic() + LONGEST_LIFE
    while aim is None or marks.visits(aim.place) < aim.visit:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            break
        time.sleep(0.0005 if aim else 0.01)
    else:
        time.sleep(aim.delay)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _undisturbed(folder: Path, programs: Path, marks: runs.Marks) -> dict[str, Any]:
    """What a run comes to that nothing disturbs; the first one compiles it."""
    known = programs / "undisturbed.json"
    if not known.exists():
        code = _end_of_life(runs.fork(folder, programs, marks), marks, None)
        if code != 0:
            raise RuntimeError((folder / "log").read_text())
        known.write_text(json.dumps(runs.outcome(folder)))
    return json.loads(known.read_text())


def _make_folder(home: str, number: int) -> Path:
    folder = Path(home, f"run-{number}")
    folder.mkdir()
    return folder


def _differences(code: int, folder: Path, wanted: dict[str, Any]) -> list[str]:
    """What a run that has ended of itself has that an undisturbed one has not."""
    if code != 0:
        return [f"a life ended with {code}: {(folder / 'log').read_text()[-500:]}"]
    found = runs.outcome(folder)
    return [f"the {name} differs" for name in wanted if found[name] != wanted[name]]


def corrupt_checkpoints(
    count: int, seed: int, break_writer: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Damages checkpoints in many ways, and asks for them back.

    Args:
      count: How many times.
      seed: Of the damages.
      break_writer: Breaks the writer and the reader.

    Returns:
      How many were refused, how many gave back what was saved (the damage had changed
      nothing), and how many something else, which must be none.
    """
    if break_writer is not None:
        break_writer()
    generator, results = random.Random(seed), Counter()
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


def main() -> int:
    """Runs one campaign, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", choices=("kills", "corruptions"))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="where compiled programs are kept")
    parser.add_argument("--break", dest="broken", choices=tuple(BROKEN))
    options = parser.parse_args()
    breaking = BROKEN[options.broken] if options.broken else None
    if options.campaign == "kills":
        record = kill_runs(options.count, options.seed, breaking, home=options.home)
    else:
        record = corrupt_checkpoints(options.count, options.seed, breaking)
    print(json.dumps(record))
    return 1 if record["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
