"""Step sizes of the blocks over training, and how they and their parts spread."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samt_jax.plots.look import (
    Lines,
    as_numbers,
    draw_band,
    line_look,
    put_caption,
    put_note,
    style_axes,
)

_BINS = 40


def plot_step_sizes(lines: Lines, *, title: str = "", device: str = "") -> Figure:
    """Step size of every block over the epochs, and what it was mixed of.

    Where granularity lets a block's step sizes differ, a pale band reaches from its
    smallest to its largest.

    Args:
      lines: One mapping an epoch, with `epoch` and `step_sizes`, which maps each block
        to a list with a number a seed, and of the same form, where there are such,
        `step_size_min`, `step_size_max` and `mixing_weight`.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure; it says so where there are no step sizes to show.

    Example:
      >>> line = {"epoch": 1, "step_sizes": {"Dense_0": [0.1]}}
      >>> plot_step_sizes([line]).axes[0].get_ylabel()
      'step size (mean over the epoch)'
    """
    has_mixing = bool(lines) and "mixing_weight" in lines[0]
    width = 9 if has_mixing else 5
    figure = Figure(figsize=(width, 3.8), layout="constrained")
    axes = figure.subplots(1, 2 if has_mixing else 1, squeeze=False)[0]
    _by_block(axes[0], lines, "step_sizes")
    _entry_bands(axes[0], lines)
    style_axes(axes[0], "epoch", "step size (mean over the epoch)")
    _step_size_scale(axes[0])
    if has_mixing:
        _by_block(axes[1], lines, "mixing_weight")
        style_axes(axes[1], "epoch", "mixing weight β (mean over the epoch)")
        axes[1].set_ylim(-0.02, 1.02)
    if not axes[0].lines:
        axes[0].text(
            0.5, 0.5, "this optimizer reports no step sizes",
            ha="center", transform=axes[0].transAxes,
        )  # fmt: skip
    put_caption(figure, lines, title, device)
    return figure


def plot_distributions(
    quantities: Mapping[str, Mapping[str, Any]], *, title: str = "", device: str = ""
) -> Figure:
    """How mixing weights, proposals or step sizes are distributed, block by block.

    Args:
      quantities: For each quantity, by the words that stand at its axis, for each block
        an array of any shape: its entries, its visits, its epochs. Numbers that are not
        finite are left out.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure: a histogram each quantity, a line each block, in shares of the block's
      numbers; the legend says how many there are.

    Example:
      >>> figure = plot_distributions({"mixing weight β": {"Dense_0": [0.4, 0.6]}})
      >>> figure.axes[0].get_xlabel()
      'mixing weight β'
    """
    width = 4.5 * len(quantities)
    figure = Figure(figsize=(width, 3.8), layout="constrained")
    row = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, (name, by_block) in zip(row, quantities.items(), strict=True):
        numbers = {block: as_numbers(v).ravel() for block, v in by_block.items()}
        finite = {block: v[np.isfinite(v)] for block, v in numbers.items()}
        edges = np.histogram_bin_edges(np.concatenate(list(finite.values())), _BINS)
        for index, (block, values) in enumerate(finite.items()):
            counts, _ = np.histogram(values, edges)
            share = 100 * counts / max(len(values), 1)
            colour, style = line_look(index, len(finite))
            label = f"{block} (n = {len(values):,})"
            # From zero to zero, so that each stands as a closed outline.
            x, y = np.repeat(edges, 2), np.r_[0, np.repeat(share, 2), 0]
            axes.plot(x, y, style, color=colour, label=label)
        style_axes(axes, name, "share of the block's numbers (%)")
    figure.suptitle(title)
    put_note(figure, device)
    return figure


def _by_block(axes: Axes, lines: Lines, field: str) -> None:
    epochs = [line["epoch"] for line in lines]
    blocks = list(lines[0][field]) if lines else []
    for index, block in enumerate(blocks):
        values = [line[field][block] for line in lines]
        draw_band(axes, epochs, values, index, block, len(blocks))


def _entry_bands(axes: Axes, lines: Lines) -> None:
    """Bands from the smallest to the largest step size, where a block has several."""
    if not lines or "step_size_min" not in lines[0]:
        return
    epochs = [line["epoch"] for line in lines]
    blocks = list(lines[0]["step_sizes"])
    for index, block in enumerate(blocks):
        low, high = (
            np.array(
                [np.mean(as_numbers(line[f"step_size_{end}"][block])) for line in lines]
            )
            for end in ("min", "max")
        )
        if np.allclose(low, high):
            continue
        colour = line_look(index, len(blocks))[0]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.12, lw=0)
        axes.set_title("pale: smallest to largest of a block", fontsize="small")


def _step_size_scale(axes: Axes) -> None:
    """From zero, or by decades where step sizes fall by more than one."""
    shown = [line.get_ydata() for line in axes.lines]
    steps = np.concatenate([np.asarray(y, float) for y in shown]) if shown else [1.0]
    positive = [step for step in steps if step > 0]
    if positive and max(positive) > 10 * min(positive):
        # A band may reach below zero; it is then cut off at the axis.
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(bottom=min(positive) / 3)
    else:
        axes.set_ylim(bottom=0)
