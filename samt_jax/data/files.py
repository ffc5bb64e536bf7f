"""Original files: known by size and checksum, read whole, trusted only after both."""

import contextlib
import gzip
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from samt_jax.data.dataset import DataError


class FileSpec(NamedTuple):
    """An original file.

    Attributes:
      name: Its name inside the folder of its data set.
      sha256: Its checksum, in hexadecimal.
      size: Its length in bytes; `None` where only the checksum is known.
    """

    name: str
    sha256: str
    size: int | None = None


class Originals(NamedTuple):
    """What lies in the folder of a data set, found by looking at names only.

    Attributes:
      files: The files that will be read.
      missing: Names of files that are needed and not there.
      num_images: How many images each split has.
      notes: Sentences that a report on these files owes its reader.
    """

    files: tuple[FileSpec, ...]
    missing: tuple[str, ...]
    num_images: dict[str, int]
    notes: tuple[str, ...] = ()


def supply(missing: tuple[str, ...], folder: Path) -> str:
    """Says where files that are missing belong, as the first of what can be done."""
    files = "the original" if len(missing) == 1 else "the originals"
    return (
        f"put {files} into {folder.absolute()}, or name another data folder with "
        "--data-dir (data_dir=) or SAMT_JAX_DATA"
    )


def find_missing(folder: Path, files: tuple[FileSpec, ...]) -> tuple[str, ...]:
    """Returns the names of the files that are not in the folder."""
    return tuple(file.name for file in files if not (folder / file.name).is_file())


def read_bytes(path: Path) -> bytes:
    """Reads a file whole; an unreadable one is a :class:`DataError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); put the original file there."
        ) from error


def read_original(folder: Path, file: FileSpec) -> bytes:
    """Reads an original file and holds it against its known size and checksum."""
    path = folder / file.name
    data = read_bytes(path)
    if file.size is not None and len(data) != file.size:
        raise DataError(
            f"{path} has {len(data):,} bytes, the original has {file.size:,}; replace "
            "it by the original file."
        )
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise DataError(
            f"{path} has SHA-256 {found[:12]}…, the original {file.sha256[:12]}…; "
            "replace it by the original file."
        )
    return data


def fingerprint(folder: Path, files: tuple[FileSpec, ...]) -> str:
    """Checks every file and returns a short digest of what they hold together."""
    digest = hashlib.sha256()
    for file in sorted(files):
        read_original(folder, file)
        digest.update(f"{file.sha256}  {file.name}\n".encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into one :class:`DataError`."""
    try:
        # Every result is held against its known shape, so a warning adds nothing.
        with warnings.catch_warnings(action="ignore"):
            yield
    except DataError:
        raise
    # Given hostile bytes, gzip, zipfile, NumPy and Pillow raise about a dozen unrelated
    # kinds between them; to the user they all mean the same.
    except Exception as error:
        raise DataError(
            f"{what} is damaged ({type(error).__name__}); replace it by the original "
            "file."
        ) from error


def gunzip(data: bytes, limit: int, what: str) -> bytes:
    """Unpacks gzip data that may not grow beyond `limit` bytes."""
    with decoding(what), gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        unpacked = file.read(limit + 1)
    if len(unpacked) > limit:
        raise DataError(
            f"{what} unpacks to more than the {limit:,} bytes it may have; replace it "
            "by the original file."
        )
    return unpacked
