import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samt_jax
from samt_jax import checkpoint
from samt_jax import training as library_training
from samt_jax.cli import main, parse, training
from samt_jax.cli.display import Display
from samt_jax.cli.saved import command_of
from samt_jax.runs import LOCK, locked, read_lines

# Five epochs of twenty steps, a checkpoint in the middle of each and at the end.
TRAIN = ["train", "--epochs", "5", "--hidden", "5", "--optimizer", "momentum"]
KEPT = [*TRAIN, "--checkpoint-every", "30", "--json"]


@pytest.fixture(scope="module")
def compiled():
    """What is compiled once for this file: the run of `TRAIN`, by its settings."""
    return {}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch, compiled):
    monkeypatch.chdir(tmp_path)
    inner = training.prepare

    def prepare_once(problem, make_algorithm, **settings):
        key = json.dumps(settings)
        if key not in compiled:
            compiled[key] = inner(problem, make_algorithm, **settings)
        return compiled[key]

    monkeypatch.setattr(training, "prepare", prepare_once)


def run(arguments, capsys):
    """Exit code, the object on standard output, what was said."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, json.loads(captured.out or "null"), captured.err


def at_epoch(number, action, monkeypatch):
    """Has something happen when the command shows an epoch."""
    inner = Display.show

    def show(self, line):
        inner(self, line)
        if line["epoch"] == number:
            action()

    monkeypatch.setattr(Display, "show", show)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def measured(folder):
    """The metrics that do not depend on the time of day."""
    return [
        {k: v for k, v in line.items() if not k.endswith("seconds")}
        for line in read_lines(Path(folder) / "metrics.jsonl")
    ]


@pytest.fixture
def unbroken(capsys):
    _, summary, _ = run([*TRAIN, "--json", "--out", "unbroken"], capsys)
    return summary


@pytest.fixture
def stopped(capsys, monkeypatch):
    """A run that was stopped in its third epoch."""
    with monkeypatch.context() as patch:
        at_epoch(2, terminate, patch)
        return run([*KEPT, "--out", "run"], capsys)


def test_sigterm_saves_and_ends_with_75(stopped):
    code, summary, said = stopped
    assert (code, summary["status"], summary["epochs"]) == (75, "stopped", 2)
    assert "go on with `samt resume run`" in said
    newest = checkpoint.list_checkpoints(Path("run/checkpoints"))[-1]
    assert summary["last_good_checkpoint"] == str(newest)
    # It had done 40 steps when it was told.
    assert 40 < int(newest.name[5:]) <= 60
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_resumed_run_ends_as_an_unbroken_one(stopped, unbroken, capsys):
    code, summary, said = run(["resume", "run", "--json"], capsys)
    assert (code, summary["status"]) == (0, "finished")
    assert "going on from run/checkpoints/step_" in said
    different = {"train_seconds", "compile_seconds", "run_dir", "last_good_checkpoint"}
    assert {k: v for k, v in summary.items() if k not in different} == {
        k: v for k, v in unbroken.items() if k not in different
    }
    assert measured("run") == measured("unbroken")
    (entry,) = read_lines(Path("run/history.jsonl"))
    assert (entry["refused"], entry["changes"]) == ([], [])
    assert json.loads(Path("run/summary.json").read_text()) == summary
    assert {path.name for path in Path("run").iterdir()} == {
        "checkpoints", "config.json", "curves.png", "history.jsonl", "lock",
        "metrics.jsonl", "step_sizes.png", "summary.json",
    }  # fmt: skip


def test_a_finished_run_is_not_trained_again(capsys, monkeypatch):
    _, summary, _ = run([*KEPT, "--out", "run"], capsys)
    monkeypatch.setattr(training, "prepare", None)
    assert run(["resume", "run", "--json"], capsys)[:2] == (0, summary)


def test_a_run_without_checkpoints_starts_over(unbroken, capsys):
    Path("unbroken/summary.json").unlink()
    with Path("unbroken/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 6, "half a li')
    code, summary, said = run(["resume", "unbroken", "--json"], capsys)
    assert (code, summary["state_sha256"]) == (0, unbroken["state_sha256"])
    assert "nothing had been saved" in said
    assert [line["epoch"] for line in measured("unbroken")] == [1, 2, 3, 4, 5]


def damage(path):
    (path / "state" / "_METADATA").write_bytes(b"")


def test_damage_is_said_loudly_and_an_older_checkpoint_taken(stopped, unbroken, capsys):
    older, newest = checkpoint.list_checkpoints(Path("run/checkpoints"))[-2:]
    damage(newest)
    code, summary, said = run(["resume", "run", "--json"], capsys)
    assert (code, summary["state_sha256"]) == (0, unbroken["state_sha256"])
    assert f"kept as damaged-{newest.name}: " in said
    assert f"going on from {older}" in said
    assert measured("run") == measured("unbroken")
    (entry,) = read_lines(Path("run/history.jsonl"))
    assert "_METADATA is not what was written" in entry["refused"][0]


def refused(arguments, capsys, sentence):
    code = main(arguments)
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert sentence in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err


def test_where_no_checkpoint_is_good_the_run_is_refused(stopped, capsys):
    before = measured("run")
    for path in checkpoint.list_checkpoints(Path("run/checkpoints")):
        damage(path)
    refused(["resume", "run"], capsys, "none of the 2 checkpoints in")
    assert measured("run") == before


def test_lost_metrics_are_refused(stopped, capsys):
    Path("run/metrics.jsonl").write_text("")
    refused(["resume", "run"], capsys, "does not hold the metrics of epochs 1 to 2")


def test_a_checkpoint_of_other_options_is_refused_with_what_differs(stopped, capsys):
    config = json.loads(Path("run/config.json").read_text())
    # Of those that leave the shapes as they are; the compiled run is that of the first.
    config["command"] += ["--weight-decay", "0.1", "--optimizer", "adamw"]
    Path("run/config.json").write_text(json.dumps(config))
    refused(["resume", "run"], capsys, "optimizer: momentum → adamw; weight_decay: ")


def test_a_second_run_in_a_folder_is_refused_by_name(stopped, capsys):
    with locked(Path("run")):
        owner = f'"pid": {os.getpid()}'
        refused(["resume", "run"], capsys, owner)
    Path("empty").mkdir()
    with locked(Path("empty")):
        refused([*TRAIN, "--out", "empty"], capsys, owner)


def test_a_dead_owner_is_none(capsys):
    code = "import os; from pathlib import Path; from samt_jax.runs import locked\n"
    code += "with locked(Path('run')): os._exit(9)"
    Path("run").mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", code], env=command_environment(), check=False
    )
    assert answer.returncode == 9
    assert json.loads(Path("run", LOCK).read_text())["pid"] != os.getpid()
    assert run([*TRAIN, "--json", "--out", "run"], capsys)[0] == 0


# Orbax's event loops complain when they are collected after a write was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_ends_the_run_and_the_last_good_checkpoint_is_named(
    unbroken, capsys, monkeypatch
):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))

    with monkeypatch.context() as patch:
        at_epoch(2, fill, patch)
        try:
            code, summary, said = run([*KEPT, "--out", "run"], capsys)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, summary["status"]) == (1, "failed")
    assert summary["last_good_checkpoint"] == "run/checkpoints/step_0000000030"
    assert "the last good checkpoint is run/checkpoints/step_0000000030" in said
    assert "Traceback" not in said
    # With room again, it goes on.
    code, summary, _ = run(["resume", "run", "--json"], capsys)
    assert (code, summary["state_sha256"]) == (0, unbroken["state_sha256"])


def test_a_folder_that_vanishes_ends_the_run_in_a_sentence(capsys, monkeypatch):
    at_epoch(2, lambda: shutil.rmtree("run"), monkeypatch)
    code, summary, said = run([*KEPT, "--out", "run"], capsys)
    assert (code, summary["status"]) == (1, "failed")
    assert summary["last_good_checkpoint"] is None
    assert "Traceback" not in said
    assert not Path("run").exists()


@pytest.mark.parametrize("kept", [True, False])
def test_divergence_names_the_last_good_checkpoint(kept, capsys, monkeypatch):
    judged = []

    def diverge(evaluation):
        judged.append(evaluation)
        return np.array([len(judged) == 3])

    monkeypatch.setattr(library_training, "_has_nonfinite_loss", diverge)
    arguments = KEPT if kept else [*TRAIN, "--json"]
    code, summary, said = run([*arguments, "--out", "run"], capsys)
    assert (code, summary["status"], summary["epochs"]) == (1, "diverged", 3)
    if kept:
        assert summary["last_good_checkpoint"] == "run/checkpoints/step_0000000060"
        assert "the last good checkpoint is run/checkpoints/step_0000000060" in said
    else:
        assert "take --checkpoint-every" in said
    # It has ended for good.
    assert run(["resume", "run", "--json"], capsys)[:2] == (1, summary)


def command_environment():
    return os.environ | {"PYTHONPATH": str(Path(samt_jax.__file__).parents[1])}


def test_a_real_signal_ends_a_real_process_with_75(capsys):
    command = [*TRAIN, "--epochs", "100000", "--json", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "samt_jax", *command],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    metrics = Path("run/metrics.jsonl")
    while process.poll() is None and not metrics.exists():
        time.sleep(0.05)
    process.terminate()
    # Once more, in the middle of saving perhaps: it changes nothing.
    process.terminate()
    printed, said = process.communicate()
    assert process.returncode == 75, said
    assert json.loads(printed)["status"] == "stopped"
    (path,) = checkpoint.list_checkpoints(Path("run/checkpoints"))
    checkpoint.check_files(path, checkpoint.read_manifest(path))


@settings(max_examples=10)
@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=3),
    st.floats(1e-30, 1e30),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from([[], ["--shared-eta-model", "no"], ["--order", "b", "a"]]),
)
def test_a_command_is_kept_as_it_was_given(hidden, rate, seed, bias, more):
    words = ["train", "--hidden", *map(str, hidden), "--learning-rate", str(rate)]
    words += ["--seed", str(seed), *([] if bias else ["--no-bias"]), *more]
    _, options = parse(words)
    kept = command_of(options)
    assert parse(kept) == ("train", options)
    assert command_of(parse([*kept, "--json", "--out", "x"])[1]) == kept


def configs():
    """What `config.json` may hold; none of it is a run that could be taken up."""
    yield from (b"", b"{", b"[]", b"null", b"\xff", b"[" * 50_000, b'{"command": 3}')
    for words in (
        [], ["train", 3], ["nonsense"], ["compare"], ["train", "--help"], ["--version"],
        ["train", "--epochs", "-1"], ["train", "--optimizer", "adam", "--squash", "x"],
        ["train", "--out"], ["resume", "."],
    ):  # fmt: skip
        yield json.dumps({"command": words}).encode()


def test_every_folder_that_holds_no_run_is_refused_at_once(tmp_path):
    """In a process of its own, to see that JAX stays out of it."""
    folders = [str(tmp_path / name) for name in ("nowhere", "file", "empty", "")]
    Path(folders[1]).touch()
    Path(folders[2]).mkdir()
    for number, content in enumerate(configs()):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        (folder / "config.json").write_bytes(content)
        folders.append(str(folder))
    before = sorted(tmp_path.rglob("*"))
    program = """
import contextlib, io, json, sys, time
from samt_jax.cli import main
wrong = []
for folder in json.loads(sys.stdin.read()):
    out, err, started = io.StringIO(), io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["resume", folder])
    said, seconds = err.getvalue(), time.process_time() - started
    good = code == 2 and said.count("\\n") == 1 and said.startswith("samt: ")
    if not good or out.getvalue() or len(said) > 500 or seconds > 1:
        wrong.append([folder, code, said, seconds])
print(json.dumps([wrong, "jax" in sys.modules]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(folders),
        env=command_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == [[], False]
    assert sorted(tmp_path.rglob("*")) == before
