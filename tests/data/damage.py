"""Ways in which a file can be damaged, and what a reader must make of it."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from samt_jax.data import DataError


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """A file with a byte changed, the end cut off, bytes put in, or quite another."""
    places = st.integers(0, len(data) - 1)
    changed = st.tuples(places, st.integers(1, 255)).map(
        lambda at: data[: at[0]] + bytes([data[at[0]] ^ at[1]]) + data[at[0] + 1 :]
    )
    cut = places.map(lambda at: data[:at])
    longer = st.tuples(places, st.binary(min_size=1, max_size=40)).map(
        lambda at: data[: at[0]] + at[1] + data[at[0] :]
    )
    return st.one_of(changed, cut, longer, st.binary(max_size=200))


def assert_same_or_refused(read: Callable[[], np.ndarray], original: np.ndarray):
    """The reader returns what the undamaged file holds, or refuses in one sentence."""
    try:
        result = read()
    except DataError as error:
        assert_one_sentence(error)
    else:
        np.testing.assert_array_equal(result, original)


def assert_one_sentence(error: DataError):
    """The message is one line that ends with a full stop."""
    message = str(error)
    assert message.endswith(".") and "\n" not in message and len(message) < 500
