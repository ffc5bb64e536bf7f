"""One training run from options to metrics: what `train` and `compare` share."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from samt_jax.blocks import BlockTable, partition_blocks
from samt_jax.cli.display import Display, compiling
from samt_jax.cli.environment import device_label, environment
from samt_jax.cli.memory import in_units, print_memory
from samt_jax.cli.options import Compare, Data, Network, Train, batch_size, num_epochs
from samt_jax.cli.saved import ETA_MODELS
from samt_jax.cli.values import UsageError
from samt_jax.data import Dataset, load
from samt_jax.loop import state_sha256
from samt_jax.meta_params import load_meta_params
from samt_jax.metrics import Line, metrics_line
from samt_jax.models import build_model
from samt_jax.optimizers import find_optimizer, make_optimizer
from samt_jax.problem import Problem, supervised
from samt_jax.trainer import Progress, Trainer, prepare
from samt_jax.training import EpochRecord, Keeping, Stopped
from samt_jax.training import run as run_trainer


class Setting(NamedTuple):
    """What is trained, and on what."""

    dataset: Dataset
    problem: Problem
    blocks: BlockTable
    block_depth: int | None

    def complete(self, optimizer: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Adds to an optimizer's settings what the network has it take."""
        takes_blocks = "blocks" in find_optimizer(optimizer).takes
        if self.block_depth is None or not takes_blocks:
            return dict(settings)
        return dict(settings) | {"blocks": self.block_depth}


def set_up(data: Data, network: Network, blocks: int | None) -> Setting:
    """Loads the data and builds the network.

    Args:
      data: What to train on.
      network: What to train.
      blocks: How deep in the tree of names a block goes, if that was asked for.

    Returns:
      Both, as a problem, and its blocks in forward order.

    Raises:
      UsageError: The data are missing or damaged, or the network cannot take them.
    """
    try:
        dataset = load(data.dataset, data_dir=data.data_dir, split=data.split)
        model = build_model(
            network.model,
            num_outputs=dataset.num_outputs,
            hidden=network.hidden,
            width=network.width,
            use_bias=network.bias,
        )
        problem = supervised(dataset, model)
        params, _ = jax.eval_shape(problem.init, jax.random.key(0))
    except ValueError as error:
        raise _usage_error(error) from error
    batch = jax.tree.map(lambda leaf: leaf[:2], problem.train)
    depth = model.blocks if blocks is None else blocks
    table = partition_blocks(
        params, depth, value_fn=lambda params: problem.loss_fn(params, batch)
    )
    return Setting(dataset, problem, table, depth)


def print_notes(setting: Setting) -> None:
    """Says what a report on this data owes its reader."""
    for note in setting.dataset.notes:
        print(f"note: {note}", file=sys.stderr)


def prepare_run(
    setting: Setting,
    optimizer: str,
    settings: Mapping[str, Any],
    options: Train | Compare,
) -> Trainer:
    """Compiles a run, and says what memory it will take where that may be much.

    Args:
      setting: What is trained.
      optimizer: Its name.
      settings: The optimizer's settings.
      options: What it is trained on, how long and how often.

    Returns:
      The compiled run.

    Raises:
      UsageError: A setting that only the network or the data could show to be wrong.
    """
    try:
        make_algorithm = make_optimizer(optimizer, **with_meta_params(settings))
        # One step size an entry: its eta models may be far larger than the network.
        if "element_head" in find_optimizer(optimizer).takes:
            print_memory(optimizer, setting.problem, make_algorithm)
        with compiling(optimizer, len(setting.blocks.blocks)):
            trainer = prepare(
                setting.problem,
                make_algorithm,
                epochs=num_epochs(options),
                batch_size=batch_size(options.run, optimizer),
                seeds=options.run.seed_list,
            )
    except ValueError as error:
        raise _usage_error(error) from error
    if trainer.order.spec.full_batch:
        kept, whole = (in_units(size) for size in trainer.memory)
        print(
            f"note: {optimizer} keeps variables for each of the "
            f"{trainer.order.num_examples:,} examples: {kept} from step to step, and "
            f"{whole} in all while it takes one.",
            file=sys.stderr,
        )
    return trainer


def with_meta_params(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's settings as the library takes them, eta models read.

    Args:
      settings: With the folder of a run as `meta_params`, or without.

    Returns:
      The same, with weights in the place of the folder.

    Raises:
      ValueError: The file is damaged.
    """
    folder = settings.get("meta_params")
    if folder is None:
        return dict(settings)
    return dict(settings) | {"meta_params": load_meta_params(folder / ETA_MODELS)}


class Outcome(NamedTuple):
    """What a run has left.

    Attributes:
      lines: Metrics, an epoch each.
      record: The last epoch; `None` where there was none.
      ending: `"ended"` by itself, `"interrupted"` by someone, or `"stopped"` with its
        state saved.
    """

    lines: list[Line]
    record: EpochRecord | None
    ending: Literal["ended", "interrupted", "stopped"]


def follow(
    trainer: Trainer,
    setting: Setting,
    name: str,
    write: Callable[[Line], None],
    *,
    progress: Progress | None = None,
    earlier: Sequence[Line] = (),
    keeping: Keeping | None = None,
) -> Outcome:
    """Runs, and shows and writes each epoch as a line of metrics.

    A number that differs from seed to seed is a list, one number a seed. What an
    algorithm reports stands under its own names, by block where it does so by block.

    Args:
      trainer: The compiled run.
      setting: What is trained.
      name: What to call the run.
      write: Keeps a line.
      progress: Where to go on from; from the start by default.
      earlier: The lines up to there.
      keeping: How it is kept from being lost.

    Returns:
      What is there when it has ended, or has been interrupted.
    """
    lines: list[Line] = list(earlier)
    record = None
    with Display(trainer.epochs, name, setting.dataset.metric) as display:
        try:
            for record in run_trainer(trainer, progress, keeping):
                line = metrics_line(record, setting.blocks.names)
                write(line)
                lines.append(line)
                display.show(line)
        except KeyboardInterrupt:
            return Outcome(lines, record, "interrupted")
        except Stopped:
            return Outcome(lines, record, "stopped")
    return Outcome(lines, record, "ended")


def describe(
    options: Train | Compare, setting: Setting, trainer: Trainer
) -> dict[str, Any]:
    """What `config.json` says of a run before it starts, every option resolved.

    Args:
      options: What was asked for.
      setting: What is trained.
      trainer: The compiled run.

    Returns:
      Options, data, network, and what it runs on.
    """
    dataset, order = setting.dataset, trainer.order
    parts = {"train": dataset.train, "validation": dataset.validation}
    parts["test"] = dataset.test
    return {
        **dataclasses.asdict(options.data),
        **dataclasses.asdict(options.network),
        "batch_size": trainer.order.batch_size,
        "seed": options.run.seed,
        "seeds": options.run.seeds,
        "epochs": trainer.epochs,
        "label": dataset.label,
        "notes": list(dataset.notes),
        "metric": dataset.metric,
        "metric_unit": dataset.metric_unit,
        "examples": {name: len(part.targets) for name, part in parts.items()},
        "steps_per_epoch": order.steps_per_epoch,
        "blocks": list(setting.blocks.names),
        "environment": environment(),
    }


def summarise(
    setting: Setting, lines: Sequence[Line], record: EpochRecord, seeds: Sequence[int]
) -> dict[str, Any]:
    """How a run ended; numbers over several seeds are means.

    Args:
      setting: What was trained.
      lines: Its metrics, an epoch each.
      record: Its last epoch.
      seeds: Its seeds.

    Returns:
      Final and best test metric, the last validation metric, times, the last mean step
      size of each block, status and fingerprint. The best epoch is the best on the test
      set, as papers report it; nothing is chosen by it.
    """
    metric, last = setting.dataset.metric, lines[-1]
    test = np.array([line[f"test_{metric}"] for line in lines])
    # NaN is passed over, unless there is nothing else.
    better = np.fmax if metric == "accuracy" else np.fmin
    best = functools.reduce(better, test)
    finals = {
        f"test_{metric}": test[-1],
        f"best_test_{metric}": best,
        f"validation_{metric}": np.array(last[f"validation_{metric}"]),
    }
    summary: dict[str, Any] = {"label": setting.dataset.label}
    summary["metric_unit"] = setting.dataset.metric_unit
    summary |= {n: float(each.mean()) for n, each in finals.items()}
    summary |= {
        "train_seconds": sum(line["train_seconds"] for line in lines),
        "compile_seconds": record.compile_seconds,
        "step_sizes": {
            block: float(np.mean(values))
            for block, values in last["step_sizes"].items()
        },
        "skipped_visits": last.get("skipped", {}),
        "status": _status_of(last["status"]),
        "state_sha256": state_sha256(record.state),
    }
    if len(seeds) > 1:
        summary["by_seed"] = {"seed": list(seeds), "status": last["status"]}
        for name, each in finals.items():
            summary["by_seed"][name] = each.tolist()
            summary[f"{name}_sd"] = float(each.std(ddof=1))
    return summary


def draw(folder: Path, lines: Sequence[Line], title: str, dataset: Dataset) -> None:
    """Writes the two pictures of a run folder.

    Args:
      folder: Where to.
      lines: The run's metrics.
      title: Stands above.
      dataset: What it was trained on.
    """
    # matplotlib takes a second to import, and is needed only now.
    from samt_jax.plots import plot_curves, plot_step_sizes, save_figure

    words = {"title": title, "device": device_label()}
    curves = plot_curves(lines, metric=dataset.metric, **words)
    save_figure(curves, folder / "curves.png")
    save_figure(plot_step_sizes(lines, **words), folder / "step_sizes.png")


def _status_of(statuses: Sequence[str]) -> str:
    """One word for all seeds: a single diverged one is not hidden."""
    return "diverged" if "diverged" in statuses else statuses[0]


def _usage_error(error: ValueError) -> UsageError:
    return UsageError(" ".join(str(error).split()))
