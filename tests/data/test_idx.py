import gzip
import struct

import numpy as np
import pytest
from damage import assert_same_or_refused, damaged
from hypothesis import given
from hypothesis import strategies as st

from samt_jax.data import DataError
from samt_jax.data.idx import read_idx

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
# Magic 2051: two zero bytes, 8 for unsigned bytes, 3 for three sizes.
HEADER = struct.pack(">IIII", 2051, 2, 3, 4)
FILE = gzip.compress(HEADER + PIXELS.tobytes(), mtime=0)


def test_images_and_labels_are_read_as_written():
    np.testing.assert_array_equal(read_idx(FILE, (2, 3, 4)), PIXELS)
    labels = gzip.compress(struct.pack(">II", 2049, 3) + bytes([7, 0, 9]))
    assert read_idx(labels, (3,)).tolist() == [7, 0, 9]


@pytest.mark.parametrize(
    ("unpacked", "sentence"),
    [
        (struct.pack(">IIII", 2052, 2, 3, 4) + bytes(24), "does not start with"),
        (struct.pack(">IIII", 2051, 2, 4, 3) + bytes(24), "does not start with"),
        (HEADER + bytes(23), "ends after 23 of 24 bytes"),
        (HEADER + bytes(25), "unpacks to more than the 40 bytes"),
        (b"", "does not start with"),
    ],
)
def test_another_magic_count_or_length_is_refused(unpacked, sentence):
    with pytest.raises(DataError, match=sentence):
        read_idx(gzip.compress(unpacked), (2, 3, 4))


def test_a_file_that_is_not_gzip_is_refused_by_name():
    with pytest.raises(DataError, match=r"images\.gz is damaged \(BadGzipFile\)"):
        read_idx(HEADER + PIXELS.tobytes(), (2, 3, 4), "images.gz")


def test_a_bomb_is_not_unpacked():
    bomb = gzip.compress(HEADER + bytes(10_000_000))
    with pytest.raises(DataError, match="more than the 40 bytes"):
        read_idx(bomb, (2, 3, 4))


@given(damaged(FILE))
def test_damaged_files_are_read_right_or_refused(data):
    assert_same_or_refused(lambda: read_idx(data, (2, 3, 4)), PIXELS)


@given(damaged(HEADER + PIXELS.tobytes()).map(gzip.compress), st.data())
def test_well_packed_nonsense_has_the_right_shape_or_is_refused(data, draw):
    shape = draw.draw(st.sampled_from([(2, 3, 4), (24,), (0,), (60_000, 28, 28)]))
    try:
        assert read_idx(data, shape).shape == shape
    except DataError as error:
        assert str(error).endswith(".")
