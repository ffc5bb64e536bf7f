import numpy as np
from random_lines import labels, lines_of

from samt_jax.plots import plot_curves


def test_curves_show_every_part_with_means_in_percent():
    lines = lines_of()
    left, right = plot_curves(lines, metric="accuracy").axes
    assert labels(left) == ["training", "validation", "test"]
    assert labels(right) == ["validation", "test"]
    expected = [100 * np.mean(line["test_accuracy"]) for line in lines]
    np.testing.assert_allclose(right.lines[1].get_ydata(), expected)
    assert right.get_ylabel() == "accuracy (%)"
    assert "nats" in left.get_ylabel()


def test_regression_is_shown_in_its_own_unit():
    lines = lines_of(metric="rmse")
    left, right = plot_curves(lines, metric="rmse").axes
    expected = [np.mean(line["test_rmse"]) for line in lines]
    np.testing.assert_allclose(right.lines[1].get_ydata(), expected)
    assert "standard deviations" in right.get_ylabel()
    assert "squared error" in left.get_ylabel()


def test_numbers_that_are_missing_leave_a_gap():
    lines = lines_of(seeds=1)
    lines[1]["test_loss"] = lines[1]["test_accuracy"] = [None]
    axes = plot_curves(lines, metric="accuracy").axes[1]
    assert np.isnan(axes.lines[1].get_ydata()[1])
