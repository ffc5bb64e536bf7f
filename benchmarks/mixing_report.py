"""The report's section on what eta models answer, of the lines of `mixing.py`.

Whether β rises is decided by the claims' rule, on the difference between its means over
the last and the first epoch, seed by seed. It is saturated from the step on after which
its mean over seeds stays within `NEAR` of 0 or 1; the shares beside count single
answers that near.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims import decide
from benchmarks.mixing import BINS, METHODS, NAMES, QUANTITIES, RESULTS
from benchmarks.report_pictures import name_of_file
from benchmarks.trials import Line, is_of, lines_of
from samt_jax.plots import save_figure
from samt_jax.plots.look import draw_band, line_look, put_note, style_axes

# A bin at each end.
NEAR = 1 / BINS
_HEAD = (
    "| method | block | β: first look, first epoch's end, end | β | saturated from "
    "| β near an end, % | η̂ near an end, % |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


def section(pictures: Path) -> str:
    """Tables and pictures of β and η̂, a problem each.

    Args:
      pictures: Folder of the pictures.

    Returns:
      The section in Markdown.
    """
    lines, parts = lines_of(RESULTS), []
    for problem in NAMES:
        runs = {m.name: _runs(m.name, problem, lines) for m in METHODS}
        found = {name: each for name, each in runs.items() if each}
        if not found:
            parts.append(f"Not run yet: anything on {problem}.\n")
            continue
        path = pictures / f"{name_of_file('mixing', problem)}.png"
        save_figure(picture(found, problem), path)
        rows = [row for name, each in found.items() for row in _rows(name, each)]
        missing = [name for name in runs if name not in found]
        words = f"\nNot run yet: {', '.join(missing)}.\n" if missing else ""
        parts.append(
            f"{problem}:\n\n{_HEAD}" + "\n".join(rows) + f"\n{words}\n"
            f"![β and η̂, {problem}](pictures/{path.name})\n"
        )
    return (
        "`python -m benchmarks.mixing`: mixing weights β, and proposals η̂ in units of "
        "their range, of SAMT with the paper's direction; means over seeds. The last "
        "layer of an eta model starts at zero, so that β and η̂ start at ½ in the "
        f"middle. Near an end: within {NEAR:g} of 0 or 1, of all answers of the run. "
        "`tanh` is the sigmoid of twice the input, exactly.\n\n" + "\n".join(parts)
    )


def _runs(method: str, problem: str, lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if is_of(line, method, problem, "mixing")]


def _rows(method: str, runs: Sequence[Line]) -> list[str]:
    """A row a block."""
    rows = []
    for block in runs[0]["mixing_weight"]:
        betas = np.array([run["mixing_weight"][block] for run in runs])
        mean, epoch_ends = betas.mean(axis=0), _first_epoch(runs[0])
        course = " → ".join(f"{mean[i]:.3f}" for i in (0, epoch_ends - 1, -1))
        ends = [f"{near_an_end(runs, quantity, block):.1f}" for quantity in QUANTITIES]
        cells = (method, block, course, moves(betas, epoch_ends),
                 saturated_from(mean, runs[0]["looks"]), *ends)  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _first_epoch(run: Line) -> int:
    """How many looks were in the first epoch."""
    return int(np.sum(np.array(run["looks"]) <= run["steps_per_epoch"]))


def moves(betas: np.ndarray, per_epoch: int) -> str:
    """Whether β rises from the first epoch to the last, over seeds.

    Args:
      betas: Its means, shape ``(seeds, looks)``.
      per_epoch: Looks an epoch.

    Returns:
      `"rises"`, `"falls"`, or `"open"`; nothing of one seed.
    """
    change = betas[:, -per_epoch:].mean(axis=1) - betas[:, :per_epoch].mean(axis=1)
    if len(change) < 2:
        return ""
    return {"yes": "rises", "no": "falls", "open": "open"}[decide(change)[2]]


def saturated_from(mean: np.ndarray, looks: Sequence[int]) -> str:
    """The first step after which a mean stays near 0 or 1; `"never"`."""
    inside = np.flatnonzero((mean > NEAR) & (mean < 1 - NEAR))
    first = inside[-1] + 1 if inside.size else 0
    return f"step {looks[first]:,}" if first < len(looks) else "never"


def near_an_end(runs: Sequence[Line], quantity: str, block: str) -> float:
    """The share of a run's answers in the first and the last bin, in %."""
    shares = [run["shares"]["run"][quantity][block] for run in runs]
    return 100 * float(np.mean([share[0] + share[-1] for share in shares]))


def picture(runs: dict[str, list[Line]], problem: str) -> Figure:
    """β over steps, and how β and η̂ are distributed, a row a granularity.

    Args:
      runs: By method; a method's granularity is what stands before the comma.
      problem: What to write above.

    Returns:
      The figure.
    """
    kinds = list(dict.fromkeys(name.split(", ")[0] for name in runs))
    figure = Figure(figsize=(14, 0.8 + 3.6 * len(kinds)), layout="constrained")
    table = figure.subplots(len(kinds), 3, squeeze=False)
    for row, kind in zip(table, kinds, strict=True):
        drawn = [
            (name.split(", ")[1], block, each)
            for name, each in runs.items()
            if name.split(", ")[0] == kind
            for block in each[0]["mixing_weight"]
        ]
        for index, (squash, block, each) in enumerate(drawn):
            betas = np.array([run["mixing_weight"][block] for run in each]).T
            label = f"{squash}, {block}"
            draw_band(row[0], each[0]["looks"], betas, index, label, len(drawn))
            colour, style = line_look(index, len(drawn))
            for axes, quantity in zip(row[1:], QUANTITIES, strict=True):
                share = np.mean(
                    [run["shares"]["run"][quantity][block] for run in each], axis=0
                )
                axes.stairs(100 * share, np.linspace(0, 1, BINS + 1), color=colour,
                            ls=style, label=label)  # fmt: skip
        style_axes(row[0], "step", f"{kind}: mixing weight β")
        row[0].set_ylim(-0.02, 1.02)
        style_axes(row[1], "mixing weight β", "share of the run's answers (%)")
        style_axes(row[2], "proposal η̂, in units of its range", "")
    figure.suptitle(problem)
    first = next(iter(runs.values()))
    put_note(figure, f"mean ± sd of {len(first)} seeds", first[0]["device"])
    return figure
