"""`benchmarks/REPORT.md`, made of the committed lines and of nothing else.

python -m benchmarks.reproduce report
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import (
    abstract,
    better,
    layerwise_collapse,
    layerwise_rivals,
    method_features,
    mixing_report,
    paper,
    readings_report,
    rivals,
)
from benchmarks.claims import (
    CLAIMS,
    LEVEL,
    QUANTITIES,
    STEADY,
    Claim,
    Outcome,
    compare,
    counts,
    half_ranges,
    steady_verdict,
    verdict,
)
from benchmarks.experiments import BETTER, EXPERIMENTS, Experiment
from benchmarks.problems import PROBLEMS
from benchmarks.questions import ANSWERS, QUESTIONS
from benchmarks.tables import mean_and_sd
from benchmarks.theory_section import section as theory_section
from benchmarks.trials import Line, final_lines, lines_of
from samt_jax.plots import plot_comparison, save_figure
from samt_jax.plots.look import in_unit

HOME = Path(__file__).parent
REPORT, PICTURES = HOME / "REPORT.md", HOME / "pictures"
# Methods in a picture: as many as there are colours that can be told apart.
SHOWN = 7

_HEAD = f"""# The paper, reproduced

Made by `python -m benchmarks.reproduce report` of the lines in `benchmarks/results/`;
each table names the command that makes its runs. Accuracies are in % on the test set
after the last epoch, mean ± standard deviation over seeds; a diverged run counts with
what it ended with, and is counted beside. Settings were chosen on the validation
split, with one budget for all (`benchmarks/trials.py`). The paper's numbers, in
brackets, are single runs of an unknown number of epochs. "SAMT-S, gradient" is the
paper's method; "SAMT-S" has this library's defaults, with momentum as direction.

## Verdicts

By one rule (`benchmarks/claims.py`): a claim is a list of comparisons between methods,
each decided by a t-test at the {100 * LEVEL:g} % level on differences of runs with the
same seed. Three to five seeds find only large differences: "open" is the usual answer
to a small one.
"""

_QUESTIONS = """# The open questions

What the paper and its rivals leave open, tried out: SAMT with the paper's direction and
the settings chosen on validation, and one thing about it varied; three seeds. Each row
is a statement that could hold, decided by the rule above.
"""

# What is told of an experiment beside what was reached in the end.
_QUANTITY_WORDS = {
    "early": "On the test set after the first epoch, %",
    "swing": "Mean change of a step size from one visit of its block to the next, %",
}


def write_report() -> None:
    """Writes the report and its pictures."""
    lines = _all_lines()
    sections = (
        _HEAD,
        _verdicts(CLAIMS, lines) + _steady_verdicts(lines),
        *(_experiment(*each) for each in EXPERIMENTS.items() if each[0] != BETTER),
        _better(lines),
        "## Table 3 (E13)\n\n`python -m benchmarks.layerwise_rivals run`, one seed.\n\n"
        + layerwise_rivals.table()
        + "\n"
        + layerwise_collapse.table(lines_of(layerwise_collapse.RESULTS)),
        abstract.quoted_accuracy(lines),
        abstract.cnn_epoch(),
        f"## What the eta models answer\n\n{mixing_report.section(PICTURES)}",
        "## What the paper leaves open\n\n`python -m benchmarks.readings run`.\n\n"
        + readings_report.table(),
        _QUESTIONS,
        _verdicts(ANSWERS, lines),
        *(_experiment(*each) for each in QUESTIONS.items()),
        theory_section(pictures=PICTURES),
        "## The methods, feature by feature, as in the paper's Table 1\n\n"
        + method_features.table(),
    )
    REPORT.write_text("\n".join(sections))


def _experiment(name: str, experiment: Experiment) -> str:
    """The section of an experiment: its tables, and where there are rivals, costs."""
    lines = lines_of(experiment.path)
    title = f"## {experiment.title} ({experiment.number})"
    if not any(
        final_lines(method.name, problem, lines)
        for method in experiment.methods
        for problem in experiment.problems
    ):
        return f"{title}\n\nNot run yet.\n"
    parts = [
        f"{title}\n\n`python -m benchmarks.reproduce {name}`. {experiment.note}\n",
        experiment_table(experiment, lines),
        *(_quantity(each, experiment, lines) for each in experiment.quantities),
        *_pictures(name, experiment, lines),
    ]
    if abstract.of_rivals(experiment):
        parts += [
            abstract.fluctuations(experiment, lines),
            abstract.to_targets(experiment, lines),
        ]
    return "\n".join(parts)


def _better(lines: Sequence[Line]) -> str:
    """The section of the experiment that is none of the paper's."""
    return (
        f"## Better than the paper\n\n`python -m benchmarks.reproduce {BETTER}`.\n\n"
        f"{better.section(lines)}\n{experiment_table(better.EXPERIMENT, lines)}"
    )


def _quantity(quantity: str, experiment: Experiment, lines: Sequence[Line]) -> str:
    """A table of a quantity of `claims.py`, of what was run."""
    rows = [f"{_QUANTITY_WORDS[quantity]}:\n",
            "| method | " + " | ".join(experiment.problems) + " |",
            "| --- |" + " --- |" * len(experiment.problems)]  # fmt: skip
    for method in experiment.methods:
        found = [final_lines(method.name, p, lines) for p in experiment.problems]
        cells = [_measured(quantity, runs) for runs in found]
        if any(cells):
            rows.append(f"| {method.name} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _measured(quantity: str, runs: Sequence[Line]) -> str:
    measured = [QUANTITIES[quantity](run) for run in runs]
    return mean_and_sd([each for each in measured if each is not None])


def experiment_table(experiment: Experiment, lines: Sequence[Line]) -> str:
    """A row a method, a column a problem; how many seeds, and what is missing.

    Args:
      experiment: The experiment.
      lines: The lines of its file.

    Returns:
      The table in Markdown.
    """
    head = "| method | " + " | ".join(experiment.problems) + " |"
    rows = [head, "| --- |" + " --- |" * len(experiment.problems)]
    missing: dict[str, list[str]] = {}
    for method in experiment.methods:
        cells = []
        for problem in experiment.problems:
            runs = final_lines(method.name, problem, lines)
            cells.append(_cell(runs, problem, method.name))
            if not runs:
                missing.setdefault(problem, []).append(method.name)
        if any(cells):
            rows.append(f"| {method.name} | " + " | ".join(cells) + " |")
    told = [
        f"{', '.join(names)} on {problem}"
        if len(names) < len(experiment.methods)
        else f"anything on {problem}"
        for problem, names in missing.items()
    ]
    words = f"Not run yet: {'; '.join(told)}.\n" if told else ""
    return "\n".join((*rows, f"\nSeeds: {_seeds(experiment, lines)}.\n", words))


def _seeds(experiment: Experiment, lines: Sequence[Line]) -> str:
    """How many seeds a cell has, with the problems where that is not the same for all.

    Three are the least; what decides a claim has more.
    """
    found: dict[str, list[str]] = {}
    for problem in experiment.problems:
        numbers = {len(final_lines(m.name, problem, lines)) for m in experiment.methods}
        if numbers := numbers - {0}:
            words = " to ".join(map(str, sorted({min(numbers), max(numbers)})))
            found.setdefault(words, []).append(problem)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{words} on {', '.join(each)}" for words, each in found.items())


def _cell(runs: Sequence[Line], problem: str, method: str) -> str:
    if not runs:
        return ""
    metric = PROBLEMS[problem].metric
    scale, digits = (100, 2) if metric == "accuracy" else (1, 4)
    values = scale * np.array([run[f"test_{metric}"][-1] for run in runs], float)
    cell = mean_and_sd(values, digits=digits)
    if diverged := sum(run["status"] == "diverged" for run in runs):
        cell += f" ({diverged} of {len(runs)} diverged)"
    known = paper.NUMBERS.get(problem, {}).get(rivals.IN_PAPER.get(method, method))
    return cell if known is None else f"{cell} [{known:.{digits}f}]"


def _verdicts(claims: Sequence[Claim], lines: Sequence[Line]) -> str:
    rows = ["| claim | | verdict | yes, open, no | largest differences |",
            "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for claim in claims:
        outcomes = [compare(comparison, lines) for comparison in claim.comparisons]
        cells = (claim.number, claim.words, verdict(outcomes), counts(outcomes),
                 _largest(outcomes))  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _steady_verdicts(lines: Sequence[Line]) -> str:
    """More rows of the table of the paper's claims."""
    rows = []
    for steady in STEADY:
        found = half_ranges(steady, lines)
        ranges = "; ".join(f"{p}: ± {each:.2f}" for p, each in found.items())
        rows.append(f"| {steady.number} | {steady.words} "
                    f"| {steady_verdict(steady, found)} | | {ranges} |")  # fmt: skip
    return "\n".join(rows) + "\n"


def _largest(outcomes: Sequence[Outcome | None]) -> str:
    """The comparisons with the largest differences, for and against."""
    found = sorted(
        (outcome for outcome in outcomes if outcome is not None),
        key=lambda outcome: outcome.difference,
    )
    chosen = found[-1:] + (found[:1] if len(found) > 1 else [])
    return "; ".join(
        f"{c.quantity} of {c.more} minus {c.less}, {c.problem}: "
        f"{_signed(outcome.difference)} ± {_signed(outcome.error).lstrip('+')}"
        for outcome in chosen
        for c in [outcome.comparison]
    )


def _signed(number: float) -> str:
    """With two digits, or, where a thousand, with four in all."""
    return f"{number:+.2f}" if abs(number) < 1000 else f"{number:+.3e}"


def _pictures(name: str, experiment: Experiment, lines: Sequence[Line]) -> list[str]:
    """Curves of the first methods on the narrowest and the widest network.

    Not over seconds: the lines were made beside other work. The frame is that of the
    runs that did not diverge.
    """
    texts = []
    for problem in dict.fromkeys((experiment.problems[0], experiment.problems[-1])):
        found = {
            m.name: final_lines(m.name, problem, lines)
            for m in experiment.methods[:SHOWN]
        }
        shown = {n: _as_metrics(runs, problem) for n, runs in found.items() if runs}
        if len(shown) < 2:
            continue
        metric = PROBLEMS[problem].metric
        device = next(runs[0]["device"] for runs in found.values() if runs)
        figure = plot_comparison(
            shown,
            metric=metric,
            gradients_per_step={
                name: runs[0]["gradient_evaluations"] / runs[0]["steps"]
                for name, runs in found.items()
                if runs
            },
            title=problem,
            device=device,
        )
        ends = [
            in_unit(run[f"test_{metric}"], metric)
            for runs in found.values()
            for run in runs
            if run["status"] != "diverged"
        ]
        low, high = np.min(ends), np.max(ends)
        margin = 0.05 * (high - low)
        figure.axes[0].set_ylim(low - margin, high + margin)
        path = PICTURES / f"{name}-{problem.replace(' ', '-')}.png"
        save_figure(figure, path)
        texts.append(f"![{problem}, over epochs](pictures/{path.name})\n")
    return texts


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


def _all_lines() -> list[Line]:
    experiments = [*EXPERIMENTS.values(), *QUESTIONS.values()]
    paths = {experiment.path for experiment in experiments}
    return [line for path in sorted(paths) for line in lines_of(path)]
