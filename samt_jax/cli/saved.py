"""What a run folder keeps of the command that made it; nothing here needs JAX."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from samt_jax.cli.options import Train, words_of
from samt_jax.cli.values import UsageError

CONFIG, SUMMARY = "config.json", "summary.json"
# What a run of SAMT has taught its eta models.
ETA_MODELS = "eta_models.npz"
# Of a run with 1,000 seeds a summary has some 300 kB.
LONGEST = 16 * 2**20
# How a run ended for good.
FINAL = ("finished", "diverged")


def command_of(options: Train) -> list[str]:
    """The words after `samt` that make the same run again, from any folder.

    Args:
      options: The options of a run.

    Returns:
      The words; where to write to and how to print are not among them.
    """
    data, settings = options.data, options.settings
    if data.data_dir is not None:
        data = dataclasses.replace(data, data_dir=data.data_dir.absolute())
    if settings.meta_params is not None:
        source = settings.meta_params.absolute()
        settings = dataclasses.replace(settings, meta_params=source)
    run = dataclasses.replace(options.run, out=None, json=False)
    options = dataclasses.replace(options, data=data, settings=settings, run=run)
    return ["train", *words_of(options)]


def read_command(folder: Path) -> Train:
    """The options of the run in a folder, held against all that a command line is.

    Args:
      folder: A run folder of `samt train`.

    Returns:
      The options.

    Raises:
      UsageError: It is none, or its `config.json` is damaged.
    """
    # It imports the checks, and with them this file.
    from samt_jax.cli import parse

    words = _read_json(folder / CONFIG).get("command")
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise UsageError(
            f"{folder / CONFIG} has no command that could be taken up; give the folder "
            "of a run of `samt train`."
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            _, options = parse(words)
    except (UsageError, SystemExit) as error:
        raise UsageError(
            f"the command in {folder / CONFIG} cannot be read ({error}); put the "
            "original file back."
        ) from error
    if not isinstance(options, Train):
        raise UsageError(
            f"{folder} holds a run of `samt {words[0]}`; only `samt train` can be "
            "taken up."
        )
    return options


def read_config(folder: Path) -> dict[str, Any]:
    """What the `config.json` of a run folder says.

    Args:
      folder: A run folder.

    Returns:
      Its content.

    Raises:
      UsageError: There is none, or it is damaged.
    """
    return _read_json(folder / CONFIG)


def read_ending(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that has ended for good; `None` where it can go on."""
    if not (folder / SUMMARY).exists():
        return None
    summary = _read_json(folder / SUMMARY)
    return summary if summary.get("status") in FINAL else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(LONGEST))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give the folder of a run of "
            "`samt train`."
        ) from error
    # Not JSON, not UTF-8, nested too deep.
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is damaged ({type(error).__name__}); put the original file back."
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is damaged; put the original file back.")
    return content
