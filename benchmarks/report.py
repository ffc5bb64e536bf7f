"""`benchmarks/REPORT.md`, made of the committed lines and of nothing else.

python -m benchmarks.reproduce report
"""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    abstract,
    better,
    layerwise_collapse,
    layerwise_table,
    method_features,
    mixing_report,
    paper,
    readings_report,
    rivals,
)
from benchmarks.claims import (
    CLAIMS,
    LEVEL,
    NOT_HERE,
    NOT_TESTABLE,
    QUANTITIES,
    STEADY,
    VERDICTS,
    Claim,
    Outcome,
    Verdict,
    compare,
    counts,
    half_ranges,
    steady_verdict,
    verdict,
)
from benchmarks.experiments import BETTER, BETTER_WIDE, EXPERIMENTS, Experiment
from benchmarks.problems import PROBLEMS
from benchmarks.questions import ANSWERS, QUESTIONS
from benchmarks.report_pictures import pictures
from benchmarks.tables import mean_and_sd
from benchmarks.theory_section import section as theory_section
from benchmarks.trials import Line, final_lines, has_diverged, lines_of

HOME = Path(__file__).parent
REPORT, PICTURES = HOME / "REPORT.md", HOME / "pictures"

_NUM_COMPARISONS = sum(len(claim.comparisons) for claim in CLAIMS)
_HEAD = f"""# The paper, reproduced

Made by `python -m benchmarks.reproduce report` of the lines in `benchmarks/results/`;
each table names the command that makes its runs. Accuracies are in % on the test set
after the last epoch, mean ± standard deviation over the seeds whose runs finished; how
many diverged stands beside. Settings were chosen on the validation split, by three to
five trials a method (`benchmarks/trials.py`); where SAMT alone is varied, and in
Table 3, nothing was tuned. The paper's numbers, in brackets, are single runs of an
unknown number of epochs. "SAMT-S, gradient" is the paper's method; "SAMT-S" has this
library's defaults, with momentum as direction.

## Verdicts

By one rule (`benchmarks/claims.py`): a claim is a list of comparisons between methods,
each decided by a t-test at the {100 * LEVEL:g} % level on differences of runs with the
same seed. A claim holds where three quarters of them say yes, in part where a quarter
do and more than say no; it does not hold where at least as many say no as yes; else it
is open. Three to five seeds find only large differences, and of {_NUM_COMPARISONS}
comparisons without a difference one in twenty would say something all the same. Runs of
one seed share initial weights and batches, which is less than it seems: in sums of
another order (an earlier engine) three runs of SAMT-S on Fashion-MNIST at 100 units
ended at 86.81, 86.91 and 87.46 %, and at 87.23, 87.05 and 86.96 % in the order of
today. Beside each claim stand the differences that are furthest for it and against it,
mean ± standard error.
"""

_QUESTIONS = """# The open questions

What the paper and its rivals leave open, tried out: SAMT with the paper's direction and
the settings chosen on validation, and one thing about it varied; three seeds. Each row
is a statement that could hold, decided by the rule above.
"""

# What the paper's claims are on: its tables and figures, and its abstract.
_TITLES = {each.number: each.title for each in EXPERIMENTS.values()} | {
    "E13": "Table 3",
    "E16": "The abstract: cost and stability",
    "E17": "Future work: grouped blocks",
}

# What is told of an experiment beside what was reached in the end.
_QUANTITY_WORDS = {
    "early": "On the test set after the first epoch, %",
    "swing": "Mean change of a step size from one visit of its block to the next, %",
    "learning rate": "The learning rate, mean of the last epoch",
}


def write_report() -> None:
    """Writes the report and its pictures."""
    lines = _all_lines()
    # What the paper leaves to future work is a question, with a number all the same.
    answers = [answer for answer in ANSWERS if answer.number in _TITLES]
    of_paper = _in_order(
        [*_verdicts((*CLAIMS, *answers), lines), *_other_verdicts(lines)]
    )
    sections = (
        _HEAD,
        _tally(of_paper),
        _rows(of_paper),
        *(
            _experiment(*each)
            for each in EXPERIMENTS.items()
            if each[0] not in (BETTER, BETTER_WIDE)
        ),
        _better(lines),
        "## Table 3 (E13)\n\n`python -m benchmarks.layerwise_rivals`: three seeds of "
        "dlADMM and mDLAM at 100 units, and one of all others.\n\n"
        + layerwise_table.table()
        + "\n"
        + layerwise_collapse.table(lines_of(layerwise_collapse.RESULTS)),
        abstract.quoted_accuracy(lines),
        abstract.within_reach(lines),
        abstract.updates_an_epoch(),
        abstract.cnn_epoch(),
        abstract.defaults(lines),
        f"## What the eta models answer\n\n{mixing_report.section(PICTURES)}",
        "## What the paper leaves open\n\n`python -m benchmarks.readings run`.\n\n"
        + readings_report.table(),
        _QUESTIONS,
        _rows(_verdicts([a for a in ANSWERS if a.number not in _TITLES], lines)),
        *(_experiment(*each) for each in QUESTIONS.items()),
        theory_section(pictures=PICTURES),
        "## The methods, feature by feature, as in the paper's Table 1\n\n"
        + method_features.table(),
    )
    REPORT.write_text("\n".join(sections))


def _experiment(name: str, experiment: Experiment) -> str:
    """An experiment's section: tables, pictures, where there are rivals their costs."""
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
        *pictures(name, experiment, lines, PICTURES),
    ]
    if abstract.of_rivals(experiment):
        parts += [
            abstract.best_epochs(experiment, lines),
            abstract.fluctuations(experiment, lines),
            abstract.to_targets(experiment, lines),
        ]
    return "\n".join(parts)


def _better(lines: Sequence[Line]) -> str:
    """The section of the experiment that is none of the paper's."""
    return (
        f"## Better than the paper\n\n`python -m benchmarks.reproduce {BETTER}` and "
        f"`{BETTER_WIDE}`.\n\n{better.section(lines)}\n"
        f"{experiment_table(better.EXPERIMENT, lines)}\n"
        f"{experiment_table(better.WIDE, lines)}"
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
    finite = [each.value for each in measured if each and math.isfinite(each.value)]
    digits = 4 if quantity == "learning rate" else 2
    return mean_and_sd(finite, of=len(runs), digits=digits)


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
    seeds = f"Seeds: {_seeds(experiment, lines)}."
    return "\n".join((*rows, f"\n{seeds} {_budget(experiment, lines)}\n", words))


def _budget(experiment: Experiment, lines: Sequence[Line]) -> str:
    """What was meant to be taken, and what the runs took, of one core each."""
    methods = {method.name for method in experiment.methods}
    problems = {
        *experiment.problems,
        *(PROBLEMS[p].tuned_on for p in experiment.problems),
    }
    runs = [
        line for line in lines
        if line["method"] in methods and line["problem"] in problems
        and line["phase"] in ("tuning", "final")
    ]  # fmt: skip
    # Seeds are compiled together, and each line has all of that.
    compiled = {
        (run["method"], run["problem"], run["phase"], run["compile_seconds"])
        for run in runs
    }
    seconds = sum(sum(run["train_seconds"]) for run in runs) + sum(
        each[-1] for each in compiled
    )
    return (
        f"Budget: {experiment.minutes} minutes of two cores; the runs, with their "
        "tuning and those shared with other tables, took "
        f"{seconds / 60:.0f} of one, beside other work."
    )


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
    values = [
        scale * run[f"test_{metric}"][-1] for run in runs if not has_diverged(run)
    ]
    cell = mean_and_sd(values, of=len(runs), digits=digits)
    known = paper.NUMBERS.get(problem, {}).get(rivals.IN_PAPER.get(method, method))
    return cell if known is None else f"{cell} [{known:.{digits}f}]"


def _tally(found: Sequence[Verdict]) -> str:
    """How many statements of each of the paper's claims have which verdict."""

    def row(number: str, title: str, of_it: Sequence[Verdict]) -> str:
        cells = [sum(each.verdict == name for each in of_it) for name in VERDICTS]
        cells.append(len(of_it) - sum(cells))
        return f"| {number} | {title} | {' | '.join(str(c or '') for c in cells)} |"

    rows = [
        row(number, _TITLES[number], [each for each in found if each.number == number])
        for number in dict.fromkeys(each.number for each in found)
    ]
    rows.append(row("all", f"{len(found)} statements", found))
    head = f"| claim | on | {' | '.join(VERDICTS)} | not run yet |"
    return "\n".join((head, "| --- |" + " --- |" * 7, *rows)) + "\n"


def _rows(found: Sequence[Verdict]) -> str:
    """A row a statement."""
    rows = [f"| {' | '.join(each)} |" for each in found]
    head = "| claim | | verdict | yes, open, no | what decides |"
    return "\n".join((head, "| --- |" + " --- |" * 4, *rows)) + "\n"


def _in_order(found: Sequence[Verdict]) -> list[Verdict]:
    """By the numbers of their claims; those of one stay as they are."""
    return sorted(found, key=lambda each: (each.number[0], int(each.number[1:])))


def _verdicts(claims: Sequence[Claim], lines: Sequence[Line]) -> list[Verdict]:
    """On claims that are comparisons."""
    found = []
    for claim in claims:
        outcomes = [compare(comparison, lines) for comparison in claim.comparisons]
        found.append(
            Verdict(claim.number, claim.words, verdict(claim, outcomes),
                    counts(outcomes), _furthest(outcomes))
        )  # fmt: skip
    return found


def _other_verdicts(lines: Sequence[Line]) -> list[Verdict]:
    """On claims that are not of comparisons, and on those that cannot be tested."""
    found = []
    for steady in STEADY:
        halves = half_ranges(steady, lines)
        ranges = "; ".join(f"{p}: ± {each:.2f}" for p, each in halves.items())
        found.append(
            Verdict(steady.number, steady.words, steady_verdict(steady, halves), "",
                    ranges)
        )  # fmt: skip
    untested = [
        Verdict(number, words, NOT_HERE, "", why) for number, words, why in NOT_TESTABLE
    ]
    return [*found, *untested, *layerwise_table.verdicts()]


def _furthest(outcomes: Sequence[Outcome | None]) -> str:
    """The comparisons that are furthest for a claim and against it."""
    found = sorted(
        (outcome for outcome in outcomes if outcome is not None),
        key=lambda outcome: outcome.difference,
    )
    chosen = found[-1:] + (found[:1] if len(found) > 1 else [])
    return "; ".join(
        f"{c.quantity} of {c.more} minus {c.less}, {_where(c.problems)}"
        f"{f', + {c.slack:g}' if c.slack else ''}: "
        f"{_signed(outcome.difference)} ± {_signed(outcome.error).lstrip('+')}"
        for outcome in chosen
        for c in [outcome.comparison]
    )


def _where(problems: Sequence[str]) -> str:
    return problems[0] if len(problems) == 1 else f"{len(problems)} problems"


def _signed(number: float) -> str:
    """With two digits, or, where a thousand, with four in all."""
    if abs(number) < 1000 or math.isinf(number):
        return f"{number:+.2f}".replace("inf", "∞")
    return f"{number:+.3e}"


def _all_lines() -> list[Line]:
    experiments = [*EXPERIMENTS.values(), *QUESTIONS.values()]
    paths = {experiment.path for experiment in experiments}
    return [line for path in sorted(paths) for line in lines_of(path)]
