"""The paper's claims as comparisons of runs, and one rule for all verdicts.

A claim is a list of comparisons: on a problem, of some quantity one method should have
more than another. A comparison is decided by the differences of runs with the same
seed, which share initial weights and batches: a two-sided t-test at the 5 % level says
yes, no (the other has more) or open. A diverged run has the accuracy that it ended
with. The rule stood before the lines were read: a claim holds if at least three
quarters of its comparisons say yes, holds in part if at least a quarter do and more
than say no, and does not hold otherwise.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.costs import spent
from benchmarks.experiments import STEPS
from benchmarks.trials import Line, final_lines

LEVEL = 0.05


class Comparison(NamedTuple):
    """On a problem, one method should have more of a quantity than another."""

    quantity: str
    problem: str
    more: str
    less: str


class Claim(NamedTuple):
    """A claim, of the paper or an answer, and the experiment that it stands in."""

    number: str
    words: str
    comparisons: tuple[Comparison, ...]


class Steady(NamedTuple):
    """A claim that it matters little which of the methods is taken."""

    number: str
    words: str
    problems: tuple[str, ...]
    methods: tuple[str, ...]
    within: float


class Outcome(NamedTuple):
    """A comparison's mean difference, its standard error, and what it says."""

    comparison: Comparison
    difference: float
    error: float
    says: str


def _results(line: Line) -> np.ndarray:
    """What was reached on the test set, epoch by epoch: %, or the negative error."""
    if "test_rmse" in line:
        # A line has null for what is not a finite number.
        return -np.nan_to_num(np.array(line["test_rmse"], float), nan=np.inf)
    return 100 * np.array(line["test_accuracy"])


def _late(values: np.ndarray) -> np.ndarray:
    return values[-max(len(values) // 2, 2) :]


def fluctuation(line: Line) -> float:
    """Mean change from one epoch to the next in a run's second half; NaN without one.

    Args:
      line: The run.

    Returns:
      Points of accuracy, or the unit of the error.
    """
    late = _late(_results(line))
    # An error that is not finite does not go up or down.
    return float(np.abs(np.diff(late)).mean()) if np.isfinite(late).all() else np.nan


def _swing(line: Line) -> float:
    """Mean change of a step size from visit to visit, of all blocks, in %."""
    swings = [each for name, each in line["rates"].items() if name.endswith("swing")]
    return 100 * float(np.mean(swings))


# Of a run's results over epochs: the last, the first, how much they go up and down in
# the second half, and how far the last has fallen from the best; what it spent until
# its problem's target (infinite: it never got there; `None`: not known). Of its step
# sizes: how much they go up and down.
QUANTITIES: dict[str, Callable[[Line], float | None]] = {
    "final": lambda line: _results(line)[-1],
    "early": lambda line: _results(line)[0],
    "fluctuation": fluctuation,
    "fall": lambda line: _results(line).max() - _results(line)[-1],
    "updates": lambda line: spent(line).updates,
    "gradients": lambda line: spent(line).gradients,
    "operations": lambda line: spent(line).flops,
    "seconds": lambda line: spent(line).seconds,
    "swing": _swing,
}


def compare(comparison: Comparison, lines: Sequence[Line]) -> Outcome | None:
    """Decides a comparison; `None` where fewer than two seeds were measured of both."""
    measure = QUANTITIES[comparison.quantity]
    values = [
        {
            line["seed"]: value
            for line in final_lines(method, comparison.problem, lines)
            if (value := measure(line)) is not None
        }
        for method in (comparison.more, comparison.less)
    ]
    seeds = sorted(values[0].keys() & values[1].keys())
    if len(seeds) < 2:
        return None
    differences = np.array([values[0][seed] - values[1][seed] for seed in seeds])
    return Outcome(comparison, *decide(differences))


def decide(differences: np.ndarray) -> tuple[float, float, str]:
    """What differences of runs with the same seed say, two of them or more.

    Args:
      differences: One a seed; not finite where one of the two runs has no number.

    Returns:
      Their mean, its standard error, and `"yes"` (they are above zero), `"no"` (below)
      or `"open"`.
    """
    mean, error = float(differences.mean()), np.inf
    if not np.isfinite(mean):
        # A run without a number has less than any; a t-test has nothing to say of it.
        decided = bool((differences > 0).all() or (differences < 0).all())
    elif error := float(differences.std(ddof=1) / np.sqrt(len(differences))):
        tail = stats.t.sf(abs(mean) / error, len(differences) - 1)
        decided = bool(2 * tail < LEVEL)
    else:
        decided = mean != 0
    return mean, error, ("yes" if mean > 0 else "no") if decided else "open"


def counts(outcomes: Sequence[Outcome | None]) -> str:
    """How many comparisons say yes, are open and say no, of those that were decided."""
    says = [outcome.says for outcome in outcomes if outcome is not None]
    return ", ".join(str(says.count(word)) for word in ("yes", "open", "no"))


def verdict(outcomes: Sequence[Outcome | None]) -> str:
    """The rule: what the outcomes of a claim's comparisons make of it."""
    decided = [outcome for outcome in outcomes if outcome is not None]
    if len(decided) < len(outcomes) or not decided:
        return "not decided yet" if decided else "not tested here"
    says = [outcome.says for outcome in decided]
    yes, no = says.count("yes") / len(says), says.count("no") / len(says)
    if yes >= 0.75:
        return "holds"
    return "holds in part" if yes >= 0.25 and yes > no else "does not hold"


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
        return "not decided yet" if found else "not tested here"
    within = [each <= claim.within for each in found.values()]
    if all(within):
        return "holds"
    return "holds in part" if any(within) else "does not hold"


def _all(
    quantity: str, problems: Sequence[str], more: Sequence[str], less: Sequence[str]
) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(quantity, problem, a, b)
        for problem in problems
        for a in more
        for b in less
    )


def _widths(dataset: str, *widths: int) -> list[str]:
    return [f"{dataset} {width}" for width in widths or (100, 400, 800)]


S, E = "SAMT-S, gradient", "SAMT-E, gradient"
_BASELINES = ("DANTE", "SGD-HD", "SGD", "Adam")


def _of_curves(number: str, problems: Sequence[str]) -> tuple[Claim, ...]:
    """What the paper reads off its curves of an MLP."""
    return (
        Claim(number, "Dante is fast early",
              _all("early", problems, ["DANTE"], ["SGD", "Adam", S])),
        Claim(number, "Dante falls late",
              _all("fall", problems, ["DANTE"], ["SGD", S])),
        Claim(number, "Adam fluctuates late",
              _all("fluctuation", problems, ["Adam"], ["SGD", S, E])),
        Claim(number, "HD is not competitive",
              _all("final", problems, ["SGD", "Adam", S, E], ["SGD-HD"])),
        Claim(number, "SGD is slow early, SAMT faster",
              _all("early", problems, ["Adam", S], ["SGD"])),
        Claim(number, "SAMT ends higher at most widths",
              _all("final", problems, [S, E], _BASELINES)),
    )  # fmt: skip


def _of_cnn(number: str, problem: str) -> tuple[Claim, ...]:
    """What the paper reads off its curves of a CNN."""
    at = [problem]
    return (
        Claim(number, "HD is inferior at the end",
              _all("final", at, ["SGD", "Adam", S, E], ["SGD-HD"])),
        Claim(number, "Dante is poor",
              _all("final", at, ["SGD", "Adam", S, E], ["DANTE"])),
        Claim(number, "Adam and SGD are faster than SAMT at first",
              _all("early", at, ["Adam", "SGD"], [S, E])),
        Claim(number, "SAMT is more stable late",
              _all("fluctuation", at, ["Adam", "SGD"], [S, E])),
        Claim(number, "SAMT is best at the end", _all("final", at, [S, E], _BASELINES)),
    )  # fmt: skip


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in (*_BASELINES, S, E) if other != name)


def _best_at(number: str, words: str, name: str, problem: str) -> Claim:
    return Claim(number, words, _all("final", [problem], [name], _others(name)))


# The MLPs on whole data sets.
_MLPS = (*_widths("mnist"), *_widths("fashion_mnist"))
# The abstract's words, of the paper's rivals.
_OF_ABSTRACT = (
    *(
        Claim("E16", f"SAMT takes fewer {quantity} to a fixed accuracy",
              _all(quantity, _MLPS, _BASELINES, [S, E]))
        for quantity in ("updates", "gradients", "operations", "seconds")
    ),
    Claim("E16", "SAMT is more stable late in training",
          _all("fluctuation", _MLPS, _BASELINES, [S, E])),
)  # fmt: skip

_TABLES = ("bike 100", "pol 100", "kegg 100")

CLAIMS: tuple[Claim, ...] = (
    *_of_curves("E1", _widths("mnist")),
    *_of_curves("E2", _widths("kmnist_reduced")),
    _best_at("E3", "Adam is ahead at small h", "Adam", "fashion_mnist 100"),
    _best_at("E3", "SAMT-S is ahead in the middle", S, "fashion_mnist 400"),
    _best_at("E3", "SAMT-E is ahead at large h", E, "fashion_mnist 800"),
    *_of_cnn("E4", "cifar10 cnn"),
    *_of_cnn("E5", "cifar100 cnn"),
    Claim("E5", "SAMT-E is above SAMT-S early",
          _all("early", ["cifar100 cnn"], [E], [S])),
    Claim("E5", "SAMT-S is above SAMT-E late",
          _all("final", ["cifar100 cnn"], [S], [E])),
    *(
        Claim("E7", f"SAMT-{more} is better at {words} η0", tuple(
            Comparison("final", problem, f"SAMT-{more}, η0 {step:g}",
                       f"SAMT-{less}, η0 {step:g}")
            for problem in _widths("kmnist_reduced", 100, 400) for step in steps
        ))
        for more, less, words, steps in (
            ("E", "S", "larger", STEPS[-3:]),
            ("S", "E", "smaller", STEPS[:3]),
        )
    ),
    Claim("E8", "SAMT-E: right is above left throughout",
          _all("final", _MLPS, ["SAMT-E, right"], ["SAMT-E, left"])),
    Claim("E8", "SAMT-E: left is a little above a constant step",
          _all("final", _MLPS, ["SAMT-E, left"], ["SAMT-E, constant"])),
    Claim("E8", "SAMT-E: both together are best on MNIST",
          _all("final", _widths("mnist"), ["SAMT-E, both"],
               ["SAMT-E, right", "SAMT-E, left", "SAMT-E, constant"])),
    Claim("E9", "SAMT-S: right is above a constant step and left at most widths",
          _all("final", _MLPS, ["SAMT-S, right"],
               ["SAMT-S, constant", "SAMT-S, left"])),
    Claim("E9", "SAMT-S: both together are better at large h",
          _all("final", ["mnist 800", "fashion_mnist 800"], ["SAMT-S, both"],
               ["SAMT-S, right", "SAMT-S, left", "SAMT-S, constant"])),
    Claim("E10", "KMNIST, SAMT-E: right is ahead",
          _all("final", _widths("kmnist_reduced"), ["SAMT-E, right"],
               ["SAMT-E, left", "SAMT-E, constant"])),
    Claim("E11", "MNIST, SAMT-E: tanh wins at nearly all widths",
          _all("final", _widths("mnist"), ["SAMT-E, tanh"], ["SAMT-E, sigmoid"])),
    Claim("E12", "KMNIST, SAMT-E: tanh is best nearly everywhere",
          _all("final", _widths("kmnist_reduced"), ["SAMT-E, tanh"],
               ["SAMT-E, sigmoid"])),
    Claim("E12", "KMNIST, SAMT-S: sigmoid at small h",
          _all("final", ["kmnist_reduced 100"], ["SAMT-S, sigmoid"],
               ["SAMT-S, tanh"])),
    Claim("E12", "KMNIST, SAMT-S: tanh at large h",
          _all("final", ["kmnist_reduced 800"], ["SAMT-S, tanh"],
               ["SAMT-S, sigmoid"])),
    Claim("E14", "SAMT-E is best on Pol and Kegg",
          _all("final", _TABLES[1:], [E], _others(E))),
    _best_at("E14", "SAMT-S is best on Bike", S, "bike 100"),
    Claim("E14", "Adam is strong",
          _all("final", _TABLES, ["Adam"], ["SGD", "SGD-HD", "DANTE"])),
    Claim("E15", "MNIST: rows are lowest",
          _all("final", _widths("mnist"), ["SAMT-S", "SAMT-E", "SAMT-C"], ["SAMT-R"])),
    Claim("E15", "KMNIST: rows are above columns",
          _all("final", _widths("kmnist_reduced"), ["SAMT-R"], ["SAMT-C"])),
    Claim("E15", "FMNIST: columns are a little above rows",
          _all("final", _widths("fashion_mnist"), ["SAMT-C"], ["SAMT-R"])),
    *_OF_ABSTRACT,
)  # fmt: skip

STEADY: tuple[Steady, ...] = tuple(
    Steady(
        "E6",
        f"MNIST, SAMT-{letter}: at small h, η0 from {STEPS[0]:g} to {STEPS[-1]:g} "
        "moves the accuracy by no more than ± 0.2",
        ("mnist 100",),
        tuple(f"SAMT-{letter}, η0 {step:g}" for step in STEPS),
        0.2,
    )
    for letter in "SE"
)
