"""The run folder: what a run was asked for, what it measured, how it ended.

    config.json      every option, resolved
    metrics.jsonl    one line an epoch
    summary.json     how it ended
    history.jsonl    where it was taken up again, if it was
    checkpoints/     see `checkpoint.py`
    curves.png, step_sizes.png
    lock             who is at work in it, or was last

JSON files are written to a temporary name and renamed, so that none is ever half there.
"""

import contextlib
import itertools
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RUNS = Path("runs")
LOCK = "lock"


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
        if out is not None and out.is_dir():
            _check_empty(out)
        nearest = next(p for p in (place, *place.absolute().parents) if p.exists())
    except OSError as error:
        raise _cannot_be_made(place, error.strerror or "no reason given") from error
    if not nearest.is_dir():
        raise _cannot_be_made(place, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _cannot_be_made(place, f"{nearest} is not writable")


def _check_empty(folder: Path) -> None:
    if any(path.name != LOCK for path in folder.iterdir()):
        raise RunFolderError(
            f"the run folder {folder} is not empty, and nothing is overwritten; give a "
            "new or empty folder with --out."
        )


@contextlib.contextmanager
def locked(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Keeps a run folder from a second run for as long as this one lives.

    The lock is the operating system's, on an open file: it goes when the process does,
    however that ends, so that a dead owner's lock is nobody's.

    Args:
      folder: The run folder.
      new: Whether it must still be empty once it is ours.

    Yields:
      Nothing.

    Raises:
      RunFolderError: Another process holds it, or it cannot be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as home, locked(Path(home)):
      ...     json.loads((Path(home) / "lock").read_text())["pid"] == os.getpid()
      True
    """
    # Here, for systems without it: they have everything but the command.
    import fcntl

    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"the run folder {folder} cannot be written ({error.strerror}); mend that "
            "or give another."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunFolderError(
                f"another run is at work in {folder} ({file.read(500).strip()}); wait "
                "for its end, or give another folder."
            ) from error
        if new:
            _check_empty(folder)
        file.truncate(0)
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        file.write(to_json(owner | {"since": time.strftime("%F %T%z")}) + "\n")
        file.flush()
        yield


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


def sync(path: Path) -> None:
    """Has a file's content on the disk, and not only with the operating system.

    Args:
      path: The file; nothing is done where it is not there.
    """
    if path.exists():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines.

    Args:
      path: The file.

    Returns:
      One object a line.
    """
    return [json.loads(line) for line in path.read_text().splitlines()]


def keep_epochs(path: Path, last: int) -> list[dict[str, Any]]:
    r"""Cuts a file of metrics back to its first epochs.

    A line that a killed run has left half written is dropped with those after it.

    Args:
      path: The file.
      last: How many epochs to keep, a line each.

    Returns:
      Their lines.

    Raises:
      RunFolderError: They are not all there; nothing is changed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as home:
      ...     path = Path(home) / "metrics.jsonl"
      ...     _ = path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
      ...     keep_epochs(path, 1), path.read_text()
      ([{'epoch': 1}], '{"epoch": 1}\n')
    """
    text = path.read_text() if path.exists() else ""
    # JSON has no line breaks of its own; other separators may stand in its strings.
    kept = text.split("\n")[:last]
    try:
        lines = [json.loads(line) for line in kept]
        epochs = [line["epoch"] for line in lines]
    except (ValueError, TypeError, KeyError):
        epochs = []
    if epochs != list(range(1, last + 1)):
        raise RunFolderError(
            f"{path} does not hold the metrics of epochs 1 to {last}, which the "
            "checkpoint is beyond; put the whole file back."
        )
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept))
    sync(temporary)
    temporary.replace(path)
    return lines
