"""What the paper leaves open, one setting at a time, judged on the validation split.

    python -m benchmarks.readings run [--quick] [--problems ...]
    python -m benchmarks.readings table

The centre is the library's defaults; each reading changes one setting of it. MNIST and
Fashion-MNIST, 784-h-10 with h = 100 and 400, batch 64, ten epochs, seeds 0 to 2, paired
with the centre's by seed; 55,000 images to train on and 5,000 for validation; the test
set is never loaded. `run` appends to `benchmarks/results/readings.jsonl`, h = 100
first, and leaves out what stands there. `--quick` is one epoch at h = 100, into a file
below `runs/`, in ten minutes.

Budget: 23 readings on four problems, the dense element head at h = 100 alone (at 400
one seed's takes 467 MiB): 90 cells of three runs. On two cores of their own a cell
takes about a minute at h = 100 and two at 400, with inner steps or another order, which
want the general engine, two to five times that, with the dense head a quarter of an
hour: three hours in all.

A block's step sizes have collapsed where their mean over the last epoch is below
`COLLAPSED` of that over the first, and are at the end of their range above `AT_END` of
it; the range ends at the larger of the learning rate and `proposal_max`.

A reading replaces the default it varies if it is ahead of it (a t-test at the 5 % level
on paired differences) on at least `WINS` problems and behind on none.

The file also has lines of the phase `exploration`: an earlier search, twenty epochs at
h = 400, of one or two seeds, whose command is gone. It is where the centre comes from;
nothing here is compared with it.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.claims import decide
from benchmarks.problems import PROBLEMS
from benchmarks.trials import (
    Line,
    Method,
    Settings,
    is_of,
    lines_of,
    run_missing,
    validation_score,
)

RESULTS = Path(__file__).parent / "results" / "readings.jsonl"
QUICK, QUICK_EPOCHS = Path("runs") / "readings-quick.jsonl", 1
NAMES = ("fashion_mnist 100", "mnist 100", "fashion_mnist 400", "mnist 400")
COLLAPSED, AT_END = 0.01, 0.95
WINS = 2

# The library's defaults, written out, so that a line says what was run; a test holds
# them equal. The meta-optimizer's rate is the library's too: 0.6 by the steps.
CENTRE: Settings = {
    "learning_rate": 0.1,
    "shared_eta_model": False,
    "num_train": 1,
    "meta_batch": "next",
    "meta_optimizer": "adam",
    "proposal_max": 0.3,
    "squash": "tanh",
    "inner_steps": 1,
    "feature_scale": 1e-8,
    "order": "forward",
    "direction": "momentum",
}
# Of ten epochs of 859 sweeps, a third and three times the library's 0.6.
SLOW, FAST = 2.33e-5, 2.1e-4


class Reading(NamedTuple):
    """One setting changed.

    Attributes:
      question: The paper's open question, by its number.
      name: What lines and tables call it.
      changes: What differs from `CENTRE`.
      optimizer: Its name in the library.
      use_bias: Whether the network has biases.
      against: Name of the reading that it is compared with.
      problems: What it is run on.
    """

    question: str
    name: str
    changes: Settings
    optimizer: str = "samt-s"
    use_bias: bool = True
    against: str = "centre"
    problems: tuple[str, ...] = NAMES

    @property
    def method(self) -> Method:
        """The reading as a method whose settings are all fixed."""
        settings = CENTRE | self.changes
        return Method(self.name, self.optimizer, settings, is_tuned=False)


def _dense_head() -> Reading:
    changes, narrow = {"element_head": "dense"}, NAMES[:2]
    name, against = "entries, dense head", "entries, factored head"
    return Reading("Q8", name, changes, "samt-e", against=against, problems=narrow)


READINGS = (
    Reading("", "centre", {}),
    Reading("Q1", "one eta model for all blocks", {"shared_eta_model": True}),
    Reading("Q2", "a batch a block", {"num_train": 2}),
    Reading("Q3", "meta-batch strided", {"meta_batch": "strided"}),
    Reading("Q3", "meta-batch same", {"meta_batch": "same"}),
    Reading("Q3", "meta-batch held out", {"meta_batch": "held_out"}),
    *(
        Reading("Q7", f"meta-optimizer SGD, {rate:g}",
                {"meta_optimizer": "sgd", "meta_learning_rate": rate})
        for rate in (0.01, 0.1, 1.0)
    ),
    Reading("Q7", "meta-optimizer at a third", {"meta_learning_rate": SLOW}),
    Reading("Q7", "meta-optimizer three times as fast", {"meta_learning_rate": FAST}),
    Reading("Q9", "proposals up to 0.1", {"proposal_max": 0.1}),
    Reading("Q9", "proposals up to 1", {"proposal_max": 1.0}),
    Reading("Q10", "sigmoid", {"squash": "sigmoid"}),
    Reading("Q13", "no biases", {}, use_bias=False),
    Reading("Q14", "raw features", {"feature_scale": 0.0}),
    Reading("Q20", "backward", {"order": "backward"}),
    Reading("", "direction gradient", {"direction": "gradient"}),
    Reading("Q8", "entries, factored head", {"element_head": "factored"}, "samt-e"),
    Reading("Q11", "2 inner steps", {"inner_steps": 2}),
    Reading("Q20", "random order", {"order": "random"}),
    Reading("Q11", "5 inner steps", {"inner_steps": 5}),
    _dense_head(),
)  # fmt: skip


def run(names: Sequence[str], *, quick: bool) -> None:
    """Makes the runs that have no line yet, problem by problem."""
    path = QUICK if quick else RESULTS
    path.parent.mkdir(exist_ok=True)
    for name in names:
        for reading in READINGS:
            if name not in reading.problems:
                continue
            problem = PROBLEMS[name]._replace(use_bias=reading.use_bias)
            if quick:
                problem = problem._replace(epochs=QUICK_EPOCHS)
            method = reading.method
            run_missing(method, problem, "reading", method.settings, path)


def table() -> str:
    """Accuracies with their distance from what they vary, step sizes, what came before.

    Returns:
      Three tables in Markdown, of the lines that stand, and which do not.
    """
    lines = lines_of(RESULTS)
    accuracies = [_cells(reading, lines, _accuracy) for reading in READINGS]
    steps = [_cells(reading, lines, _steps) for reading in READINGS]
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


def steps_by_block(runs: Sequence[Line]) -> dict[str, tuple[float, float]]:
    """Step size of each block over the first and the last epoch, means of the runs."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in runs:
        for name, rates in line["rates"].items():
            block, _, field = name.partition("/")
            if field in ("", "VisitInfo.step_size"):
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
    words = [f"{np.mean(scores):.2f}"] if scores else []
    if len(scores) > 1:
        words.append(f"± {np.std(scores, ddof=1):.2f}")
    if len(finished) < len(runs):
        words.append(f"({len(runs) - len(finished)} of {len(runs)} diverged)")
    ahead = differences(reading, problem, lines)
    if reading.against != reading.name and len(ahead) > 1:
        mean, error, says = decide(ahead)
        star = "" if says == "open" else "*"
        words.append(f"({mean:+.2f} ± {error:.2f}{star})")
    return " ".join(words)


def _steps(reading: Reading, problem: str, lines: Sequence[Line]) -> str:
    runs = runs_of(reading.name, problem, lines)
    cells = []
    for block, (first, last) in steps_by_block(runs).items():
        word = fate(first, last, runs[0]["settings"])
        cells.append(f"{block} {first:.3g} → {last:.3g}" + (word and f", *{word}*"))
    return "; ".join(cells)


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
            for block, (first, last) in steps_by_block([line]).items()
        )
        accuracy = 100 * np.mean(line["validation_accuracy"][-5:])
        rows.append((f"| {settings} | {line['seed']}", f"{accuracy:.2f}", steps))
    return _as_table(("| settings | seed", "validation", "step sizes"), rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readings")
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--problems", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.command == "run":
        names = NAMES[:2] if options.quick else options.problems
        run(names, quick=options.quick)
    else:
        print(table())


if __name__ == "__main__":
    main()
