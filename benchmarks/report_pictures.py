"""The report's pictures: results over epochs, widths and first step sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.experiments import STEPS, Experiment, first_steps
from benchmarks.problems import PROBLEMS
from benchmarks.trials import Line, Method, final_lines, has_diverged
from samt_jax.plots import plot_comparison, save_figure
from samt_jax.plots.look import draw_band, in_unit, put_note, style_axes, unit_of

# Methods in a picture: as many as there are colours that can be told apart.
SHOWN = 7


def name_of_file(what: str, problem: str) -> str:
    """Of a picture, without its ending."""
    return f"{what}-{problem.replace(',', '').replace(' ', '-')}"


def pictures(
    name: str, experiment: Experiment, lines: Sequence[Line], folder: Path
) -> list[str]:
    """Draws an experiment's pictures.

    Args:
      name: The experiment's.
      experiment: The experiment.
      lines: The lines of its file.
      folder: Where the pictures are put.

    Returns:
      What shows them, in Markdown.
    """
    if experiment.over == "epochs":
        problems = dict.fromkeys((experiment.problems[0], experiment.problems[-1]))
        drawn = {
            name_of_file(name, problem): (
                f"{problem}, over epochs",
                _over_epochs(problem, experiment.methods[:SHOWN], lines),
            )
            for problem in problems
        }
    else:
        draw = _over_widths if experiment.over == "widths" else _over_steps
        drawn = {name: (f"over {experiment.over}", draw(experiment, lines))}
    texts = []
    for file_name, (words, figure) in drawn.items():
        if figure is not None:
            path = folder / f"{file_name}.png"
            save_figure(figure, path)
            texts.append(f"![{words}](pictures/{path.name})\n")
    return texts


def _over_epochs(
    problem: str, methods: Sequence[Method], lines: Sequence[Line]
) -> Figure | None:
    """Curves; not over seconds, for the lines were made beside other work.

    The frame is that of the runs that did not diverge.
    """
    found = {m.name: final_lines(m.name, problem, lines) for m in methods}
    shown = {name: runs for name, runs in found.items() if runs}
    if len(shown) < 2:
        return None
    metric = PROBLEMS[problem].metric
    figure = plot_comparison(
        {name: _as_metrics(runs, problem) for name, runs in shown.items()},
        metric=metric,
        gradients_per_step={
            name: runs[0]["gradient_evaluations"] / runs[0]["steps"]
            for name, runs in shown.items()
        },
        title=problem,
        device=_device(shown),
    )
    ends = [
        in_unit(run[f"test_{metric}"], metric)
        for runs in shown.values()
        for run in runs
        if not has_diverged(run)
    ]
    if ends:
        low, high = np.min(ends), np.max(ends)
        margin = 0.05 * (high - low)
        figure.axes[0].set_ylim(low - margin, high + margin)
    return figure


def _as_metrics(runs: Sequence[Line], problem: str) -> list[Line]:
    """Lines as a run folder has them, an epoch each, one number a seed."""
    metric, epochs = f"test_{PROBLEMS[problem].metric}", len(runs[0]["train_seconds"])
    return [
        {
            "epoch": epoch + 1,
            "step": runs[0]["steps"] * (epoch + 1) / epochs,
            metric: [run[metric][epoch] for run in runs],
        }
        for epoch in range(epochs)
    ]


def _over_widths(experiment: Experiment, lines: Sequence[Line]) -> Figure | None:
    """A panel a data set, a line a method: what is reached at the end, by width."""
    datasets = list(dict.fromkeys(PROBLEMS[p].dataset for p in experiment.problems))
    figure, panels = _panels(len(datasets))
    drawn = False
    for axes, dataset in zip(panels, datasets, strict=True):
        widths = {
            PROBLEMS[problem].hidden[0]: problem
            for problem in experiment.problems
            if PROBLEMS[problem].dataset == dataset
        }
        for index, method in enumerate(experiment.methods):
            points = {
                width: _ends(final_lines(method.name, problem, lines))
                for width, problem in widths.items()
            }
            drawn |= _draw(axes, points, index, method.name, len(experiment.methods))
        axes.set_title(dataset)
        style_axes(axes, "hidden units", f"test {unit_of('accuracy')}")
    return _noted(figure, experiment, lines) if drawn else None


def _over_steps(experiment: Experiment, lines: Sequence[Line]) -> Figure | None:
    """A panel a problem, a line for each of S and E: what is reached, by η0."""
    figure, panels = _panels(len(experiment.problems))
    drawn = False
    for axes, problem in zip(panels, experiment.problems, strict=True):
        for index, letter in enumerate("SE"):
            points = {
                step: _ends(final_lines(method.name, problem, lines))
                for step, method in zip(STEPS, first_steps(letter), strict=True)
            }
            drawn |= _draw(axes, points, index, f"SAMT-{letter}", 2)
        axes.set_title(problem)
        axes.set_xscale("log")
        style_axes(axes, "η0", f"test {unit_of('accuracy')}")
    return _noted(figure, experiment, lines) if drawn else None


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(5.0 * count, 4.2), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _ends(runs: Sequence[Line]) -> list[float]:
    """What the runs that did not diverge reached, in %."""
    return [100 * run["test_accuracy"][-1] for run in runs if not has_diverged(run)]


def _draw(
    axes: Axes, points: Mapping[Any, list[float]], index: int, name: str, count: int
) -> bool:
    """Draws the points that there are, cut to the fewest seeds of any; says if any."""
    found = {x: values for x, values in points.items() if values}
    fewest = min(map(len, found.values()), default=0)
    if found:
        values = [each[:fewest] for each in found.values()]
        draw_band(axes, list(found), values, index, name, count)
    return bool(found)


def _noted(figure: Figure, experiment: Experiment, lines: Sequence[Line]) -> Figure:
    """Says below a picture what it is of."""
    found = {
        f"{method.name}, {problem}": runs
        for method in experiment.methods
        for problem in experiment.problems
        if (runs := final_lines(method.name, problem, lines))
    }
    seeds = min(map(len, found.values()))
    put_note(figure, f"mean ± standard deviation of {seeds} seeds", _device(found))
    return figure


def _device(found: Mapping[str, Sequence[Line]]) -> str:
    return next(iter(found.values()))[0]["device"]
