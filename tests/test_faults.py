"""The campaigns of `benchmarks/`, short; and that they find broken writers out."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import samt_jax
from benchmarks import corruptions
from benchmarks.corruptions import DAMAGES, corrupt_checkpoints
from samt_jax import checkpoint

ROOT = Path(samt_jax.__file__).parents[1]
KILLS, CORRUPTIONS = 50, 2_000


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the campaigns of this file share one compilation."""
    return tmp_path_factory.mktemp("programs")


def kill(home, count, *more):
    """A campaign in a process that has not started JAX, which a fork would break."""
    given = ["--count", str(count), "--seed", "0", "--home", str(home), *more]
    # It keeps programs itself, which cannot be done with those of JAX's own cache.
    environment = {"PYTHONPATH": str(ROOT), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *given],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout, answer.stderr
    return answer.returncode, json.loads(answer.stdout)


def test_runs_that_are_killed_lose_nothing_and_end_as_if_they_had_not_been(home):
    code, record = kill(home, KILLS)
    assert record["wrong"] == []
    assert (code, record["kills"]) == (0, KILLS)
    assert record["runs_finished"] >= 2
    # A campaign whose kills all hit something else would prove nothing.
    assert record["in_save"] >= KILLS / 4
    assert record["landed"]["start"] + record["landed"]["restore"] > 0
    assert record["kills"] - record["in_save"] >= KILLS / 10


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("no_temporary_folder", "manifest.json"),
        ("no_key", "the digest differs"),
        ("no_eta_model", "the digest differs"),
        ("data_index_off_by_one", "the digest differs"),
    ],
)
def test_a_broken_writer_is_found_out(home, broken, found):
    code, record = kill(home, 8, "--break", broken)
    assert code == 1
    assert any(found in sentence for sentence in record["wrong"])


def test_no_damaged_checkpoint_is_taken_for_a_whole_one():
    record = corrupt_checkpoints(CORRUPTIONS, seed=0)
    assert record["wrong"] == []
    assert record["refused"] + record["accepted"] + record["older"] == CORRUPTIONS
    # Accepted is what the damage left as it was: a hole where there were zeros.
    assert record["refused"] > 0.9 * CORRUPTIONS
    assert record["older"] >= CORRUPTIONS / 100 * 0.8
    assert all(record[kind] > CORRUPTIONS / 20 for kind in DAMAGES)


def test_a_writer_without_hashes_is_found_out(monkeypatch):
    """Of damages that Orbax does not notice: in the bytes of the arrays themselves."""
    inner = checkpoint._leaf_of
    monkeypatch.setattr(checkpoint, "check_files", lambda path, known: None)
    monkeypatch.setattr(
        checkpoint, "_leaf_of", lambda *args: inner(*args)._replace(sha256="")
    )
    # Other damages to files that nobody checks may end the process in native code.
    monkeypatch.setattr(corruptions, "DAMAGES", {"other_step": DAMAGES["other_step"]})
    monkeypatch.setattr(corruptions, "_damage", swap_state)
    record = corrupt_checkpoints(3, seed=0)
    assert record["wrong"] == ["other_step was accepted as step 9"] * 3


def swap_state(newest, older, kind, generator: random.Random):
    """Puts the arrays of the step before in the place of a checkpoint's own."""
    aside = newest / "aside"
    (newest / "state").rename(aside)
    (newest / "state").symlink_to(older / "state")

    def undo():
        (newest / "state").unlink()
        aside.rename(newest / "state")

    return undo
