"""Runs that are killed, and writers broken on purpose that this has to find out.

    python -m benchmarks.faults --count 50 --seed 0
    python -m benchmarks.faults --count 8 --break no_temporary_folder

Prints one JSON object and exits with 1 if it found anything wrong. `soak.py` runs it
long; the tests run it short, and once with every broken writer.
"""

import argparse
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
import jax.numpy as jnp
import numpy as np

from benchmarks import faulty_runs as runs
from samt_jax import checkpoint, manifest, trainer

# Where a kill is aimed, and so where many land; a life goes a save or two far.
AIMS = (
    "start", "restore", "step", "step", "evaluate", "write", "write", "write", "sync",
    "sync", "manifest", "publish", "remove", "remove",
)  # fmt: skip
ONCE_A_LIFE = ("start", "restore", "evaluate")
LONGEST_DELAY = 0.03
LONGEST_LIFE = 600.0


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

    _put(checkpoint, "save", save)


def forget_key() -> None:
    """Gives a run that is taken up another key."""
    _after_restore(
        lambda p: p._replace(state=p.state._replace(key=jnp.zeros_like(p.state.key)))
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
        _put(
            trainer._Plan,
            "indices",
            lambda plan, first, count: inner(plan, first + 1, count),
        )
        return progress

    _after_restore(shift)


def _after_restore(change: Callable[[trainer.Progress], trainer.Progress]) -> None:
    inner = checkpoint.restore

    def restore(*args: Any) -> checkpoint.Restored:
        restored = inner(*args)
        return restored._replace(state=change(restored.state))

    _put(checkpoint, "restore", restore)


def _put(owner: Any, name: str, broken: Callable[..., Any]) -> None:
    """Puts something broken in the place of what works."""
    setattr(owner, name, broken)


BROKEN = {
    "no_temporary_folder": save_in_place,
    "no_key": forget_key,
    "no_eta_model": forget_eta_model,
    "data_index_off_by_one": shift_data,
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
            aim = _aim(generator, saved > 0) if landed.total() < count else None
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


def _aim(generator: random.Random, has_saved: bool) -> Aim:
    # Where nothing is saved there is nothing to restore.
    places = AIMS if has_saved else tuple(p for p in AIMS if p != "restore")
    place = generator.choice(places)
    # Half of them at once: most places are left again within milliseconds.
    delay = generator.choice((0.0, generator.uniform(0, LONGEST_DELAY)))
    visit = 1 if place in ONCE_A_LIFE else generator.randint(1, 2)
    return Aim(place, visit, delay)


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


def main() -> int:
    """Runs the campaign, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="where compiled programs are kept")
    parser.add_argument("--break", dest="broken", choices=tuple(BROKEN))
    options = parser.parse_args()
    breaking = BROKEN[options.broken] if options.broken else None
    record = kill_runs(options.count, options.seed, breaking, home=options.home)
    print(json.dumps(record))
    return 1 if record["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
