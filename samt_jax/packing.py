"""The leaves of a state as few arrays: large ones as they are, small ones in one.

A state has a few large arrays and a hundred numbers, and Orbax takes half a millisecond
for each of them. Arrays are called by their number, so that no name from a network or a
file becomes a path.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# In bytes; a leaf beyond it is an array of its own, which is two files to write, wait
# for and remove: more than copying a few megabytes costs.
SMALL = 2**22
_TOGETHER = "small"


def pack(leaves: Sequence[Any]) -> dict[str, np.ndarray]:
    """Puts leaves into few arrays.

    Args:
      leaves: Arrays of any dtype, typed keys among them.

    Returns:
      The arrays, by name.

    Example:
      >>> import numpy as np
      >>> leaves = [np.zeros((1024, 1024)), np.int32(3), np.zeros((0, 2))]
      >>> packed = pack(leaves)
      >>> {name: array.shape for name, array in packed.items()}
      {'00000': (1024, 1024), 'small': (4,)}
      >>> unpack(packed, leaves)[1]
      array(3, dtype=int32)
    """
    arrays = {
        f"{i:05d}": as_array(leaf)
        for i, leaf in enumerate(leaves)
        if not _is_small(leaf)
    }
    together = b"".join(as_array(leaf).tobytes() for leaf in leaves if _is_small(leaf))
    # Orbax does not take an array without entries.
    if together:
        arrays[_TOGETHER] = np.frombuffer(together, np.uint8)
    return arrays


def unpack(arrays: Mapping[str, np.ndarray], like: Sequence[Any]) -> list[Any]:
    """Takes leaves out of the arrays that they were put into.

    Args:
      arrays: From :func:`pack`.
      like: The leaves, or their shapes and dtypes.

    Returns:
      The leaves.

    Raises:
      KeyError: An array is missing.
      TypeError: One is too short.
    """
    leaves: list[np.ndarray | jax.Array] = []
    place = 0
    together = arrays.get(_TOGETHER, np.zeros(0, np.uint8)).tobytes()
    for i, template in enumerate(like):
        if _is_small(template):
            shape, dtype = template.shape, np.dtype(template.dtype)
            # A copy: what has been read is to be changed like any other array.
            leaves.append(np.ndarray(shape, dtype, together, place).copy())
            place += _num_bytes(template)
        elif _is_key(template):
            impl = jax.random.key_impl(jnp.empty((), template.dtype))
            data = jnp.asarray(arrays[f"{i:05d}"])
            leaves.append(jax.random.wrap_key_data(data, impl=impl))
        else:
            leaves.append(np.asarray(arrays[f"{i:05d}"]))
    return leaves


def as_array(leaf: Any) -> np.ndarray:
    """The numbers of a leaf; a typed key's are its data."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_small(leaf: Any) -> bool:
    return not _is_key(leaf) and _num_bytes(leaf) <= SMALL


def _num_bytes(leaf: Any) -> int:
    return leaf.size * np.dtype(leaf.dtype).itemsize
