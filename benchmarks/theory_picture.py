"""The picture of the theory: errors over sweeps, and Assumption 4 on a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.theory_arms import ARMS, NUM_SWEEPS
from benchmarks.theory_bounds import error_bound
from benchmarks.theory_problem import theory_step
from benchmarks.theory_runs import NUM_SEEDS
from benchmarks.trials import Line
from samt_jax.plots import COLOURS
from samt_jax.plots.look import put_note, style_axes

# Of the arms with an assumption broken.
SHOWN = (
    "a saddle, coupling 3", "constant 1, beyond 2/(λ+μ)", "steps 0.2/√t",
    "steps 0.4/t²", "a biased gradient, 0.2 an entry", "steps that know their sample",
)  # fmt: skip


def draw(arms: Mapping[str, Line], real: Sequence[Line]) -> Figure:
    """Errors over sweeps, as the theory has them and broken; Assumption 4 on a network.

    Args:
      arms: Lines by arm.
      real: Lines of the network.

    Returns:
      The figure.
    """
    num_panels = 3 if real else 2
    figure = Figure(figsize=(4.7 * num_panels, 4.2), layout="constrained")
    left, middle, *right = figure.subplots(1, num_panels)
    names = [
        name for group in ("decay", "constant") for name, _ in in_order(arms, group)
    ]
    _draw_errors(left, arms, [n for n in names if not n.startswith("element-wise, c")])
    sweeps = np.unique(np.geomspace(1, NUM_SWEEPS, 60).astype(int))
    bound = error_bound(NUM_SWEEPS, theory_step, theory_step)
    left.plot(
        sweeps, bound[sweeps - 1], ":", color="grey", label="the recursion's bound"
    )
    left.set_title("within the assumptions")
    _draw_errors(middle, arms, [name for name in SHOWN if name in arms])
    middle.set_title("one assumption broken")
    for axes in (left, middle):
        style_axes(axes, "sweep", "E Σ‖W - W*‖²")
        axes.set(xscale="log", yscale="log")
        axes.legend(frameon=False, fontsize=7)
    for axes in right:
        _draw_shares(axes, real)
    device = next(iter(arms.values()))["device"]
    put_note(figure, f"{NUM_SEEDS} seeds, 95 % intervals", device)
    return figure


def _draw_errors(axes: Axes, arms: Mapping[str, Line], names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        line = arms[name]
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(line["sweeps"], line["error"], color=colour, label=name)
        axes.fill_between(line["sweeps"], *line["error_interval"], color=colour,
                          alpha=0.2, lw=0)  # fmt: skip


def _draw_shares(axes: Axes, real: Sequence[Line]) -> None:
    keys = dict.fromkeys((line["method"], block)
                         for line in real for block in line["share"])  # fmt: skip
    for index, (method, block) in enumerate(keys):
        own = [line for line in real if line["method"] == method]
        share = 100 * mean_of(own, "share", block)
        axes.stairs(share, np.maximum(own[0]["stops"], 1), baseline=None,
                    color=COLOURS[index], label=f"{method}, {block}")  # fmt: skip
    style_axes(axes, "sweep", "visits within 2/(λ + μ) of the block, %")
    count = len({line["seed"] for line in real})
    axes.set(xscale="log", title=f"Fashion-MNIST, 784-100-10, {count} seeds")


def in_order(arms: Mapping[str, Line], group: str) -> list[tuple[str, Line]]:
    """The lines of a group's arms, in the order in which the arms stand."""
    return [(name, arms[name]) for name, arm in ARMS.items()
            if arm.group == group and name in arms]  # fmt: skip


def mean_of(lines: Sequence[Line], name: str, block: str) -> Any:
    """The mean over lines of what they say of a block."""
    return np.mean([line[name][block] for line in lines], axis=0)
