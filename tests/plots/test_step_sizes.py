import numpy as np
import pytest
from random_lines import labels, lines_of

from samt_jax.plots import COLOURS, plot_distributions, plot_step_sizes


def test_band_is_one_standard_deviation_over_seeds():
    lines = lines_of(seeds=4)
    axes = plot_step_sizes(lines).axes[0]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    first = np.array([line["step_sizes"]["Dense_0"] for line in lines])
    upper = first.mean(axis=1) + first.std(axis=1, ddof=1)
    assert np.isclose(band.max(), upper.max())


def test_blocks_stand_in_the_order_of_the_lines():
    names = tuple(f"Dense_{i}" for i in range(12))
    axes = plot_step_sizes(lines_of(blocks=names)).axes[0]
    assert labels(axes) == list(names)
    colours = {tuple(np.atleast_1d(line.get_color())) for line in axes.lines}
    assert len(colours) == 12 > len(COLOURS)


def test_step_sizes_within_a_decade_start_from_zero():
    axes = plot_step_sizes(lines_of()).axes[0]
    assert (axes.get_yscale(), axes.get_ylim()[0]) == ("linear", 0)


def test_step_sizes_over_decades_are_shown_by_decades():
    lines = lines_of()
    lines[-1]["step_sizes"]["Dense_0"] = [1e-5, 0.0]
    assert plot_step_sizes(lines).axes[0].get_yscale() == "log"


def test_granular_step_sizes_show_their_range_and_mixing_weights():
    lines = lines_of(seeds=1)
    for line in lines:
        steps = line["step_sizes"]
        line["step_size_min"] = {b: [0.5 * v[0]] for b, v in steps.items()}
        line["step_size_max"] = {b: [2.0 * v[0]] for b, v in steps.items()}
        line["mixing_weight"] = {b: [0.5] for b in steps}
    left, right = plot_step_sizes(lines).axes
    assert len(left.collections) == 2
    assert "smallest to largest" in left.get_title()
    assert labels(right) == ["Dense_0", "Dense_1"]


@pytest.mark.parametrize("lines", [[], lines_of(blocks=())])
def test_no_step_sizes_is_said(lines):
    axes = plot_step_sizes(lines).axes[0]
    assert "reports no step sizes" in axes.texts[0].get_text()


def test_distributions_are_shares_that_add_up_and_say_how_many():
    values = {"a": np.linspace(0, 1, 50).reshape(5, 10), "b": [0.2, 0.3, None]}
    figure = plot_distributions({"mixing weight β": values, "proposal η̂": values})
    left, right = figure.axes
    assert labels(left) == ["a (n = 50)", "b (n = 2)"]
    # Every bin has two corners.
    sums = [line.get_ydata().sum() / 2 for line in left.lines]
    np.testing.assert_allclose(sums, 100)
    assert right.get_xlabel() == "proposal η̂"
    assert "%" in left.get_ylabel()
