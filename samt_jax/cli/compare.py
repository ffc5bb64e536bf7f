"""`samt compare`: several optimizers on the same footing, one table, one picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from samt_jax.cli.checks import optimizer_settings
from samt_jax.cli.display import format_metric, result_console
from samt_jax.cli.environment import device_label
from samt_jax.cli.options import BATCH_SIZE, Compare, num_epochs
from samt_jax.cli.training import (
    Line,
    Setting,
    describe,
    follow,
    prepare_run,
    print_notes,
    set_up,
    summarise,
)
from samt_jax.plots import plot_comparison, save_figure
from samt_jax.runs import append_line, new_run_folder, to_json, write_json
from samt_jax.trainer import Trainer


def run(options: Compare) -> int:
    """Trains with each optimizer on the same data, first weights and batches.

    Settings go to those optimizers that take them.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code: 1 if any run diverged, 130 if it was interrupted.

    Raises:
      UsageError: What only data and network could show to be wrong; nothing is written
        where it is the first optimizer that shows it.
    """
    asked = optimizer_settings(options)
    setting = set_up(options.data, options.network, options.settings.blocks)
    settings = {name: setting.complete(name, given) for name, given in asked.items()}
    runs: dict[str, list[Line]] = {}
    summaries: list[dict[str, Any]] = []
    folder, interrupted = None, False
    for name in options.names:
        trainer = prepare_run(setting, name, settings[name], options)
        if folder is None:
            print_notes(setting)
            folder = _make_folder(options, setting, trainer, settings)
        outcome = follow(trainer, setting, name, _writer(folder, name))
        if outcome.record is not None:
            runs[name], seeds = outcome.lines, options.run.seed_list
            summary = summarise(setting, outcome.lines, outcome.record, seeds)
            summaries.append({"optimizer": name} | summary)
        if outcome.ending == "interrupted":
            interrupted = True
            break
    assert folder is not None  # There is an optimizer at least.
    result = _result(options, folder, summaries, interrupted)
    write_json(folder / "summary.json", result)
    if runs:
        picture = plot_comparison(
            runs,
            metric=setting.dataset.metric,
            title=setting.dataset.label,
            device=device_label(),
        )
        save_figure(picture, folder / "compare.png")
    _print(options, result, setting.dataset.metric)
    return {"finished": 0, "interrupted": 130}.get(result["status"], 1)


def _make_folder(
    options: Compare, setting: Setting, trainer: Trainer, settings: Mapping[str, Any]
) -> Path:
    folder = new_run_folder(options.run.out, f"compare-{options.data.dataset}")
    config = describe(options, setting, trainer)
    # How many steps an epoch has depends on the optimizer, and so does whether a step
    # needs the whole training set.
    del config["steps_per_epoch"]
    config["batch_size"] = options.run.batch_size or BATCH_SIZE
    write_json(folder / "config.json", config | {"optimizers": settings})
    return folder


def _writer(folder: Path, name: str) -> Any:
    def write(line: Line) -> None:
        append_line(folder / "metrics.jsonl", {"optimizer": name} | line)

    return write


def _result(
    options: Compare,
    folder: Path,
    summaries: list[dict[str, Any]],
    interrupted: bool,
) -> dict[str, Any]:
    diverged = any(summary["status"] == "diverged" for summary in summaries)
    status = "diverged" if diverged else "finished"
    return {
        "dataset": options.data.dataset,
        "model": options.network.model,
        "seed": options.run.seed,
        "seeds": options.run.seeds,
        "epochs": num_epochs(options),
        "status": "interrupted" if interrupted else status,
        "runs": summaries,
        "run_dir": str(folder),
    }


def _print(options: Compare, result: Mapping[str, Any], metric: str) -> None:
    if options.run.json:
        print(to_json(result))
        return
    seeds = f", mean ± sd of {options.run.seeds} seeds" if options.run.seeds > 1 else ""
    parts = ("validation", "test", "best test")
    times = ("train s", "compile s")
    table = Table("optimizer", *parts, *times, "status", title=f"{metric}{seeds}")
    for summary in result["runs"]:
        values = summary.get("by_seed", summary)
        names = [f"{part.replace(' ', '_')}_{metric}" for part in parts]
        table.add_row(
            summary["optimizer"],
            *(format_metric(values[name], metric) for name in names),
            f"{summary['train_seconds']:.1f}",
            f"{summary['compile_seconds']:.1f}",
            summary["status"],
        )
    console = result_console()
    console.print(table)
    console.print(f"run folder: {result['run_dir']}", soft_wrap=True)
