import json
import math
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from samt_jax.cli import checks, main
from samt_jax.cli.tensorboard import scalars, tensorboard_log


def events(folder):
    """What stands in the event files: records of length, its check, bytes, check."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def logged(folder):
    return {
        (value.tag, event.step): value.simple_value
        for event in events(folder)
        for value in event.summary.value
    }


LINE = {
    "epoch": 3,
    "step": 60,
    "status": ["running", "diverged"],
    "train_loss": [0.25, None],
    "test_accuracy": [0.5, 0.75],
    "train_seconds": 2.0,
    "step_sizes": {"Dense_0": [0.125, 0.0625]},
    "features": {"Dense_0": [[1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5]},
    "skipped": {"Dense_0": {"loss": 3}},
}


def test_numbers_have_the_names_of_what_they_are_of():
    assert scalars(LINE, 0) == {
        "train/loss": 0.25,
        "test/accuracy": 0.5,
        "train/seconds": 2.0,
        "step_sizes/Dense_0": 0.125,
        "features/Dense_0/mean": 1.0,
        "features/Dense_0/variance": 2.0,
        "features/Dense_0/max": 3.0,
        "features/Dense_0/min": 4.0,
        "features/Dense_0/norm": 5.0,
    }


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_finite_is_a_gap(value):
    assert "train/loss" not in scalars(LINE | {"train_loss": [0.25, value]}, 1)


def test_every_seed_has_a_log_of_its_own(tmp_path):
    with tensorboard_log(tmp_path, (4, 5)) as log:
        log(LINE)
        log(LINE | {"epoch": 4, "test_accuracy": [0.625, 0.5]})
    first, second = (logged(tmp_path / "tensorboard" / f"seed_{s}") for s in (4, 5))
    assert (first["test/accuracy", 3], first["test/accuracy", 4]) == (0.5, 0.625)
    assert (second["test/accuracy", 3], second["test/accuracy", 4]) == (0.75, 0.5)
    assert second["step_sizes/Dense_0", 4] == 0.0625


def test_the_command_logs_what_it_measures(tmp_path, capsys):
    arguments = ["--epochs", "1", "--hidden", "3", "--optimizer", "sgd", "--json"]
    out = tmp_path / "run"
    assert main(["train", *arguments, "--tensorboard", "--out", str(out)]) == 0
    summary = json.loads(capsys.readouterr().out)
    found = logged(out / "tensorboard" / "seed_0")
    assert found["test/accuracy", 1] == pytest.approx(summary["test_accuracy"])
    assert json.loads((out / "config.json").read_text())["tensorboard"] is True


def test_a_missing_writer_is_said_before_anything_is_done(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    out = tmp_path / "run"
    assert main(["train", "--tensorboard", "--out", str(out)]) == 2
    assert "pip install 'samt-jax[tensorboard]'" in capsys.readouterr().err
    assert not out.exists()
