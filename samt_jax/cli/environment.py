"""What a run ran on: versions, devices, threads."""

import importlib.metadata
import os
import platform
from typing import Any

import jax

PACKAGES = (
    "samt-jax", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "tyro",
    "rich", "matplotlib", "scikit-learn", "tensorflow-datasets", "tensorflow", "torch",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Describes what the command runs on.

    Returns:
      The version of Python and of each package (`None` where it is not installed),
      devices, and how many processor threads there are to use.
    """
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "threads": _num_threads(),
    }


def device_label() -> str:
    """What a picture says of where its numbers come from.

    Returns:
      The kind of the default device (and for a processor its threads), and the version
      of JAX.
    """
    device = jax.devices()[0]
    kind = device.device_kind
    if device.platform == "cpu":
        kind = f"{_num_threads()} {kind} threads"
    return f"{kind}, jax {jax.__version__}"


def _num_threads() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not a system that pins processes to processors.
        return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
