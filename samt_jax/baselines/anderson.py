"""Anderson acceleration of a fixed-point iteration ``x ← G(x)``.

With the residual ``f = G(x) - x`` and the changes ΔF of the last m residuals and ΔG of
the last m images, the proposal is

    G(x) - ΔG γ,        γ = argmin ‖f - ΔF γ‖²,

the image of the combination of the last points whose residual is smallest, were G
affine.

Reference: Walker and Ni, "Anderson acceleration for fixed-point iterations", 2011.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class AndersonHistory(NamedTuple):
    """The last points of an iteration.

    Attributes:
      residual_changes: ΔF, one change a row; rows not yet filled are zero.
      image_changes: ΔG, likewise.
      last_residual: f of the last point.
      last_image: G of the last point.
      count: Points seen since the history was cleared.
    """

    residual_changes: Float[Array, "m d"]
    image_changes: Float[Array, "m d"]
    last_residual: Float[Array, "d"]
    last_image: Float[Array, "d"]
    count: Int[Array, ""]  # type: ignore[assignment]  # Hides `tuple.count`.


def start_history(x: Float[Array, "d"], memory: int) -> AndersonHistory:
    """A history of no points.

    Args:
      x: Any point, for its size and dtype.
      memory: m, how many changes to keep.

    Returns:
      The history.
    """
    changes, zeros = jnp.zeros((memory, x.size), x.dtype), jnp.zeros_like(x)
    return AndersonHistory(changes, changes, zeros, zeros, jnp.zeros((), jnp.int32))


def propose(
    history: AndersonHistory, x: Float[Array, "d"], image: Float[Array, "d"]
) -> tuple[Float[Array, "d"], AndersonHistory]:
    """The accelerated point, and the history with this one.

    Args:
      history: The last points.
      x: The point.
      image: ``G(x)``.

    Returns:
      The proposal, which is the image where the history is empty or keeps no changes;
      and the history.

    Example:
      >>> x, history = jnp.array([1.0]), start_history(jnp.zeros(1), 1)
      >>> for _ in range(3):
      ...     x, history = propose(history, x, 0.9 * x + 1)  # whose fixed point is 10
      >>> bool(jnp.allclose(x, 10, atol=1e-4))
      True
    """
    memory, residual = len(history.residual_changes), image - x
    if not memory:
        return image, history._replace(count=history.count + 1)
    # The first point of a history has no change yet, and fills no row.
    row = jnp.where(history.count == 0, memory, (history.count - 1) % memory)
    residual_changes = history.residual_changes.at[row].set(
        residual - history.last_residual, mode="drop"
    )
    image_changes = history.image_changes.at[row].set(
        image - history.last_image, mode="drop"
    )
    proposal = image - _smallest_combination(residual_changes, residual) @ image_changes
    return proposal, AndersonHistory(
        residual_changes, image_changes, residual, image, history.count + 1
    )


def clear(history: AndersonHistory) -> AndersonHistory:
    """The history of no points, of the same shapes."""
    return jax.tree.map(jnp.zeros_like, history)


def _smallest_combination(
    changes: Float[Array, "m d"], residual: Float[Array, "d"]
) -> Float[Array, "m"]:
    """γ, by QR of the changes at unit length with a trace of a ridge below them."""
    lengths = jnp.sqrt(jnp.sum(changes**2, axis=1))
    lengths = jnp.where(lengths == 0, 1, lengths)
    memory = len(changes)
    ridge = 10 * jnp.finfo(changes.dtype).eps * jnp.eye(memory, dtype=changes.dtype)
    columns = jnp.concatenate([(changes / lengths[:, None]).T, ridge])
    q, r = jnp.linalg.qr(columns)
    target = jnp.concatenate([residual, jnp.zeros(memory, residual.dtype)])
    return jax.scipy.linalg.solve_triangular(r, q.T @ target) / lengths
