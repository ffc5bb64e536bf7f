"""Image sets through tensorflow-datasets, without TensorFlow where files lie ready.

A class derived from the set's stock builder yields the images of the original files;
tensorflow-datasets writes them as array records. TensorFlow is imported only by the
stock builder itself, which is used where it is installed and files are missing.
"""

import contextlib
import importlib.util
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samt_jax.data.dataset import DataError
from samt_jax.data.idx import LabelledImages

FILE_FORMAT = "array_record"
CHUNK = 1_000
NEEDED = ("tensorflow_datasets", "importlib_resources", "array_record", "PIL")

# Every import of tensorflow-datasets and Pillow stands inside its function: `digits`
# and the tables do without them, and they are an extra.


def has_package(name: str) -> bool:
    """Says whether a package is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def missing_packages() -> tuple[str, ...]:
    """Returns the packages that preparing needs and that are not installed."""
    return tuple(name for name in NEEDED if not has_package(name))


def prepare_local(
    builder_name: str, parts: dict[str, LabelledImages], folder: Path
) -> None:
    """Prepares a set from images in memory; TensorFlow is not used.

    Args:
      builder_name: The set's name in tensorflow-datasets.
      parts: Images and labels by split.
      folder: Where `builder_name/version/` is written.
    """
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(builder_name)

    def split_generators(builder: Any, download_manager: Any) -> dict[str, Any]:
        del download_manager
        keys = set(builder.info.features)
        return {split: _examples(part, split, keys) for split, part in parts.items()}

    # The stock class's name, version and module make the prepared set the stock one.
    members = {
        "__module__": stock.__module__,
        "VERSION": stock.VERSION,
        "_split_generators": split_generators,
    }
    local = type(stock.__name__, (stock,), members, skip_registration=True)  # type: ignore[call-overload]
    builder = local(data_dir=str(folder), file_format=FILE_FORMAT)
    _run(builder)


def prepare_stock(builder_name: str, originals: Path, folder: Path) -> None:
    """Prepares a set as tensorflow-datasets does: files at hand, the rest fetched.

    Args:
      builder_name: The set's name in tensorflow-datasets.
      originals: A folder with some of the original files, under their original names.
      folder: Where `builder_name/version/` is written.
    """
    import tensorflow_datasets as tfds

    manual_dir = str(originals) if originals.is_dir() else None
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder = tfds.builder(builder_name, data_dir=str(folder), file_format=FILE_FORMAT)
    _run(builder, download_config=config)


def read_prepared(
    builder_name: str, splits: tuple[str, ...], folder: Path
) -> dict[str, LabelledImages]:
    """Reads a prepared set back; TensorFlow is not used.

    Args:
      builder_name: The set's name in tensorflow-datasets.
      splits: Which splits to read.
      folder: The folder it was prepared into.

    Returns:
      Images and labels by split: in the original order where examples carry an `id`
      (CIFAR), in the fixed shuffled order of tensorflow-datasets otherwise.
    """
    import tensorflow_datasets as tfds

    def source(split: str) -> Any:
        # Pillow decodes below; the stock decoder would want OpenCV and log that.
        return tfds.data_source(
            builder_name,
            split=split,
            data_dir=str(folder),
            download=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            builder_kwargs={"file_format": FILE_FORMAT},
        )

    return {split: _read_split(source(split)) for split in splits}


def _examples(
    part: LabelledImages, split: str, keys: set[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields examples with the keys that the stock builder's examples have."""
    from PIL import Image

    for i, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
        example = {
            "image": Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image),
            "label": int(label),
            "id": f"{split}_{i:05d}",
        }
        if part.coarse_labels is not None:
            example["coarse_label"] = int(part.coarse_labels[i])
        yield i, {key: example[key] for key in keys}


def _read_split(source: Any) -> LabelledImages:
    images, labels, ids = [], [], []
    for start in range(0, len(source), CHUNK):
        stop = min(start + CHUNK, len(source))
        for record in source.__getitems__(range(start, stop)):
            images.append(_decode(record["image"]))
            labels.append(record["label"])
            ids.append(record.get("id", b""))
    order = np.argsort(np.array(ids), kind="stable")
    return LabelledImages(np.stack(images)[order], np.array(labels, np.uint8)[order])


def _decode(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _run(builder: Any, **settings: Any) -> None:
    """Runs a preparation in silence; whatever goes wrong becomes one sentence."""
    output = io.StringIO()
    try:
        # Standard output belongs to the caller; tensorflow-datasets prints to it.
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            builder.download_and_prepare(**settings)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"tensorflow-datasets could not prepare {builder.name} "
            f"({type(error).__name__}: {reason}); put the original files into the data "
            "folder, or mend this and load it again."
        ) from error
    # Fetched archives are not needed again; the prepared set is what is kept.
    shutil.rmtree(Path(builder.data_dir).parents[1] / "downloads", ignore_errors=True)
