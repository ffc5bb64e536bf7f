"""IDX files, the format of MNIST, Fashion-MNIST and KMNIST.

Images: a big-endian magic number 2051, then three sizes, then bytes. Labels: 2049, then
one size, then bytes. Both are packed with gzip.
"""

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from samt_jax.data.dataset import DataError
from samt_jax.data.files import (
    FileSpec,
    Originals,
    find_missing,
    gunzip,
    read_original,
)

UNSIGNED_BYTE = 0x08
IMAGE_SHAPE = (28, 28)
NUM_IMAGES = {"train": 60_000, "test": 10_000}


class LabelledImages(NamedTuple):
    """Images as they come from a file, with their labels.

    Attributes:
      images: Grey levels 0 to 255, ``(n, height, width, channels)``.
      labels: Class of each image, from 0.
      coarse_labels: Superclass of each image, where the set has them.
    """

    images: UInt8[np.ndarray, "n height width channels"]
    labels: UInt8[np.ndarray, " n"]
    coarse_labels: UInt8[np.ndarray, " n"] | None = None


class IdxPair(NamedTuple):
    """The two files of one split."""

    images: FileSpec
    labels: FileSpec


def read_idx(
    data: bytes, shape: tuple[int, ...], what: str = "the IDX file"
) -> UInt8[np.ndarray, "..."]:
    """Reads a packed IDX file of bytes whose shape is known beforehand.

    Args:
      data: The file, gzip.
      shape: The sizes that its header must state.
      what: How an error names the file.

    Returns:
      The array, of the given shape.

    Raises:
      DataError: The data is not gzip, not IDX, of another shape, or cut short.

    Example:
      >>> import gzip, struct
      >>> data = gzip.compress(struct.pack(">II", 2049, 3) + bytes([7, 0, 9]))
      >>> read_idx(data, (3,)).tolist()
      [7, 0, 9]

    Reference: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)
    size = math.prod(shape)
    unpacked = gunzip(data, len(header) + size, what)
    if unpacked[: len(header)] != header:
        raise DataError(
            f"{what} does not start with the IDX header of {_times(shape)} bytes; "
            "replace it by the original file."
        )
    if len(unpacked) != len(header) + size:
        raise DataError(
            f"{what} ends after {len(unpacked) - len(header):,} of {size:,} bytes; "
            "replace it by the original file."
        )
    return np.frombuffer(unpacked, np.uint8, offset=len(header)).reshape(shape)


def find_idx(folder: Path, files: dict[str, IdxPair]) -> Originals:
    """Looks for the files of each split; the set is whole or it is missing."""
    wanted = tuple(file for pair in files.values() for file in pair)
    counts = {split: NUM_IMAGES[split] for split in files}
    return Originals(wanted, find_missing(folder, wanted), counts)


def decode_idx(
    folder: Path, originals: Originals, files: dict[str, IdxPair]
) -> dict[str, LabelledImages]:
    """Reads images and labels of each split, each file checked first."""
    parts = {}
    for split, count in originals.num_images.items():
        images = _read(folder, files[split].images, (count, *IMAGE_SHAPE))
        labels = _read(folder, files[split].labels, (count,))
        parts[split] = LabelledImages(images[..., np.newaxis], labels)
    return parts


def _read(folder: Path, file: FileSpec, shape: tuple[int, ...]) -> np.ndarray:
    return read_idx(read_original(folder, file), shape, str(folder / file.name))


def _times(shape: tuple[int, ...]) -> str:
    return " by ".join(f"{size:,}" for size in shape)
