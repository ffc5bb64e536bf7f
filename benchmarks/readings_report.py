"""The tables of the readings, of the lines that `readings.py` leaves.

A block's step sizes have collapsed where their mean over the last epoch is below
`COLLAPSED` of that over the first, and are at the end of their range above `AT_END` of
it; the range ends at the larger of the learning rate and `proposal_max`.

A reading replaces the default it varies if it is ahead of it (a t-test at the 5 % level
on paired differences) on at least `WINS` problems and behind on none.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.claims import decide
from benchmarks.open_settings import NAMES, READINGS, Reading
from benchmarks.tables import mean_and_sd
from benchmarks.trials import Line, Settings, is_of, lines_of, validation_score

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
            "(entries: the factored head; all others: the centre), paired by seed, "
            "± standard error, with * where a t-test at the 5 % level decides.\n",
            _as_table(("| | reading", *NAMES), accuracies),
            _missing(lines),
            _verdict(lines),
            "Step sizes of each block, means over the first and the last epoch. "
            f"*Collapsed*: the last is below {100 * COLLAPSED:g} % of the first. *At "
            f"the end*: it is above {100 * AT_END:g} % of the end of the range.\n",
            _as_table(("| | reading", *NAMES), steps),
            "Mixing weights β of each block, likewise; before the first step ½.\n",
            _as_table(("| | reading", *NAMES), weights),
            "The exploration that the centre comes from: Fashion-MNIST, 784-400-10, "
            "twenty epochs, one seed a line, mean of the last five epochs. Its command "
            "is gone, and nothing above is compared with it.\n",
            _exploration(lines),
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
    """The readings that by the rule should replace what they vary."""
    found = []
    for reading in READINGS:
        ahead = [differences(reading, problem, lines) for problem in reading.problems]
        says = [decide(each)[2] for each in ahead if len(each) > 1]
        if says.count("yes") >= WINS and "no" not in says:
            found.append(reading.name)
    return found


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
            # The exploration's lines have step sizes alone, without a name.
            if (kind or "VisitInfo.step_size") == f"VisitInfo.{field}":
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
) -> tuple[str, ...]:
    shown = (show(reading, problem, lines) for problem in NAMES)
    return (f"| {reading.question} | {reading.name}", *shown)


def _accuracy(reading: Reading, problem: str, lines: Sequence[Line]) -> str:
    runs = runs_of(reading.name, problem, lines)
    if not runs:
        return ""
    finished = [run for run in runs if run["status"] == "finished"]
    scores = [100 * validation_score(run) for run in finished]
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
        word = fate(first, last, runs[0]["settings"])
        cells.append(f"{block} {first:.3g} → {last:.3g}" + (word and f", *{word}*"))
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
    for problem in NAMES:
        wanted = [r.name for r in READINGS if problem in r.problems]
        missing = [n for n in wanted if not runs_of(n, problem, lines)]
        if missing:
            all_of_it = len(missing) == len(wanted)
            names = "anything" if all_of_it else ", ".join(missing)
            told.append(f"{names} on {problem}")
    return f"Not run yet: {'; '.join(told)}.\n" if told else ""


def _verdict(lines: Sequence[Line]) -> str:
    names = ", ".join(winners(lines)) or "none"
    return (
        f"Ahead on at least {WINS} of the problems and behind on none, so that it "
        f"should replace the default: {names}.\n"
    )


def _exploration(lines: Sequence[Line]) -> str:
    rows = []
    for line in (line for line in lines if line["phase"] == "exploration"):
        settings = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in line["settings"].items()
        )
        steps = "; ".join(
            f"{block} {first:.3g} → {last:.3g}"
            for block, (first, last) in ends_by_block([line], "step_size").items()
        )
        accuracy = 100 * np.mean(line["validation_accuracy"][-5:])
        rows.append((f"| {settings} | {line['seed']}", f"{accuracy:.2f}", steps))
    return _as_table(("| settings | seed", "validation", "step sizes"), rows)
