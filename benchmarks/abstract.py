"""The abstract's words in numbers: accuracy, what it takes to get there, steadiness.

Sections of the report: MNIST at 400 units against the figure that a summary of the
paper quotes; what each method spends until a fixed validation accuracy, in all four
measures of `costs.py`; how much results go up and down late in training; and what an
epoch of the CNN takes, beside Adam's.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import costs, paper, rivals
from benchmarks.claims import fluctuation
from benchmarks.experiments import EXPERIMENTS, Experiment
from benchmarks.problems import PROBLEMS
from benchmarks.tables import mean_and_sd
from benchmarks.trials import Line, final_lines

QUOTED_ON = "mnist 400"
CNN, CNN_FIGURE = "cifar10 cnn", "figure5"


def quoted_accuracy(lines: Sequence[Line]) -> str:
    """Test accuracies on MNIST at 400 units beside what the paper and its summary say.

    Args:
      lines: The lines of the rivals.

    Returns:
      The section in Markdown, best epoch on the validation split beside the last.
    """
    rows = []
    for name in ("SAMT-S, gradient", "SAMT-E, gradient", "SAMT-S", "SAMT-E"):
        runs = final_lines(name, QUOTED_ON, lines)
        if runs:
            last = [100 * run["test_accuracy"][-1] for run in runs]
            best = [100 * _at_best_epoch(run) for run in runs]
            epochs = runs[0]["epochs"]
            rows.append(f"| {name} | {mean_and_sd(last)} | {mean_and_sd(best)} "
                        f"| {epochs} |")  # fmt: skip
    table = ("| method | last epoch | best epoch on validation | epochs |\n"
             "| --- | --- | --- | --- |\n")  # fmt: skip
    known = paper.NUMBERS[QUOTED_ON]["SAMT-E"]
    return (
        "## MNIST at 400 units\n\nA summary of the paper quotes "
        f"{paper.QUOTED_MNIST_400:g} %; the paper's Table 3 has {known:.2f} % for "
        "SAMT-E there, so that it could only be SAMT-S. Test accuracy in %, "
        "`python -m benchmarks.reproduce figure3`:\n\n"
        + (table + "\n".join(rows) + "\n" if rows else "Not run yet.\n")
    )


def to_targets(experiment: Experiment, lines: Sequence[Line]) -> str:
    """What each method spends until a problem's validation accuracy is reached.

    Args:
      experiment: The experiment.
      lines: The lines of its file.

    Returns:
      A table a problem in Markdown, one for all problems with a target and runs.
    """
    tables = [
        "To a fixed validation accuracy (E16): means over the seeds that reach it. "
        "Updates are of each weight, gradients of a batch's loss, operations of the "
        "compiled step, seconds those of a machine of its own (`benchmarks/costs.py`); "
        "a blank was not measured.\n"
    ]
    for problem in experiment.problems:
        target = PROBLEMS[problem].target
        rows = [
            f"| {method.name} | {_spent(runs)} |"
            for method in experiment.methods
            if target and (runs := final_lines(method.name, problem, lines))
        ]
        if rows:
            tables.append(
                f"| {problem}: {100 * target:g} % | epochs | updates | gradients "
                "| TFLOP | seconds |\n| --- | --- | --- | --- | --- | --- |\n"
                + "\n".join(rows) + "\n"
            )  # fmt: skip
    return "\n".join(tables) if len(tables) > 1 else ""


def _spent(runs: Sequence[Line]) -> str:
    """The cells of a method's row."""
    every = [costs.spent(run) for run in runs]
    found = [each for each in every if np.isfinite(each.epochs)]
    if not found:
        return "never |  |  |  | "
    note = "" if len(found) == len(runs) else f" ({len(found)} of {len(runs)})"
    cells = [f"{np.mean([each.epochs for each in found]):.1f}{note}"]
    for field, scale, form in (
        ("updates", 1, ",.0f"), ("gradients", 1, ",.0f"), ("flops", 1e-12, ".2f"),
        ("seconds", 1, ".1f"),
    ):  # fmt: skip
        numbers = [getattr(each, field) for each in found]
        known = None not in numbers
        cells.append(format(scale * np.mean(numbers), form) if known else "")
    return " | ".join(cells)


def fluctuations(experiment: Experiment, lines: Sequence[Line]) -> str:
    """How much results go up and down from epoch to epoch late in training.

    Args:
      experiment: The experiment.
      lines: The lines of its file.

    Returns:
      A table in Markdown: a row a method, a column a problem with runs.
    """
    problems = [
        problem for problem in experiment.problems
        if any(final_lines(m.name, problem, lines) for m in experiment.methods)
    ]  # fmt: skip
    rows = []
    for method in experiment.methods:
        every = [final_lines(method.name, problem, lines) for problem in problems]
        if any(every):
            cells = [_fluctuation(runs) for runs in every]
            rows.append(f"| {method.name} | {' | '.join(cells)} |")
    unit = "points" if PROBLEMS[problems[0]].metric == "accuracy" else "of the error"
    return (
        f"How steady late in training: mean change ({unit}) of the test result from "
        "one epoch to the next, over the second half of the run.\n\n"
        f"| method | {' | '.join(problems)} |\n| --- |{' --- |' * len(problems)}\n"
        + "\n".join(rows) + "\n"
    )  # fmt: skip


def _fluctuation(runs: Sequence[Line]) -> str:
    values = [fluctuation(run) for run in runs]
    finite = [value for value in values if np.isfinite(value)]
    return mean_and_sd(finite, of=len(values), digits=3)


def cnn_epoch() -> str:
    """What an epoch of the CNN costs each method, in operations and in seconds.

    Returns:
      The section in Markdown: operations as compiled, seconds as timed in turns.
    """
    timed = costs.timed_together(CNN)
    seconds = {name: costs.seconds_an_epoch(line) for name, line in timed.items()}
    flops = {
        method.name: per_step / method.settings.get("num_train", 1)
        for method in EXPERIMENTS[CNN_FIGURE].methods
        if (per_step := costs.flops_per_step(CNN, method.name)) is not None
    }
    rows = [
        f"| {method.name} | {_beside_adam(method.name, flops, 1e-6, 0)} "
        f"| {_beside_adam(method.name, seconds, 1, 1)} |"
        for method in EXPERIMENTS[CNN_FIGURE].methods
        if method.name in flops or method.name in seconds
    ]
    head = (
        "| method | MFLOP a batch | in Adam's | seconds an epoch | in Adam's |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    command = f"`python -m benchmarks.reproduce {CNN_FIGURE} --time`"
    return (
        "## An epoch of the CNN\n\nCIFAR-10, at a quarter of the width. Operations as "
        f"compiled (`python -m benchmarks.costs`), seconds timed in turns ({command}). "
        "At full width, see `python -m benchmarks.engine_cost`.\n\n"
        + (head + "\n".join(rows) + "\n" if rows else "")
        + ("" if timed else "\nSeconds: not run yet.\n")
    )


def _beside_adam(
    name: str, numbers: Mapping[str, float], scale: float, digits: int
) -> str:
    """Two cells: a method's number, and its ratio to Adam's; blank where not known."""
    if name not in numbers:
        return " | "
    number = f"{scale * numbers[name]:.{digits}f}"
    known = "Adam" in numbers
    return (
        f"{number} | {numbers[name] / numbers['Adam']:.2f}" if known else number + " | "
    )


def of_rivals(experiment: Experiment) -> bool:
    """Whether an experiment compares SAMT with its rivals."""
    return experiment.path == rivals.RESULTS


def _at_best_epoch(run: Line) -> float:
    return run["test_accuracy"][int(np.argmax(run["validation_accuracy"]))]
