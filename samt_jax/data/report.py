"""What `samt doctor` says of the data: what is there, what is missing, what to do."""

from pathlib import Path
from typing import NamedTuple

from samt_jax.data.catalog import IMAGE_SETS, TABLES, ImageSpec
from samt_jax.data.dataset import DataError
from samt_jax.data.folders import Folder, resolve_cache_dir, resolve_data_dir
from samt_jax.data.images import (
    can_fetch,
    describe,
    explain_missing,
    explain_packages,
    stock_entry,
)
from samt_jax.data.prepare import missing_packages
from samt_jax.data.uci import TableSpec, explain_missing_table, find_table


class DatasetReport(NamedTuple):
    """Whether a data set can be loaded here, by names of files only.

    Attributes:
      name: The name it is loaded by.
      label: The name to print; says so where only a part of the set is there.
      found: Whether everything that loading needs is there.
      folder: Where its original files are looked for; empty for an embedded set.
      missing: Names of missing files and packages.
      prepared: Whether the cache holds it already, so that loading takes a second.
      advice: One sentence that says what to do; empty where nothing is to be done.
    """

    name: str
    label: str
    found: bool
    folder: str
    missing: tuple[str, ...]
    prepared: bool
    advice: str


def report_datasets(
    *, data_dir: Folder = None, cache_dir: Folder = None
) -> tuple[DatasetReport, ...]:
    """Looks for every data set without opening one.

    Args:
      data_dir: As for :func:`~samt_jax.data.load`.
      cache_dir: As for :func:`~samt_jax.data.load`.

    Returns:
      One report a data set, in the order of `DATASETS`.

    Example:
      >>> from samt_jax.data import report_datasets
      >>> digits = report_datasets(data_dir="no/such/folder")[0]
      >>> digits.name, digits.found, digits.missing
      ('digits', True, ())
    """
    folder, cache = resolve_data_dir(data_dir), resolve_cache_dir(cache_dir)
    digits = DatasetReport("digits", "Digits", True, "", (), True, "")
    images = (_report_images(spec, folder, cache) for spec in IMAGE_SETS.values())
    tables = (_report_table(spec, folder) for spec in TABLES.values())
    return (digits, *images, *tables)


def _report_images(spec: ImageSpec, data_dir: Path, cache_dir: Path) -> DatasetReport:
    folder = data_dir / spec.folder
    try:
        originals = spec.find(folder)
    except DataError as error:
        return DatasetReport(
            spec.name, spec.label, False, str(folder), (), False, str(error)
        )
    if originals.missing:
        return _report_without_files(spec, folder, originals.missing, cache_dir)
    prepared = any(
        path.name != stock_entry(spec) for path in cache_dir.glob(f"{spec.name}-*")
    )
    packages = () if prepared else missing_packages()
    return DatasetReport(
        name=spec.name,
        label=describe(spec, originals.num_images),
        found=not packages,
        folder=str(folder),
        missing=packages,
        prepared=prepared,
        advice=explain_packages(spec.name, packages) if packages else "",
    )


def _report_without_files(
    spec: ImageSpec, folder: Path, missing: tuple[str, ...], cache_dir: Path
) -> DatasetReport:
    """Reports a set without its files: it may have been fetched, or could be."""
    prepared = (cache_dir / stock_entry(spec)).is_dir()
    advice = "" if prepared else explain_missing(spec, folder, missing)
    if not prepared and can_fetch(spec):
        advice = f"load {spec.name} once, and tensorflow-datasets fetches it."
    return DatasetReport(
        spec.name, spec.label, prepared, str(folder), missing, prepared, advice
    )


def _report_table(spec: TableSpec, data_dir: Path) -> DatasetReport:
    folder = data_dir / spec.folder
    missing = find_table(folder, spec).missing
    advice = explain_missing_table(spec, folder, missing) if missing else ""
    return DatasetReport(
        spec.name, spec.label, not missing, str(folder), missing, False, advice
    )
