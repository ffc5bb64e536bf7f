"""The paper's tables and figures and its open questions, one command each.

    python -m benchmarks.reproduce list
    python -m benchmarks.reproduce table2
    python -m benchmarks.reproduce table2 --quick
    python -m benchmarks.reproduce table2 --problems "fashion_mnist 100"
    python -m benchmarks.reproduce figure5 --time [--problems ...] [--methods ...]
    python -m benchmarks.reproduce table3
    python -m benchmarks.reproduce report

What stands in the results is not run again, so that a run can be stopped and taken up.
`--quick` tries the experiment out in minutes: two epochs of the smallest networks each,
into a file of its own below `runs/`, and prints what came of it; nothing of it goes
into the report, `benchmarks/REPORT.md`, which is made of the committed lines. `--time`
trains nothing to its end: it times an epoch of each method, in turns, for the machine
at rest. Table 3 is of other methods, and takes iterations over all examples:
`layerwise_rivals.py` makes it, of which `table3` is another name. The settings that the
paper leaves open, what eta models answer, and the theory have commands of their own,
`readings`, `mixing` and `theory`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import layerwise_rivals, layerwise_table
from benchmarks.experiments import EXPERIMENTS, Experiment
from benchmarks.problems import PROBLEMS
from benchmarks.questions import QUESTIONS
from benchmarks.report import REPORT, experiment_table, write_report
from benchmarks.timing import time_methods
from benchmarks.trials import lines_of, run_method

QUICK = Path("runs") / "reproduce-quick.jsonl"
QUICK_EPOCHS = 2
# How the names of the larger networks end.
LARGE = ("400", "800", "x4", "x8")
ALL, TABLE_3 = EXPERIMENTS | QUESTIONS, "table3"


def run(name: str, *, quick: bool, only: Sequence[str] | None = None) -> None:
    """Makes the runs of an experiment that have no line yet, and prints its table."""
    experiment = ALL[name]
    if only is not None:
        experiment = _restricted(experiment, only)
    if quick:
        experiment = _small(experiment)
    problems = [PROBLEMS[problem] for problem in experiment.problems]
    if quick:
        problems = [problem._replace(epochs=QUICK_EPOCHS) for problem in problems]
        experiment.path.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    for benchmark in problems:
        for method in experiment.methods:
            run_method(method, benchmark, experiment.path)
    minutes = (time.monotonic() - started) / 60
    print(f"{name}: {minutes:.1f} minutes, at most {experiment.minutes} were meant.",
          file=sys.stderr)  # fmt: skip
    print(experiment_table(experiment, lines_of(experiment.path)))


def time_all(
    name: str, only: Sequence[str] | None, names: Sequence[str] | None
) -> None:
    """Times an epoch of an experiment's methods on each of its problems, in turns."""
    experiment = ALL[name]
    if only is not None:
        experiment = _restricted(experiment, only)
    known = [method.name for method in experiment.methods]
    if unknown := [each for each in names or () if each not in known]:
        raise SystemExit(
            f"{experiment.title} has no method {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(map(repr, known))}."
        )
    methods = [m for m in experiment.methods if names is None or m.name in names]
    for problem in experiment.problems:
        time_methods(methods, PROBLEMS[problem], experiment.path)


def _restricted(experiment: Experiment, only: Sequence[str]) -> Experiment:
    """The problems that are asked for alone."""
    if unknown := [name for name in only if name not in experiment.problems]:
        raise SystemExit(
            f"{experiment.title} has no problem {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(map(repr, experiment.problems))}."
        )
    return experiment._replace(problems=tuple(only))


def _small(experiment: Experiment) -> Experiment:
    """The smallest networks alone, and their lines in a file of their own."""
    small = tuple(p for p in experiment.problems if not p.endswith(LARGE))
    return experiment._replace(problems=small or experiment.problems[:1], path=QUICK)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduce")
    parser.add_argument("what", choices=(*ALL, TABLE_3, "list", "report"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--problems", nargs="+", help="of the experiment's alone")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--methods", nargs="+", help="of those that are timed")
    options = parser.parse_args()
    if options.what == "list":
        rows = [(name, each.title, each.minutes) for name, each in ALL.items()]
        rows.append((TABLE_3, "Table 3", layerwise_rivals.MINUTES))
        width = max(len(title) for _, title, _ in rows) + 2
        for name, title, minutes in rows:
            print(f"{name:20}{title:{width}}up to {minutes} minutes")
    elif options.what == "report":
        write_report()
        print(REPORT)
    elif options.what == TABLE_3:
        layerwise_rivals.run(quick=options.quick)
        print(
            layerwise_table.table(
                layerwise_rivals.QUICK if options.quick else layerwise_rivals.RESULTS
            )
        )
    elif options.time:
        time_all(options.what, options.problems, options.methods)
    else:
        run(options.what, quick=options.quick, only=options.problems)


if __name__ == "__main__":
    main()
