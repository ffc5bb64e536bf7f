"""CIFAR-10 and CIFAR-100, from the original archive or from lossless mosaics.

The archive (`cifar-10-binary.tar.gz`) holds one record an image: its labels, then
three planes of 32 × 32 bytes. A mosaic (`train-00.webp`) holds 1,000 images in the
original order as 125 rows of 8; beside the mosaics lie `labels.npz` and `SHA256SUMS`.
The set may lie there in part: the first mosaics of each split.
"""

import io
import math
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from samt_jax.data.dataset import DataError
from samt_jax.data.files import (
    FileSpec,
    Originals,
    decoding,
    find_missing,
    read_bytes,
    read_original,
)
from samt_jax.data.idx import LabelledImages

NUM_IMAGES = {"train": 50_000, "test": 10_000}
SUMS = "SHA256SUMS"
MOSAIC_ROWS, MOSAIC_COLUMNS, SIDE = 125, 8, 32
IMAGES_PER_MOSAIC = MOSAIC_ROWS * MOSAIC_COLUMNS
PLANES = 3 * SIDE * SIDE


class CifarFiles(NamedTuple):
    """The files of a CIFAR set in both forms.

    Attributes:
      archive: The original archive.
      members: Paths inside it, by split.
      labels: `labels.npz` of the mosaics.
      label_keys: Names of the labels in front of each record, in order.
      mosaic_notes: What a report on the mosaics owes its reader.
    """

    archive: FileSpec
    members: dict[str, tuple[str, ...]]
    labels: FileSpec
    label_keys: tuple[str, ...]
    mosaic_notes: tuple[str, ...] = ()


def find_cifar(folder: Path, files: CifarFiles) -> Originals:
    """Looks for the archive, and where there is none for mosaics."""
    if (folder / files.archive.name).is_file():
        return Originals((files.archive,), (), dict(NUM_IMAGES))
    if not (folder / SUMS).is_file():
        return Originals((files.archive,), (files.archive.name,), dict(NUM_IMAGES))
    sums = read_sums(read_bytes(folder / SUMS), str(folder / SUMS))
    found, missing, counts = (
        [files.labels],
        list(find_missing(folder, (files.labels,))),
        {},
    )
    for split in NUM_IMAGES:
        present, absent = _find_mosaics(folder, split)
        missing += absent
        counts[split] = IMAGES_PER_MOSAIC * len(present)
        found += [FileSpec(name, _sum_of(name, sums, folder)) for name in present]
    return Originals(tuple(found), tuple(missing), counts, files.mosaic_notes)


def decode_cifar(
    folder: Path, originals: Originals, files: CifarFiles
) -> dict[str, LabelledImages]:
    """Reads the images and labels of both splits from checked files."""
    if originals.files == (files.archive,):
        data = read_original(folder, files.archive)
        return read_archive(data, files, str(folder / files.archive.name))
    what = str(folder / files.labels.name)
    labels = read_original(folder, files.labels)
    parts = {}
    for split, count in originals.num_images.items():
        names = [f for f in originals.files if f.name.startswith(f"{split}-")]
        images = [
            read_mosaic(read_original(folder, f), str(folder / f.name)) for f in names
        ]
        columns = [
            read_labels(labels, key, NUM_IMAGES[split], what)[:count]
            for key in _npz_keys(split, files)
        ]
        parts[split] = LabelledImages(np.concatenate(images), *columns)
    return parts


def read_mosaic(
    data: bytes, what: str = "the mosaic"
) -> UInt8[np.ndarray, "1000 32 32 3"]:
    """Cuts a mosaic of 125 rows of 8 images into its images, row by row.

    Args:
      data: The file, WebP, 256 pixels wide and 4,000 high.
      what: How an error names the file.

    Returns:
      The images in their original order, colours 0 to 255.

    Raises:
      DataError: The data is not such an image.
    """
    # Imported here: only these sets need Pillow, which the `data` extra brings.
    from PIL import Image

    size = (MOSAIC_COLUMNS * SIDE, MOSAIC_ROWS * SIDE)
    with decoding(what), Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
        # Checked before any pixel is decoded: a hostile header may claim a huge image.
        if image.size != size:
            raise DataError(
                f"{what} is {image.size[0]} by {image.size[1]} pixels, a mosaic is "
                f"{size[0]} by {size[1]}; replace it by the original file."
            )
        pixels = np.asarray(image.convert("RGB"))
    grid = pixels.reshape(MOSAIC_ROWS, SIDE, MOSAIC_COLUMNS, SIDE, 3)
    return np.ascontiguousarray(grid.swapaxes(1, 2)).reshape(-1, SIDE, SIDE, 3)


def read_labels(
    data: bytes, key: str, count: int, what: str = "the label file"
) -> UInt8[np.ndarray, " count"]:
    """Reads one array of labels from an `.npz` file, without trusting its headers.

    Args:
      data: The file.
      key: Name of the array.
      count: How many labels it must have.
      what: How an error names the file.

    Returns:
      The labels.

    Raises:
      DataError: There is no such array of `count` bytes.
    """
    with decoding(what), zipfile.ZipFile(io.BytesIO(data)) as archive:
        with archive.open(f"{key}.npy") as member:
            # An honest header is far under a thousand bytes.
            unpacked = io.BytesIO(member.read(count + 1_000))
        version = np.lib.format.read_magic(unpacked)
        if version != (1, 0):
            raise DataError(f"{what}: {key} is of an unknown NPY version; replace it.")
        shape, _, dtype = np.lib.format.read_array_header_1_0(unpacked)
        labels = np.frombuffer(unpacked.read(), np.uint8)
        if (shape, dtype, labels.shape) != ((count,), np.dtype(np.uint8), (count,)):
            raise DataError(
                f"{what} does not hold {count:,} labels under the name {key}; replace "
                "it by the original file."
            )
    return labels


def read_archive(
    data: bytes, files: CifarFiles, what: str = "the archive"
) -> dict[str, LabelledImages]:
    """Reads the original binary archive of CIFAR-10 or CIFAR-100.

    Args:
      data: The archive, `.tar.gz`.
      files: Which members hold which split, and which labels stand in each record.
      what: How an error names the file.

    Returns:
      Images and labels by split, in the original order.

    Raises:
      DataError: A member is missing or does not have the size it must have.

    Reference: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
    2009.
    """
    parts = {}
    for split, members in files.members.items():
        size = NUM_IMAGES[split] // len(members)
        records = [_read_records(data, m, size, files, what) for m in members]
        parts[split] = split_records(np.concatenate(records), files.label_keys)
    return parts


def split_records(
    records: UInt8[np.ndarray, "n bytes"], label_keys: tuple[str, ...]
) -> LabelledImages:
    """Splits binary records into images (channels last) and labels."""
    labels = dict(zip(label_keys, records.T, strict=False))
    planes = records[:, len(label_keys) :].reshape(-1, 3, SIDE, SIDE)
    coarse = labels.get("coarse_label")
    return LabelledImages(
        np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        labels["label"].copy(),
        None if coarse is None else coarse.copy(),
    )


def read_sums(data: bytes, what: str = SUMS) -> dict[str, str]:
    """Reads lines of `sha256  name` into a mapping from name to checksum.

    Raises:
      DataError: A line is not of that form.
    """
    sums = {}
    with decoding(what):
        lines = data.decode("ascii").splitlines()
    for line in lines:
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name:
            raise DataError(
                f"{what} has a line that is not 'sha256  name'; replace it by the "
                "original file."
            )
        sums[name] = digest
    return sums


def _find_mosaics(folder: Path, split: str) -> tuple[list[str], list[str]]:
    """Returns the mosaics of a split that are there, and those that leave a gap."""
    names = [
        f"{split}-{i:02d}.webp"
        for i in range(math.ceil(NUM_IMAGES[split] / IMAGES_PER_MOSAIC))
    ]
    there = [name for name in names if (folder / name).is_file()]
    needed = names[: names.index(there[-1]) + 1] if there else names[:1]
    return there, [name for name in needed if name not in there]


def _sum_of(name: str, sums: dict[str, str], folder: Path) -> str:
    if name not in sums:
        raise DataError(
            f"{folder / SUMS} has no line for {name}; replace it by the original file."
        )
    return sums[name]


def _npz_keys(split: str, files: CifarFiles) -> list[str]:
    """Names in `labels.npz` of the class and, where there is one, of the superclass."""
    coarse = [f"{split}_coarse"] if "coarse_label" in files.label_keys else []
    return [split, *coarse]


def _read_records(
    data: bytes, name: str, count: int, files: CifarFiles, what: str
) -> np.ndarray:
    width = len(files.label_keys) + PLANES
    with decoding(what), tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        member = archive.extractfile(name)
        content = b"" if member is None else member.read(count * width + 1)
    if len(content) != count * width:
        raise DataError(
            f"{what}: {name} does not have {count * width:,} bytes; replace it by the "
            "original file."
        )
    return np.frombuffer(content, np.uint8).reshape(count, width)
