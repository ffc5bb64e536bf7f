"""The original files where they are there, a cache of the session's own, a tiny set."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from samt_jax.data.catalog import IMAGE_SETS
from samt_jax.data.files import FileSpec, Originals, find_missing, read_original
from samt_jax.data.idx import LabelledImages

BESIDE_THE_CHECKOUT = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def no_user_folders(monkeypatch, tmp_path):
    """No test finds the user's data by chance, or writes into the user's cache."""
    monkeypatch.delenv("SAMT_JAX_DATA", raising=False)
    monkeypatch.setenv("SAMT_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def original():
    """Returns the folder of original files, or skips naming the one that is missing."""
    folder = Path(os.environ.get("SAMT_JAX_DATA") or BESIDE_THE_CHECKOUT)

    def find(*paths: str) -> Path:
        for path in paths:
            if not (folder / path).is_file():
                pytest.skip(f"{path} is not in the data folder")
        return folder

    return find


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    """A cache folder that the tests of one session share and then delete."""
    folder = tmp_path_factory.mktemp("cache")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tiny(tmp_path, rng):
    """A set of 60 + 20 images in one file: its specification, data folder, parts."""
    parts = {
        split: LabelledImages(
            rng.integers(0, 256, (count, 28, 28, 1), np.uint8),
            np.arange(count, dtype=np.uint8) % 10,
        )
        for split, count in {"train": 60, "test": 20}.items()
    }
    counts = {split: len(part.labels) for split, part in parts.items()}
    data = b"".join(p.images.tobytes() + p.labels.tobytes() for p in parts.values())
    file = FileSpec("tiny.bin", hashlib.sha256(data).hexdigest(), len(data))
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    (tmp_path / "data" / "mnist" / "tiny.bin").write_bytes(data)

    def decode(folder, originals):
        read_original(folder, file)
        return parts

    spec = IMAGE_SETS["mnist"]._replace(
        num_images=counts,
        num_validation=10,
        find=lambda folder: Originals((file,), find_missing(folder, (file,)), counts),
        decode=decode,
    )
    return spec, tmp_path / "data", parts
