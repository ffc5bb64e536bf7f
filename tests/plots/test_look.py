import pytest
from random_lines import lines_of

from samt_jax.plots import (
    plot_comparison,
    plot_curves,
    plot_distributions,
    plot_pixels,
    plot_ranking,
    plot_step_sizes,
    plot_units,
    save_figure,
)


def note(figure):
    return figure.get_supxlabel()


def test_a_single_seed_has_no_band_and_is_said():
    figure = plot_step_sizes(lines_of(seeds=1), title="run", device="cpu")
    assert not figure.axes[0].collections
    assert (figure.get_suptitle(), note(figure)) == ("run", "1 seed; cpu")


def test_several_seeds_are_counted():
    figure = plot_curves(lines_of(seeds=3), metric="accuracy")
    assert note(figure) == "mean ± sd of 3 seeds"


def every_picture(lines):
    yield plot_curves(lines, metric="accuracy", device="cpu")
    yield plot_step_sizes(lines, device="cpu")
    yield plot_comparison({"adam": lines}, metric="accuracy", device="cpu")
    yield plot_ranking({"adam": lines}, metric="accuracy", device="cpu")
    yield plot_distributions({"β": lines[0]["step_sizes"]}, device="cpu")
    yield plot_pixels({"a": [1, 2]}, (1, 2), device="cpu")
    yield plot_units({"a": [1, 2]}, device="cpu")


@pytest.mark.parametrize("epochs", [1, 3])
def test_pictures_name_the_device_and_are_saved_as_png(epochs, tmp_path):
    for figure in every_picture(lines_of(epochs=epochs)):
        assert "cpu" in note(figure)
        save_figure(figure, tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
