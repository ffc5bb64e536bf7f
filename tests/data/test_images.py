import importlib.util
import sys
import types

import numpy as np
import pytest

from samt_jax.data import DataError, images, prepare
from samt_jax.data.cache import read_arrays
from samt_jax.data.images import load_images


def multiset(part):
    """Images with their labels, in an order that does not depend on theirs."""
    rows = part.images.reshape(len(part.labels), -1)
    return sorted(zip(map(bytes, rows), part.labels.tolist(), strict=True))


def test_a_set_goes_through_tensorflow_datasets_whole(tiny, tmp_path, capfd):
    spec, data_dir, parts = tiny
    imported = set(sys.modules)
    dataset = load_images(spec, data_dir, tmp_path / "cache")
    sizes = [len(part.targets) for part in dataset[3:6]]
    assert sizes == [50, 10, 20] and dataset.label == "MNIST"
    (entry,) = (tmp_path / "cache").iterdir()
    assert list(entry.glob("mnist/*/mnist-train.array_record*"))
    assert not (entry / "downloads").exists()
    prepared = read_arrays(entry)
    for split, part in parts.items():
        assert multiset(prepared[split]) == multiset(part)
    assert "tensorflow" not in set(sys.modules) - imported
    assert capfd.readouterr() == ("", "")


def test_the_second_load_equals_the_first_without_preparing(
    tiny, tmp_path, monkeypatch
):
    spec, data_dir, _ = tiny
    first = load_images(spec, data_dir, tmp_path / "cache")
    monkeypatch.delattr(images, "prepare_local")
    second = load_images(spec, data_dir, tmp_path / "cache")
    for one, other in zip(first[3:6], second[3:6], strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.targets, other.targets)


def test_parts_are_standardised_by_the_training_part(tiny, tmp_path):
    spec, data_dir, parts = tiny
    dataset = load_images(spec, data_dir, tmp_path / "cache")
    assert dataset.train.inputs.dtype == np.float32
    assert dataset.train.targets.dtype == np.int32
    np.testing.assert_allclose(dataset.train.inputs.mean(), 0.0, atol=1e-5)
    np.testing.assert_allclose(dataset.train.inputs.std(), 1.0, atol=1e-5)
    # Undone with the statistics of the training part, the test part is the original.
    levels = np.concatenate([dataset.train.inputs, dataset.validation.inputs])
    scale = np.ptp(parts["train"].images.astype(float)) / np.ptp(levels)
    offset = parts["train"].images.min() - scale * levels.min()
    test = np.sort(scale * dataset.test.inputs.ravel() + offset)
    np.testing.assert_allclose(test, np.sort(parts["test"].images.ravel()), atol=0.01)


def test_the_validation_part_has_every_class_equally(tiny, tmp_path):
    spec, data_dir, _ = tiny
    dataset = load_images(spec, data_dir, tmp_path / "cache")
    assert np.bincount(dataset.validation.targets).tolist() == [1] * 10


def test_originals_are_checked_on_every_load(tiny, tmp_path):
    spec, data_dir, _ = tiny
    load_images(spec, data_dir, tmp_path / "cache")
    file = data_dir / "mnist" / "tiny.bin"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"tiny\.bin has SHA-256"):
        load_images(spec, data_dir, tmp_path / "cache")


@pytest.mark.parametrize("inside", ["", "mnist"])
def test_the_folder_of_originals_is_no_cache(tiny, inside):
    spec, data_dir, _ = tiny
    before = sorted(data_dir.rglob("*"))
    with pytest.raises(DataError, match=r"cache folder .* nothing is written; name"):
        load_images(spec, data_dir, data_dir / inside)
    assert sorted(data_dir.rglob("*")) == before


def test_labels_outside_their_range_are_refused(tiny, tmp_path):
    spec, data_dir, _ = tiny
    with pytest.raises(
        DataError, match=r"60 train labels from 0 to 4, and label 5 is 5; "
    ):
        load_images(spec._replace(num_classes=5), data_dir, tmp_path / "cache")


def test_counts_and_shapes_are_checked(tiny, tmp_path):
    spec, data_dir, _ = tiny
    with pytest.raises(DataError, match=r"mnist has \(60, 28, 28, 1\) train images"):
        load_images(
            spec._replace(image_shape=(32, 32, 1)), data_dir, tmp_path / "cache"
        )


@pytest.mark.parametrize("package", prepare.NEEDED)
def test_a_missing_package_is_named_with_what_to_install(
    tiny, tmp_path, monkeypatch, package
):
    hide_package(monkeypatch, package)
    spec, data_dir, _ = tiny
    with pytest.raises(DataError, match=rf"{package} is not installed; .*samt-jax\[da"):
        load_images(spec, data_dir, tmp_path / "cache")


def test_a_prepared_set_needs_no_package(tiny, tmp_path, monkeypatch):
    spec, data_dir, _ = tiny
    load_images(spec, data_dir, tmp_path / "cache")
    hide_package(monkeypatch, *prepare.NEEDED)
    load_images(spec, data_dir, tmp_path / "cache")


def test_without_files_and_tensorflow_the_sentence_says_what_to_do(
    tiny, tmp_path, monkeypatch
):
    hide_package(monkeypatch, "tensorflow")
    spec, _, _ = tiny
    with pytest.raises(DataError, match=r"mnist lacks tiny\.bin: put .*tensorflow"):
        load_images(spec, tmp_path / "empty", tmp_path / "cache")
    hide_package(monkeypatch, *prepare.NEEDED)
    with pytest.raises(DataError, match=r"each way needs pip install 'samt-jax\[da"):
        load_images(spec, tmp_path / "empty", tmp_path / "cache")


class TestStockBuilder:
    """The stock builder, where TensorFlow is installed and a file is missing."""

    @pytest.fixture
    def fetched(self, monkeypatch, tiny):
        """Stands in for TensorFlow and the network; counts how often it was asked."""
        spec, _, parts = tiny
        asked = []

        def fetch(builder_name, originals, folder):
            asked.append(originals)
            prepare.prepare_local(builder_name, parts, folder)

        show_package(monkeypatch, "tensorflow")
        monkeypatch.setattr(images, "prepare_stock", fetch)
        return spec, asked

    def test_it_prepares_the_set_once(self, fetched, tmp_path, monkeypatch):
        spec, asked = fetched
        first = load_images(spec, tmp_path / "empty", tmp_path / "cache")
        # Once it is prepared, TensorFlow may go.
        hide_package(monkeypatch, "tensorflow")
        second = load_images(spec, tmp_path / "empty", tmp_path / "cache")
        assert asked == [tmp_path / "empty" / "mnist"]
        np.testing.assert_array_equal(first.train.inputs, second.train.inputs)

    def test_files_at_hand_are_used_without_it(self, fetched, tiny, tmp_path):
        spec, asked = fetched
        load_images(spec, tiny[1], tmp_path / "cache")
        assert asked == []

    def test_what_it_raises_becomes_one_sentence(self, monkeypatch, tmp_path):
        class Unreachable:
            name = "mnist"

            def download_and_prepare(self, download_config):
                print("Downloading")
                raise ConnectionError("no route to host\nand more")

        stock = types.SimpleNamespace(
            builder=lambda *args, **settings: Unreachable(),
            download=types.SimpleNamespace(DownloadConfig=dict),
        )
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", stock)
        with pytest.raises(DataError, match=r"\(ConnectionError: no route to host\);"):
            prepare.prepare_stock("mnist", tmp_path, tmp_path)


def hide_package(monkeypatch, *names):
    """Makes packages look as if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in names else find(name)
    )


def show_package(monkeypatch, name):
    """Makes a package look as if it were installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked: asked == name or find(asked)
    )
