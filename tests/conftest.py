"""What holds in every test: no silent broadcasting, fixed seeds, no deadlines."""

import os
import subprocess
import sys
import tempfile

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the time goes into compiling programs that run for a moment.
jax.config.update("jax_disable_most_optimizations", True)

# Where jaxlib still has the choice (0.10 has it, 0.12 not), this halves it once more.
_QUICK_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false"


def _share_programs(config):
    """Keeps what is compiled, for this session alone.

    What one process has compiled, the other worker and the commands that tests start
    find there; who asks for it still counts and times a compilation.
    """
    folder = tempfile.TemporaryDirectory(prefix="programs-")
    config.add_cleanup(folder.cleanup)
    for name, value in {
        "jax_compilation_cache_dir": folder.name,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        return  # It has its parent's environment.
    _share_programs(config)
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_QUICK_TO_COMPILE}".strip()
    # A flag that is not known ends a process, so that only another can ask for it.
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
    )
    if known.returncode == 0:
        os.environ["XLA_FLAGS"] = flags


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
