"""Image sets: found, prepared, checked, divided and standardised."""

from pathlib import Path

import numpy as np

from samt_jax.data.cache import Parts, load_cached
from samt_jax.data.catalog import ImageSpec
from samt_jax.data.dataset import ACCURACY_UNIT, DataError, Dataset, Examples
from samt_jax.data.files import Originals, fingerprint, supply
from samt_jax.data.idx import LabelledImages
from samt_jax.data.prepare import (
    has_package,
    missing_packages,
    prepare_local,
    prepare_stock,
    read_prepared,
)
from samt_jax.data.splitting import channel_scale, divide, standardise_images

VALIDATION_SHARE = 10


def load_images(spec: ImageSpec, data_dir: Path, cache_dir: Path) -> Dataset:
    """Loads an image set; the first load prepares it, later ones check and reuse that.

    Args:
      spec: The set.
      data_dir: The folder of original files.
      cache_dir: The folder of prepared sets.

    Returns:
      The data set.

    Raises:
      DataError: Files or packages are missing, or something is damaged.
    """
    folder = data_dir / spec.folder
    if cache_dir.resolve() in (data_dir.resolve(), folder.resolve()):
        raise DataError(
            f"The cache folder {cache_dir} is the folder of original files, into which "
            "nothing is written; name another with cache_dir or SAMT_JAX_CACHE."
        )
    originals = spec.find(folder)
    if not originals.missing:
        entry = f"{spec.name}-{fingerprint(folder, originals.files)}"
        parts = load_cached(
            cache_dir, entry, lambda into: _from_files(spec, folder, originals, into)
        )
    else:
        originals = Originals((), originals.missing, spec.num_images)
        entry = stock_entry(spec)
        if not (can_fetch(spec) or (cache_dir / entry).is_dir()):
            raise DataError(explain_missing(spec, folder, originals.missing))
        parts = load_cached(
            cache_dir, entry, lambda into: _from_stock(spec, folder, into)
        )
    check_parts(spec, parts, originals.num_images)
    return _assemble(spec, parts, originals)


def stock_entry(spec: ImageSpec) -> str:
    """Name in the cache of a set that tensorflow-datasets itself has fetched."""
    return f"{spec.name}-stock"


def can_fetch(spec: ImageSpec) -> bool:
    """Says whether tensorflow-datasets can fetch the set here (TensorFlow is there)."""
    return spec.download and has_package("tensorflow") and not missing_packages()


def explain_missing(spec: ImageSpec, folder: Path, missing: tuple[str, ...]) -> str:
    """Says in one sentence which file to put where, or what else can be done."""
    ways = [supply(missing, folder)]
    if spec.download:
        ways.append("install tensorflow so that tensorflow-datasets fetches the set")
    if spec.remedy:
        ways.append(spec.remedy)
    # Not to be told only after the files are there.
    extra = "; each way needs pip install 'samt-jax[data]'"
    needs = extra if missing_packages() else ""
    return f"{spec.name} lacks {', '.join(missing)}: {', or '.join(ways)}{needs}."


def explain_packages(name: str, missing: tuple[str, ...]) -> str:
    """Says in one sentence which packages to install."""
    return (
        f"{name} is prepared by tensorflow-datasets, and {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} not installed; install the extra with "
        "pip install 'samt-jax[data]'."
    )


def describe(spec: ImageSpec, num_images: dict[str, int]) -> str:
    """The label of a set, which says so where only a part of it is there."""
    have, whole = sum(num_images.values()), sum(spec.num_images.values())
    if have == whole:
        return spec.label
    return f"{spec.label} (partial: {have:,} of {whole:,} images)"


def check_parts(spec: ImageSpec, parts: Parts, num_images: dict[str, int]) -> None:
    """Holds counts, shapes and label range against what the set must have.

    Raises:
      DataError: Something differs.
    """
    for split, count in num_images.items():
        part = parts.get(split)
        if part is None or part.images.shape != (count, *spec.image_shape):
            found = "no" if part is None else f"{part.images.shape}"
            raise DataError(
                f"{spec.name} has {found} {split} images, not {count:,} of shape "
                f"{spec.image_shape}; delete its folder in the cache and load it again."
            )
        bad = np.flatnonzero(part.labels >= spec.num_classes)
        if part.labels.shape != (count,) or bad.size:
            which = f", and label {bad[0]} is {part.labels[bad[0]]}" if bad.size else ""
            raise DataError(
                f"{spec.name} must have {count:,} {split} labels from 0 to "
                f"{spec.num_classes - 1}{which}; replace the label file by the "
                "original."
            )


def _from_files(
    spec: ImageSpec, folder: Path, originals: Originals, into: Path
) -> Parts:
    if missing := missing_packages():
        raise DataError(explain_packages(spec.name, missing))
    parts = spec.decode(folder, originals)
    check_parts(spec, parts, originals.num_images)
    prepare_local(spec.builder, parts, into)
    return read_prepared(spec.builder, tuple(parts), into)


def _from_stock(spec: ImageSpec, folder: Path, into: Path) -> Parts:
    prepare_stock(spec.builder, folder, into)
    return read_prepared(spec.builder, tuple(spec.num_images), into)


def _assemble(spec: ImageSpec, parts: Parts, originals: Originals) -> Dataset:
    pool, test = _pool_and_test(spec, parts)
    size = spec.num_validation or len(pool.labels) // VALIDATION_SHARE
    rows = np.arange(len(pool.labels))
    train, validation = (take(pool, part) for part in divide(rows, size, pool.labels))

    scale = channel_scale(train.images)

    def examples(part: LabelledImages) -> Examples:
        inputs = standardise_images(part.images, *scale)
        return Examples(inputs, part.labels.astype(np.int32))

    return Dataset(
        name=spec.name,
        label=describe(spec, originals.num_images),
        task="classification",
        train=examples(train),
        validation=examples(validation),
        test=examples(test),
        num_outputs=spec.num_classes,
        metric="accuracy",
        metric_unit=ACCURACY_UNIT,
        notes=spec.notes + originals.notes,
    )


def _pool_and_test(
    spec: ImageSpec, parts: Parts
) -> tuple[LabelledImages, LabelledImages]:
    """Returns what training and validation are carved from, and the test images."""
    if spec.num_test is None:
        return parts["train"], parts["test"]
    whole = parts["test"]
    pool, test = divide(np.arange(len(whole.labels)), spec.num_test, whole.labels)
    return take(whole, pool), take(whole, test)


def take(part: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """Returns the images and labels of some rows."""
    return LabelledImages(part.images[rows], part.labels[rows])
