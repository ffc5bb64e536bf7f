"""Prepared sets in the user's cache folder: whole or not there, checked on every load.

An entry is one folder with what tensorflow-datasets prepared, the decoded images as
plain arrays (`arrays.npz`) and their checksum. It is built under another name and
renamed when it is complete, so that a run that is killed leaves nothing to be trusted.
"""

import hashlib
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from samt_jax.data.dataset import DataError
from samt_jax.data.files import decoding, read_bytes
from samt_jax.data.idx import LabelledImages

ARRAYS, CHECKSUM = "arrays.npz", "arrays.sha256"
ABANDONED_AFTER = 24 * 3600.0

Parts = dict[str, LabelledImages]


def load_cached(cache_dir: Path, entry: str, build: Callable[[Path], Parts]) -> Parts:
    """Returns the images of an entry; builds it where it is not there or damaged.

    Args:
      cache_dir: The cache folder; made where it is not there.
      entry: Name of the entry; it must name the content too.
      build: Prepares the set into the folder it is given, and returns its images.

    Returns:
      Images and labels by split.

    Raises:
      DataError: The cache folder cannot be written, or `build` raised it.
    """
    target = cache_dir / entry
    try:
        if target.is_dir():
            return read_arrays(target)
    except DataError:
        # The cache is ours and can be made again; the originals are not and could not.
        shutil.rmtree(target, ignore_errors=True)
    try:
        return _build(cache_dir, entry, build)
    except OSError as error:
        raise DataError(
            f"{entry} cannot be kept in {cache_dir} ({error.strerror or error}); "
            "name a folder that can be written with cache_dir or SAMT_JAX_CACHE."
        ) from error


def write_arrays(folder: Path, parts: Parts) -> None:
    """Writes the images and labels of each split, and the checksum beside them."""
    buffer = io.BytesIO()
    arrays = {}
    for split, part in parts.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = part.images, part.labels
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    data = buffer.getvalue()
    (folder / ARRAYS).write_bytes(data)
    (folder / CHECKSUM).write_text(hashlib.sha256(data).hexdigest())


def read_arrays(folder: Path) -> Parts:
    """Reads what :func:`write_arrays` wrote.

    Raises:
      DataError: It is not what was written.
    """
    data = read_bytes(folder / ARRAYS)
    wanted = read_bytes(folder / CHECKSUM)
    if hashlib.sha256(data).hexdigest().encode() != wanted:
        raise DataError(f"{folder / ARRAYS} is damaged; delete {folder}.")
    with decoding(str(folder / ARRAYS)):
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
        splits = sorted({name.rpartition("_")[0] for name in arrays.files})
        return {
            split: LabelledImages(arrays[f"{split}_images"], arrays[f"{split}_labels"])
            for split in splits
        }


def _build(cache_dir: Path, entry: str, build: Callable[[Path], Parts]) -> Parts:
    cache_dir.mkdir(parents=True, exist_ok=True)
    prefix = f".preparing-{entry}-"
    _sweep(cache_dir, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=cache_dir))
    try:
        parts = build(folder)
        write_arrays(folder, parts)
        # Fails where another process was faster; its entry then stands, and is as good.
        if not (cache_dir / entry).is_dir():
            folder.rename(cache_dir / entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return parts


def _sweep(cache_dir: Path, prefix: str) -> None:
    """Removes what killed runs left behind, unless it is recent enough to be alive."""
    for folder in cache_dir.glob(f"{prefix}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
