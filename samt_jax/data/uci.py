"""The regression tables: Bike, Pol and KEGG, as `uci_datasets` has them.

`data.csv.gz` has no header and its last column is the target; `test_mask.csv.gz` has
ten columns of 0 and 1, of which column k marks the test rows of split k.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from samt_jax.data.dataset import (
    RMSE_UNIT,
    DataError,
    Dataset,
    Examples,
    TargetScale,
)
from samt_jax.data.files import (
    FileSpec,
    Originals,
    decoding,
    find_missing,
    gunzip,
    read_original,
    supply,
)
from samt_jax.data.splitting import column_scale, divide

NUM_SPLITS = 10
LONGEST_NUMBER = 32
VALIDATION_SHARE = 10


class TableSpec(NamedTuple):
    """A regression set.

    Attributes:
      name: The name it is loaded by.
      label: The name to print.
      folder: Its folder below the data folder.
      data: The table.
      mask: The masks of the ten splits.
      num_rows: Rows of both files.
      num_columns: Columns of the table, the target among them.
      left_out: Columns that are not given to the network.
      notes: Sentences that a report on this set owes its reader.
    """

    name: str
    label: str
    folder: str
    data: FileSpec
    mask: FileSpec
    num_rows: int
    num_columns: int
    left_out: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def find_table(folder: Path, spec: TableSpec) -> Originals:
    """Looks for the two files of the set."""
    files = (spec.data, spec.mask)
    return Originals(files, find_missing(folder, files), {})


def explain_missing_table(
    spec: TableSpec, folder: Path, missing: tuple[str, ...]
) -> str:
    """Says in one sentence which file to put where."""
    return f"{spec.name} lacks {', '.join(missing)}: {supply(missing, folder)}."


def load_table(spec: TableSpec, data_dir: Path, split: int) -> Dataset:
    """Loads one of the ten splits; everything is scaled by the training rows.

    The rows that are not test rows are divided by the fixed rule of
    :func:`~samt_jax.data.splitting.divide`: a tenth of them is the validation part.

    Args:
      spec: The set.
      data_dir: The folder of original files.
      split: Which split, 0 to 9.

    Returns:
      The data set.

    Raises:
      DataError: There is no such split, or a file is missing or not the original.
    """
    if split not in range(NUM_SPLITS):
        raise DataError(
            f"{spec.name} has no split {split!r}; choose one of 0 to {NUM_SPLITS - 1}."
        )
    folder = data_dir / spec.folder
    if missing := find_table(folder, spec).missing:
        raise DataError(explain_missing_table(spec, folder, missing))
    table = _read(folder, spec.data, (spec.num_rows, spec.num_columns))
    is_test = _read_masks(folder, spec)[:, split]
    rest = np.flatnonzero(~is_test)
    train, validation = divide(rest, len(rest) // VALIDATION_SHARE)
    table = np.delete(table, spec.left_out, axis=1)
    mean, scale = column_scale(table[train])
    table = ((table - mean) / scale).astype(np.float32)

    def examples(rows: Int[np.ndarray, " n"]) -> Examples:
        return Examples(table[rows, :-1], table[rows, -1:])

    return Dataset(
        name=spec.name,
        label=spec.label,
        task="regression",
        train=examples(train),
        validation=examples(validation),
        test=examples(np.flatnonzero(is_test)),
        num_outputs=1,
        metric="rmse",
        metric_unit=RMSE_UNIT,
        target_scale=TargetScale(float(mean[-1]), float(scale[-1])),
        notes=spec.notes,
    )


def read_table(
    data: bytes, shape: tuple[int, int], what: str = "the table"
) -> Float[np.ndarray, "rows columns"]:
    r"""Reads a packed table of numbers whose shape is known beforehand.

    Args:
      data: The file, gzip of lines of numbers between commas.
      shape: Rows and columns that it must have.
      what: How an error names the file.

    Returns:
      The numbers, float64, all finite.

    Raises:
      DataError: The data is not gzip, not numbers, not finite, or of another shape.

    Example:
      >>> import gzip
      >>> read_table(gzip.compress(b"1,2.5\n-3,4e1\n"), (2, 2)).tolist()
      [[1.0, 2.5], [-3.0, 40.0]]
    """
    rows, columns = shape
    unpacked = gunzip(data, rows * columns * LONGEST_NUMBER, what)
    with decoding(what):
        lines = unpacked.decode("ascii").splitlines()
        numbers = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    if numbers.shape != shape:
        raise DataError(
            f"{what} has {numbers.shape[0]:,} rows of {numbers.shape[1]}, the original "
            f"{rows:,} of {columns}; replace it by the original file."
        )
    bad = np.argwhere(~np.isfinite(numbers))
    if bad.size:
        row, column = bad[0]
        raise DataError(
            f"{what} holds a number that is not finite, {numbers[row, column]} in row "
            f"{row + 1}, column {column + 1}; replace it by the original file."
        )
    return numbers


def _read(folder: Path, file: FileSpec, shape: tuple[int, int]) -> np.ndarray:
    return read_table(read_original(folder, file), shape, str(folder / file.name))


def _read_masks(folder: Path, spec: TableSpec) -> Bool[np.ndarray, "rows 10"]:
    masks = _read(folder, spec.mask, (spec.num_rows, NUM_SPLITS))
    if not (np.isin(masks, (0, 1)).all() and (masks.sum(axis=1) == 1).all()):
        raise DataError(
            f"{folder / spec.mask.name} must mark each row as a test row of one split; "
            "replace it by the original file."
        )
    return masks.astype(bool)
