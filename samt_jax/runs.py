"""The run folder: what a run was asked for, what it measured, how it ended.

    config.json      every option, resolved
    metrics.jsonl    one line an epoch
    summary.json     how it ended
    curves.png, step_sizes.png

JSON files are written to a temporary name and renamed, so that none is ever half there.
"""

import itertools
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUNS = Path("runs")


class RunFolderError(ValueError):
    """A run folder that cannot be used; the message is one sentence for the user."""


def new_run_folder(out: Path | None, name: str) -> Path:
    """Makes the folder of a run; never takes one that holds something.

    Args:
      out: The folder to make; by default ``runs/<name>-<time>``.
      name: What the run is about.

    Returns:
      The folder, which exists and is empty.

    Raises:
      RunFolderError: The folder is not empty, or cannot be made.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as home:
      ...     folder = new_run_folder(Path(home) / "first", "digits-samt-s")
      ...     folder.name
      'first'
    """
    check_run_folder(out)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    # A number follows where runs start within one second.
    tails = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    default = (RUNS / f"{name}-{stamp}{tail}" for tail in tails)
    for path in default if out is None else (out,):
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_be_made(path, error.strerror or "no reason given") from error
        return path
    raise AssertionError("the names of run folders have no end")


def check_run_folder(out: Path | None) -> None:
    """Refuses a run folder that cannot be used, before anything is computed.

    Args:
      out: The folder, or `None` for a new one below `RUNS`.

    Raises:
      RunFolderError: It is a file, holds something, or cannot be made.
    """
    place = RUNS if out is None else out
    try:
        if out is not None and out.is_dir() and any(out.iterdir()):
            raise RunFolderError(
                f"the run folder {out} is not empty, and nothing is overwritten; give "
                "a new or empty folder with --out."
            )
        nearest = next(p for p in (place, *place.absolute().parents) if p.exists())
    except OSError as error:
        raise _cannot_be_made(place, error.strerror or "no reason given") from error
    if not nearest.is_dir():
        raise _cannot_be_made(place, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _cannot_be_made(place, f"{nearest} is not writable")


def _cannot_be_made(path: Path, reason: str) -> RunFolderError:
    return RunFolderError(
        f"the run folder {path} cannot be made ({reason}); give another with --out."
    )


def to_json(content: Mapping[str, Any], indent: int | None = None) -> str:
    """One JSON object; numbers that are not finite, which JSON has not, become null.

    Args:
      content: Numbers, strings, lists, mappings and paths.
      indent: Blanks a level; on one line by default.

    Returns:
      The text.

    Example:
      >>> to_json({"loss": [0.5, float("nan")], "out": Path("runs")})
      '{"loss": [0.5, null], "out": "runs"}'
    """
    return json.dumps(_plain(content), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    r"""Writes a JSON file whole or not at all.

    Args:
      path: Where to.
      content: What; numbers, strings, lists and mappings.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as home:
      ...     write_json(Path(home) / "a.json", {"epochs": 3})
      ...     (Path(home) / "a.json").read_text()
      '{\n  "epochs": 3\n}\n'
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(to_json(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Appends one JSON object as a line.

    Args:
      path: The file.
      content: The object.
    """
    with path.open("a") as file:
        file.write(to_json(content) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines.

    Args:
      path: The file.

    Returns:
      One object a line.
    """
    return [json.loads(line) for line in path.read_text().splitlines()]
