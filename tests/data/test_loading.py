import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from samt_jax.data import DATASETS, DataError, images, load
from samt_jax.data.digits import check_digits
from samt_jax.data.folders import resolve_cache_dir, resolve_data_dir

IDX = tuple(
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
MOSAICS = tuple(f"train-{i:02d}.webp" for i in range(50)) + tuple(
    f"test-{i:02d}.webp" for i in range(10)
)


def digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


class TestNames:
    def test_an_unknown_name_is_answered_with_the_known_ones(self):
        with pytest.raises(DataError, match="no data set 'mnst'; choose one of digits"):
            load("mnst")

    @pytest.mark.parametrize("name", ["digits", "mnist", "cifar100"])
    def test_images_have_no_splits_to_choose(self, name):
        with pytest.raises(DataError, match=f"{name} has one split, got split=0"):
            load(name, split=0)

    @pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
    def test_a_set_that_is_not_there_says_which_file_goes_where(self, name, tmp_path):
        with pytest.raises(DataError, match=rf"^{name} lacks .*put .* {tmp_path}/"):
            load(name, data_dir=tmp_path)


class TestFolders:
    def test_the_argument_comes_before_the_variable_before_the_default(
        self, monkeypatch
    ):
        monkeypatch.setenv("SAMT_JAX_DATA", "from_variable")
        assert str(resolve_data_dir("given")) == "given"
        assert str(resolve_data_dir()) == "from_variable"
        monkeypatch.delenv("SAMT_JAX_DATA")
        assert str(resolve_data_dir()) == "data"

    def test_the_cache_is_the_users(self, monkeypatch, tmp_path):
        assert str(resolve_cache_dir("given")) == "given"
        monkeypatch.delenv("SAMT_JAX_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert resolve_cache_dir() == tmp_path / "samt_jax"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert resolve_cache_dir() == tmp_path / ".cache" / "samt_jax"

    def test_the_variable_leads_to_the_files(self, monkeypatch, original):
        folder = original("uci/pol/data.csv.gz", "uci/pol/test_mask.csv.gz")
        monkeypatch.setenv("SAMT_JAX_DATA", str(folder))
        assert load("pol").name == "pol"


class TestDigits:
    def test_the_split_is_fixed_and_stratified(self):
        digits = load("digits")
        sizes = [part.inputs.shape for part in digits[3:6]]
        assert sizes == [(n, 8, 8, 1) for n in (1293, 144, 360)]
        # 1,797 digits have 174 to 183 of each class: a fifth and a twelfth of that.
        assert set(np.bincount(digits.test.targets)) <= {34, 35, 36, 37}
        assert set(np.bincount(digits.validation.targets)) <= {13, 14, 15}
        # Written down once: another split would make old figures incomparable.
        assert digest(digits.test.targets) == "9ce5b942abae7d0e"
        assert digest(digits.validation.targets) == "9aa3332e016e1441"

    def test_another_copy_of_the_digits_is_refused(self):
        images, labels = np.zeros((1797, 8, 8, 1), np.uint8), np.zeros(1797, np.int32)
        with pytest.raises(
            DataError, match=r"digits have SHA-256 .* install scikit-le"
        ):
            check_digits(images, labels)

    def test_no_digit_is_in_two_parts(self):
        digits = load("digits")
        rows = [set(map(bytes, part.inputs)) for part in digits[3:6]]
        assert sum(map(len, rows)) == len(set.union(*rows))

    def test_neither_tensorflow_nor_its_datasets_are_imported(self):
        code = (
            "import sys, samt_jax, samt_jax.data; samt_jax.data.load('digits');"
            "samt_jax.data.report_datasets(); print([name for name in sys.modules if"
            " name.startswith(('tensorflow', 'array_record', 'PIL'))])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"


class TestRealImages:
    @pytest.mark.parametrize(
        ("name", "validation"),
        [("mnist", "aac4777b2dae4efc"), ("fashion_mnist", "90db7a308e6afe11")],
        ids=["mnist", "fashion_mnist"],
    )
    def test_the_mnist_family(self, name, validation, original, session_cache):
        folder = original(*(f"{name}/{file}" for file in IDX))
        dataset = load(name, data_dir=folder, cache_dir=session_cache)
        sizes = [part.inputs.shape for part in dataset[3:6]]
        assert sizes == [(n, 28, 28, 1) for n in (55_000, 5_000, 10_000)]
        assert dataset.num_outputs == 10 and dataset.metric == "accuracy"
        assert abs(dataset.train.inputs.mean()) < 1e-4
        assert abs(dataset.train.inputs.std() - 1) < 1e-4
        # Written down once: another split would make old figures incomparable.
        assert digest(dataset.validation.targets) == validation

    def test_kmnist_without_its_training_images_names_them(
        self, original, session_cache, tmp_path
    ):
        files = [f"kmnist/{file}" for file in IDX[1:]]
        source = original(*files)
        (tmp_path / "kmnist").mkdir()
        for file in files:
            shutil.copyfile(source / file, tmp_path / file)
        sentence = rf"^kmnist lacks train-images-idx3-ubyte\.gz: .* {tmp_path}/kmnist,"
        with pytest.raises(DataError, match=sentence):
            load("kmnist", data_dir=tmp_path, cache_dir=session_cache)

    def test_kmnist_whole(self, original, session_cache):
        folder = original(*(f"kmnist/{file}" for file in IDX))
        dataset = load("kmnist", data_dir=folder, cache_dir=session_cache)
        assert np.bincount(dataset.test.targets).tolist() == [1_000] * 10

    def test_kmnist_reduced_is_never_called_kmnist(self, original, session_cache):
        folder = original(*(f"kmnist/{file}" for file in IDX[2:]))
        dataset = load("kmnist_reduced", data_dir=folder, cache_dir=session_cache)
        assert dataset.label == "KMNIST, reduced" and dataset.notes
        # 1,000 images of each class, divided 7 : 1 : 2.
        for part, count in zip(dataset[3:6], (700, 100, 200), strict=True):
            assert np.bincount(part.targets).tolist() == [count] * 10
        rows = [set(map(bytes, part.inputs)) for part in dataset[3:6]]
        assert sum(map(len, rows)) - len(set.union(*rows)) == 0
        assert digest(dataset.test.targets) == "77f5fcae76918ac3"

    def test_cifar10_says_which_images_are_approximate(
        self, original, tmp_path, monkeypatch
    ):
        # All of the decoding and none of the preparation, which takes 20 seconds for
        # the whole set: test_cifar.py has a part of it prepared.
        prepared = {}
        monkeypatch.setattr(
            images, "prepare_local", lambda name, parts, into: prepared.update(parts)
        )
        monkeypatch.setattr(images, "read_prepared", lambda *args: prepared)
        files = [f"cifar10/{name}" for name in (*MOSAICS, "labels.npz", "SHA256SUMS")]
        folder = original(*files)
        dataset = load("cifar10", data_dir=folder, cache_dir=tmp_path)
        for part, count in zip(dataset[3:6], (4_500, 500, 1_000), strict=True):
            assert part.inputs.shape[1:] == (32, 32, 3)
            assert np.bincount(part.targets).tolist() == [count] * 10
        assert dataset.label == "CIFAR-10" and "98 of the 60,000" in dataset.notes[0]
        means = dataset.train.inputs.mean(axis=(0, 1, 2), dtype=np.float64)
        np.testing.assert_allclose(means, 0.0, atol=1e-4)
