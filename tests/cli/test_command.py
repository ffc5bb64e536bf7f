import collections
import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samt_jax
from samt_jax import (
    FEATURE_NAMES,
    load_meta_params,
    metrics,
    samt_sweep,
    save_meta_params,
    trained_meta_params,
)
from samt_jax.cli import doctor, main, probes, training
from samt_jax.cli.display import (
    Display,
    compiling,
    describe_epoch,
    format_metric,
)
from samt_jax.cli.options import Data, Network
from samt_jax.data import DatasetReport
from samt_jax.loop import state_sha256
from samt_jax.metrics import in_forward_order
from samt_jax.runs import read_lines

Usage = collections.namedtuple("Usage", ("total", "used", "free"))
# A run that compiles fast; what it learns does not matter here.
QUICK = ["--epochs", "2", "--hidden", "5", "--optimizer", "sgd"]
PROMISED = {
    "dataset", "optimizer", "model", "seed", "epochs", "test_accuracy",
    "best_test_accuracy", "train_seconds", "compile_seconds", "step_sizes", "run_dir",
    "status", "state_sha256",
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command_environment():
    """Of a process that finds the library wherever it is started."""
    return os.environ | {"PYTHONPATH": str(Path(samt_jax.__file__).parents[1])}


def object_on(printed):
    """The one JSON object that is all of standard output."""
    assert printed.count("\n") == 1
    return json.loads(printed)


def test_train_prints_one_object_and_leaves_a_run_folder(tmp_path, capsys):
    arguments = ["--epochs", "3", "--hidden", "5", "--seeds", "2", "--json"]
    code = main(["train", *arguments, "--out", "run"])
    captured = capsys.readouterr()
    summary = object_on(captured.out)
    assert code == 0
    assert summary.keys() >= PROMISED
    assert summary["status"] == "finished"
    assert list(summary["step_sizes"]) == ["Dense_0", "Dense_1"]
    assert (summary["label"], summary["metric_unit"]) == ("Digits", "%")
    assert "digits-samt-s    1/3  loss " in captured.err
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "summary.json", "curves.png", "step_sizes.png",
        "eta_models.npz", "lock",
    }  # fmt: skip
    assert json.loads((folder / "summary.json").read_text()) == summary
    for picture in folder.glob("*.png"):
        assert picture.read_bytes()[:4] == b"\x89PNG"
    lines = read_lines(folder / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    last = lines[-1]
    assert summary["test_accuracy"] == pytest.approx(np.mean(last["test_accuracy"]))
    best = np.max([line["test_accuracy"] for line in lines], axis=0)
    assert summary["best_test_accuracy"] == pytest.approx(best.mean())
    assert summary["by_seed"]["test_accuracy"] == pytest.approx(last["test_accuracy"])
    for field in ("step_sizes", "mixing_weight", "proposal", "meta_value", "features"):
        assert list(last[field]) == ["Dense_0", "Dense_1"]
        assert len(last[field]["Dense_0"]) == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["blocks"] == ["Dense_0", "Dense_1"]
    assert (config["seeds"], config["epochs"], config["hidden"]) == (2, 3, [5])
    assert config["examples"] == {"train": 1293, "validation": 144, "test": 360}
    assert config["environment"]["versions"]["jax"]


@pytest.fixture
def source(tmp_path):
    """What a run of SAMT with five hidden units leaves, as far as others need it."""
    folder = tmp_path / "source"
    folder.mkdir()
    params = {
        "Dense_0": {"kernel": jnp.ones((64, 5)), "bias": jnp.ones(5)},
        "Dense_1": {"kernel": jnp.ones((5, 10)), "bias": jnp.ones(10)},
    }
    learned = trained_meta_params(samt_sweep(seed=9).init(params))
    # The last layers start at zero; these have learned something.
    learned = jax.tree.map(lambda leaf: leaf + 0.01, learned)
    save_meta_params(folder / "eta_models.npz", learned)
    # In another order, and as it is by default.
    config = {"features": list(reversed(FEATURE_NAMES)), "feature_scale": 1e-8}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


FROM_SOURCE = ["train", "--hidden", "5", "--epochs", "1", "--meta-params", "source"]


@pytest.mark.parametrize("optimizer", ["samt-s", "learned-s"])
def test_train_starts_from_the_eta_models_of_another_run(source, capsys, optimizer):
    frozen = ["--meta-learning-rate", "0", "--out", "run", "--json"]
    assert main([*FROM_SOURCE, *frozen, "--optimizer", optimizer]) == 0
    learned, kept = (
        load_meta_params(folder / "eta_models.npz") for folder in (source, Path("run"))
    )
    jax.tree.map(np.testing.assert_array_equal, learned, kept)
    config = json.loads(Path("run/config.json").read_text())
    assert config["meta_params"] == str(source)
    # It can be taken up from any folder.
    assert config["command"][config["command"].index("--meta-params") + 1] == str(
        source
    )


@pytest.mark.parametrize(
    ("arguments", "config", "sentence"),
    [
        ("--squash sigmoid", {}, "with --squash tanh, and sigmoid would have them"),
        ("", {"features": ["norm", "max"]}, "--features norm max, and mean variance"),
        ("--feature-scale 0", {"feature_scale": 1e-8}, "1e-08, and 0.0 would have"),
        ("--optimizer samt-r", {}, "run with the same eta_model, granularity and"),
        ("--optimizer sgd", {}, "sgd takes no setting 'meta_params', which is for"),
        ("--meta-params .", {}, "'.', which has no eta_models.npz; give the folder"),
    ],
)
def test_eta_models_that_do_not_fit_are_refused_in_one_sentence(
    arguments, config, sentence, source, capsys
):
    (source / "config.json").write_text(json.dumps(config))
    code = main([*FROM_SOURCE, *arguments.split()])
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (2, 1)
    assert sentence in said
    assert [path.name for path in Path().iterdir()] == ["source"]


def test_train_without_json_says_it_in_a_table(tmp_path, capsys):
    assert main(["train", *QUICK]) == 0
    printed = capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("digits-sgd-")
    summary = json.loads((folder / "summary.json").read_text())
    assert f"{100 * summary['test_accuracy']:.2f} %" in printed
    assert str(folder.relative_to(tmp_path)) in printed


def test_same_seed_gives_the_same_fingerprint(capsys):
    seen = []
    for seed in ("0", "0", "1"):
        main(["train", *QUICK, "--epochs", "1", "--seed", seed, "--json"])
        seen.append(object_on(capsys.readouterr().out)["state_sha256"])
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("optimizer", ["sgd-hd", "ultimate", "dante"])
def test_whatever_a_rival_reports_is_kept(optimizer, capsys):
    arguments = ["--epochs", "1", "--hidden", "3", "--optimizer", optimizer]
    assert main(["train", *arguments, "--json", "--out", "run"]) == 0
    object_on(capsys.readouterr().out)
    (line,) = read_lines(Path("run/metrics.jsonl"))
    known = {"epoch", "step", "status", "train_loss", "step_sizes"}
    reported = [key for key in line if key not in known and "_loss" not in key]
    assert len(reported) > 5


def test_diverged_run_ends_with_one_and_says_so(tmp_path, capsys):
    code = main(["train", *QUICK, "--learning-rate", "1e30", "--json", "--out", "run"])
    printed = capsys.readouterr()
    summary = object_on(printed.out)
    assert (code, summary["status"], summary["epochs"]) == (1, "diverged", 1)
    assert "diverged; try a smaller --learning-rate; no good chec" in printed.err
    (line,) = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert line["test_loss"] == [None]
    assert line["nonfinite_losses"][0] > 0


def interrupt_after(epochs, error, monkeypatch):
    inner = training.run_trainer

    def run_trainer(trainer, *others):
        for number, record in enumerate(inner(trainer, *others)):
            if number == epochs:
                raise error
            yield record

    monkeypatch.setattr(training, "run_trainer", run_trainer)


def test_interrupted_run_keeps_what_it_has(tmp_path, capsys, monkeypatch):
    interrupt_after(1, KeyboardInterrupt, monkeypatch)
    code = main(["train", *QUICK, "--json", "--out", "run"])
    summary = object_on(capsys.readouterr().out)
    assert (code, summary["status"], summary["epochs"]) == (130, "interrupted", 1)
    assert (tmp_path / "run" / "curves.png").exists()
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary


def test_run_interrupted_in_its_first_epoch_says_so(tmp_path, capsys, monkeypatch):
    interrupt_after(0, KeyboardInterrupt, monkeypatch)
    code = main(["train", *QUICK, "--json", "--out", "run"])
    summary = object_on(capsys.readouterr().out)
    assert (code, summary["status"], summary["epochs"]) == (130, "interrupted", 0)
    assert not (tmp_path / "run" / "curves.png").exists()


def test_command_interrupted_before_the_run_leaves_nothing(
    tmp_path, capsys, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "prepare", interrupt)
    assert main(["train", *QUICK]) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_failed_run_ends_with_one_and_its_reason(tmp_path, capsys, monkeypatch):
    interrupt_after(1, RuntimeError("out of memory"), monkeypatch)
    code = main(["train", *QUICK, "--json", "--out", "run"])
    captured = capsys.readouterr()
    summary = object_on(captured.out)
    assert (code, summary["status"]) == (1, "failed")
    assert summary["error"] == "RuntimeError: out of memory"
    assert "Traceback" in captured.err
    assert len(read_lines(tmp_path / "run" / "metrics.jsonl")) == 1


def test_element_wise_step_sizes_say_their_memory_before_they_take_it(
    capsys, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "prepare", interrupt)
    said = []
    for head in ("dense", "factored"):
        arguments = ["--optimizer", "samt-e", "--element-head", head]
        assert main(["train", *arguments, "--hidden", "400"]) == 130
        said.append(capsys.readouterr().err.splitlines()[0])
    # Two numbers a step size from 64 units and a bias; two more layers of the eta
    # model; the weights and Adam's two moments and count.
    dense, factored = (
        (64 * 400 + 400, 400 * 10 + 10),
        (64 + 400 + 400, 400 + 10 + 10),
    )
    for words, steps in zip(said, (dense, factored), strict=True):
        sizes = [4 * (3 * (6 * 64 + 65 * 64 + 65 * 2 * n) + 1) for n in steps]
        size = (
            f"{sum(sizes) / 2**30:.2f} GiB"
            if sum(sizes) > 2**30
            else (f"{sum(sizes) / 2**20:.2f} MiB")
        )
        assert f"eta models with their optimizers take {size} a seed" in words


def test_run_that_skips_every_visit_of_its_last_epoch_has_diverged():
    status, steps = ["finished", "finished"], {"a": [0.0, 0.1], "b": [0.0, 0.0]}
    assert metrics._stuck_diverged(status, steps) == ["diverged", "finished"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--batch-size 5000", "a batch is drawn from 1,293 examples"),
        ("--batch-size 1000 --meta-batch held_out", "half of the training set"),
        ("--optimizer dladmm --model cnn", "take --model mlp"),
        ("--order Dense_0 Dense_7", "the blocks are ['Dense_0', 'Dense_1']"),
        ("--model vgg11", "32 by 32 pixels"),
        ("--dataset mnist --data-dir .", "mnist"),
        ("--inner-steps 2 --num-train 3", "visits"),
        ("--frozen .*", "all are frozen"),
        ("--frozen [", "'[' is no regular expression"),
    ],
)
def test_what_only_data_or_network_show_is_refused_alike(
    arguments, sentence, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("SAMT_JAX_CACHE", str(tmp_path / "cache"))
    code = main(["train", *arguments.split()])
    captured = capsys.readouterr()
    assert code == 2
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert sentence in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_full_batch_method_says_its_memory_first_and_steps_once_an_epoch(
    tmp_path, capsys
):
    arguments = ["--optimizer", "pdadmm", "--hidden", "5", "--epochs", "2", "--json"]
    assert main(["train", *arguments, "--out", "run"]) == 0
    captured = capsys.readouterr()
    # z_1 (5 numbers an example), z_2 (10), p_2, q_1, u_1: 30 of four bytes.
    note = (
        "pdadmm keeps variables for each of the 1,293 examples: 0.15 MiB from step to"
    )
    assert note in captured.err
    assert captured.err.index(note) < captured.err.index("loss")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["batch_size"], config["steps_per_epoch"]) == (1293, 1)
    line = read_lines(tmp_path / "run" / "metrics.jsonl")[-1]
    assert line["network"].keys() == {"accuracy"}
    assert list(line["linear_residual"]) == ["Dense_0", "Dense_1"]


def test_compare_makes_one_table_one_picture_and_lines(tmp_path, capsys):
    arguments = ["--optimizers", "sgd,adam", "--epochs", "2", "--hidden", "5"]
    assert main(["compare", *arguments, "--seeds", "2", "--out", "run"]) == 0
    printed = capsys.readouterr().out
    assert "mean ± sd of 2 seeds" in printed
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "summary.json", "compare.png",
    }  # fmt: skip
    lines = read_lines(folder / "metrics.jsonl")
    assert [line["optimizer"] for line in lines] == ["sgd", "sgd", "adam", "adam"]
    result = json.loads((folder / "summary.json").read_text())
    assert [run["optimizer"] for run in result["runs"]] == ["sgd", "adam"]
    assert result["status"] == "finished"


def test_compare_gives_settings_to_those_that_take_them(tmp_path, capsys):
    arguments = ["--optimizers", "momentum,adam", "--epochs", "1", "--hidden", "3"]
    assert main(["compare", *arguments, "--momentum", "0.5", "--json"]) == 0
    result = object_on(capsys.readouterr().out)
    config = json.loads((tmp_path / result["run_dir"] / "config.json").read_text())
    assert config["optimizers"] == {"momentum": {"momentum": 0.5}, "adam": {}}


def test_interrupted_comparison_keeps_what_it_has(tmp_path, capsys, monkeypatch):
    interrupt_after(1, KeyboardInterrupt, monkeypatch)
    arguments = ["--optimizers", "sgd,adam", "--epochs", "2", "--hidden", "3"]
    assert main(["compare", *arguments, "--json", "--out", "run"]) == 130
    result = object_on(capsys.readouterr().out)
    assert result["status"] == "interrupted"
    assert [run["optimizer"] for run in result["runs"]] == ["sgd"]
    assert (tmp_path / "run" / "compare.png").exists()


def test_explain_lists_twelve_layers_in_forward_order(capsys):
    assert main(["explain", "--hidden", *["2"] * 11, "--json"]) == 0
    explained = object_on(capsys.readouterr().out)
    names = [block["block"] for block in explained["blocks"]]
    assert names == [f"Dense_{i}" for i in range(12)]
    assert explained["ordered_by"] == "first use in the loss"


def test_metrics_stand_in_forward_order():
    setting = training.set_up(Data(), Network(hidden=tuple([2] * 11)), None)
    shuffled = {name: [1.0] for name in sorted(setting.blocks.names)}
    assert list(shuffled)[1:3] == ["Dense_1", "Dense_10"]
    ordered = in_forward_order(shuffled, setting.blocks.names)
    assert list(ordered) == [f"Dense_{i}" for i in range(12)]


def test_a_residual_block_is_one_block_unless_asked_otherwise(capsys):
    def explained(*arguments: str) -> list[dict[str, Any]]:
        assert main(["explain", "--model", "resnet18", *arguments, "--json"]) == 0
        return object_on(capsys.readouterr().out)["blocks"]

    usual, deeper = explained(), explained("--blocks", "2")
    assert [block["block"] for block in usual] == [f"Layer_{i}" for i in range(10)]
    names = [block["block"] for block in deeper]
    assert names[2:6] == [f"Layer_{i}/Layer_{j}" for i in (1, 2) for j in (0, 1)]
    usual_size, deeper_size = (
        sum(block["parameters"] for block in blocks) for blocks in (usual, deeper)
    )
    assert usual_size == deeper_size


@pytest.mark.parametrize(
    ("optimizer", "shapes"),
    [
        ("samt-s", [[[]]]),
        ("samt-r", [[[1, 3]]]),
        ("samt-c", [[[64, 1]]]),
        ("samt-e", [[[3]], [[1, 3], [64, 1]]]),
    ],
)
def test_explain_shows_the_shapes_of_the_step_sizes(optimizer, shapes, capsys):
    main(["explain", "--hidden", "3", "--optimizer", optimizer, "--json"])
    first = object_on(capsys.readouterr().out)["blocks"][0]
    assert first["step_sizes"] == shapes
    assert first["leaves"]["Dense_0/kernel"] == [64, 3]
    # Three layers of width 64 from five features, and Adam's two moments and count.
    outputs = 2 * sum(int(np.prod(f)) for factors in shapes for f in factors)
    weights = 6 * 64 + 65 * 64 + 65 * outputs
    assert first["eta_model_bytes"] == 4 * (3 * weights + 1)


def test_explain_is_read_by_people_too(capsys):
    assert main(["explain", "--hidden", "3", "--order", "backward"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("Dense_1") < printed.index("Dense_0")
    assert "engine: general" in printed


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SAMT_JAX_CACHE", str(tmp_path / "cache"))
    assert main(["doctor", "--data-dir", ".", "--json"]) == 0
    report = object_on(capsys.readouterr().out)
    found = {row["name"]: row for row in report["datasets"]}
    assert found["digits"]["found"]
    assert not found["kmnist"]["found"]
    assert found["kmnist"]["advice"]
    assert report["versions"]["jax"]
    assert report["devices"]
    assert report["threads"] >= 1
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["doctor", "--data-dir", "."]) == 0
    printed = capsys.readouterr().out
    assert "prodigy" in printed
    # No name is cut short where there is little room.
    assert "…" not in printed
    assert report["processor"]
    probes = {row["name"]: row for row in report["probes"]}
    assert list(probes) == [
        "the same step repeated", "the folder of runs", "the lock of a run",
        "free space",
    ]  # fmt: skip
    for row in probes.values():
        assert row["good"], row
        assert row["advice"] == ""
    assert probes["the same step repeated"]["found"] == "50 calls, 1 different results"


def test_doctor_is_read_by_people_too(capsys, monkeypatch):
    report = {
        "python": "3.11", "processor": "x", "threads": 2, "devices": ["cpu"],
        "versions": {"jax": None},
        "datasets": [DatasetReport("x", "", False, "", (), False, "[data]")._asdict()],
        "optimizers": {"prodigy": {"summary": "", "learning_rate": 1.0}},
        "probes": [probes.Probe("a lock", False, "none", "mend it")._asdict()],
    }  # fmt: skip
    monkeypatch.setattr(doctor, "examine", lambda options: report)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "prodigy" in printed
    assert "mend it" in printed
    # Brackets are no markup.
    assert "[data]" in printed


def test_doctor_says_what_to_do_where_runs_are_not_safe(tmp_path, monkeypatch):
    digests = itertools.count()
    monkeypatch.setattr(probes, "state_sha256", lambda state: next(digests))
    repeats = probes.probe_repeats()
    assert (repeats.good, repeats.found) == (False, "50 calls, 50 different results")
    assert "on one thread" in repeats.advice
    monkeypatch.setattr(probes.shutil, "disk_usage", lambda place: Usage(1, 1, 1_000))
    space = probes.probe_space(tmp_path)
    assert (space.good, space.advice.split(",")[0]) == (False, "make room")
    folder = probes.probe_folder(tmp_path / "nowhere")
    assert (folder.good, "No such file" in folder.found) == (False, True)
    assert folder.advice == "name a folder that can be written"
    monkeypatch.setattr(probes, "locked", contextlib.nullcontext)
    lock = probes.probe_lock(tmp_path)
    assert (lock.good, "two locks" in lock.found) == (False, True)
    assert list(tmp_path.iterdir()) == []


def test_module_is_the_command():
    for arguments, code in ((["--version"], 0), (["train", "--epochs", "x"], 2)):
        answer = subprocess.run(
            [sys.executable, "-m", "samt_jax", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=command_environment(),
        )
        assert answer.returncode == code
        assert (answer.stdout + answer.stderr).count("\n") == 1


def test_reader_who_leaves_early_sees_no_trace():
    command = subprocess.Popen(
        [sys.executable, "-m", "samt_jax", "train", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=command_environment(),
    )
    command.stdout.close()
    with command.stderr as stderr:
        assert stderr.read() == b""
    command.wait()


LINE = {
    "epoch": 1, "status": ["running"], "train_loss": [0.5],
    "validation_accuracy": [0.9],
    "step_sizes": {f"Dense_{i}": [0.1] for i in range(6)},
}  # fmt: skip


def test_line_for_people_shows_the_first_blocks():
    words = describe_epoch(LINE, "accuracy")
    assert words.startswith("loss 0.5000  validation 90.00 %  Dense_0 0.1")
    assert words.endswith("Dense_3 0.1  …")
    assert describe_epoch(LINE | {"status": ["diverged"]}, "accuracy").endswith(
        "diverged"
    )


@pytest.mark.parametrize(
    ("values", "metric", "words"),
    [
        ([0.5], "accuracy", "50.00 %"),
        ([0.5, 0.6], "accuracy", "55.00 ± 7.07 %"),
        (0.25, "rmse", "0.2500"),
    ],
)
def test_metric_for_people(values, metric, words):
    assert format_metric(values, metric) == words


def show_run(stream, monkeypatch, epochs):
    monkeypatch.setattr(sys, "stderr", stream)
    with Display(epochs, "digits-sgd", "accuracy") as display:
        for epoch in range(1, epochs + 1):
            display.show(LINE | {"epoch": epoch})
    return stream.getvalue()


def test_no_terminal_gets_some_plain_lines(monkeypatch):
    shown = show_run(io.StringIO(), monkeypatch, 95)
    assert "\x1b" not in shown
    numbers = [int(line.split()[1].split("/")[0]) for line in shown.splitlines()]
    assert numbers == [1, *range(9, 91, 9), 95]


def test_terminal_gets_a_live_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = show_run(Terminal(), monkeypatch, 3)
    assert "\x1b[" in shown
    assert "3/3" in shown
    assert "validation 90.00 %" in shown


def test_long_compilation_is_announced(capsys, monkeypatch):
    compiling("sgd", 2)
    assert capsys.readouterr().err == ""
    compiling("samt-s", 41)
    assert capsys.readouterr().err.startswith("compiling samt-s, 41 blocks, which may")


def test_fingerprint_is_of_the_final_state(capsys, monkeypatch):
    seen = []

    def remember(state):
        seen.append(int(state.step[0]))
        return state_sha256(state)

    monkeypatch.setattr(training, "state_sha256", remember)
    main(["train", *QUICK, "--json"])
    object_on(capsys.readouterr().out)
    assert seen == [40]
