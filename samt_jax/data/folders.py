"""Where original files are looked for, and where prepared sets are kept."""

import os
from pathlib import Path

DATA_VARIABLE = "SAMT_JAX_DATA"
CACHE_VARIABLE = "SAMT_JAX_CACHE"

Folder = str | os.PathLike[str] | None


def resolve_data_dir(data_dir: Folder = None) -> Path:
    """Returns the folder of original files: the argument, SAMT_JAX_DATA, or `./data`.

    It is only ever read.
    """
    return Path(data_dir or os.environ.get(DATA_VARIABLE) or "data").expanduser()


def resolve_cache_dir(cache_dir: Folder = None) -> Path:
    """Returns the folder of prepared sets.

    The argument, else SAMT_JAX_CACHE, else `samt_jax` in the user's cache folder
    (XDG_CACHE_HOME, by default `~/.cache`).
    """
    given = cache_dir or os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(user).expanduser() / "samt_jax"
