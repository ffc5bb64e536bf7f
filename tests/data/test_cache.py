import os
import time

import numpy as np
import pytest

from samt_jax.data import DataError
from samt_jax.data.cache import ARRAYS, CHECKSUM, load_cached
from samt_jax.data.idx import LabelledImages

PARTS = {
    "test": LabelledImages(np.ones((2, 3, 3, 1), np.uint8), np.array([0, 1], np.uint8))
}


def build(folder):
    (folder / "prepared").touch()
    return PARTS


def never(folder):
    raise AssertionError("the entry is there and whole")


def assert_parts_equal(first, second):
    assert first.keys() == second.keys()
    for split in first:
        np.testing.assert_array_equal(first[split].images, second[split].images)
        np.testing.assert_array_equal(first[split].labels, second[split].labels)


def test_an_entry_is_built_once(tmp_path):
    assert_parts_equal(load_cached(tmp_path / "new", "set", build), PARTS)
    assert_parts_equal(load_cached(tmp_path / "new", "set", never), PARTS)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set"]
    assert (tmp_path / "new" / "set" / "prepared").exists()


@pytest.mark.parametrize("name", [ARRAYS, CHECKSUM])
@pytest.mark.parametrize("change", ["flip", "cut", "delete"])
def test_a_damaged_entry_is_built_again(tmp_path, name, change):
    load_cached(tmp_path, "set", build)
    path = tmp_path / "set" / name
    data = path.read_bytes()
    middle = len(data) // 2
    if change == "delete":
        path.unlink()
    elif change == "cut":
        path.write_bytes(data[:middle])
    else:
        flipped = bytes([data[middle] ^ 1])
        path.write_bytes(data[:middle] + flipped + data[middle + 1 :])
    built = []
    parts = load_cached(
        tmp_path, "set", lambda folder: built.append(1) or build(folder)
    )
    assert built == [1]
    assert_parts_equal(parts, PARTS)
    assert_parts_equal(load_cached(tmp_path, "set", never), PARTS)


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_cached(tmp_path, "set", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_not_trusted_and_goes_after_a_day(tmp_path):
    old, fresh = (tmp_path / f".preparing-set-{name}" for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir()
        (folder / ARRAYS).write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    assert_parts_equal(load_cached(tmp_path, "set", build), PARTS)
    assert not old.exists() and fresh.exists()


def test_another_process_may_be_faster(tmp_path):
    def build_while_another_does(folder):
        load_cached(tmp_path, "set", build)
        return build(folder)

    parts = load_cached(tmp_path, "set", build_while_another_does)
    assert_parts_equal(parts, PARTS)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be kept in .* SAMT_JAX_CACHE"):
        load_cached(tmp_path / "file", "set", build)
