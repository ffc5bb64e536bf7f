"""Several runs side by side: over epochs, seconds and gradients, and ranked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from samt_jax.plots.look import (
    COLOURS,
    Lines,
    as_numbers,
    draw_band,
    in_unit,
    put_caption,
    style_axes,
    unit_of,
)


def plot_comparison(
    runs: Mapping[str, Lines],
    *,
    metric: str,
    gradients_per_step: Mapping[str, float] | None = None,
    title: str = "",
    device: str = "",
) -> Figure:
    """Test metric of several optimizers over epochs, seconds and gradient evaluations.

    Args:
      runs: The lines of each run, by the name to show; without `train_seconds` there
        is no picture over seconds.
      metric: ``"accuracy"`` or ``"rmse"``.
      gradients_per_step: For each name how many gradients of a batch's loss a step
        takes; gives the last picture, in which a name that is not in it is left out.
        Lines then need `step`.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure.

    Example:
      >>> line = {"epoch": 1, "test_accuracy": [0.8], "train_seconds": 1.0}
      >>> len(plot_comparison({"adam": [line]}, metric="accuracy").axes)
      2
    """
    xlabels = {"epoch": "epoch"}
    if all("train_seconds" in line for lines in runs.values() for line in lines):
        xlabels["seconds"] = "training time of all seeds (s)"
    if gradients_per_step is not None:
        xlabels["gradients"] = "gradients of a batch's loss"
    figure = Figure(figsize=(1 + 4.5 * len(xlabels), 4), layout="constrained")
    row = figure.subplots(1, len(xlabels), sharey=True, squeeze=False)[0]
    axes = dict(zip(xlabels, row, strict=True))
    for index, (name, lines) in enumerate(runs.items()):
        values = in_unit([line[f"test_{metric}"] for line in lines], metric)
        look = (values, index, name, len(runs))
        draw_band(axes["epoch"], [line["epoch"] for line in lines], *look)
        if "seconds" in axes:
            seconds = np.cumsum([line["train_seconds"] for line in lines])
            draw_band(axes["seconds"], seconds, *look)
        per_step = (gradients_per_step or {}).get(name)
        if per_step is not None:
            gradients = [per_step * line["step"] for line in lines]
            draw_band(axes["gradients"], gradients, *look)
    style_axes(row[0], "epoch", f"test {unit_of(metric)}")
    for right, xlabel in zip(row[1:], list(xlabels.values())[1:], strict=True):
        style_axes(right, xlabel, "")
        if right.get_legend():
            right.get_legend().remove()
    put_caption(figure, next(iter(runs.values()), []), title, device)
    return figure


def plot_ranking(
    runs: Mapping[str, Lines],
    *,
    metric: str,
    highlight: str = "samt",
    title: str = "",
    device: str = "",
) -> Figure:
    """Many optimizers in one picture: a row each, best above.

    Left the test metric after the last epoch, right the seconds that training took. A
    bar is one standard deviation over seeds. A run whose last number is not finite
    stands at the bottom, without a dot.

    Args:
      runs: The lines of each run, by the name to show.
      metric: ``"accuracy"`` or ``"rmse"``.
      highlight: Names that start so are drawn in another colour, and as squares.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure.

    Example:
      >>> line = {"test_accuracy": [0.8], "train_seconds": 1.0}
      >>> figure = plot_ranking({"adam": [line], "sgd": [line]}, metric="accuracy")
      >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
      ['sgd', 'adam']
    """
    finals = {
        name: np.atleast_1d(in_unit([lines[-1][f"test_{metric}"]], metric)[0])
        for name, lines in runs.items()
    }
    sign = 1 if metric == "accuracy" else -1

    def rank(name: str) -> float:
        mean = sign * float(finals[name].mean())
        return mean if np.isfinite(mean) else -np.inf

    # Read from above: what is drawn last stands highest, and ties keep their order.
    order = sorted(reversed(list(runs)), key=rank)
    figure = Figure(figsize=(9, 1.5 + 0.24 * len(order)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for row, name in enumerate(order):
        seconds = as_numbers([line["train_seconds"] for line in runs[name]]).sum()
        is_ours = name.startswith(highlight)
        _put_dot(left, finals[name], row, is_ours)
        _put_dot(right, np.array([seconds]), row, is_ours)
    left.set_yticks(range(len(order)), order)
    style_axes(left, f"test {unit_of(metric)}, last epoch", "")
    style_axes(right, "training time of all seeds (s)", "")
    right.set_xscale("log")
    # Written out at 1, 2 and 5: powers of ten alone are too few, all minor ticks many.
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter(NullFormatter())
    put_caption(figure, next(iter(runs.values()), []), title, device)
    return figure


def _put_dot(axes: Axes, values: Any, row: int, is_ours: bool) -> None:
    """A mean with a bar of one standard deviation, in its row."""
    colour, marker = (COLOURS[1], "s") if is_ours else (COLOURS[0], "o")
    spread = values.std(ddof=1) if len(values) > 1 else None
    axes.errorbar(
        [values.mean()], [row], xerr=spread, fmt=marker, color=colour, ms=5, capsize=2
    )
