"""Pictures of a run's metrics: curves, step sizes, and several runs side by side.

The functions take the lines of `metrics.jsonl` and return a matplotlib figure. Colours
are Okabe and Ito's, which the colour-blind can tell apart; lines also differ in style.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
STYLES = ("-", "--", "-.", ":")
Lines = Sequence[Mapping[str, Any]]


def plot_curves(lines: Lines, *, metric: str, title: str = "") -> Figure:
    """Loss and metric over the epochs, with the spread over seeds where there are some.

    Args:
      lines: One mapping an epoch, with `epoch`, `train_loss`, and for validation and
        test `<part>_loss` and `<part>_<metric>`, each a list with a number a seed.
      metric: ``"accuracy"`` (a share, shown in %) or ``"rmse"``.
      title: Stands above.

    Returns:
      The figure.

    Example:
      >>> line = {"epoch": 1, "train_loss": [0.5]}
      >>> line |= {"validation_loss": [0.6], "test_loss": [0.6]}
      >>> line |= {"validation_accuracy": [0.9], "test_accuracy": [0.8]}
      >>> len(plot_curves([line], metric="accuracy").axes)
      2
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in lines]
    parts = ("training", "validation", "test")
    losses = ("train_loss", "validation_loss", "test_loss")
    for index, (part, name) in enumerate(zip(parts, losses, strict=True)):
        _band(left, epochs, [line[name] for line in lines], index, part, len(parts))
    loss_unit = "cross-entropy, nats" if metric == "accuracy" else "squared error"
    _style(left, "epoch", f"mean loss ({loss_unit})")
    left.set_yscale("log")
    for index, part in enumerate(parts[1:], 1):
        values = [line[f"{part}_{metric}"] for line in lines]
        shown = _in_unit(values, metric)
        _band(right, epochs, shown, index, part, len(parts))
    _style(right, "epoch", _unit(metric))
    figure.suptitle(title + _seed_note(lines))
    return figure


def plot_step_sizes(lines: Lines, *, title: str = "") -> Figure:
    """Step size of every block over the epochs, and what it was mixed of.

    Where granularity lets a block's step sizes differ, a pale band reaches from its
    smallest to its largest.

    Args:
      lines: One mapping an epoch, with `epoch` and `step_sizes`, which maps each block
        to a list with a number a seed, and of the same form, where there are such,
        `step_size_min`, `step_size_max` and `mixing_weight`.
      title: Stands above.

    Returns:
      The figure; it says so where there are no step sizes to show.

    Example:
      >>> line = {"epoch": 1, "step_sizes": {"Dense_0": [0.1]}}
      >>> plot_step_sizes([line]).axes[0].get_ylabel()
      'step size (mean over the epoch)'
    """
    has_mixing = bool(lines) and "mixing_weight" in lines[0]
    width = 9 if has_mixing else 5
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if has_mixing else 1, squeeze=False)[0]
    _by_block(axes[0], lines, "step_sizes")
    _entry_bands(axes[0], lines)
    _style(axes[0], "epoch", "step size (mean over the epoch)")
    _step_size_scale(axes[0])
    if has_mixing:
        _by_block(axes[1], lines, "mixing_weight")
        _style(axes[1], "epoch", "mixing weight (mean over the epoch)")
        axes[1].set_ylim(-0.02, 1.02)
    if not axes[0].lines:
        axes[0].text(
            0.5, 0.5, "this optimizer reports no step sizes",
            ha="center", transform=axes[0].transAxes,
        )  # fmt: skip
    figure.suptitle(title + _seed_note(lines))
    return figure


def plot_comparison(
    runs: Mapping[str, Lines], *, metric: str, title: str = ""
) -> Figure:
    """Test metric of several optimizers over epochs and over training seconds.

    Args:
      runs: The lines of each run, by the name to show.
      metric: ``"accuracy"`` or ``"rmse"``.
      title: Stands above.

    Returns:
      The figure.

    Example:
      >>> line = {"epoch": 1, "test_accuracy": [0.8], "train_seconds": 1.0}
      >>> len(plot_comparison({"adam": [line]}, metric="accuracy").axes)
      2
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for index, (name, lines) in enumerate(runs.items()):
        values = _in_unit([line[f"test_{metric}"] for line in lines], metric)
        seconds = np.cumsum([line["train_seconds"] for line in lines])
        epochs = [line["epoch"] for line in lines]
        _band(left, epochs, values, index, name, len(runs))
        _band(right, seconds, values, index, name, len(runs))
    _style(left, "epoch", f"test {_unit(metric)}")
    _style(right, "training time of all seeds (s)", "")
    right.get_legend().remove()
    figure.suptitle(title + _seed_note(next(iter(runs.values()), [])))
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG.

    Args:
      figure: The figure.
      path: Where to.
    """
    figure.savefig(path, dpi=150)


def _by_block(axes: Axes, lines: Lines, field: str) -> None:
    epochs = [line["epoch"] for line in lines]
    blocks = list(lines[0][field]) if lines else []
    for index, block in enumerate(blocks):
        values = [line[field][block] for line in lines]
        _band(axes, epochs, values, index, block, len(blocks))


def _entry_bands(axes: Axes, lines: Lines) -> None:
    """Bands from the smallest to the largest step size, where a block has several."""
    if not lines or "step_size_min" not in lines[0]:
        return
    epochs = [line["epoch"] for line in lines]
    blocks = list(lines[0]["step_sizes"])
    for index, block in enumerate(blocks):
        low, high = (
            np.array(
                [np.mean(_numbers(line[f"step_size_{end}"][block])) for line in lines]
            )
            for end in ("min", "max")
        )
        if np.allclose(low, high):
            continue
        colour = _look(index, len(blocks))[0]
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


def _band(axes: Axes, x: Any, values: Any, index: int, label: str, count: int) -> None:
    """A line of means with a band of one standard deviation over seeds."""
    table = np.array([np.atleast_1d(_numbers(value)) for value in values])
    mean = table.mean(axis=1)
    colour, style = _look(index, count)
    # A run of one epoch is a point.
    marker = "o" if len(table) == 1 else None
    axes.plot(x, mean, style, color=colour, label=label, marker=marker)
    if table.shape[1] > 1:
        spread = table.std(axis=1, ddof=1)
        low, high = mean - spread, mean + spread
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _look(index: int, count: int) -> tuple[Any, str]:
    """Colour and style of a line: distinct for a few, in sequence for many."""
    if count <= len(COLOURS):
        return COLOURS[index], STYLES[index % len(STYLES)]
    return colormaps["viridis"](index / (count - 1)), STYLES[index % len(STYLES)]


def _style(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if xlabel == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.lines) > len(COLOURS):
        axes.legend(
            frameon=False, fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    elif axes.lines:
        axes.legend(frameon=False)


def _numbers(values: Any) -> Any:
    """Numbers as read back from a file, where what is not finite is `None`."""
    return np.array(values, dtype=float)


def _in_unit(values: Any, metric: str) -> list[Any]:
    scale = 100 if metric == "accuracy" else 1
    return [scale * _numbers(value) for value in values]


def _unit(metric: str) -> str:
    if metric == "accuracy":
        return "accuracy (%)"
    return "RMSE (standard deviations of the target)"


def _seed_note(lines: Lines) -> str:
    if not lines:
        return ""
    count = next((len(v) for v in lines[0].values() if isinstance(v, list)), 1)
    return f" (mean ± sd of {count} seeds)" if count > 1 else ""
