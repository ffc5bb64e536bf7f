import gzip
import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
from damage import assert_one_sentence, assert_same_or_refused, damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samt_jax.data import DataError, catalog, cifar, load, report_datasets
from samt_jax.data.cifar import (
    read_archive,
    read_labels,
    read_mosaic,
    read_sums,
    split_records,
)


def pack(image: Image.Image, kind: str = "WEBP") -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def pack_labels(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


PLAIN = pack(Image.new("RGB", (256, 4000), (1, 2, 3)))
LABELS = np.arange(50, dtype=np.uint8)
LABEL_FILE = pack_labels(train=LABELS, test=LABELS[:10])
SUMS = b"%s  train-00.webp\n" % hashlib.sha256(b"").hexdigest().encode()


class TestMosaics:
    def test_images_come_row_by_row(self):
        # Image k is filled with the numbers of its row and its column.
        pixels = np.zeros((125, 32, 8, 32, 3), np.uint8)
        pixels[..., 0] = np.arange(125)[:, None, None, None]
        pixels[..., 1] = np.arange(8)[None, None, :, None]
        # Channel 2 grows down and to the right inside each image.
        pixels[..., 2] = 7 * np.arange(32)[None, :, None, None] + np.arange(32)
        images = read_mosaic(pack(Image.fromarray(pixels.reshape(4000, 256, 3))))
        assert images.shape == (1000, 32, 32, 3) and images.dtype == np.uint8
        np.testing.assert_array_equal(images[8 * 17 + 5, ..., 0], 17)
        np.testing.assert_array_equal(images[8 * 17 + 5, ..., 1], 5)
        assert images[999, 3, 2, 2] == 7 * 3 + 2

    def test_another_size_is_refused_before_it_is_decoded(self):
        with pytest.raises(DataError, match="is 256 by 32 pixels, a mosaic is 256 by"):
            read_mosaic(pack(Image.new("RGB", (256, 32))))

    def test_another_format_is_refused(self):
        with pytest.raises(DataError, match="is damaged"):
            read_mosaic(pack(Image.new("RGB", (256, 4000)), "PNG"))

    @settings(max_examples=30)
    @given(damaged(PLAIN))
    def test_damaged_mosaics_have_the_right_shape_or_are_refused(self, data):
        # WebP has no checksum of its own: the wrong picture may come out, no crash.
        try:
            assert read_mosaic(data).shape == (1000, 32, 32, 3)
        except DataError as error:
            assert_one_sentence(error)


class TestLabels:
    def test_labels_are_read_by_name(self):
        np.testing.assert_array_equal(read_labels(LABEL_FILE, "train", 50), LABELS)
        assert read_labels(LABEL_FILE, "test", 10).tolist() == list(range(10))

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"test": LABELS}, r"is damaged \(KeyError\)"),
            ({"train": LABELS[:49]}, "does not hold 50 labels under the name train"),
            ({"train": LABELS.astype(np.int32)}, "does not hold 50 labels"),
            ({"train": LABELS.reshape(5, 10)}, "does not hold 50 labels"),
            ({"train": np.array([{}] * 50, object)}, "does not hold 50 labels"),
            ({"train": np.zeros(10**6, np.uint8)}, "does not hold 50 labels"),
        ],
    )
    def test_anything_but_that_many_bytes_is_refused(self, arrays, sentence):
        with pytest.raises(DataError, match=sentence):
            read_labels(pack_labels(**arrays), "train", 50)

    @given(damaged(LABEL_FILE))
    def test_damaged_label_files_are_read_right_or_refused(self, data):
        assert_same_or_refused(lambda: read_labels(data, "train", 50), LABELS)


class TestSums:
    def test_lines_are_checksum_and_name(self):
        assert list(read_sums(SUMS)) == ["train-00.webp"]

    @given(damaged(SUMS))
    def test_damaged_sums_are_read_or_refused(self, data):
        try:
            sums = read_sums(data)
        except DataError as error:
            assert_one_sentence(error)
        else:
            assert all(len(digest) == 64 for digest in sums.values())


class TestArchive:
    FILES = cifar.CifarFiles(
        archive=catalog.FileSpec("cifar.tar.gz", ""),
        members={"train": ("bin/a.bin", "bin/b.bin"), "test": ("bin/c.bin",)},
        labels=catalog.FileSpec("labels.npz", ""),
        label_keys=("coarse_label", "label"),
    )

    @pytest.fixture(autouse=True)
    def few_images(self, monkeypatch):
        monkeypatch.setattr(cifar, "NUM_IMAGES", {"train": 4, "test": 2})

    def records(self, count):
        rng = np.random.default_rng(count)
        return rng.integers(0, 256, (count, 2 + 3072), np.uint8)

    def archive(self, **members) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, records in members.items():
                member = tarfile.TarInfo(f"bin/{name}.bin")
                member.size = records.nbytes
                tar.addfile(member, io.BytesIO(records.tobytes()))
        return file.getvalue()

    def test_members_of_a_split_follow_each_other(self):
        a, b, c = self.records(2), self.records(2) // 2, self.records(2) // 3
        parts = read_archive(self.archive(a=a, b=b, c=c), self.FILES)
        whole = np.concatenate([a, b])
        np.testing.assert_array_equal(parts["train"].coarse_labels, whole[:, 0])
        np.testing.assert_array_equal(parts["train"].labels, whole[:, 1])
        # Red plane, then green, then blue, each row by row: pixel (1, 2) of green
        # stands at 2 labels + 1024 + 32 + 2.
        assert parts["train"].images[3, 1, 2, 1] == whole[3, 2 + 1024 + 32 + 2]
        assert parts["test"].images.shape == (2, 32, 32, 3)

    def test_a_member_of_another_size_is_refused(self):
        good, short = self.records(2), self.records(1)
        with pytest.raises(DataError, match=r"bin/b\.bin does not have 6,148 bytes"):
            read_archive(self.archive(a=good, b=short, c=good), self.FILES)

    def test_a_missing_member_is_refused(self):
        good = self.records(2)
        with pytest.raises(DataError, match=r"is damaged \(KeyError\)"):
            read_archive(self.archive(a=good, b=good), self.FILES)

    @settings(max_examples=30)
    @given(st.data())
    def test_damaged_archives_are_read_right_or_refused(self, data):
        plain = np.zeros((2, 3074), np.uint8)
        whole = self.archive(a=plain, b=plain, c=plain)
        inner = data.draw(damaged(gzip.decompress(whole)[:2048]))
        for file in (data.draw(damaged(whole)), gzip.compress(inner)):
            try:
                parts = read_archive(file, self.FILES)
            except DataError as error:
                assert_one_sentence(error)
            else:
                assert parts["train"].images.shape == (4, 32, 32, 3)


class TestFindingFiles:
    FILES = catalog._CIFAR100

    @pytest.fixture
    def folder(self, tmp_path):
        """A folder with the names of three and two mosaics; all of them are empty."""
        names = [f"train-{i:02d}.webp" for i in range(3)]
        names += [f"test-{i:02d}.webp" for i in range(2)]
        empty = hashlib.sha256(b"").hexdigest()
        lines = "".join(f"{empty}  {name}\n" for name in names)
        (tmp_path / "SHA256SUMS").write_text(lines)
        for name in [*names, "labels.npz"]:
            (tmp_path / name).touch()
        return tmp_path

    def test_a_part_of_the_set_counts_what_is_there(self, folder):
        found = cifar.find_cifar(folder, self.FILES)
        assert found.missing == ()
        assert found.num_images == {"train": 3_000, "test": 2_000}

    def test_a_gap_between_mosaics_is_named(self, folder):
        (folder / "train-01.webp").unlink()
        assert cifar.find_cifar(folder, self.FILES).missing == ("train-01.webp",)

    def test_a_split_without_mosaics_is_named(self, folder):
        for file in folder.glob("test-*"):
            file.unlink()
        assert cifar.find_cifar(folder, self.FILES).missing == ("test-00.webp",)

    def test_without_labels_the_set_is_not_there(self, folder):
        (folder / "labels.npz").unlink()
        assert cifar.find_cifar(folder, self.FILES).missing == ("labels.npz",)

    def test_a_mosaic_without_a_checksum_is_refused(self, folder):
        (folder / "SHA256SUMS").write_text("")
        with pytest.raises(DataError, match=r"has no line for train-00\.webp"):
            cifar.find_cifar(folder, self.FILES)

    def test_the_archive_is_preferred(self, folder):
        (folder / "cifar-100-binary.tar.gz").touch()
        found = cifar.find_cifar(folder, self.FILES)
        assert found.files == (self.FILES.archive,)
        assert found.num_images == {"train": 50_000, "test": 10_000}

    def test_an_empty_folder_lacks_the_archive(self, tmp_path):
        missing = cifar.find_cifar(tmp_path, self.FILES).missing
        assert missing == ("cifar-100-binary.tar.gz",)


class TestRealFiles:
    @pytest.fixture
    def part(self, tmp_path, original):
        """Copies the first mosaics of a set into a folder of their own."""

        def copy(num_train, num_test, name="cifar100"):
            names = [f"train-{i:02d}.webp" for i in range(num_train)]
            names += [f"test-{i:02d}.webp" for i in range(num_test)]
            paths = [f"{name}/{n}" for n in [*names, "labels.npz", "SHA256SUMS"]]
            source = original(*paths)
            (tmp_path / name).mkdir()
            for path in paths:
                shutil.copyfile(source / path, tmp_path / path)
            return tmp_path

        return copy

    @pytest.mark.parametrize(
        ("name", "label", "num_outputs"),
        [("cifar10", "CIFAR-10", 10), ("cifar100", "CIFAR-100", 100)],
    )
    def test_a_part_says_how_many_images_it_has(self, name, label, num_outputs, part):
        folder = part(2, 1, name)
        dataset = load(name, data_dir=folder)
        assert dataset.label == f"{label} (partial: 3,000 of 60,000 images)"
        sizes = [p.inputs.shape for p in dataset[3:6]]
        assert sizes == [(n, 32, 32, 3) for n in (1_800, 200, 1_000)]
        assert dataset.num_outputs == num_outputs
        report = {r.name: r for r in report_datasets(data_dir=folder)}[name]
        assert report.found and report.prepared and report.label == dataset.label

    def test_more_of_the_set_is_another_set(self, part, tmp_path, original):
        folder = part(1, 1)
        first = load("cifar100", data_dir=folder)
        source = original("cifar100/train-01.webp")
        name = "cifar100/train-01.webp"
        shutil.copyfile(source / name, folder / name)
        more = load("cifar100", data_dir=folder)
        assert len(first.train.targets) == 900 and len(more.train.targets) == 1_800

    def test_a_damaged_mosaic_is_refused_even_when_prepared(self, part):
        folder = part(1, 1)
        load("cifar100", data_dir=folder)
        mosaic = folder / "cifar100" / "test-00.webp"
        data = bytearray(mosaic.read_bytes())
        data[1000] ^= 1
        mosaic.write_bytes(data)
        with pytest.raises(DataError, match=r"test-00\.webp has SHA-256"):
            load("cifar100", data_dir=folder)

    def test_the_mosaics_hold_the_records_of_the_binary_files(self, original):
        mosaics = [f"cifar100/train-{i:02d}.webp" for i in range(50)]
        mosaics += [f"cifar100/test-{i:02d}.webp" for i in range(10)]
        folder = original("cifar100/labels.npz", *mosaics) / "cifar100"
        files = catalog._CIFAR100
        parts = cifar.decode_cifar(folder, cifar.find_cifar(folder, files), files)
        sums = {
            "train": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
            "test": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
        }
        for split, part in parts.items():
            planes = part.images.transpose(0, 3, 1, 2).reshape(len(part.labels), -1)
            records = np.column_stack([part.coarse_labels, part.labels, planes])
            assert hashlib.sha256(records.tobytes()).hexdigest() == sums[split]
            back = split_records(records, files.label_keys)
            np.testing.assert_array_equal(back.images, part.images)
            np.testing.assert_array_equal(back.labels, part.labels)
            np.testing.assert_array_equal(back.coarse_labels, part.coarse_labels)
