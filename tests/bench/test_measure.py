"""What the benchmark measures is what it says."""

import importlib.util
import json

import numpy as np
import pytest

from samt_jax.bench import measure
from samt_jax.bench.cells import Method, Network
from samt_jax.cli import bench as command
from samt_jax.cli import main
from samt_jax.runs import read_lines

TINY = Network("784-8-10", "mlp", (8,), 4)
METHODS = (Method("adam"), Method("SAMT-S", "next", "chain"))
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)


def random_images(num_examples=300):
    rng = np.random.default_rng(0)
    part = (
        rng.normal(size=(num_examples, 28, 28, 1)).astype(np.float32),
        rng.integers(10, size=num_examples).astype(np.int32),
    )
    return command.RandomImages(part, part, part)


@pytest.fixture(scope="module")
def lines():
    return list(measure.measure_network(TINY, METHODS, random_images(), rounds=5))


def test_there_is_one_line_a_method_and_the_baseline_is_its_own_unit(lines):
    assert [line["name"] for line in lines] == ["adam", "SAMT-S"]
    assert lines[0]["adam_epochs"] == 1
    assert lines[0]["adam_epochs_by_round"] == [1.0] * 5


def test_times_are_medians_of_the_epochs(lines):
    for line in lines:
        assert line["steps"] == 4 and len(line["epoch_seconds"]) == 5
        np.testing.assert_allclose(
            line["microseconds_per_step"], 1e6 * np.median(line["epoch_seconds"]) / 4
        )
    medians = [np.median(line["epoch_seconds"]) for line in lines]
    np.testing.assert_allclose(lines[1]["adam_epochs"], medians[1] / medians[0])


def test_operations_and_memory_are_those_of_the_compiled_program(lines):
    num_params = 784 * 8 + 8 + 8 * 10 + 10
    adam, samt = lines
    # Forward and the two products backward, less the first layer's: 2 * 64 * 2 each.
    products = 2 * 64 * (2 * 784 * 8 + 3 * 8 * 10)
    assert products < adam["flops_per_step"] < 2 * products
    for line in lines:
        assert line["params_bytes"] == 4 * num_params
        assert line["peak_bytes"] > line["temporary_bytes"] > 0
        assert line["compile_seconds"] > 0 and line["trace_seconds"] > 0
    # Two moments and a count.
    assert adam["state_bytes"] == 2 * 4 * num_params + 4
    assert samt["state_bytes"] > 0


def test_epochs_train(lines):
    for line in lines:
        # Chance is log 10, and the four batches are seen again and again.
        assert line["last_loss"] < np.log(10) + 0.5


def test_the_command_prints_one_object_and_appends_the_lines(
    tmp_path, capsys, monkeypatch, lines
):
    monkeypatch.setattr(command, "networks", lambda quick: {TINY: METHODS})
    monkeypatch.setattr(command, "measure_network", lambda *args, **kwargs: lines)
    monkeypatch.setattr(command, "_data", lambda options: (None, "random"))
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--quick", "--json", "--out", "lines.jsonl"]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["cells"]) == 2
    assert "SAMT-S next chain" in printed.err
    kept = read_lines(tmp_path / "lines.jsonl")
    assert [line["name"] for line in kept] == ["adam", "SAMT-S"]
    assert kept[0]["data"] == "random" and kept[0]["versions"]["jax"]
    assert main(["bench"]) == 0
    assert "784-8-10" in capsys.readouterr().out


def test_the_command_measures_a_checkpoint_where_it_is_the_papers_network(
    tmp_path, capsys, monkeypatch, lines
):
    network = TINY._replace(name=command.PAPERS)
    monkeypatch.setattr(command, "networks", lambda quick: {network: METHODS})
    monkeypatch.setattr(command, "measure_network", lambda *args, **kwargs: lines)
    monkeypatch.setattr(command, "_data", lambda options: (random_images(), "random"))
    guards = {
        "guards": "SAMT-S on it", "rounds": 3, "share": 0.031,
        "share_quartiles": [0.02, 0.044], "microseconds_without": 900.0,
    }  # fmt: skip
    monkeypatch.setattr(command, "measure_guards", lambda *_: guards)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--json", "--out", "lines.jsonl"]) == 0
    printed = capsys.readouterr()
    saved = json.loads(printed.out)["checkpoint"]
    assert json.loads(printed.out)["guards"] == [guards]
    assert read_lines(tmp_path / "lines.jsonl")[-2]["share"] == guards["share"]
    assert "3.1 % of a step of 900 µs without (quartiles 2.0 and 4.4" in printed.err
    # The weights and their momentum, two eta models with Adam's moments, and of the
    # next batch the hidden layer's pre-activations and what its momentum does to them.
    eta_model = 6 * 64 + 65 * 64 + 65 * 2
    num_floats = 2 * (785 * 400 + 401 * 10) + 2 * 3 * eta_model + 2 * 64 * 400
    assert 4 * num_floats < saved["bytes"] < 4.05 * num_floats
    assert saved["restore_ms"] > 0 and saved["save_ms"] > 0
    assert read_lines(tmp_path / "lines.jsonl")[-1]["save_ms"] == saved["save_ms"]
    assert [path.name for path in tmp_path.iterdir()] == ["lines.jsonl"]


def test_a_network_that_is_none_is_refused_with_those_that_are(capsys):
    assert main(["bench", "--networks", "784-1-10"]) == 2
    assert "each is one of 784-100-10, " in capsys.readouterr().err


def test_a_file_in_no_folder_is_refused_before_anything_is_measured(capsys):
    assert main(["bench", "--out", "nowhere/lines.jsonl"]) == 2
    assert "no file in a folder that exists" in capsys.readouterr().err


@needs_torch
@pytest.mark.parametrize("name", ["adam", "SAMT-S"])
def test_the_programs_in_pytorch_train(name):
    method = Method(name, "strided" if name != "adam" else None, framework="torch")
    _, torch = measure.measure_network(
        TINY, (Method("adam"), method), random_images(), rounds=5
    )
    assert torch["framework"] == "torch" and torch["params_bytes"]
    assert torch["last_loss"] < np.log(10) + 0.5
