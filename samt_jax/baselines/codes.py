"""Losses of outputs that are to be the codes of their targets: squares and hinge.

The code of a label is its one-hot vector (of a label 0 or 1 and a single output, the
label itself), that of a value is the value. Block coordinate descent and scaleADMM were
published with these losses; each is one of :mod:`~samt_jax.baselines.outputs`, with
the same problem to minimise.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from samt_jax.base import Scalar
from samt_jax.baselines.outputs import (
    OutputLoss,
    Outputs,
    check_labels,
    check_values,
)


def encode_targets(
    targets: Array, num_outputs: int, dtype: DTypeLike = jnp.float32
) -> Outputs:
    """The codes of targets.

    Args:
      targets: Labels of shape ``(n,)``, integers from 0, or values of shape ``(n, k)``.
      num_outputs: k.
      dtype: Of the codes.

    Returns:
      Codes of shape ``(n, k)``.

    Example:
      >>> encode_targets(jnp.array([1, 0]), 2)
      Array([[0., 1.],
             [1., 0.]], dtype=float32)
      >>> encode_targets(jnp.array([1, 0]), 1)
      Array([[1.],
             [0.]], dtype=float32)
    """
    if not _are_labels(targets):
        return targets.astype(dtype)
    if num_outputs == 1:
        return targets[:, None].astype(dtype)
    return jax.nn.one_hot(targets, num_outputs, dtype=dtype)


def minimise_hinge(
    center: Outputs,
    weight: Scalar,
    multiplier: Outputs,
    labels: Array,
    start: Outputs,
) -> Outputs:
    """Minimises the hinge loss, a linear and a square term, entry by entry.

    Where the code is 1 the loss is ``max(1 - z, 0)``, where it is 0 ``max(z, 0)``. The
    minimizer is that of one of the two linear pieces, or the kink between them.

    Args:
      center: Shape ``(n, k)``.
      weight: Greater than 0.
      multiplier: Shape ``(n, k)``.
      labels: Integers from 0, shape ``(n,)``.
      start: Not used: this is a closed form.

    Returns:
      The minimizer.

    Example:
      >>> zeros = jnp.zeros((1, 2))
      >>> minimise_hinge(zeros, 2.0, zeros, jnp.array([0]), zeros)
      Array([[0.5, 0. ]], dtype=float32)

    Reference:
      Taylor et al., arXiv 1605.02026, section 6.
    """
    del start
    is_one = _is_one(labels, center)
    flat = center - multiplier / weight
    toward_one = jnp.where(flat > 1, flat, jnp.minimum(flat + 1 / weight, 1))
    toward_zero = jnp.where(flat < 0, flat, jnp.maximum(flat - 1 / weight, 0))
    return jnp.where(is_one, toward_one, toward_zero)


def _hinge(outputs: Outputs, labels: Array) -> Float[Array, "n"]:
    at_one, at_zero = jnp.maximum(1 - outputs, 0), jnp.maximum(outputs, 0)
    return jnp.sum(jnp.where(_is_one(labels, outputs), at_one, at_zero), axis=1)


def _is_one(labels: Array, outputs: Outputs) -> Bool[Array, "n k"]:
    return encode_targets(labels, outputs.shape[1]) == 1


def _half_squared_error(outputs: Outputs, targets: Array) -> Float[Array, "n"]:
    codes = encode_targets(targets, outputs.shape[1], outputs.dtype)
    return jnp.sum((outputs - codes) ** 2, axis=1) / 2


def _minimise_half_squared_error(
    center: Outputs, weight: Scalar, multiplier: Outputs, targets: Array, start: Outputs
) -> Outputs:
    del start
    codes = encode_targets(targets, center.shape[1], center.dtype)
    return (codes + weight * center - multiplier) / (1 + weight)


def _measure(outputs: Outputs, targets: Array) -> dict[str, Scalar]:
    if not _are_labels(targets):
        error = jnp.mean(jnp.sum((outputs - targets) ** 2, axis=1))
        return {"rmse": jnp.sqrt(error)}
    if outputs.shape[1] == 1:
        chosen = outputs[:, 0] > 0.5
    else:
        chosen = jnp.argmax(outputs, axis=1)
    return {"accuracy": jnp.mean(chosen == targets)}


def _check(targets: Array, shape: tuple[int, ...]) -> None:
    check = check_labels if _are_labels(targets) else check_values
    check(targets, shape)


def _are_labels(targets: Array) -> bool:
    return not jnp.issubdtype(targets.dtype, jnp.floating)


# Half the square of the distance from the code.
HALF_SQUARED_ERROR = OutputLoss(
    "half squared error",
    _half_squared_error,
    _check,
    encode_targets,
    _minimise_half_squared_error,
    _measure,
    fista_step=1.0,
)
# Of labels alone; summed over outputs.
HINGE = OutputLoss(
    "hinge",
    _hinge,
    check_labels,
    encode_targets,
    minimise_hinge,
    _measure,
    fista_step=None,
)
