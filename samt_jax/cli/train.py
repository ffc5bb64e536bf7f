"""`samt train`: one network, one optimizer, one run folder."""

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from samt_jax.cli.display import format_metric, result_console
from samt_jax.cli.keeping import (
    METRICS,
    TakenUp,
    last_good,
    make_keeping,
    take_up,
    told_to_stop,
)
from samt_jax.cli.options import Train, num_epochs
from samt_jax.cli.saved import CONFIG, ETA_MODELS, SUMMARY, command_of
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
from samt_jax.manifest import CheckpointError
from samt_jax.meta_params import save_meta_params, trained_meta_params
from samt_jax.metrics import Line
from samt_jax.optimizers import find_optimizer
from samt_jax.runs import append_line, locked, new_run_folder, to_json, write_json
from samt_jax.trainer import Trainer

EXIT_CODES = {"finished": 0, "stopped": 75, "interrupted": 130}


def run(options: Train) -> int:
    """Trains, and leaves a run folder.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code.

    Raises:
      UsageError: What only data and network could show to be wrong; nothing is written.
    """
    setting, trainer, config = _prepare(options)
    title = f"{options.data.dataset}-{options.optimizer}"
    folder = new_run_folder(options.run.out, title)
    with locked(folder, new=True):
        write_json(folder / CONFIG, config)
        return _carry_out(options, setting, trainer, config, folder, TakenUp(None, []))


def go_on(options: Train, folder: Path) -> int:
    """Goes on with a run that did not come to its end.

    Args:
      options: What it was started with.
      folder: Its folder, locked.

    Returns:
      The exit code.

    Raises:
      CheckpointError: No checkpoint is good, or one is of another run.
      RunFolderError: The metrics up to there are lost.
      UsageError: The data are no longer there.
    """
    setting, trainer, config = _prepare(options)
    start = take_up(folder, config, setting.problem, trainer)
    return _carry_out(options, setting, trainer, config, folder, start)


def end(options: Train, folder: Path, summary: dict[str, Any]) -> int:
    """Says how a run ended, and gives the exit code.

    Args:
      options: What it was started with.
      folder: Its folder.
      summary: What there is to say.

    Returns:
      The exit code of its status.
    """
    if options.run.json:
        print(to_json(summary))
    else:
        _print(summary)
    if advice := _advice(summary, folder):
        print(f"samt: {advice}", file=sys.stderr)
    return EXIT_CODES.get(summary["status"], 1)


def _prepare(options: Train) -> tuple[Setting, Trainer, dict[str, Any]]:
    name = options.optimizer
    setting = set_up(options.data, options.network, options.settings.blocks)
    settings = setting.complete(name, options.settings.given())
    trainer = prepare_run(setting, name, settings, options)
    print_notes(setting)
    config = describe(options, setting, trainer) | {"optimizer": name}
    config["tensorboard"] = options.tensorboard
    config |= {"learning_rate": find_optimizer(name).learning_rate} | settings
    return setting, trainer, config | {"command": command_of(options)}


def _carry_out(
    options: Train,
    setting: Setting,
    trainer: Trainer,
    config: dict[str, Any],
    folder: Path,
    start: TakenUp,
) -> int:
    """Trains from somewhere to the end, and writes the summary."""
    title, every = (
        f"{options.data.dataset}-{options.optimizer}",
        options.checkpoint_every,
    )
    try:
        with _log(options, folder) as write, told_to_stop() as should_stop:
            outcome = follow(
                trainer,
                setting,
                title,
                write,
                progress=start.progress,
                earlier=start.lines,
                keeping=make_keeping(
                    folder, config, setting.problem, every, should_stop
                ),
            )
        summary = _result(options, setting, outcome, folder)
    # Disk and folder are the user's to mend, and the sentence says it.
    except (CheckpointError, OSError) as error:
        summary = _identity(options) | _failed(str(error))
        print(f"samt: {error}", file=sys.stderr)
    except Exception as error:
        # The folder tells what happened; the trace is for whoever mends it.
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        summary = _identity(options) | _failed(reason)
    summary |= {"last_good_checkpoint": last_good(folder), "run_dir": str(folder)}
    try:
        write_json(folder / SUMMARY, summary)
    except OSError as error:
        print(f"samt: {folder / SUMMARY} cannot be written: {error}", file=sys.stderr)
        summary |= {} if summary["status"] == "failed" else _failed(str(error))
    return end(options, folder, summary)


@contextlib.contextmanager
def _log(options: Train, folder: Path) -> Iterator[Callable[[Line], None]]:
    """Where lines of metrics go: into the run folder, and where else was asked."""
    with contextlib.ExitStack() as stack:
        others: list[Callable[[Line], None]] = []
        if options.tensorboard:
            log = tensorboard_log(folder, options.run.seed_list)
            others.append(stack.enter_context(log))

        def write(line: Line) -> None:
            append_line(folder / METRICS, line)
            for other in others:
                other(line)

        yield write


def _result(
    options: Train, setting: Setting, outcome: Outcome, folder: Path
) -> dict[str, Any]:
    """The summary of a run that ended or was left."""
    summary = _identity(options) | {"epochs": len(outcome.lines)}
    if outcome.record is not None:
        seeds = options.run.seed_list
        summary |= summarise(setting, outcome.lines, outcome.record, seeds)
        title = f"{setting.dataset.label}, {options.optimizer}"
        draw(folder, outcome.lines, title, setting.dataset)
        if "meta_params" in find_optimizer(options.optimizer).takes:
            # Of the first seed: another run starts from one set of them.
            learned = trained_meta_params(outcome.record.state, seed=0)
            save_meta_params(folder / ETA_MODELS, learned)
    return summary | ({} if outcome.ending == "ended" else {"status": outcome.ending})


def _advice(summary: dict[str, Any], folder: Path) -> str:
    """What to do about a run that did not end well, in a sentence."""
    status, good = summary["status"], summary["last_good_checkpoint"]
    kept = f"the last good checkpoint is {good}"
    if status == "diverged":
        none = "no good checkpoint was kept, take --checkpoint-every for one"
        takes = find_optimizer(summary["optimizer"]).takes
        steps = {"learning_rate": "--learning-rate", "proposal_max": "--proposal-max"}
        smaller = " and ".join(steps[name] for name in steps if name in takes)
        smaller = f"try a smaller {smaller}; " if smaller else ""
        return f"the run diverged; {smaller}{kept if good else none}."
    if status == "failed":
        none = "no checkpoint was kept"
        return f"the run failed; {kept if good else none}."
    if status == "stopped":
        return f"stopped and saved; go on with `samt resume {folder}`."
    return ""


def _identity(options: Train) -> dict[str, Any]:
    return {
        "dataset": options.data.dataset,
        "optimizer": options.optimizer,
        "model": options.network.model,
        "seed": options.run.seed,
        "seeds": options.run.seeds,
        "epochs": num_epochs(options),
    }


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "error": reason}


def _print(summary: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("status", summary["status"])
    if "label" in summary:
        table.add_row("data set", summary["label"])
    for metric in ("accuracy", "rmse"):
        for kind in ("test", "best_test", "validation"):
            name = f"{kind}_{metric}"
            if name in summary:
                values = summary.get("by_seed", summary)[name]
                words = name.replace("_", " ")
                unit = "" if metric == "accuracy" else f" ({summary['metric_unit']})"
                table.add_row(words, format_metric(values, metric) + unit)
    for name in ("train_seconds", "compile_seconds"):
        if name in summary:
            table.add_row(name.replace("_", " "), f"{summary[name]:.1f}")
    for block, step_size in summary.get("step_sizes", {}).items():
        table.add_row(f"step size, {block}", f"{step_size:.3g}")
    for block, causes in summary.get("skipped_visits", {}).items():
        table.add_row(f"visits skipped, {block}", str(causes))
    table.add_row("run folder", summary["run_dir"])
    result_console(soft_wrap=True).print(table)
