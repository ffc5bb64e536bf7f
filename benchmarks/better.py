"""Better than the paper: one configuration of SAMT against its rivals, cell by cell.

A cell is a data set and a width. Of the candidates (`experiments.CANDIDATES`) the one
with the best mean *validation* accuracy over the cells is chosen, once for all of them;
it is then held against each rival (`experiments.TO_BEAT`) on the test set. The target
is every cell; what is counted here is what came of it.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks import costs
from benchmarks.claims import Comparison, Outcome, compare, counts
from benchmarks.experiments import BETTER, CANDIDATES, EXPERIMENTS, TO_BEAT
from benchmarks.tables import mean_and_sd
from benchmarks.trials import (
    Line,
    Method,
    epochs_to_target,
    final_lines,
    validation_score,
)

EXPERIMENT = EXPERIMENTS[BETTER]


def cells_run(methods: Sequence[Method], lines: Sequence[Line]) -> list[str]:
    """The problems on which all of these methods have final runs."""
    return [
        problem
        for problem in EXPERIMENT.problems
        if all(final_lines(method.name, problem, lines) for method in methods)
    ]


def choose(
    candidates: Sequence[Method], problems: Sequence[str], lines: Sequence[Line]
) -> Method:
    """The candidate with the best mean validation accuracy; a diverged run has none.

    Args:
      candidates: The candidates, each with final runs on every problem.
      problems: The problems, at least one.
      lines: All lines.

    Returns:
      The candidate.
    """

    def score(method: Method) -> float:
        runs = [final_lines(method.name, problem, lines) for problem in problems]
        return float(
            np.mean([np.mean([validation_score(r) for r in each]) for each in runs])
        )

    return max(candidates, key=score)


def best_rival(problem: str, lines: Sequence[Line]) -> Method:
    """The rival with the highest mean test accuracy: the hardest one to beat."""
    return max(TO_BEAT, key=lambda method: _test_mean(method, problem, lines))


def section(lines: Sequence[Line]) -> str:
    """What was chosen, what it came to against each rival, and the honest count.

    Args:
      lines: The lines of the rivals.

    Returns:
      The words and the table in Markdown.
    """
    problems = cells_run((*CANDIDATES, *TO_BEAT), lines)
    if not problems:
        return "No cell has runs of every candidate and every rival yet.\n"
    chosen = choose(CANDIDATES, problems, lines)
    rows, outcomes = [], []
    for problem in problems:
        rival = best_rival(problem, lines)
        outcome = compare(Comparison("final", problem, chosen.name, rival.name), lines)
        # All these have the same seeds.
        assert outcome is not None
        outcomes.append(outcome)
        rows.append(
            f"| {problem} | {_accuracies(chosen, problem, lines)} | {rival.name} "
            f"| {_accuracies(rival, problem, lines)} | {_difference(outcome)} "
            f"| {_against_all(chosen, problem, lines)} "
            f"| {_seconds_to_best_of_sgd(chosen, problem, lines)} |"
        )
    ahead = sum(outcome.difference > 0 for outcome in outcomes)
    says = [outcome.says for outcome in outcomes]
    return (
        f"Of the {len(CANDIDATES)} candidates, **{chosen.name}** has the best mean "
        f"validation accuracy over the cells that all have run on, {len(problems)} of "
        f"{len(EXPERIMENT.problems)}. Its mean test accuracy is above that of the best "
        f"rival in {ahead} of them, by the t-test on differences of the same seed in "
        f"{says.count('yes')}; below it by that test in {says.count('no')}. Last "
        "column: seconds until the validation accuracy that SGD has at its best, SGD's "
        "own in brackets; a blank was not timed.\n\n"
        f"| cell | {chosen.name} | best rival | its accuracy | difference "
        "| rivals beaten, open, not | seconds |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _test_mean(method: Method, problem: str, lines: Sequence[Line]) -> float:
    runs = final_lines(method.name, problem, lines)
    return float(np.mean([run["test_accuracy"][-1] for run in runs]))


def _accuracies(method: Method, problem: str, lines: Sequence[Line]) -> str:
    runs = final_lines(method.name, problem, lines)
    return mean_and_sd([100 * run["test_accuracy"][-1] for run in runs])


def _difference(outcome: Outcome) -> str:
    mark = "" if outcome.says == "open" else " *"
    return f"{outcome.difference:+.2f} ± {outcome.error:.2f}{mark}"


def _against_all(chosen: Method, problem: str, lines: Sequence[Line]) -> str:
    return counts(
        [
            compare(Comparison("final", problem, chosen.name, rival.name), lines)
            for rival in TO_BEAT
        ]
    )


def _seconds_to_best_of_sgd(chosen: Method, problem: str, lines: Sequence[Line]) -> str:
    sgd = final_lines("SGD", problem, lines)
    target = float(np.mean([max(run["validation_accuracy"]) for run in sgd]))
    found = [_seconds_to(target, name, problem, lines) for name in (chosen.name, "SGD")]
    return "" if None in found else f"{found[0]} ({found[1]})"


def _seconds_to(
    target: float, method: str, problem: str, lines: Sequence[Line]
) -> str | None:
    """Mean over the seeds that reach it, and how many do; `None` where not timed."""
    step = costs.seconds_per_step(problem, method)
    if step is None:
        return None
    runs = final_lines(method, problem, lines)
    epochs = [epochs_to_target(run, target) for run in runs]
    seconds = [
        step * run["steps"] * each / run["epochs"]
        for run, each in zip(runs, epochs, strict=True)
        if each is not None
    ]
    if not seconds:
        return "never"
    note = "" if len(seconds) == len(runs) else f", {len(seconds)} of {len(runs)}"
    return f"{np.mean(seconds):.1f}{note}"
