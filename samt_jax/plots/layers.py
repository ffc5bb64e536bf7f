"""Step sizes inside one layer: over the pixels it looks at, and over its units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from samt_jax.plots.look import COLOURS, as_numbers, put_note, style_axes


def plot_pixels(
    maps: Mapping[str, Any],
    shape: Sequence[int],
    *,
    label: str = "step size",
    title: str = "",
    device: str = "",
) -> Figure:
    """Heat maps over the pixels of an image: where in it does a layer learn fast?

    Args:
      maps: By the words that stand above each, one number a pixel and channel, in the
        order in which an image is flattened: the step sizes of the columns of a first
        layer, or the mean over units of those of its entries.
      shape: Of the image, ``(height, width)`` or ``(height, width, channels)``;
        channels are averaged.
      label: What the numbers are, with their unit if they have one.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure; all maps share one scale.

    Raises:
      ValueError: A map has another number of entries than the image.

    Example:
      >>> figure = plot_pixels({"columns": [0.1, 0.2, 0.3, 0.4]}, (2, 2))
      >>> figure.axes[0].images[0].get_array().shape
      (2, 2)
    """
    images = {name: _as_image(name, each, shape) for name, each in maps.items()}
    low = min(image.min() for image in images.values())
    high = max(image.max() for image in images.values())
    figure = Figure(figsize=(1 + 3 * len(images), 3.5), layout="constrained")
    row = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, (name, image) in zip(row, images.items(), strict=True):
        shown = axes.imshow(image, cmap="cividis", vmin=low, vmax=high)
        axes.set(title=name, xlabel="pixel column")
    row[0].set_ylabel("pixel row")
    figure.colorbar(shown, ax=list(row), label=label)
    figure.suptitle(title)
    put_note(figure, device)
    return figure


def plot_units(
    bars: Mapping[str, Any],
    *,
    label: str = "step size",
    title: str = "",
    device: str = "",
) -> Figure:
    """Bars over the units of a layer: which of them learn fast?

    Args:
      bars: By the words that stand above each, one number a unit: the step sizes of a
        layer's rows.
      label: What the numbers are, with their unit if they have one.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure; all panels share one scale, a dashed line is a panel's mean.

    Example:
      >>> figure = plot_units({"rows": [0.1, 0.2, 0.3]})
      >>> len(figure.axes[0].patches)
      3
    """
    figure = Figure(figsize=(9, 0.8 + 1.6 * len(bars)), layout="constrained")
    column = figure.subplots(len(bars), 1, sharex=True, sharey=True, squeeze=False)
    for axes, (name, values) in zip(column[:, 0], bars.items(), strict=True):
        heights = as_numbers(values).ravel()
        axes.bar(np.arange(len(heights)), heights, width=0.8, color=COLOURS[0])
        axes.axhline(heights.mean(), ls="--", lw=1, color=COLOURS[1])
        style_axes(axes, "", label)
        axes.set_title(f"{name} (n = {len(heights)} units)", fontsize="medium")
    column[-1, 0].set_xlabel("unit")
    figure.suptitle(title)
    put_note(figure, device)
    return figure


def _as_image(name: str, values: Any, shape: Sequence[int]) -> Any:
    """One number a pixel, channels averaged."""
    numbers = as_numbers(values).ravel()
    if len(numbers) != math.prod(shape):
        raise ValueError(
            f"'{name}' has {len(numbers)} numbers and an image of shape "
            f"{tuple(shape)} has {math.prod(shape)}; give one a pixel and channel."
        )
    image = numbers.reshape(shape)
    return image.mean(axis=2) if image.ndim == 3 else image
