"""The abstract's words in numbers: accuracy, what it takes to get there, steadiness.

Sections of the report: MNIST at 400 units against the figure that a summary of the
paper quotes; what each method spends until a fixed validation accuracy, in all four
measures of `costs.py`; how much results go up and down late in training; and what an
epoch of the CNN takes, beside Adam's.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks import costs, open_settings, paper, readings_report, rivals
from benchmarks.claims import fluctuation
from benchmarks.experiments import EXPERIMENTS, Experiment
from benchmarks.problems import PROBLEMS
from benchmarks.tables import mean_and_sd
from benchmarks.trials import (
    FACTORS,
    Line,
    final_lines,
    has_diverged,
    is_of,
    lines_of,
    validation_score,
)

QUOTED_ON = "mnist 400"
# Problem, method, and the least mean accuracy of seeds that is wanted.
TARGETS = (
    ("fashion_mnist 400, 50 epochs", "SAMT-S", 89.8),
    ("mnist 400, 50 epochs", "SAMT-E", 98.3),
)
# Of a method's tuning trials, the one with its default rate.
DEFAULT = FACTORS.index(1.0)
CNN, CNN_FIGURE = "cifar10 cnn", "figure5"


def quoted_accuracy(lines: Sequence[Line]) -> str:
    """Test accuracies on MNIST at 400 units beside what the paper and its summary say.

    Args:
      lines: The lines of the rivals.

    Returns:
      The section in Markdown, best epoch on the validation split beside the last.
    """
    rows = []
    for problem in (QUOTED_ON, f"{QUOTED_ON}, 50 epochs"):
        for name in ("SAMT-S, gradient", "SAMT-E, gradient", "SAMT-S", "SAMT-E"):
            if runs := final_lines(name, problem, lines):
                last = [100 * run["test_accuracy"][-1] for run in runs]
                best = [100 * at_best_epoch(run) for run in runs]
                rows.append(f"| {name} | {runs[0]['epochs']} | {mean_and_sd(last)} "
                            f"| {mean_and_sd(best)} |")  # fmt: skip
    table = ("| method | epochs | last epoch | best epoch on validation |\n"
             "| --- | --- | --- | --- |\n")  # fmt: skip
    known = paper.NUMBERS[QUOTED_ON]["SAMT-E"]
    return (
        "## MNIST at 400 units\n\nA summary of the paper quotes "
        f"{paper.QUOTED_MNIST_400:g} %; the paper's Table 3 has {known:.2f} % for "
        "SAMT-E there, so that it could only be SAMT-S. Test accuracy in %, "
        "`python -m benchmarks.reproduce figure3` and `long-mnist`:\n\n"
        + (table + "\n".join(rows) + "\n" if rows else "Not run yet.\n")
    )


def within_reach(lines: Sequence[Line]) -> str:
    """Whether fifty epochs come to where the paper's figures would put us.

    Args:
      lines: The lines of the rivals.

    Returns:
      The section in Markdown. No target has chosen a setting.
    """
    rows = []
    for problem, method, target in TARGETS:
        known = paper.NUMBERS[problem.split(",")[0]][method]
        for name in (method, f"{method}, cosine", f"{method}, gradient"):
            runs = final_lines(name, problem, lines)
            last = [100 * run["test_accuracy"][-1] for run in runs]
            if runs:
                is_there = "yes" if np.mean(last) >= target else "no"
                rows.append(f"| {problem} | {name} | {mean_and_sd(last)} | {known:.2f} "
                            f"| {target:g} | {is_there} |")  # fmt: skip
    return (
        "## Where the paper's figures would put us\n\nMeans of seeds, `python -m "
        "benchmarks.reproduce long-fashion-mnist` and `long-mnist`. Rates are those "
        "tuned for ten epochs; no target has chosen a setting.\n\n"
        "| problem | method | test | paper | wanted | reached |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
        if rows
        else "## Where the paper's figures would put us\n\nNot run yet.\n"
    )


def defaults(lines: Sequence[Line]) -> str:
    """How far the default step sizes are from tuned ones, wherever SAMT was tuned.

    Args:
      lines: The lines of the rivals.

    Returns:
      The section in Markdown.
    """
    rows = []
    for name in ("SAMT-S", "SAMT-E"):
        method = next(each for each in rivals.METHODS if each.name == name)
        default = method.trial(DEFAULT)
        for problem in PROBLEMS:
            trials = [line for line in lines if is_of(line, name, problem, "tuning")]
            own = [line for line in trials if line["settings"] == default]
            if own:
                best = max(trials, key=validation_score)
                words = " and ".join(f"{best['settings'][k]:g}" for k in default)
                rows.append(f"| {problem} | {name} | {_scored(own[0])} "
                            f"| {_scored(best)} | {words} |")  # fmt: skip
    return (
        "## One set of defaults\n\nη0 and the end of the proposals' range are 0.1 and "
        "0.3 by default, of any network and task. On the validation split after five "
        "epochs, one seed (accuracy in %, or RMSE), against the best of three to five "
        "multiples of both:\n\n"
        "| problem | method | defaults | best | at |\n"
        "| --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def updates_an_epoch() -> str:
    """How often each weight is updated, under the reading that makes it fewer (Q2).

    Returns:
      The section in Markdown, of the lines of the readings.
    """
    lines, rows = lines_of(readings_report.RESULTS), []
    for reading in (
        "centre",
        "a batch a block",
        "gradient",
        "gradient, a batch a block",
    ):
        for problem in open_settings.NAMES:
            if runs := readings_report.runs_of(reading, problem, lines):
                updates = runs[0]["steps"] // runs[0]["epochs"]
                accuracy = [100 * validation_score(run) for run in runs]
                rows.append(f"| {problem} | {reading} | {updates} "
                            f"| {mean_and_sd(accuracy)} |")  # fmt: skip
    return (
        "## Updates an epoch\n\nOnly if every block takes a batch of its own is each "
        "weight updated less often than by SGD or Adam, once for each of the L blocks: "
        'that is what "fewer parameter updates" would be. Validation accuracy in %, '
        "mean of the last two of ten epochs, `python -m benchmarks.readings run`:\n\n"
        "| problem | reading | updates of a weight an epoch | validation |\n"
        "| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _scored(line: Line) -> str:
    score = validation_score(line)
    return f"{-score:.4f}" if score < 0 else f"{100 * score:.2f}"


def to_targets(experiment: Experiment, lines: Sequence[Line]) -> str:
    """What each method spends until a problem's validation accuracy is reached.

    Args:
      experiment: The experiment.
      lines: The lines of its file.

    Returns:
      A table a problem in Markdown, one for all problems with a target and runs.
    """
    tables = [
        "To a fixed validation accuracy (E16): means over seeds, each known to an "
        "epoch; a run that does not reach it counts as if it did an epoch after its "
        "end, so that the mean is at least (≥) what stands there. "
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
    reached = sum(each.is_reached for each in every)
    if not reached:
        return "never |  |  |  | "
    least = "" if reached == len(runs) else "≥ "
    note = f" ({reached} of {len(runs)})" if least else ""
    cells = [f"{least}{np.mean([each.epochs for each in every]):.1f}{note}"]
    for field, scale, form in (
        ("updates", 1, ",.0f"), ("gradients", 1, ",.0f"), ("flops", 1e-12, ".2f"),
        ("seconds", 1, ".1f"),
    ):  # fmt: skip
        numbers = [getattr(each, field) for each in every]
        known = None not in numbers
        cells.append(least + format(scale * np.mean(numbers), form) if known else "")
    return " | ".join(cells)


def fluctuations(experiment: Experiment, lines: Sequence[Line]) -> str:
    """How much results go up and down from epoch to epoch late in training.

    Args:
      experiment: The experiment.
      lines: The lines of its file.

    Returns:
      A table in Markdown: a row a method, a column a problem with runs.
    """
    is_accuracy = PROBLEMS[experiment.problems[0]].metric == "accuracy"
    unit = "points" if is_accuracy else "of the error, which a run that is still "
    unit += "" if is_accuracy else "descending has too"
    return (
        f"How steady late in training: mean change ({unit}) of the test result from "
        "one epoch to the next, over the second half of the run.\n\n"
        + _by_method(experiment, lines, lambda runs, problem: _fluctuation(runs))
    )


def best_epochs(experiment: Experiment, lines: Sequence[Line]) -> str:
    """What runs had on the test set when their validation result was best.

    Args:
      experiment: The experiment.
      lines: The lines of its file.

    Returns:
      A table in Markdown: a row a method, a column a problem with runs.
    """
    return (
        "After the epoch that is best on the validation split, of runs that finished:"
        "\n\n" + _by_method(experiment, lines, _best)
    )


def _best(runs: Sequence[Line], problem: str) -> str:
    metric = PROBLEMS[problem].metric
    is_accuracy = metric == "accuracy"
    values = [
        (100 if is_accuracy else 1) * at_best_epoch(run, metric)
        for run in runs if not has_diverged(run)
    ]  # fmt: skip
    return mean_and_sd(values, digits=2 if is_accuracy else 4)


def _by_method(
    experiment: Experiment,
    lines: Sequence[Line],
    cell: Callable[[Sequence[Line], str], str],
) -> str:
    """A table: a row a method, a column a problem, of those that have runs."""
    problems = [
        problem for problem in experiment.problems
        if any(final_lines(m.name, problem, lines) for m in experiment.methods)
    ]  # fmt: skip
    rows = []
    for method in experiment.methods:
        every = [final_lines(method.name, problem, lines) for problem in problems]
        if any(every):
            cells = [cell(runs, p) for runs, p in zip(every, problems, strict=True)]
            rows.append(f"| {method.name} | {' | '.join(cells)} |")
    head = f"| method | {' | '.join(problems)} |\n| --- |{' --- |' * len(problems)}\n"
    return head + "\n".join(rows) + "\n"


def _fluctuation(runs: Sequence[Line]) -> str:
    values = [fluctuation(run) for run in runs]
    finite = [value for value in values if np.isfinite(value)]
    digits = 4 if any("test_rmse" in run for run in runs) else 3
    return mean_and_sd(finite, of=len(values), digits=digits)


def cnn_epoch() -> str:
    """What an epoch of the CNN costs each method, in operations and in seconds.

    Returns:
      The section in Markdown: operations as compiled, seconds as timed in turns.
    """
    timed = costs.timed_in_turns(CNN)
    flops = {
        method.name: per_step / method.settings.get("num_train", 1)
        for method in EXPERIMENTS[CNN_FIGURE].methods
        if (per_step := costs.flops_per_step(CNN, method.name)) is not None
    }
    rows = [
        f"| {method.name} | {_flops_beside_adam(method.name, flops)} "
        f"| {_seconds_beside_adam(timed.get(method.name))} |"
        for method in EXPERIMENTS[CNN_FIGURE].methods
        if method.name in flops or method.name in timed
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


def _flops_beside_adam(name: str, flops: Mapping[str, float]) -> str:
    """Two cells: operations of a batch, and their ratio to Adam's, where known."""
    if name not in flops:
        return " | "
    ratio = f"{flops[name] / flops['Adam']:.2f}" if "Adam" in flops else ""
    return f"{1e-6 * flops[name]:.0f} | {ratio}"


def _seconds_beside_adam(timed: costs.Timed | None) -> str:
    """Two cells: seconds an epoch, and their ratio to Adam's, where known."""
    if timed is None:
        return " | "
    ratio = "" if timed.in_adams is None else f"{timed.in_adams:.2f}"
    return f"{timed.seconds_an_epoch:.1f} | {ratio}"


def of_rivals(experiment: Experiment) -> bool:
    """Whether an experiment compares SAMT with its rivals."""
    return experiment.path == rivals.RESULTS


def at_best_epoch(run: Line, metric: str = "accuracy") -> float:
    """The test result after the epoch whose validation result is best."""
    validation = np.array(run[f"validation_{metric}"], float)
    best = np.nanargmax(validation if metric == "accuracy" else -validation)
    return run[f"test_{metric}"][int(best)]
