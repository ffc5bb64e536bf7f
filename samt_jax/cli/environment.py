"""What a run ran on: versions, devices, threads."""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path
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
      the processor, devices, how many threads there are to use, and flags.
    """
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "versions": {name: installed_version(name) for name in PACKAGES},
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "threads": _num_threads(),
        "flags": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in ("NPROC", "XLA_FLAGS") or name.startswith("JAX_")
        },
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


def _processor() -> str:
    """The model, where the system tells it: another one may round otherwise."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()}, {line.partition(':')[2].strip()}"
    return platform.machine()


def _num_threads() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not a system that pins processes to processors.
        return os.cpu_count() or 1


def installed_version(package: str) -> str | None:
    """The installed version of a package, or `None`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
