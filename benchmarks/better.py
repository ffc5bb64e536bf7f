"""Better than the paper: one configuration of SAMT against its rivals, cell by cell.

A cell is a data set and a width. Of the candidates (`experiments.CANDIDATES`) the one
with the best mean *validation* accuracy over the cells of 100 and 400 units is chosen,
once for all, those of 800 too; it is then held against each rival
(`experiments.TO_BEAT`) on the test set. The target is every cell; what is counted here
is what came of it. The slow ones among the candidates were thought of after six other
configurations had been tried out under two seeds on the validation split of
Fashion-MNIST at 400 units, the one whose layers are one block beside twelve more
(directions, orders, rows and columns, longer first steps, faster eta models): more
trials than any rival had. In one block nothing alternates, and SAMT's steps are left.
Those in one pass came last, when the others' test accuracies were known: of S, R, C and
E under a cosine with slow eta models, tried from η0 = 0.1 under two seeds on the same
split (in runs that were not kept), none was ahead, and S is the cheapest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks import costs
from benchmarks.claims import Comparison, Outcome, compare, counts
from benchmarks.experiments import (
    BETTER,
    BETTER_WIDE,
    CANDIDATES,
    EXPERIMENTS,
    TO_BEAT,
    Experiment,
)
from benchmarks.tables import mean_and_sd
from benchmarks.trials import Line, Method, final_lines, validation_score

EXPERIMENT, WIDE = EXPERIMENTS[BETTER], EXPERIMENTS[BETTER_WIDE]


def cells_run(
    experiment: Experiment, methods: Sequence[Method], lines: Sequence[Line]
) -> list[str]:
    """The problems of an experiment on which all of these have final runs."""
    return [
        problem
        for problem in experiment.problems
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
    judged_on = cells_run(EXPERIMENT, (*CANDIDATES, *TO_BEAT), lines)
    if not judged_on:
        return "No cell has runs of every candidate and every rival yet.\n"
    chosen = choose(CANDIDATES, judged_on, lines)
    problems = judged_on + cells_run(WIDE, (chosen, *TO_BEAT), lines)
    rows, outcomes, timed = [], [], []
    for problem in problems:
        rival = best_rival(problem, lines)
        outcome = compare(_finals(problem, chosen, rival), lines)
        # All these have the same seeds.
        assert outcome is not None
        outcomes.append(outcome)
        if seconds := _to_best_of_sgd(chosen, problem, lines):
            timed.append(seconds)
        rows.append(
            f"| {problem} | {_accuracies(chosen, problem, lines)} | {rival.name} "
            f"| {_accuracies(rival, problem, lines)} | {_difference(outcome)} "
            f"| {_against_all(chosen, problem, lines)} "
            f"| {'{} ({})'.format(*seconds) if seconds else ''} |"
        )
    ahead = sum(outcome.difference > 0 for outcome in outcomes)
    says = [outcome.says for outcome in outcomes]
    sooner = sum(
        ours.reached == ours.of and ours.mean < sgd.mean for ours, sgd in timed
    )
    return (
        f"Of the {len(CANDIDATES)} candidates, **{chosen.name}** has the best mean "
        "validation accuracy over the cells of 100 and 400 units that all have run on, "
        f"{len(judged_on)} of {len(EXPERIMENT.problems)}. Of the {len(problems)} cells "
        "that it and all rivals have run on, its mean test accuracy is above that of "
        f"the best rival in {ahead}, by the t-test on differences of the same seed in "
        f"{says.count('yes')}; below it by that test in {says.count('no')}. Last "
        "column: seconds until the mean of SGD's best validation accuracies, SGD's own "
        f"in brackets; it gets there sooner in {sooner} of the {len(timed)} cells that "
        f"were timed.{_soonest(judged_on, lines)}\n\n"
        f"| cell | {chosen.name} | best rival | its accuracy | difference "
        "| rivals beaten, open, not | seconds |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _finals(problem: str, chosen: Method, rival: Method) -> Comparison:
    return Comparison("final", (problem,), chosen.name, rival.name)


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
        [compare(_finals(problem, chosen, rival), lines) for rival in TO_BEAT]
    )


class _Seconds(NamedTuple):
    """Mean over seeds until a target; of a run that does not get there, an epoch more.

    Attributes:
      mean: Seconds.
      reached: How many seeds did.
      of: How many there are.
    """

    mean: float
    reached: int
    of: int

    def __str__(self) -> str:
        if self.reached == self.of:
            return f"{self.mean:.1f}"
        if not self.reached:
            return "never"
        return f"≥ {self.mean:.1f}, {self.reached} of {self.of}"


def _soonest(problems: Sequence[str], lines: Sequence[Line]) -> str:
    """The candidate that is soonest as good as SGD, of those under all of whose seeds.

    A sentence, if there is one; it was not known when the candidate was chosen.
    """
    found = {}
    for method in CANDIDATES:
        each = [_to_best_of_sgd(method, problem, lines) for problem in problems]
        timed = [both for both in each if both is not None]
        if timed and all(t is not None and t[0].reached == t[0].of for t in each):
            found[method.name] = timed
    if not found:
        return ""
    name = min(found, key=lambda name: sum(ours.mean for ours, _ in found[name]))
    words = "; ".join(
        f"{ours} on {problem} ({sgd})"
        for problem, (ours, sgd) in zip(problems, found[name], strict=True)
    )
    return (
        " Of the candidates that were timed and get there under every seed, "
        f"{name} is the soonest: {words}."
    )


def _to_best_of_sgd(
    chosen: Method, problem: str, lines: Sequence[Line]
) -> tuple[_Seconds, _Seconds] | None:
    """Until the mean of SGD's best validation accuracies: ours, and SGD's own."""
    sgd = final_lines("SGD", problem, lines)
    target = float(np.mean([max(run["validation_accuracy"]) for run in sgd]))
    ours = _seconds_to(target, chosen.name, problem, lines)
    theirs = _seconds_to(target, "SGD", problem, lines)
    return None if ours is None or theirs is None else (ours, theirs)


def _seconds_to(
    target: float, method: str, problem: str, lines: Sequence[Line]
) -> _Seconds | None:
    """`None` where a step of the method was not timed."""
    runs = [costs.spent(r, target) for r in final_lines(method, problem, lines)]
    seconds = [run.seconds for run in runs if run.seconds is not None]
    if not seconds:
        return None
    reached = sum(run.is_reached for run in runs)
    return _Seconds(float(np.mean(seconds)), reached, len(runs))
