"""Data sets by name."""

from samt_jax.data.catalog import IMAGE_SETS, TABLES
from samt_jax.data.dataset import DataError, Dataset
from samt_jax.data.digits import load_digits
from samt_jax.data.folders import Folder, resolve_cache_dir, resolve_data_dir
from samt_jax.data.images import load_images
from samt_jax.data.uci import load_table

DATASETS = ("digits", *IMAGE_SETS, *TABLES)


def load(
    name: str,
    *,
    data_dir: Folder = None,
    cache_dir: Folder = None,
    split: int | None = None,
) -> Dataset:
    """Loads a data set: checked, divided into three parts, standardised.

    Images are standardised a channel, tables a column (the target too), always with
    mean and deviation of the training part. The validation part is carved from the
    training set by a fixed, stratified rule: 5,000 images of the MNIST family, a tenth
    elsewhere.

    Args:
      name: One of `DATASETS`. `digits` needs no file.
      data_dir: Folder of the original files, only read: `<data_dir>/<name>/` for
        images, `<data_dir>/uci/<table>/` for tables. By default the environment
        variable SAMT_JAX_DATA, else `./data`.
      cache_dir: Folder that keeps prepared image sets. By default SAMT_JAX_CACHE, else
        `samt_jax` in the user's cache folder.
      split: Which of the ten splits of a table, 0 to 9; by default 0.

    Returns:
      The data set; inputs float32, labels int32 ``(n,)`` or targets float32 ``(n, 1)``.

    Raises:
      DataError: No such name or split; files or packages are missing; a file is not
        the original. The message is one sentence that says what to do.

    Example:
      >>> from samt_jax.data import load
      >>> digits = load("digits")
      >>> digits.train.inputs.shape, digits.test.inputs.shape
      ((1293, 8, 8, 1), (360, 8, 8, 1))
    """
    if name not in DATASETS:
        raise DataError(
            f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}."
        )
    if name not in TABLES and split is not None:
        raise DataError(
            f"{name} has one split, got split={split!r}; leave it out, it is for "
            f"{', '.join(TABLES)}."
        )
    if name == "digits":
        return load_digits()
    folder = resolve_data_dir(data_dir)
    if name in IMAGE_SETS:
        return load_images(IMAGE_SETS[name], folder, resolve_cache_dir(cache_dir))
    return load_table(TABLES[name], folder, 0 if split is None else split)
