import numpy as np
import pytest

from samt_jax.plots import (
    COLOURS,
    plot_comparison,
    plot_curves,
    plot_step_sizes,
    save_figure,
)


def lines_of(epochs=3, seeds=2, blocks=("Dense_0", "Dense_1"), metric="accuracy"):
    rng = np.random.default_rng(0)

    def numbers():
        return rng.uniform(0.1, 0.9, seeds).tolist()

    lines = []
    for epoch in range(1, epochs + 1):
        line = {"epoch": epoch, "train_loss": numbers(), "train_seconds": 0.5}
        for part in ("validation", "test"):
            line |= {f"{part}_loss": numbers(), f"{part}_{metric}": numbers()}
        line["step_sizes"] = {block: numbers() for block in blocks}
        lines.append(line)
    return lines


def labels(axes):
    return [line.get_label() for line in axes.lines]


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


def test_band_is_one_standard_deviation_over_seeds():
    lines = lines_of(seeds=4)
    axes = plot_step_sizes(lines).axes[0]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    first = np.array([line["step_sizes"]["Dense_0"] for line in lines])
    upper = first.mean(axis=1) + first.std(axis=1, ddof=1)
    assert np.isclose(band.max(), upper.max())


def test_single_seed_has_no_band_and_no_note():
    figure = plot_step_sizes(lines_of(seeds=1), title="run")
    assert not figure.axes[0].collections
    assert figure.get_suptitle() == "run"


def test_several_seeds_are_counted_in_the_title():
    figure = plot_curves(lines_of(seeds=3), metric="accuracy", title="run")
    assert figure.get_suptitle() == "run (mean ± sd of 3 seeds)"


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


def test_comparison_adds_up_training_seconds():
    runs = {"adam": lines_of(), "sgd": lines_of()}
    left, right = plot_comparison(runs, metric="accuracy").axes
    assert labels(left) == labels(right) == ["adam", "sgd"]
    np.testing.assert_allclose(right.lines[0].get_xdata(), [0.5, 1.0, 1.5])
    assert left.lines[0].get_color() != left.lines[1].get_color()
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle()


def test_numbers_that_are_missing_leave_a_gap():
    lines = lines_of(seeds=1)
    lines[1]["test_loss"] = lines[1]["test_accuracy"] = [None]
    axes = plot_curves(lines, metric="accuracy").axes[1]
    assert np.isnan(axes.lines[1].get_ydata()[1])


@pytest.mark.parametrize("epochs", [1, 3])
def test_pictures_are_saved_as_png(epochs, tmp_path):
    lines = lines_of(epochs=epochs)
    for figure in (
        plot_curves(lines, metric="accuracy"),
        plot_step_sizes(lines),
        plot_comparison({"adam": lines}, metric="accuracy"),
        plot_step_sizes([]),
    ):
        save_figure(figure, tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
