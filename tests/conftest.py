"""What holds in every test: no silent broadcasting, fixed seeds, no deadlines."""

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the time goes into compiling programs that run for a moment.
jax.config.update("jax_disable_most_optimizations", True)

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")


@pytest.fixture
def key():
    """A fixed key; split it."""
    return jax.random.key(0)


@pytest.fixture
def rng():
    """A fixed NumPy generator."""
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """64-bit numbers for the length of a test; make arrays inside it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict_promotion():
    """No implicit change of dtype: for our own stages, which optax.adam is not."""
    with jax.numpy_dtype_promotion("strict"):
        yield
