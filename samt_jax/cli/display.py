"""What a person sees: a run under way, on standard error, and results."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# As many as stand on a line; the run folder has them all.
SHOWN_BLOCKS = 4
# A sweep is unrolled; beyond this its compilation is worth a word in any case.
MANY_BLOCKS = 12


def result_console(**settings: Any) -> Console:
    """Standard output for tables; brackets in names and paths are no markup there."""
    return Console(file=sys.stdout, markup=False, **settings)


def compiling(name: str, num_blocks: int) -> AbstractContextManager:
    """Says that a run is being compiled: on a terminal while it lasts."""
    console = Console(file=sys.stderr)
    words = f"compiling {name}, {num_blocks} blocks"
    if console.is_terminal:
        return console.status(f"{words} …")
    if num_blocks > MANY_BLOCKS:
        print(f"{words}, which may take minutes", file=sys.stderr, flush=True)
    return nullcontext()


class Display:
    """Progress of a run: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self, epochs: int, name: str, metric: str) -> None:
        """Starts with no epoch done."""
        self._console = Console(file=sys.stderr)
        self._epochs, self._name, self._metric = epochs, name, metric
        # Some ten plain lines a run, and the first and last.
        self._every = max(1, epochs // 10)
        self._progress: Progress | None = None

    def __enter__(self) -> "Display":
        """Shows the bar, where there is a terminal to show it on."""
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[report]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._progress.start()
            self._progress.add_task(self._name, total=self._epochs, report="")
        return self

    def __exit__(self, *exception: Any) -> None:
        """Takes the bar down; its last state stays."""
        if self._progress is not None:
            self._progress.stop()

    def show(self, line: Mapping[str, Any]) -> None:
        """Shows an epoch's line of metrics."""
        report, epoch = describe_epoch(line, self._metric), line["epoch"]
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=epoch, report=report)
        elif epoch % self._every == 0 or epoch in (1, self._epochs):
            words = f"{self._name} {epoch:>4}/{self._epochs}  {report}"
            print(words, file=sys.stderr, flush=True)


def describe_epoch(line: Mapping[str, Any], metric: str) -> str:
    """One epoch in a few words: loss, validation metric, step size of each block."""
    words = [f"loss {np.mean(line['train_loss']):.4f}"]
    words.append(f"validation {format_metric(line[f'validation_{metric}'], metric)}")
    steps = list(line["step_sizes"].items())
    words += [f"{b} {np.mean(values):.2g}" for b, values in steps[:SHOWN_BLOCKS]]
    words += ["…"] if len(steps) > SHOWN_BLOCKS else []
    words += ["diverged"] if "diverged" in line["status"] else []
    return "  ".join(words)


def format_metric(values: Any, metric: str) -> str:
    """A metric for people: accuracy in %, RMSE as it is; spread over seeds if any."""
    scale, digits = (100, 2) if metric == "accuracy" else (1, 4)
    table = scale * np.atleast_1d(np.asarray(values, float))
    unit = " %" if metric == "accuracy" else ""
    spread = f" ± {table.std(ddof=1):.{digits}f}" if table.size > 1 else ""
    return f"{table.mean():.{digits}f}{spread}{unit}"
