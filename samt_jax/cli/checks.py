"""What may be wrong with options that are right one by one; nothing here needs JAX."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samt_jax.bench.cells import networks
from samt_jax.cli.options import (
    FEATURES,
    LAST_SEED,
    TABLES,
    Bench,
    Compare,
    Data,
    Doctor,
    Explain,
    Network,
    Resume,
    Run,
    Settings,
    Train,
)
from samt_jax.cli.saved import ETA_MODELS, read_command, read_config, read_ending
from samt_jax.cli.values import UsageError
from samt_jax.optimizers import OPTIMIZERS, check_takes
from samt_jax.runs import check_run_folder

# Settings that say what an eta model's numbers mean, with the library's defaults.
MEANINGS = {"features": FEATURES, "feature_scale": 1e-8, "squash": "tanh"}


def check(options: Train | Resume | Compare | Explain | Bench | Doctor) -> None:
    """Refuses what cannot be run, before JAX is started or anything is written.

    Args:
      options: What was asked for.

    Raises:
      UsageError: One sentence: what was given, what is allowed, what to do.
      RunFolderError: Likewise, of the run folder.
    """
    if isinstance(options, Bench):
        check_lines_file(options.out)
        check_networks(options)
    if isinstance(options, Bench | Doctor):
        return
    if isinstance(options, Resume):
        check_saved(options)
        return
    check_network(options.data, options.network)
    if isinstance(options, Compare):
        optimizer_settings(options)
    else:
        check_settings(options.optimizer, options.settings)
    check_meta_params(options.settings)
    if not isinstance(options, Explain):
        names = options.names if isinstance(options, Compare) else (options.optimizer,)
        check_run(options.run, names)
    if isinstance(options, Train) and options.tensorboard:
        check_tensorboard()


def check_saved(options: Resume) -> None:
    """Refuses a folder in which there is no run to go on with.

    Args:
      options: What was asked for.

    Raises:
      UsageError: One sentence.
      RunFolderError: Likewise, of the run folder.
    """
    if options.run_dir is None:
        raise UsageError("resume takes one value, the folder of a run; got none.")
    check(read_command(options.run_dir))
    read_ending(options.run_dir)


def check_network(data: Data, network: Network) -> None:
    """Refuses options that do not go together.

    Args:
      data: What to train on.
      network: What to train.

    Raises:
      UsageError: One sentence: what was given, what is allowed, what to do.
    """
    is_table = data.dataset in TABLES
    if data.split is not None and not is_table:
        raise UsageError(
            f"--split is {data.split}, and {data.dataset} has one split; leave it out, "
            f"it is for {', '.join(TABLES)}."
        )
    if network.model != "mlp" and network.hidden is not None:
        raise UsageError(
            f"--hidden is for mlp, and --model is {network.model}; scale its widths "
            "with --width."
        )
    if network.model == "mlp" and network.width is not None:
        raise UsageError(
            "--width is for the other networks, and --model is mlp; give its widths "
            "with --hidden."
        )
    if network.model != "mlp" and is_table:
        raise UsageError(
            f"--model {network.model} takes images, and {data.dataset} is a table; "
            "take --model mlp."
        )


def check_settings(optimizer: str, settings: Settings) -> None:
    """Refuses settings that an optimizer does not take.

    Args:
      optimizer: Its name.
      settings: What was asked for.

    Raises:
      UsageError: One sentence.
    """
    for setting in settings.given():
        try:
            check_takes(optimizer, setting)
        except ValueError as error:
            raise UsageError(str(error)) from error


def check_meta_params(settings: Settings) -> None:
    """Refuses a folder without trained eta models, or whose mean something else.

    Args:
      settings: What was asked for.

    Raises:
      UsageError: One sentence.
    """
    folder = settings.meta_params
    if folder is None:
        return
    if not (folder / ETA_MODELS).is_file():
        raise UsageError(
            f"--meta-params is {str(folder)!r}, which has no {ETA_MODELS}; give the "
            "folder of a run of `samt train` with eta models that has come to its end."
        )
    config, given = read_config(folder), settings.given()
    for name, default in MEANINGS.items():
        was, now = (_words(each.get(name, default)) for each in (config, given))
        if sorted(was) != sorted(now):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"the eta models in {str(folder)!r} were trained with {flag} "
                f"{' '.join(was)}, and {' '.join(now)} would have them read or mean "
                "something else; give the same."
            )


def _words(value: Any) -> list[str]:
    """A value or several as a command line has them."""
    return [
        str(each) for each in (value if isinstance(value, list | tuple) else [value])
    ]


def check_run(run: Run, optimizers: Sequence[str]) -> None:
    """Refuses what cannot be of a run: its batches, its seeds, its folder.

    Args:
      run: How often and where to.
      optimizers: What is run.

    Raises:
      UsageError: One sentence.
      RunFolderError: One sentence.
    """
    is_full = all(OPTIMIZERS[name].full_batch for name in optimizers)
    if is_full and run.batch_size is not None:
        raise UsageError(
            f"--batch-size is {run.batch_size}, and {', '.join(optimizers)} takes the "
            "whole training set at every step; leave it out."
        )
    if run.seed + run.seeds - 1 > LAST_SEED:
        raise UsageError(
            f"--seed {run.seed} with --seeds {run.seeds} goes beyond the last seed, "
            f"{LAST_SEED}; start lower."
        )
    check_run_folder(run.out)


def check_lines_file(out: Path | None) -> None:
    """Refuses a file that lines cannot be appended to.

    Args:
      out: The file, or `None`.

    Raises:
      UsageError: One sentence.
    """
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise UsageError(
            f"--out is {str(out)!r}, which is no file in a folder that exists; give "
            "the name of a file, to which lines are appended."
        )


def check_networks(options: Bench) -> None:
    """Refuses a network that is not measured.

    Args:
      options: What was asked for.

    Raises:
      UsageError: One sentence.
    """
    known = [network.name for network in networks(options.quick)]
    for name in options.networks or ():
        if name not in known:
            raise UsageError(
                f"--networks has {name!r}; each is one of {', '.join(known)}."
            )


def optimizer_settings(options: Compare) -> dict[str, dict[str, Any]]:
    """Gives each optimizer of a comparison the settings that it takes.

    Args:
      options: What was asked for.

    Returns:
      The settings of each, by its name.

    Raises:
      UsageError: An unknown name, one given twice, or a setting that none takes.
    """
    names = options.names
    allowed = ", ".join(OPTIMIZERS)
    for name in names or ("",):
        if name not in OPTIMIZERS:
            raise UsageError(f"--optimizers has {name!r}; each is one of {allowed}.")
        if names.count(name) > 1:
            raise UsageError(f"--optimizers has {name} twice; name each once.")
    given = options.settings.given()
    for setting in given:
        if not any(setting in OPTIMIZERS[name].takes for name in names):
            raise UsageError(
                f"none of {', '.join(names)} takes --{setting.replace('_', '-')}; "
                "leave it out."
            )
    return {
        name: {s: value for s, value in given.items() if s in OPTIMIZERS[name].takes}
        for name in names
    }


def check_tensorboard() -> None:
    """Refuses `--tensorboard` where there is nothing to write with.

    Raises:
      UsageError: tensorboardX is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UsageError(
            "--tensorboard needs tensorboardX, which is not installed; install it with "
            "pip install 'samt-jax[tensorboard]', or leave the option out."
        )
