"""`samt train`: one network, one optimizer, one run folder."""

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from samt_jax.cli.display import format_metric
from samt_jax.cli.options import Train, num_epochs
from samt_jax.cli.tensorboard import tensorboard_log
from samt_jax.cli.training import (
    Outcome,
    Setting,
    describe,
    draw,
    follow,
    prepare_run,
    print_notes,
    set_up,
    summarise,
)
from samt_jax.metrics import Line
from samt_jax.optimizers import find_optimizer
from samt_jax.runs import append_line, new_run_folder, to_json, write_json


def run(options: Train) -> int:
    """Trains, and leaves a run folder.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code.

    Raises:
      UsageError: What only data and network could show to be wrong; nothing is written.
    """
    settings, name = options.settings.given(), options.optimizer
    setting = set_up(options.data, options.network)
    trainer = prepare_run(setting, name, settings, options.data, options.run)
    print_notes(setting)
    title = f"{options.data.dataset}-{name}"
    folder = new_run_folder(options.run.out, title)
    config = describe(options, setting, trainer) | {"optimizer": name}
    config["tensorboard"] = options.tensorboard
    config |= {"learning_rate": find_optimizer(name).learning_rate} | settings
    write_json(folder / "config.json", config)
    try:
        with _log(options, folder) as write:
            outcome = follow(trainer, setting, title, write)
    except Exception as error:
        # The folder tells what happened; the trace is for whoever mends it.
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return _end(options, folder, _identity(options) | _failed(reason), "failed")
    return _end(options, folder, *_result(options, setting, outcome, folder))


@contextlib.contextmanager
def _log(options: Train, folder: Path) -> Iterator[Callable[[Line], None]]:
    """Where lines of metrics go: into the run folder, and where else was asked."""
    with contextlib.ExitStack() as stack:
        others: list[Callable[[Line], None]] = []
        if options.tensorboard:
            log = tensorboard_log(folder, options.run.seed_list)
            others.append(stack.enter_context(log))

        def write(line: Line) -> None:
            append_line(folder / "metrics.jsonl", line)
            for other in others:
                other(line)

        yield write


def _result(
    options: Train, setting: Setting, outcome: Outcome, folder: Path
) -> tuple[dict[str, Any], str]:
    """The summary of a run that ended or was interrupted, and its status."""
    summary = _identity(options) | {"epochs": len(outcome.lines)}
    if outcome.record is not None:
        seeds = options.run.seed_list
        summary |= summarise(setting, outcome.lines, outcome.record, seeds)
        title = f"{setting.dataset.label}, {options.optimizer}"
        draw(folder, outcome.lines, title, setting.dataset)
    status = "interrupted" if outcome.interrupted else summary["status"]
    return summary | {"status": status}, status


def _identity(options: Train) -> dict[str, Any]:
    return {
        "dataset": options.data.dataset,
        "optimizer": options.optimizer,
        "model": options.network.model,
        "seed": options.run.seed,
        "seeds": options.run.seeds,
        "epochs": num_epochs(options.data, options.run),
    }


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "error": reason}


def _end(options: Train, folder: Path, summary: dict[str, Any], status: str) -> int:
    """Writes the summary, says it, and gives the exit code."""
    summary |= {"run_dir": str(folder)}
    write_json(folder / "summary.json", summary)
    if options.run.json:
        print(to_json(summary))
    else:
        _print(summary)
    return {"finished": 0, "interrupted": 130}.get(status, 1)


def _print(summary: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("status", summary["status"])
    for metric in ("accuracy", "rmse"):
        for kind in ("test", "best_test", "validation"):
            name = f"{kind}_{metric}"
            if name in summary:
                values = summary.get("by_seed", summary)[name]
                words = name.replace("_", " ")
                table.add_row(words, format_metric(values, metric))
    for name in ("train_seconds", "compile_seconds"):
        if name in summary:
            table.add_row(name.replace("_", " "), f"{summary[name]:.1f}")
    for block, step_size in summary.get("step_sizes", {}).items():
        table.add_row(f"step size, {block}", f"{step_size:.3g}")
    for block, causes in summary.get("skipped_visits", {}).items():
        table.add_row(f"visits skipped, {block}", str(causes))
    table.add_row("run folder", summary["run_dir"])
    Console(file=sys.stdout, soft_wrap=True).print(table)
