"""The tables of the readings, of the lines that `readings.py` leaves.

A block's step sizes have collapsed where their mean over the last epoch is below
`COLLAPSED` of that over the first, and are at the end of their range above `AT_END` of
it; the range ends at the larger of the learning rate and `proposal_max`.

A reading replaces what it varies if under no seed a step size of its own collapses or
is at the end, it is behind (a t-test at the 5 % level on paired differences) on no
problem, and either it is ahead on at least `WINS` or what it varies collapses itself or
is at the end. Of several that would, the best on the mean of the problems is taken.
Nothing is said before all problems of both have run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.claims import decide
from benchmarks.open_settings import ELSEWHERE, NAMES, READINGS, Reading
from benchmarks.tables import mean_and_sd
from benchmarks.trials import (
    Line,
    Settings,
    has_diverged,
    is_of,
    lines_of,
    validation_score,
)

RESULTS = Path(__file__).parent / "results" / "readings.jsonl"
COLLAPSED, AT_END = 0.01, 0.95
WINS = 2


def table() -> str:
    """Accuracies with their distance from what they vary, step sizes, what came before.

    Returns:
      The tables in Markdown, of the lines that stand, and which do not.
    """
    lines = lines_of(RESULTS)
    accuracies = [_cells(reading, lines, _accuracy) for reading in READINGS]
    steps = [_cells(reading, lines, _steps) for reading in READINGS]
    weights = [_cells(reading, lines, _weights) for reading in READINGS]
    return "\n".join(
        (
            "Validation accuracy in %, mean of the last two epochs, mean ± standard "
            "deviation of three seeds; in brackets minus the row that it varies "
            "(the centre; of entries, the factored head; of the paper's direction, "
            'the row "gradient"), paired by seed, '
            "± standard error, with * where a t-test at the 5 % level decides.\n",
            _as_table(("| | reading", *NAMES), accuracies),
            _missing(lines),
            _verdict(lines),
            _elsewhere(lines),
            "Step sizes of each block, means over the first and the last epoch. "
            f"*Collapsed*: the last is below {100 * COLLAPSED:g} % of the first. *At "
            f"the end*: it is above {100 * AT_END:g} % of the end of the range.\n",
            _as_table(("| | reading", *NAMES), steps),
            "Mixing weights β of each block, likewise; before the first step ½.\n",
            _as_table(("| | reading", *NAMES), weights),
        )
    )


def runs_of(reading: str, problem: str, lines: Sequence[Line]) -> list[Line]:
    """The runs of a reading on a problem, in the order of their seeds."""
    found = [line for line in lines if is_of(line, reading, problem, "reading")]
    return sorted(found, key=lambda line: line["seed"])


def differences(reading: Reading, problem: str, lines: Sequence[Line]) -> np.ndarray:
    """By how many points a reading is ahead of what it varies, one number a seed."""
    scores = [
        {line["seed"]: 100 * validation_score(line)
         for line in runs_of(name, problem, lines)}
        for name in (reading.name, reading.against)
    ]  # fmt: skip
    seeds = sorted(scores[0].keys() & scores[1].keys())
    return np.array([scores[0][seed] - scores[1][seed] for seed in seeds])


def winners(lines: Sequence[Line]) -> list[str]:
    """The readings that by the rule should replace what they vary, the best first."""
    by_name = {reading.name: reading for reading in READINGS}
    found = {}
    for reading in READINGS:
        other = by_name[reading.against]
        ahead = [differences(reading, problem, lines) for problem in reading.problems]
        if other is reading or not all(len(each) > 1 for each in ahead):
            continue
        says = [decide(each)[2] for each in ahead]
        wanted = 0 if fates(other, lines) else WINS
        if says.count("yes") >= wanted and not (
            {"no"} & {*says} or fates(reading, lines)
        ):
            found[reading.name] = float(np.mean([each.mean() for each in ahead]))
    return sorted(found, key=lambda name: -found[name])


def fates(reading: Reading, lines: Sequence[Line]) -> set[str]:
    """What became of a reading's step sizes on any problem, under any seed."""
    runs = [run for problem in reading.problems
            for run in runs_of(reading.name, problem, lines)]  # fmt: skip
    ends = [(run, *each) for run in runs
            for each in ends_by_block([run], "step_size").values()]  # fmt: skip
    return {fate(first, last, run["settings"]) for run, first, last in ends} - {""}


def fate(first: float, last: float, settings: Settings) -> str:
    """What became of a step size: `"collapsed"`, `"at the end"`, or neither, `""`.

    Args:
      first: Its mean over the first epoch.
      last: Its mean over the last.
      settings: The run's, of which two say where the range ends.

    Returns:
      The word.
    """
    end = max(settings["learning_rate"], settings["proposal_max"])
    if last < COLLAPSED * first:
        return "collapsed"
    return "at the end" if last > AT_END * end else ""


def ends_by_block(runs: Sequence[Line], field: str) -> dict[str, tuple[float, float]]:
    """A rate of each block over the first and the last epoch, means of the runs.

    Args:
      runs: The lines.
      field: `"step_size"`, `"mixing_weight"` or `"proposal"`.

    Returns:
      Two numbers a block; none where the lines do not have the field.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for line in runs:
        for name, rates in line["rates"].items():
            block, _, kind = name.partition("/")
            if kind == f"VisitInfo.{field}":
                found.setdefault(block, []).append((rates[0], rates[-1]))
    return {
        block: (
            float(np.mean([a for a, _ in each])),
            float(np.mean([b for _, b in each])),
        )
        for block, each in found.items()
    }


def _cells(
    reading: Reading,
    lines: Sequence[Line],
    show: Callable[[Reading, str, Sequence[Line]], str],
    problems: Sequence[str] = NAMES,
) -> tuple[str, ...]:
    shown = (show(reading, problem, lines) for problem in problems)
    return (f"| {reading.question} | {reading.name}", *shown)


def _accuracy(reading: Reading, problem: str, lines: Sequence[Line]) -> str:
    runs = runs_of(reading.name, problem, lines)
    if not runs:
        return ""
    scores = [100 * validation_score(run) for run in runs if not has_diverged(run)]
    words = [mean_and_sd(scores, of=len(runs))]
    ahead = differences(reading, problem, lines)
    if reading.against != reading.name and len(ahead) > 1:
        mean, error, says = decide(ahead)
        star = "" if says == "open" else "*"
        words.append(f"({mean:+.2f} ± {error:.2f}{star})")
    return " ".join(words)


def _steps(reading: Reading, problem: str, lines: Sequence[Line]) -> str:
    runs = runs_of(reading.name, problem, lines)
    cells = []
    for block, (first, last) in ends_by_block(runs, "step_size").items():
        words = [fate(*ends_by_block([run], "step_size")[block], run["settings"])
                 for run in runs]  # fmt: skip
        told = [f", *{word}* under {words.count(word)} of {len(words)} seeds"
                for word in sorted({*words} - {""})]  # fmt: skip
        cells.append(f"{block} {first:.3g} → {last:.3g}" + "".join(told))
    return "; ".join(cells)


def _weights(reading: Reading, problem: str, lines: Sequence[Line]) -> str:
    ends = ends_by_block(runs_of(reading.name, problem, lines), "mixing_weight")
    return "; ".join(f"{block} {a:.3f} → {b:.3f}" for block, (a, b) in ends.items())


def _as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows with something to show; the first cell stands for two."""
    shown = [row for row in rows if any(row[1:])]
    lines = [" | ".join(cells) + " |" for cells in (head, *shown)]
    return "\n".join([lines[0], "| --- |" + " --- |" * len(head), *lines[1:]]) + "\n"


def _missing(lines: Sequence[Line]) -> str:
    told = []
    for problem in NAMES + ELSEWHERE:
        wanted = [r.name for r in READINGS if problem in r.problems]
        missing = [n for n in wanted if not runs_of(n, problem, lines)]
        if missing:
            all_of_it = len(missing) == len(wanted)
            names = "anything" if all_of_it else ", ".join(missing)
            told.append(f"{names} on {problem}")
    return f"Not run yet: {'; '.join(told)}.\n" if told else ""


def _elsewhere(lines: Sequence[Line]) -> str:
    """What was run beyond the four networks, with the steps that it came to."""

    def show(reading: Reading, problem: str, lines: Sequence[Line]) -> str:
        both = (_accuracy(reading, problem, lines), _steps(reading, problem, lines))
        return "; ".join(filter(None, both))

    rows = [_cells(reading, lines, show, ELSEWHERE) for reading in READINGS]
    return (
        "One set of defaults has to serve regression, a CNN and a long run too: what "
        "is ahead on the four networks, beside the centre. Of Bike the RMSE in "
        "hundredths, with a minus, so that more is better.\n\n"
        + _as_table(("| | reading", *ELSEWHERE), rows)
    )


def _verdict(lines: Sequence[Line]) -> str:
    names = ", ".join(winners(lines)) or "none"
    return (
        "To replace what it varies a reading has to have run on all its problems, to "
        f"be behind on none and ahead on at least {WINS} (on none, where what it "
        "varies collapses), and its step sizes must keep within their range under "
        f"every seed. The best first: {names}.\n"
    )
