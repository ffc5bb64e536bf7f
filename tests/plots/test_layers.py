import numpy as np
import pytest

from samt_jax.plots import plot_pixels, plot_units


def test_maps_keep_the_pixels_places_and_share_a_scale():
    figure = plot_pixels({"a": range(6), "b": np.full((2, 3), 9.0)}, (2, 3))
    left, right, _ = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), [[0, 1, 2], [3, 4, 5]])
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 9)


def test_channels_are_averaged():
    figure = plot_pixels({"a": [0, 2, 4, 6]}, (1, 2, 2))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[1, 5]])


def test_the_scale_says_what_the_numbers_are():
    figure = plot_pixels({"a": [0, 1]}, (1, 2), label="mixing weight β")
    assert figure.axes[-1].get_ylabel() == "mixing weight β"


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"'a' has 3 numbers .* has 4; give one"):
        plot_pixels({"a": [1, 2, 3]}, (2, 2))


def test_bars_are_the_units_numbers_with_their_mean():
    upper, lower = plot_units({"first": [1.0, 3.0], "last": [2.0]}).axes
    assert [bar.get_height() for bar in upper.patches] == [1, 3]
    assert upper.lines[0].get_ydata()[0] == 2
    assert "n = 1 " in lower.get_title()
