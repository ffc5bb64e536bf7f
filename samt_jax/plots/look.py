"""What all pictures share: colours, lines with bands, axes, units and captions."""

from collections.abc import Iterable, Mapping, Sequence
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


def save_figure(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG.

    Args:
      figure: The figure.
      path: Where to.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save_figure(Figure(), pathlib.Path(folder) / "empty.png")
      ...     [path.name for path in pathlib.Path(folder).iterdir()]
      ['empty.png']
    """
    figure.savefig(path, dpi=150)


def draw_band(
    axes: Axes, x: Any, values: Any, index: int, label: str, count: int
) -> None:
    """Draws a line of means with a band of one standard deviation over seeds.

    Args:
      axes: Where.
      x: One number a point.
      values: For each point a number, or a list with one a seed.
      index: Which line of how many this is; decides its look.
      label: Its name in the legend.
      count: How many lines there are.
    """
    table = np.array([np.atleast_1d(as_numbers(value)) for value in values])
    mean = table.mean(axis=1)
    colour, style = line_look(index, count)
    # A run of one epoch is a point.
    marker = "o" if len(table) == 1 else None
    axes.plot(x, mean, style, color=colour, label=label, marker=marker)
    if table.shape[1] > 1:
        spread = table.std(axis=1, ddof=1)
        low, high = mean - spread, mean + spread
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def line_look(index: int, count: int) -> tuple[Any, str]:
    """Colour and style of a line: distinct for a few, in sequence for many.

    Args:
      index: Which line, from 0.
      count: How many there are.

    Returns:
      The two, as matplotlib takes them.

    Example:
      >>> line_look(1, 3)
      ('#D55E00', '--')
    """
    if count <= len(COLOURS):
        return COLOURS[index], STYLES[index % len(STYLES)]
    return colormaps["viridis"](index / (count - 1)), STYLES[index % len(STYLES)]


def style_axes(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Labels axes, and gives them a grid, and a legend where lines have names.

    Args:
      axes: The axes.
      xlabel: Quantity and unit.
      ylabel: Quantity and unit.
    """
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if xlabel == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    names = axes.get_legend_handles_labels()[1]
    if len(names) > len(COLOURS):
        axes.legend(
            frameon=False, fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    elif names:
        axes.legend(frameon=False)


def as_numbers(values: Any) -> Any:
    """Numbers as read back from a file, where what is not finite is `None`.

    Args:
      values: A number, `None`, or a nested list of them.

    Returns:
      An array; NaN stands for `None`.

    Example:
      >>> as_numbers([1, None])
      array([ 1., nan])
    """
    return np.array(values, dtype=float)


def in_unit(values: Iterable[Any], metric: str) -> list[Any]:
    """The metric's values in the unit that :func:`unit_of` names.

    Args:
      values: One entry a point.
      metric: ``"accuracy"`` or ``"rmse"``.

    Returns:
      One array a point.

    Example:
      >>> in_unit([0.5], "accuracy")
      [np.float64(50.0)]
    """
    scale = 100 if metric == "accuracy" else 1
    return [scale * as_numbers(value) for value in values]


def unit_of(metric: str) -> str:
    """The metric's name with its unit.

    Args:
      metric: ``"accuracy"`` or ``"rmse"``.

    Returns:
      What to write at an axis.

    Example:
      >>> unit_of("accuracy")
      'accuracy (%)'
    """
    if metric == "accuracy":
        return "accuracy (%)"
    return "RMSE (standard deviations of the target)"


def put_caption(figure: Figure, lines: Lines, title: str, device: str) -> None:
    """Says above what a picture shows, and below of how many seeds on which device.

    Args:
      figure: The picture.
      lines: What it was made from.
      title: Stands above.
      device: Stands below, if known.
    """
    figure.suptitle(title)
    count = num_seeds(lines)
    seeds = {0: "", 1: "1 seed"}.get(count, f"mean ± sd of {count} seeds")
    put_note(figure, *(part for part in (seeds, device) if part))


def put_note(figure: Figure, *parts: str) -> None:
    """Writes small words at the lower right.

    Args:
      figure: The picture.
      *parts: What to say.
    """
    figure.supxlabel("; ".join(parts), fontsize=8, x=0.995, ha="right")


def num_seeds(lines: Lines) -> int:
    """How many seeds stand in lines; 0 where there is no line.

    Args:
      lines: One mapping an epoch.

    Returns:
      The length of the lists, one number a seed, in the first line.

    Example:
      >>> num_seeds([{"epoch": 1, "test_loss": [0.1, 0.2]}])
      2
    """
    if not lines:
        return 0
    return next((len(v) for v in lines[0].values() if isinstance(v, list)), 1)
