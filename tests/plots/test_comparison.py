import numpy as np
import pytest
from random_lines import labels, lines_of

from samt_jax.plots import plot_comparison, plot_ranking


def test_comparison_adds_up_training_seconds():
    runs = {"adam": lines_of(), "sgd": lines_of()}
    left, right = plot_comparison(runs, metric="accuracy").axes
    assert labels(left) == labels(right) == ["adam", "sgd"]
    np.testing.assert_allclose(right.lines[0].get_xdata(), [0.5, 1.0, 1.5])
    assert left.lines[0].get_color() != left.lines[1].get_color()
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle()


def test_gradients_are_those_of_a_step_times_the_steps():
    runs = {"adam": lines_of(), "samt-s": lines_of(), "dladmm": lines_of()}
    figure = plot_comparison(
        runs, metric="accuracy", gradients_per_step={"adam": 1, "samt-s": 4}
    )
    right = figure.axes[2]
    assert labels(right) == ["adam", "samt-s"]
    np.testing.assert_allclose(right.lines[1].get_xdata(), [40, 80, 120])


def test_lines_without_seconds_have_no_picture_over_them():
    lines = [
        {name: value for name, value in line.items() if name != "train_seconds"}
        for line in lines_of()
    ]
    for gradients, xlabels in (
        (None, ["epoch"]),
        ({"adam": 2}, ["epoch", "gradients of a batch's loss"]),
    ):
        figure = plot_comparison(
            {"adam": lines}, metric="accuracy", gradients_per_step=gradients
        )
        assert [axes.get_xlabel() for axes in figure.axes] == xlabels
    np.testing.assert_allclose(figure.axes[1].lines[0].get_xdata(), [20, 40, 60])


def ranked(finals, metric):
    lines = {
        name: [{f"test_{metric}": [value, value], "train_seconds": 2.0}] * 3
        for name, value in finals.items()
    }
    return plot_ranking(lines, metric=metric, device="cpu")


def names(figure):
    """From above."""
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()][::-1]


@pytest.mark.parametrize(
    ("metric", "order"), [("accuracy", ["b", "samt-s", "a"]),
                          ("rmse", ["a", "samt-s", "b"])]
)  # fmt: skip
def test_the_best_stands_above(metric, order):
    assert names(ranked({"samt-s": 0.5, "a": 0.2, "b": 0.9}, metric)) == order


@pytest.mark.parametrize("metric", ["accuracy", "rmse"])
def test_what_is_not_finite_is_kept_and_stands_below(metric):
    assert names(ranked({"a": None, "b": 0.1, "c": 0.2}, metric))[-1] == "a"


def test_ours_are_squares_and_seconds_are_added_up():
    left, right = ranked({"samt-s": 0.5, "a": 0.2}, "accuracy").axes
    dots = [line for line in left.lines if len(line.get_xdata()) == 1]
    markers = {str(dot.get_marker()) for dot in dots}
    assert {"s", "o"} <= markers
    assert right.lines[0].get_xdata()[0] == 6.0
    assert right.get_xlabel() == "training time of all seeds (s)"
