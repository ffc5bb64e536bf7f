"""The report's pictures: results over epochs, widths and first step sizes."""

import numpy as np
import pytest

from benchmarks import report_pictures
from benchmarks.experiments import EXPERIMENTS, STEPS, first_steps
from benchmarks.report_pictures import pictures


def line(method, problem, seed, *accuracies, status="finished"):
    return {
        "phase": "final", "problem": problem, "method": method, "seed": seed,
        "status": status, "test_accuracy": accuracies, "steps": 20,
        "validation_accuracy": accuracies, "train_loss": [0.5] * len(accuracies),
        "train_seconds": [1.0] * len(accuracies), "gradient_evaluations": 40,
        "device": "cpu",
    }  # fmt: skip


def drawn(monkeypatch):
    """Figures that are saved, instead of files."""
    figures = {}
    monkeypatch.setattr(
        report_pictures,
        "save_figure",
        lambda figure, path: figures.update({path.name: figure}),
    )
    return figures


def curves(axes):
    return {
        curve.get_label(): curve.get_xydata().tolist() for curve in axes.get_lines()
    }


def test_widths_have_a_panel_a_data_set_and_a_point_for_what_is_run(
    tmp_path, monkeypatch
):
    figures = drawn(monkeypatch)
    experiment = EXPERIMENTS["figure8"]
    left = experiment.methods[2].name
    lines = [
        line(left, "mnist 100", 0, 0.5, 0.9), line(left, "mnist 100", 1, 0.5, 0.92),
        # Of a point that has more seeds, as many are shown as of the others.
        line(left, "mnist 100", 2, 0.5, 0.1),
        line(left, "mnist 800", 0, 0.5, 0.95), line(left, "mnist 800", 1, 0.5, 0.97),
        line(left, "mnist 800", 2, 0.5, 0.1, status="diverged"),
    ]  # fmt: skip
    (text,) = pictures("figure8", experiment, lines, tmp_path)
    assert text == "![over widths](pictures/figure8.png)\n"
    of_mnist, of_fashion = figures["figure8.png"].axes
    assert (of_mnist.get_title(), of_fashion.get_title()) == ("mnist", "fashion_mnist")
    assert curves(of_mnist) == {left: [[100, pytest.approx(91)], [800, 96]]}
    assert not curves(of_fashion)


def test_first_steps_have_a_line_for_each_of_s_and_e(tmp_path, monkeypatch):
    figures = drawn(monkeypatch)
    lines = [
        line(method.name, "mnist 100", 0, 0.5, by + 0.001 * index)
        for letter, by in (("S", 0.9), ("E", 0.8))
        for index, method in enumerate(first_steps(letter))
    ]
    pictures("figure7", EXPERIMENTS["figure7"], lines, tmp_path)
    axes = figures["figure7.png"].axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "η0"
    for name, by in (("SAMT-S", 90), ("SAMT-E", 80)):
        expected = [[step, by + 0.1 * i] for i, step in enumerate(STEPS)]
        np.testing.assert_allclose(curves(axes)[name], expected)


def test_epochs_are_framed_by_the_runs_that_did_not_diverge(tmp_path, monkeypatch):
    figures = drawn(monkeypatch)
    experiment = EXPERIMENTS["figure3"]
    lines = [
        line("SGD", "mnist 100", 0, 0.8, 0.9),
        line("Adam", "mnist 100", 0, 0.7, 0.1, status="diverged"),
    ]
    (text,) = pictures("figure3", experiment, lines, tmp_path)
    assert "mnist 100, over epochs" in text
    assert figures["figure3-mnist-100.png"].axes[0].get_ylim() == pytest.approx(
        (79.5, 90.5)
    )
    lost = [each | {"status": "diverged"} for each in lines]
    assert len(pictures("figure3", experiment, lost, tmp_path)) == 1


def test_where_nothing_is_run_nothing_is_drawn(tmp_path):
    for name in ("figure3", "figure7", "figure8"):
        assert pictures(name, EXPERIMENTS[name], [], tmp_path) == []
