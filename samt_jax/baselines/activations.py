"""Leaky ReLU, and what the auxiliary-variable methods minimise entry by entry.

With slope s below zero, ``f(z) = max(z, 0) + s min(z, 0)``; s = 0 is the ReLU and s = 1
no activation at all. On either side of zero f is linear, so a quadratic in z and f(z)
has one minimizer a side, clipped to it, and the better of the two is the global one.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def activate(
    preactivations: Float[Array, "..."], negative_slope: float
) -> Float[Array, "..."]:
    """The leaky ReLU.

    Args:
      preactivations: z.
      negative_slope: s, from 0 (ReLU) to 1 (linear).

    Returns:
      f(z), in the dtype of z.

    Example:
      >>> activate(jnp.array([-2.0, 3.0]), 0.5)
      Array([-1.,  3.], dtype=float32)
    """
    if negative_slope == 1:
        return preactivations
    if negative_slope == 0:
        return jnp.maximum(preactivations, 0)
    return jnp.maximum(preactivations, negative_slope * preactivations)


def check_slope(negative_slope: float) -> None:
    """Raises a `ValueError` for a slope of which the minimizers are not known."""
    if not 0 <= negative_slope <= 1:
        raise ValueError(
            f"negative_slope is {negative_slope}; the entrywise minimizers are those "
            "of a leaky ReLU, so give a slope from 0 (ReLU) to 1 (linear)."
        )


def fit_preactivations(
    center: Float[Array, "..."],
    activations: Float[Array, "..."],
    center_weight: Float[Array, ""] | float,
    activation_weight: Float[Array, ""] | float,
    negative_slope: float,
) -> Float[Array, "..."]:
    """Minimises ``c (z - center)² + d (activations - f(z))²`` entry by entry.

    A proximal term goes into the first one: ``c₁ (z - m)² + c₂ (z - z₀)²`` is, up to a
    constant, the square of weight c₁ + c₂ about the weighted mean of m and z₀.

    Args:
      center: What z is drawn to.
      activations: What f(z) is drawn to.
      center_weight: c > 0.
      activation_weight: d >= 0.
      negative_slope: s of the activation.

    Returns:
      The minimizer; of two equal ones the one above zero.

    Example:
      >>> fit_preactivations(jnp.array([-1.0]), jnp.array([5.0]), 1.0, 1.0, 0.0)
      Array([2.], dtype=float32)
    """
    s, c, d = negative_slope, center_weight, activation_weight
    above = jnp.maximum((c * center + d * activations) / (c + d), 0)
    below = jnp.minimum((c * center + d * s * activations) / (c + d * s * s), 0)

    def cost(z: Array, activated: Array) -> Array:
        return c * (z - center) ** 2 + d * (activations - activated) ** 2

    return jnp.where(cost(above, above) <= cost(below, s * below), above, below)


def clip_preactivations(
    center: Float[Array, "..."],
    lower: Float[Array, "..."],
    upper: Float[Array, "..."],
    negative_slope: float,
) -> Float[Array, "..."]:
    """The z nearest to a centre whose activation is in an interval, entry by entry.

    Args:
      center: What z is drawn to.
      lower: Least activation.
      upper: Largest activation, not below `lower`. A ReLU cannot be below zero: where
        `upper` is, z stays as far below zero as that.
      negative_slope: s of the activation.

    Returns:
      The projection.

    Example:
      >>> center, lower, upper = jnp.array([-9.0, 3.0]), jnp.zeros(2), jnp.ones(2)
      >>> clip_preactivations(center, lower - 1, upper, 0.0)
      Array([-9.,  1.], dtype=float32)
      >>> clip_preactivations(center, lower - 1, upper, 0.5)
      Array([-2.,  1.], dtype=float32)
    """
    if negative_slope == 0:
        lowest = jnp.where(lower > 0, lower, -jnp.inf)
        return jnp.clip(center, lowest, upper)
    return jnp.clip(
        center, _inverse(lower, negative_slope), _inverse(upper, negative_slope)
    )


def _inverse(activations: Array, negative_slope: float) -> Array:
    return jnp.minimum(activations, activations / negative_slope)
