"""Gradient steps on one factor of a least-squares problem, backtracked.

The methods that take no inverses move a kernel W, or the inputs a of a layer, by one
gradient step on ``‖a W - t‖²``, whose size is found by doubling a curvature θ until
the step, of size 1/θ, is below the quadratic model with that curvature.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from samt_jax.base import Scalar


class Move(NamedTuple):
    """A step on one factor of a product.

    Attributes:
      change: What is added to the factor.
      product_change: What that adds to the product.
      curvature: The θ of the step, whose size is 1/θ.
      found: Whether backtracking found it; else the factor stays.
    """

    change: Float[Array, "..."]
    product_change: Float[Array, "n o"]
    curvature: Scalar
    found: Bool[Array, ""]


def backtracked_curvature(
    quotient: Scalar, start: Scalar, max_doublings: int | None = None
) -> tuple[Scalar, Bool[Array, ""]]:
    """The curvature that backtracking by doubling ends at, without a trial.

    For a quadratic φ with gradient G, the step ``-G/θ`` meets the model's bound
    ``φ - ‖G‖²/(2θ)`` just where θ is at least ``⟨G, ∇²φ G⟩ / ‖G‖²``. So doubling from
    the start ends at the first ``start·2^k`` that is no smaller than this quotient.

    Args:
      quotient: ``⟨G, ∇²φ G⟩ / ‖G‖²``.
      start: θ_0 > 0.
      max_doublings: After how many to give up; by default never.

    Returns:
      The curvature, and whether it was found (a quotient that is not finite has none).

    Example:
      >>> curvature, found = backtracked_curvature(jnp.float32(5.0), jnp.float32(1.0))
      >>> float(curvature), bool(found)
      (8.0, True)
      >>> bool(backtracked_curvature(jnp.float32(5.0), jnp.float32(1.0), 2)[1])
      False
    """
    mantissa, exponent = jnp.frexp(jnp.maximum(quotient / start, 1))
    # A power of two has the mantissa one half.
    doublings = exponent - (mantissa == 0.5)
    found = jnp.isfinite(quotient)
    if max_doublings is not None:
        found &= doublings <= max_doublings
    return jnp.ldexp(start, doublings), found


def kernel_move(
    kernel: Float[Array, "i o"],
    inputs: Float[Array, "n i"],
    residual: Float[Array, "n o"],
    weight: Scalar | float,
    start: Scalar,
    *,
    decay: float = 0.0,
    max_doublings: int | None = None,
) -> Move:
    """A backtracked gradient step on a kernel W of a least-squares problem.

    It is taken on ``φ(W) = weight/2 ‖inputs W - t‖² + decay/2 ‖W‖²``.

    Args:
      kernel: W.
      inputs: The layer's inputs.
      residual: ``inputs W - t``.
      weight: Of the squares.
      start: θ_0 of the backtracking.
      decay: Of the kernel.
      max_doublings: After how many the step is given up and W stays.

    Returns:
      The step.
    """
    gradient = weight * (inputs.T @ residual) + decay * kernel
    product = inputs @ gradient
    squares = jnp.sum(gradient**2)
    curved = weight * jnp.sum(product**2) + decay * squares
    return _move(gradient, product, curved, squares, start, max_doublings)


def kernel_moves(
    kernel: Float[Array, "i o"],
    gradient: Float[Array, "i o"],
    inputs: Float[Array, "n i"],
    gram: Float[Array, "i i"],
    weight: Scalar | float,
    start: Scalar,
) -> Iterator[Move]:
    """Steps in a row on a kernel, as those of :func:`kernel_move` without decay.

    Where the inputs are the data themselves, their Gram matrix is known, and neither a
    step's size nor the gradient after it takes a pass over the examples. A product
    takes one, but it is only worked out (by a compiled program) for the move that is
    the last.

    Args:
      kernel: W.
      gradient: ``weight inputsᵀ (inputs W - t)``.
      inputs: The layer's inputs.
      gram: ``inputsᵀ inputs``.
      weight: Of the squares.
      start: θ_0 of the backtracking.

    Yields:
      What all steps up to this one add to the kernel and to the product.
    """
    change = jnp.zeros_like(kernel)
    while True:
        curvature, found = gram_curvature(gradient, gram, weight, start)
        step = jnp.where(found, -gradient / curvature, 0)
        change += step
        yield Move(change, inputs @ change, curvature, found)
        gradient += weight * (gram @ step)


def gram_curvature(
    gradient: Float[Array, "i o"],
    gram: Float[Array, "i i"],
    weight: Scalar | float,
    start: Scalar,
    *,
    decay: float = 0.0,
    max_doublings: int | None = None,
) -> tuple[Scalar, Bool[Array, ""]]:
    """The curvature of a :func:`kernel_move`, by the inputs' Gram matrix.

    Args:
      gradient: Of the kernel.
      gram: ``inputsᵀ inputs``.
      weight: Of the squares.
      start: θ_0 of the backtracking.
      decay: Of the kernel.
      max_doublings: After how many the step is given up.

    Returns:
      The curvature, and whether it was found.
    """
    squares = jnp.sum(gradient**2)
    curved = weight * jnp.sum(gradient * (gram @ gradient)) + decay * squares
    return backtracked_curvature(_quotient(curved, squares), start, max_doublings)


def inputs_move(
    kernel: Float[Array, "i o"],
    residual: Float[Array, "n o"],
    weight: Scalar,
    pull: Float[Array, "n i"],
    pull_weight: Scalar,
    start: Scalar,
) -> Move:
    """A backtracked gradient step on the inputs a of a layer.

    It is taken on ``ψ(a) = weight/2 ‖a W - t‖² + q(a)`` with a q whose Hessian is a
    number.

    Args:
      kernel: W.
      residual: ``a W - t``.
      weight: Of the squares.
      pull: The gradient of q at a.
      pull_weight: Its Hessian.
      start: τ_0 of the backtracking.

    Returns:
      The step.
    """
    gradient = weight * (residual @ kernel.T) + pull
    product = gradient @ kernel
    squares = jnp.sum(gradient**2)
    curved = weight * jnp.sum(product**2) + pull_weight * squares
    return _move(gradient, product, curved, squares, start, None)


def projected_move(
    kernel: Float[Array, "i o"],
    inputs: Float[Array, "n i"],
    residual: Float[Array, "n o"],
    weight: Scalar | float,
    lower: Float[Array, "n i"],
    upper: Float[Array, "n i"],
    start: Scalar,
    *,
    max_doublings: int | None = None,
) -> Move:
    """A backtracked gradient step on the inputs a of a layer, projected on a box.

    It is taken on ``φ(a) = weight/2 ‖a W - t‖²``. Where the projection bends the step,
    its curvature depends on its size, so that backtracking has to try.

    Args:
      kernel: W.
      inputs: a.
      residual: ``a W - t``.
      weight: Of the squares.
      lower: Least a.
      upper: Largest a.
      start: τ_0 of the backtracking.
      max_doublings: After how many the step is given up; by default, when they
        overflow.

    Returns:
      The step, into the box.
    """
    gradient = weight * (residual @ kernel.T)

    def trial(curvature: Scalar) -> Move:
        change = jnp.clip(inputs - gradient / curvature, lower, upper) - inputs
        product = change @ kernel
        curved = weight * jnp.sum(product**2)
        # Not a number, it is no reason to go on.
        found = ~(curved > curvature * jnp.sum(change**2))
        return Move(change, product, curvature, found)

    largest = start * 2.0 ** (100 if max_doublings is None else max_doublings)
    return jax.lax.while_loop(
        lambda move: ~move.found & (move.curvature < largest),
        lambda move: trial(2 * move.curvature),
        trial(start),
    )


def _move(
    gradient: Array,
    product: Array,
    curved: Scalar,
    squares: Scalar,
    start: Scalar,
    max_doublings: int | None,
) -> Move:
    quotient = _quotient(curved, squares)
    curvature, found = backtracked_curvature(quotient, start, max_doublings)
    step_size = jnp.where(found, -1 / curvature, 0)
    # A gradient that is not finite would make NaN of a step of no length.
    return Move(
        jnp.where(found, step_size * gradient, 0),
        jnp.where(found, step_size * product, 0),
        curvature,
        found,
    )


def _quotient(curved: Scalar, squares: Scalar) -> Scalar:
    # At a stationary point any step is none, and 0/0 must not be NaN.
    return curved / jnp.where(squares == 0, 1, squares)
