import hashlib

import pytest

from samt_jax.data import DataError
from samt_jax.data.files import FileSpec, decoding, fingerprint, read_original

DATA = b"an original"
FILE = FileSpec("original.bin", hashlib.sha256(DATA).hexdigest(), len(DATA))


def test_an_original_is_returned_whole(tmp_path):
    (tmp_path / FILE.name).write_bytes(DATA)
    assert read_original(tmp_path, FILE) == DATA


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (DATA[:-1], "has 10 bytes, the original has 11; replace it"),
        (DATA + b"!", "has 12 bytes, the original has 11; replace it"),
        (b"An original", "has SHA-256 .* the original .*; replace it"),
    ],
)
def test_another_size_or_checksum_is_refused(tmp_path, data, sentence):
    (tmp_path / FILE.name).write_bytes(data)
    with pytest.raises(DataError, match=sentence):
        read_original(tmp_path, FILE)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / FILE.name).mkdir()
    with pytest.raises(DataError, match=r"original\.bin cannot be read"):
        read_original(tmp_path, FILE)


def test_a_fingerprint_checks_every_file_and_knows_their_content(tmp_path):
    other = FileSpec("other.bin", hashlib.sha256(b"").hexdigest())
    (tmp_path / FILE.name).write_bytes(DATA)
    (tmp_path / other.name).write_bytes(b"")
    whole = fingerprint(tmp_path, (FILE, other))
    assert whole == fingerprint(tmp_path, (other, FILE))
    assert whole != fingerprint(tmp_path, (FILE,))
    (tmp_path / other.name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"other\.bin has SHA-256"):
        fingerprint(tmp_path, (FILE, other))


def test_whatever_a_decoder_raises_becomes_one_error():
    for error in (MemoryError(), RecursionError(), KeyError("x"), OSError("y")):
        with (
            pytest.raises(DataError, match="the file is damaged"),
            decoding("the file"),
        ):
            raise error
    with pytest.raises(KeyboardInterrupt), decoding("the file"):
        raise KeyboardInterrupt
