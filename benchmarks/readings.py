"""What the paper leaves open, one setting at a time, judged on the validation split.

    python -m benchmarks.readings run [--quick] [--problems ...] [--readings ...]
    python -m benchmarks.readings table

The centre is the library's defaults; each reading changes one setting of it. MNIST and
Fashion-MNIST, 784-h-10 with h = 100 and 400, batch 64, ten epochs, seeds 0 to 2, paired
with the centre's by seed; 55,000 images to train on and 5,000 for validation; the test
set is never loaded. `run` appends to `benchmarks/results/readings.jsonl`, h = 100
first, and leaves out what stands there. `--quick` is one epoch at h = 100, into a file
below `runs/`, in ten minutes.

Budget: 31 readings, all but two on four problems. Five inner steps are run at h = 100
alone, and so is the dense element head (at 400 one seed's takes 467 MiB), on
Fashion-MNIST: 119 cells of three runs. On two cores of their own a cell takes about a
minute at h = 100 and two at 400, with inner steps or another order, which want the
general engine, two to five times that, with the dense head a quarter of an hour: four
hours in all. The five of fifty epochs take nine minutes of one core each.

What counts as collapsed, and what would replace a default, was laid down before any two
readings were compared, in `readings_report.py`. That one set of defaults has to serve
regression and a CNN as well was known too, but not run until a reading was ahead: that
one and the centre were then run on Bike and, three epochs, on CIFAR-10. It serves both.

The centre's meta-optimizer slows down with the length of a run, and that reading's, SGD
at one rate for all, does not. So both were then run for fifty epochs, and before they
were, this was laid down: those count as the other problems do, by the same rule. They
put it out: its first layer's step sizes collapse, and the centre stays the default.

How fast eta models should learn over fifty epochs was asked after that, to see whether
SAMT-S reaches the paper's 90.14 % there: the speed with the best mean of the centre's
and three others was to be run on the test set, beside the default. It is the centre's.

The file also has lines of the phase `exploration`: an earlier search, twenty epochs at
h = 400, of one or two seeds, whose command is gone. It is where the centre comes from;
nothing here is compared with it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.open_settings import ELSEWHERE, NAMES, READINGS
from benchmarks.problems import PROBLEMS
from benchmarks.readings_report import RESULTS, table
from benchmarks.trials import run_missing

SEEDS = (0, 1, 2)
QUICK, QUICK_EPOCHS = Path("runs") / "readings-quick.jsonl", 1


def run(names: Sequence[str], readings: Sequence[str], *, quick: bool) -> None:
    """Makes the runs of these readings that have no line yet, problem by problem."""
    path = QUICK if quick else RESULTS
    path.parent.mkdir(exist_ok=True)
    for name in names:
        for reading in READINGS:
            if reading.name not in readings or name not in reading.problems:
                continue
            problem = PROBLEMS[name]._replace(use_bias=reading.use_bias)
            if quick:
                problem = problem._replace(epochs=QUICK_EPOCHS)
            method = reading.method
            run_missing(method, problem, "reading", method.settings, path, SEEDS)


def main() -> None:
    """The command."""
    every = [reading.name for reading in READINGS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readings")
    parser.add_argument("command", choices=("run", "table"))
    problems = NAMES + ELSEWHERE
    parser.add_argument("--problems", nargs="+", choices=problems, default=problems)
    parser.add_argument("--readings", nargs="+", choices=every, default=every)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.command == "run":
        names = NAMES[:2] if options.quick else options.problems
        run(names, options.readings, quick=options.quick)
    else:
        print(table())


if __name__ == "__main__":
    main()
