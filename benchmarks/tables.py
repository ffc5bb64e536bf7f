"""Tables of the lines that `trials.py` writes: means and spreads over seeds.

Accuracies are in %, mean ± standard deviation over the seeds whose runs finished; how
many diverged stands beside it. The best epoch of a run is the best on the validation
split; the test set chooses nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from benchmarks import paper
from benchmarks.problems import Benchmark
from benchmarks.trials import SEEDS, Line, Method, epochs_to_target, final_lines


def print_summary(
    methods: Sequence[Method],
    problems: Sequence[str],
    lines: Sequence[Line],
    in_paper: Mapping[str, str],
) -> None:
    """Prints test accuracy after the last epoch, a column a problem, of what was run.

    Args:
      methods: The rows.
      problems: The columns: names of problems.
      lines: All lines.
      in_paper: The paper's name of a method, where it differs.
    """
    print("| method | " + " | ".join(problems) + " |")
    print("| --- |" + " --- |" * len(problems))
    for method in methods:
        if not any(final_lines(method.name, name, lines) for name in problems):
            continue
        cells = [
            _with_paper(
                _mean(final_lines(method.name, name, lines), _final("test")),
                name,
                in_paper.get(method.name, method.name),
            )
            for name in problems
        ]
        print(f"| {method.name} | " + " | ".join(cells) + " |")
    print()


def _with_paper(cell: str, problem: str, method: str) -> str:
    known = paper.NUMBERS.get(problem, {}).get(method)
    return cell if known is None else f"{cell} (paper: {known:.2f})"


def print_problem(
    methods: Sequence[Method], benchmark: Benchmark, lines: Sequence[Line]
) -> None:
    """Prints all that was measured on a problem, a row a method.

    Args:
      methods: The rows.
      benchmark: The problem.
      lines: All lines.
    """
    columns: dict[str, Callable[[Sequence[Line]], str]] = {
        "settings": lambda runs: _settings(runs[0]),
        "validation": lambda runs: _mean(runs, _final("validation")),
        "test": lambda runs: _mean(runs, _final("test")),
        "test, best epoch": lambda runs: _mean(runs, _at_best_epoch),
        "epochs to target": lambda runs: _to_target(runs, benchmark.target),
        "an epoch, in Adam's": lambda runs: times.get(runs[0]["method"], ""),
        "gradients": lambda runs: f"{runs[0]['gradient_evaluations']:,}",
    }
    times = relative_times(benchmark.name, lines)
    print(f"{benchmark.name}, {benchmark.epochs} epochs; the target is a validation "
          f"accuracy of {100 * benchmark.target:g} %.\n")  # fmt: skip
    print("| method | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    missing = []
    for method in methods:
        runs = final_lines(method.name, benchmark.name, lines)
        if runs:
            cells = [cell(runs) for cell in columns.values()]
            print(f"| {method.name} | " + " | ".join(cells) + " |")
        if len(runs) < len(SEEDS):
            missing.append(method.name)
    print(f"\nNot all seeds were run of: {', '.join(missing)}.\n" if missing else "")


def mean_and_sd(
    values: Sequence[float] | np.ndarray, *, of: int | None = None, digits: int = 2
) -> str:
    """Mean ± standard deviation over seeds.

    Args:
      values: One a run: of one there is no deviation, of none nothing.
      of: How many runs there were; those without a value diverged. By default these.
      digits: After the point.

    Returns:
      The words.

    Example:
      >>> mean_and_sd([1.0, 3.0]), mean_and_sd([1.0], of=3, digits=0)
      ('2.00 ± 1.41', '1 (2 of 3 diverged)')
    """
    words = [f"{np.mean(values):.{digits}f}"] if len(values) else []
    if len(values) > 1:
        words.append(f"± {np.std(values, ddof=1):.{digits}f}")
    if of is not None and len(values) < of:
        words.append(f"({of - len(values)} of {of} diverged)")
    return " ".join(words)


def _mean(runs: Sequence[Line], measure: Callable[[Line], float]) -> str:
    values = [measure(line) for line in runs if line["status"] == "finished"]
    return mean_and_sd(values, of=len(runs))


def _final(part: str) -> Callable[[Line], float]:
    return lambda line: 100 * line[f"{part}_accuracy"][-1]


def _at_best_epoch(line: Line) -> float:
    return 100 * line["test_accuracy"][int(np.argmax(line["validation_accuracy"]))]


def _to_target(runs: Sequence[Line], target: float) -> str:
    """Epochs until the target; how many runs reached it where not all did."""
    found = [epochs_to_target(line, target) for line in runs]
    epochs = [each for each in found if each is not None]
    if not epochs:
        return "never"
    note = "" if len(epochs) == len(runs) else f" ({len(epochs)} of {len(runs)})"
    return f"{np.mean(epochs):.1f}{note}"


def relative_times(problem: str, lines: Iterable[Line]) -> dict[str, str]:
    """An epoch's time by method, in units of Adam's: the median over rounds.

    Args:
      problem: Name of the problem.
      lines: All lines; those that were timed together are compared.

    Returns:
      The ratios, as text.
    """
    seconds = {
        line["method"]: np.array(line["train_seconds"])
        for line in lines
        if line["phase"] == "time" and line["problem"] == problem
    }
    return {
        method: f"{np.median(each / seconds['Adam']):.2f}"
        for method, each in seconds.items()
        if "Adam" in seconds
    }


def print_rates(methods: Sequence[Method], problem: str, lines: Sequence[Line]) -> None:
    """Prints the learning rate that each method chose, epoch by epoch.

    Args:
      methods: The rows.
      problem: Name of the problem.
      lines: All lines; means over the seeds whose runs finished.
    """
    print("The learning rate, mean of each epoch:\n")
    for method in methods:
        rates = [
            each
            for line in final_lines(method.name, problem, lines)
            for name, each in line["rates"].items()
            if name.endswith("learning_rate") and line["status"] == "finished"
        ]
        if rates:
            print(f"{method.name}:", *(f"{r:.2g}" for r in np.mean(rates, axis=0)))


def _settings(line: Line) -> str:
    return ", ".join(f"{key} {value}" for key, value in line["settings"].items())
