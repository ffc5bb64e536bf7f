"""The paper's claims as comparisons of runs, and one rule for all verdicts.

A claim is a list of comparisons: of some quantity one method should have more than
another, on a problem or on the mean of several. A comparison is decided by the
differences of runs with the same seed, which share initial weights and batches: a
two-sided t-test at the 5 % level says yes, no (the other has more) or open.

A run that diverged has reached nothing: it is behind every one that did not, by as much
as the furthest behind of the other pairs. What was spent until a target is known to an
epoch, so that differences are never taken to be surer than that; of a run that never
got there it is known that it spent more than its length, and a difference that hangs on
how much more is taken to be none.

A claim holds if three quarters of its comparisons say yes (a claim that something is so
somewhere: if one does), in part if a quarter do and more than say no; it does not hold
if at least as many say no as yes, and else it is open.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks import costs
from benchmarks.experiments import CONSTANT, PLAIN, STEPS, TUNED_CONSTANT, first_steps
from benchmarks.trials import Line, final_lines, has_diverged

LEVEL = 0.05
# Points of accuracy by which a method may be behind one that it is no worse than.
SLACK = 0.3


class Comparison(NamedTuple):
    """One method should have more of a quantity than another.

    Attributes:
      quantity: Its name in `QUANTITIES`.
      problems: Names of the problems: the quantity is the mean over them, or, of
        `"unevenness"`, the range.
      more: Name of the method that should have more.
      less: Name of the other.
      slack: By how much it may have less.
    """

    quantity: str
    problems: tuple[str, ...]
    more: str
    less: str
    slack: float = 0.0


class Claim(NamedTuple):
    """A claim, of the paper or an answer, and the experiment that it stands in.

    Attributes:
      number: Of the experiment.
      words: What is claimed.
      comparisons: What it comes to.
      is_somewhere: Whether it is that something is so for one of them at least.
    """

    number: str
    words: str
    comparisons: tuple[Comparison, ...]
    is_somewhere: bool = False


class Steady(NamedTuple):
    """A claim that it matters little which of the methods is taken."""

    number: str
    words: str
    problems: tuple[str, ...]
    methods: tuple[str, ...]
    within: float


class Measured(NamedTuple):
    """A quantity of a run.

    Attributes:
      value: The value; infinite of a run that diverged.
      grain: What it is known to.
      is_least: Whether it is known only that it is no less.
    """

    value: float
    grain: float = 0.0
    is_least: bool = False


class Outcome(NamedTuple):
    """A comparison's mean difference, its standard error, and what it says."""

    comparison: Comparison
    difference: float
    error: float
    says: str


# What no seed decides is open, which is no refutation.
NOT_HERE = "not testable here"
VERDICTS = ("holds", "holds in part", "open", "does not hold", NOT_HERE)


class Verdict(NamedTuple):
    """What became of a claim: a row of the report's table.

    Attributes:
      number: Of the experiment.
      words: What is claimed.
      verdict: What became of it.
      counts: How many comparisons say what.
      decides: The figures that decide.
    """

    number: str
    words: str
    verdict: str
    counts: str
    decides: str


def _results(line: Line) -> np.ndarray:
    """What was reached on the test set, epoch by epoch: %, or the negative error."""
    if "test_rmse" in line:
        # A line has null for what is not a finite number.
        return -np.nan_to_num(np.array(line["test_rmse"], float), nan=np.inf)
    return 100 * np.array(line["test_accuracy"])


def _late(values: np.ndarray) -> np.ndarray:
    return values[-max(len(values) // 2, 2) :]


def final(line: Line) -> float:
    """What was reached in the end: %, or the negative error; diverged, -infinity."""
    return -np.inf if has_diverged(line) else float(_results(line)[-1])


def fluctuation(line: Line) -> float:
    """Mean change from one epoch to the next in a run's second half.

    Args:
      line: The run.

    Returns:
      Points of accuracy, or the unit of the error; infinite where it diverged.
    """
    if has_diverged(line):
        return np.inf
    return float(np.abs(np.diff(_late(_results(line)))).mean())


def _fall(line: Line) -> float:
    results = _results(line)
    return np.inf if has_diverged(line) else results.max() - results[-1]


def _gain(line: Line) -> float:
    """What the second half of a run added."""
    late = _late(_results(line))
    return -np.inf if has_diverged(line) else late[-1] - late[0]


def _swing(line: Line) -> float:
    """Mean change of a step size from visit to visit, of all blocks, in %."""
    swings = [each for name, each in line["rates"].items() if name.endswith("swing")]
    return 100 * float(np.mean(swings))


def _learning_rate(line: Line) -> float:
    rates = line["rates"].items()
    found = [each[-1] for name, each in rates if name.endswith("learning_rate")]
    rate = found[0] if found else line["settings"]["learning_rate"]
    # A line has null for what is not a finite number.
    return np.nan if rate is None else rate


def _plain(measure: Callable[[Line], float]) -> Callable[[Line], Measured]:
    return lambda line: Measured(float(measure(line)))


def _until_target(field: str) -> Callable[[Line], Measured | None]:
    def measure(line: Line) -> Measured | None:
        spent = costs.spent(line)
        value = getattr(spent, field)
        if value is None:
            return None
        return Measured(value, value / spent.epochs, not spent.is_reached)

    return measure


# Of a run's results over epochs: the last, the first, how much they go up and down in
# the second half, how far the last has fallen from the best, and what the second half
# adds; how much the last differs between problems; what it spent until its problem's
# target. Of its step sizes: how much they go up and down, and the last.
QUANTITIES: dict[str, Callable[[Line], Measured | None]] = {
    "final": _plain(final),
    "early": _plain(lambda line: _results(line)[0]),
    "fluctuation": _plain(fluctuation),
    "fall": _plain(_fall),
    "late gain": _plain(_gain),
    "unevenness": _plain(final),
    "updates": _until_target("updates"),
    "gradients": _until_target("gradients"),
    "operations": _until_target("flops"),
    "seconds": _until_target("seconds"),
    "swing": _plain(_swing),
    "learning rate": _plain(_learning_rate),
}


def compare(comparison: Comparison, lines: Sequence[Line]) -> Outcome | None:
    """Decides a comparison; `None` where fewer than two seeds were measured of both."""
    pair = [
        _by_seed(comparison, method, lines)
        for method in (comparison.more, comparison.less)
    ]
    seeds = sorted(pair[0].keys() & pair[1].keys())
    if len(seeds) < 2:
        return None
    both = [(pair[0][seed], pair[1][seed]) for seed in seeds]
    differences = np.array([_difference(a, b) for a, b in both]) + comparison.slack
    # A number known to its grain is off by a twelfth of its square in the mean.
    noise = math.sqrt(np.mean([(a.grain**2 + b.grain**2) / 12 for a, b in both]))
    return Outcome(comparison, *decide(differences, noise))


def _by_seed(
    comparison: Comparison, method: str, lines: Sequence[Line]
) -> dict[int, Measured]:
    """The quantity of a method, of each seed that has run on all the problems."""
    measure = QUANTITIES[comparison.quantity]
    runs = [
        {line["seed"]: line for line in final_lines(method, problem, lines)}
        for problem in comparison.problems
    ]
    found = {}
    for seed in set.intersection(*(set(each) for each in runs)):
        measured = [measure(each[seed]) for each in runs]
        if len(measured) == 1 and measured[0] is not None:
            found[seed] = measured[0]
        elif None not in measured:
            values = [each.value for each in measured if each is not None]
            uneven = comparison.quantity == "unevenness"
            found[seed] = Measured(float((np.ptp if uneven else np.mean)(values)))
    return found


def _difference(more: Measured, less: Measured) -> float:
    difference = more.value - less.value
    # Both infinite, or it hangs on how much longer a run would have gone on: not known.
    if (
        math.isnan(difference)
        or (more.is_least and difference < 0)
        or (less.is_least and difference > 0)
    ):
        return 0.0
    return difference


def decide(differences: np.ndarray, noise: float = 0.0) -> tuple[float, float, str]:
    """What differences of runs with the same seed say, two of them or more.

    Args:
      differences: One a seed; infinite where one of the two runs diverged.
      noise: Standard deviation that they have in any case.

    Returns:
      Their mean, its standard error, and `"yes"` (they are above zero), `"no"` (below)
      or `"open"`. Infinite ones count as the furthest of the others; where there are no
      others, the mean is infinite.
    """
    finite = differences[np.isfinite(differences)]
    if not len(finite):
        same = (differences == differences[0]).all()
        says = ("yes" if differences[0] > 0 else "no") if same else "open"
        return (float(differences[0]) if same else 0.0), 0.0, says
    bounds = min(finite.min(), 0.0), max(finite.max(), 0.0)
    clipped = np.clip(differences, *bounds)
    mean = float(clipped.mean())
    error = max(float(clipped.std(ddof=1)), noise) / math.sqrt(len(clipped))
    if error:
        tail = stats.t.sf(abs(mean) / error, len(clipped) - 1)
        decided = bool(2 * tail < LEVEL)
    else:
        decided = mean != 0
    return mean, error, ("yes" if mean > 0 else "no") if decided else "open"


def counts(outcomes: Sequence[Outcome | None]) -> str:
    """How many comparisons say yes, are open and say no, of those that were decided."""
    says = [outcome.says for outcome in outcomes if outcome is not None]
    return ", ".join(str(says.count(word)) for word in ("yes", "open", "no"))


def verdict(claim: Claim, outcomes: Sequence[Outcome | None]) -> str:
    """The rule: what the outcomes of a claim's comparisons make of it."""
    decided = [outcome for outcome in outcomes if outcome is not None]
    if len(decided) < len(outcomes) or not decided:
        return "not decided yet" if decided else "not run yet"
    says = [outcome.says for outcome in decided]
    yes, no = says.count("yes") / len(says), says.count("no") / len(says)
    if yes >= 0.75 or (claim.is_somewhere and yes):
        return "holds"
    if yes >= 0.25 and yes > no:
        return "holds in part"
    return "does not hold" if no >= yes and no else "open"


def half_ranges(claim: Steady, lines: Sequence[Line]) -> dict[str, float]:
    """Half the range of the methods' mean results, by problem; of what was all run."""
    found = {}
    for problem in claim.problems:
        runs = [final_lines(method, problem, lines) for method in claim.methods]
        if not all(runs):
            continue
        means = [np.mean([_results(line)[-1] for line in each]) for each in runs]
        if np.isfinite(means).all():
            found[problem] = float(np.ptp(means) / 2)
    return found


def steady_verdict(claim: Steady, found: dict[str, float]) -> str:
    """Holds where every half range is within what is claimed, in part where one is."""
    if len(found) < len(claim.problems):
        return "not decided yet" if found else "not run yet"
    within = [each <= claim.within for each in found.values()]
    if all(within):
        return "holds"
    return "holds in part" if any(within) else "does not hold"


def all_pairs(
    quantity: str,
    problems: Sequence[str],
    more: Sequence[str],
    less: Sequence[str],
    slack: float = 0.0,
) -> tuple[Comparison, ...]:
    """Every one of the first against every one of the second, on each problem."""
    return tuple(
        Comparison(quantity, (problem,), a, b, slack)
        for problem in problems
        for a in more
        for b in less
        if a != b
    )


def _widths(dataset: str, *widths: int) -> list[str]:
    return [f"{dataset} {width}" for width in widths or (100, 400, 800)]


S, E = "SAMT-S, gradient", "SAMT-E, gradient"
R, C = "SAMT-R, gradient", "SAMT-C, gradient"
_BASELINES = ("DANTE", "SGD-HD", "SGD", "Adam")


def _of_curves(number: str, data: str, problems: Sequence[str]) -> tuple[Claim, ...]:
    """What the paper reads off its curves of an MLP."""

    def claim(
        words: str, quantity: str, more: Sequence[str], less: Sequence[str]
    ) -> Claim:
        pairs = all_pairs(quantity, problems, more, less)
        return Claim(number, f"{data}: {words}", pairs)

    return (
        claim("Dante is fast early", "early", ["DANTE"], ["SGD", "Adam", S, E]),
        claim("Dante falls late", "fall", ["DANTE"], ["SGD", S, E]),
        claim("Adam fluctuates late", "fluctuation", ["Adam"], ["SGD", S, E]),
        claim("HD is slow", "early", ["SGD", "Adam", S, E], ["SGD-HD"]),
        claim("HD is not competitive", "final", ["SGD", "Adam", S, E], ["SGD-HD"]),
        claim("SGD is slow early", "early", ["DANTE", "Adam", S, E], ["SGD"]),
        claim("SGD is stable late", "fluctuation", ["DANTE", "SGD-HD", "Adam"],
              ["SGD"]),
        claim("SAMT is faster than the others", "early", [S, E], _BASELINES),
        claim("SAMT ends higher at most widths", "final", [S, E], _BASELINES),
    )  # fmt: skip


def _of_cnn(number: str, data: str, problem: str) -> tuple[Claim, ...]:
    """What the paper reads off its curves of a CNN."""

    def claim(
        words: str, quantity: str, more: Sequence[str], less: Sequence[str]
    ) -> Claim:
        pairs = all_pairs(quantity, [problem], more, less)
        return Claim(number, f"{data}: {words}", pairs)

    return (
        claim("HD ends a little lower", "final", ["SGD", "Adam", S, E], ["SGD-HD"]),
        claim("HD has trouble late: it fluctuates more than SAMT", "fluctuation",
              ["SGD-HD"], [S, E]),
        claim("Dante is poor", "final", ["SGD", "Adam", S, E], ["DANTE"]),
        claim("Adam is fast", "early", ["Adam"], ["DANTE", "SGD-HD", S, E]),
        claim("Adam is flat then: SAMT gains more late", "late gain", [S, E], ["Adam"]),
        claim("SGD is fast", "early", ["SGD"], ["DANTE", "SGD-HD", S, E]),
        claim("SGD fluctuates late", "fluctuation", ["SGD"], [S, E]),
        claim("SAMT is slower at first", "early", ["Adam", "SGD"], [S, E]),
        claim("SAMT is more stable late", "fluctuation", _BASELINES, [S, E]),
        claim("SAMT is best at the end", "final", [S, E], _BASELINES),
    )  # fmt: skip


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in (*_BASELINES, S, E) if other != name)


def _best_at(
    number: str, words: str, name: str, problem: str, slack: float = 0.0
) -> Claim:
    return Claim(
        number, words, all_pairs("final", [problem], [name], _others(name), slack)
    )


def _finals(
    number: str,
    words: str,
    problems: Sequence[str],
    more: Sequence[str],
    less: Sequence[str],
    slack: float = 0.0,
    *,
    is_somewhere: bool = False,
) -> Claim:
    pairs = all_pairs("final", problems, more, less, slack)
    return Claim(number, words, pairs, is_somewhere)


_MNIST, _FASHION, _KMNIST = map(_widths, ("mnist", "fashion_mnist", "kmnist_reduced"))
# The MLPs on whole data sets.
_MLPS = (*_MNIST, *_FASHION)
# The abstract's words, of the paper's rivals.
_OF_ABSTRACT = (
    *(
        Claim("E16", f"SAMT takes fewer {quantity} to a fixed accuracy",
              all_pairs(quantity, _MLPS, _BASELINES, [S, E]))
        for quantity in ("updates", "gradients", "operations", "seconds")
    ),
    Claim("E16", "SAMT is more stable late in training",
          all_pairs("fluctuation", _MLPS, _BASELINES, [S, E])),
)  # fmt: skip

_TABLES = ("bike 100", "pol 100", "kegg 100")
_COMPETITIVE = f"no more than {SLACK} points behind any other"
_BOTH_S, _BOTH_E = PLAIN["S"].name, PLAIN["E"].name
_TANH_S, _TANH_E = _BOTH_S, _BOTH_E


def _at_steps(words: str, more: str, less: str, steps: Sequence[float]) -> Claim:
    """One of S and E against the other, each from the same η0."""
    names = {
        letter: dict(zip(STEPS, first_steps(letter), strict=True)) for letter in "SE"
    }
    return Claim("E7", words, tuple(
        Comparison("final", (problem,), names[more][step].name, names[less][step].name)
        for problem in _KMNIST[:2] for step in steps
    ))  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *_of_curves("E1", "MNIST", _MNIST),
    *_of_curves("E2", "KMNIST, reduced", _KMNIST),
    _best_at("E3", "Adam is ahead at small h", "Adam", "fashion_mnist 100"),
    _best_at("E3", f"SAMT-S is competitive in the middle: {_COMPETITIVE}", S,
             "fashion_mnist 400", SLACK),
    _best_at("E3", f"SAMT-E is competitive at large h: {_COMPETITIVE}", E,
             "fashion_mnist 800", SLACK),
    *_of_cnn("E4", "CIFAR-10, quarter width", "cifar10 cnn"),
    *_of_cnn("E5", "CIFAR-100, quarter width", "cifar100 cnn"),
    Claim("E5", "CIFAR-100, quarter width: SAMT-E is above SAMT-S early",
          all_pairs("early", ["cifar100 cnn"], [E], [S])),
    _finals("E5", "CIFAR-100, quarter width: SAMT-S is above SAMT-E late",
            ["cifar100 cnn"], [S], [E]),
    _at_steps("KMNIST, reduced: SAMT-E is better at larger η0", "E", "S", STEPS[-3:]),
    _at_steps("KMNIST, reduced: SAMT-S is better at smaller η0", "S", "E", STEPS[:3]),
    _finals("E8", f"SAMT-E: right is nowhere below left by more than {SLACK} points",
            _MLPS, ["SAMT-E, right"], ["SAMT-E, left"], SLACK),
    _finals("E8", "SAMT-E: left is a little above the constant η0", _MLPS,
            ["SAMT-E, left"], [CONSTANT.name]),
    _finals("E8", "SAMT-E: left is above a constant step that is tuned", _MLPS,
            ["SAMT-E, left"], [TUNED_CONSTANT.name]),
    _finals("E8", "SAMT-E: right beats both together at some widths", _MLPS,
            ["SAMT-E, right"], [_BOTH_E], is_somewhere=True),
    _finals("E8", "SAMT-E: both together are best on MNIST", _MNIST, [_BOTH_E],
            ["SAMT-E, right", "SAMT-E, left", CONSTANT.name]),
    _finals("E9", "SAMT-S: right is above the constant η0 and left at most widths",
            _MLPS, ["SAMT-S, right"], [CONSTANT.name, "SAMT-S, left"]),
    _finals("E9", "SAMT-S: both together are better at large h",
            [_MNIST[-1], _FASHION[-1]], [_BOTH_S],
            ["SAMT-S, right", "SAMT-S, left", CONSTANT.name]),
    _finals("E9", "SAMT-S: both together are above a constant step that is tuned",
            _MLPS, [_BOTH_S], [TUNED_CONSTANT.name]),
    _finals("E10", "KMNIST, reduced, SAMT-E: right is ahead", _KMNIST,
            ["SAMT-E, right"], ["SAMT-E, left", CONSTANT.name]),
    Claim("E10", "KMNIST, reduced, SAMT-E: both together are more even across h",
          (Comparison("unevenness", tuple(_KMNIST), "SAMT-E, right", _BOTH_E),)),
    _finals("E11", "MNIST, SAMT-E: tanh wins at nearly all widths", _MNIST, [_TANH_E],
            ["SAMT-E, sigmoid"]),
    _finals("E12", "KMNIST, reduced: SAMT-E with tanh is best nearly everywhere",
            _KMNIST, [_TANH_E], ["SAMT-E, sigmoid", _TANH_S, "SAMT-S, sigmoid"]),
    _finals("E12", "KMNIST, reduced, SAMT-S: sigmoid at small h", _KMNIST[:1],
            ["SAMT-S, sigmoid"], [_TANH_S]),
    _finals("E12", "KMNIST, reduced, SAMT-S: tanh at large h", _KMNIST[-1:], [_TANH_S],
            ["SAMT-S, sigmoid"]),
    _finals("E12", "KMNIST, reduced, SAMT-E: sigmoid wins at 800", _KMNIST[-1:],
            ["SAMT-E, sigmoid"], [_TANH_E]),
    Claim("E14", "SAMT-E has the lowest error on the mean of the tables", tuple(
        Comparison("final", _TABLES, E, other) for other in _others(E))),
    _best_at("E14", "SAMT-S is best on Bike", S, "bike 100"),
    _best_at("E14", "SAMT-S is best on Bike, riders' counts among the inputs", S,
             "bike_full 100"),
    _finals("E14", "Adam is strong", _TABLES, ["Adam"], ["SGD", "SGD-HD", "DANTE"]),
    _finals("E15", "MNIST: rows are lowest at most widths", _MNIST, [S, E, C], [R]),
    _finals("E15", "MNIST: columns are best at 100 units", _MNIST[:1], [C], [S, E, R]),
    _finals("E15", "KMNIST, reduced: rows are above columns", _KMNIST, [R], [C]),
    _finals("E15", "Fashion-MNIST: columns are a little above rows", _FASHION, [C],
            [R]),
    *_OF_ABSTRACT,
)  # fmt: skip

STEADY: tuple[Steady, ...] = tuple(
    Steady(
        "E6",
        f"MNIST, SAMT-{letter}: at small h, η0 from {STEPS[0]:g} to {STEPS[-1]:g} "
        "moves the accuracy by no more than ± 0.2",
        ("mnist 100",),
        tuple(method.name for method in first_steps(letter)),
        0.2,
    )
    for letter in "SE"
)

# Claims of the paper about widths that are not run, and why.
NOT_TESTABLE = (
    ("E6", "SAMT-S is less stable at some large h, 700 above all",
     "the grid of η0 is run at 100 and 400 units: twenty methods at 800 take hours"),
    ("E11", "Sigmoid wins at 300 and 600 units on MNIST",
     "widths are 100, 400 and 800; isolated wins of single runs"),
)  # fmt: skip
