"""Data sets by name: checked, divided into three parts, standardised."""

from samt_jax.data.dataset import DataError, Dataset, Examples, TargetScale
from samt_jax.data.loading import DATASETS, load
from samt_jax.data.report import DatasetReport, report_datasets

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "DatasetReport",
    "Examples",
    "TargetScale",
    "load",
    "report_datasets",
]
