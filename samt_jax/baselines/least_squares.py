"""Exact least squares over one factor of a layer: over its weights, or over its inputs.

Block coordinate descent and ADMM without gradients minimise a layer's squared residual
``‖a W + b - t‖²`` over the weights by Gram matrices, whose size does not grow with the
number of examples and which add up over parts of them, and over the inputs by a linear
system that all examples share.
"""

import jax.numpy as jnp
import jax.scipy.linalg
from jaxtyping import Array, Float

from samt_jax.base import Scalar
from samt_jax.baselines.layerwise import DenseLayer, affine

Factor = Float[Array, "m m"]


def gram(inputs: Float[Array, "n i"], has_bias: bool = False) -> Float[Array, "m m"]:
    """The Gram matrix of inputs, behind which a bias puts a column of ones.

    Args:
      inputs: Examples as rows.
      has_bias: Whether there is a bias.

    Returns:
      ``inputsᵀ inputs``, of shape ``(i, i)``, or ``(i + 1, i + 1)`` with a bias.

    Example:
      >>> gram(jnp.array([[1.0], [2.0]]), has_bias=True)
      Array([[5., 3.],
             [3., 2.]], dtype=float32)
    """
    products = inputs.T @ inputs
    if not has_bias:
        return products
    sums = jnp.sum(inputs, axis=0)
    corner = jnp.full((1, 1), len(inputs), inputs.dtype)
    return jnp.block([[products, sums[:, None]], [sums[None], corner]])


def factor_gram(matrix: Float[Array, "m m"], damping: Scalar | float) -> Factor:
    """The lower Cholesky factor of ``matrix + damping I``.

    Args:
      matrix: A Gram matrix.
      damping: Not negative; positive where the matrix may be singular.

    Returns:
      The factor; NaN where the sum is not positive definite.
    """
    return jnp.linalg.cholesky(_add_to_diagonal(matrix, damping))


def solve_factored(factor: Factor, right: Float[Array, "m k"]) -> Float[Array, "m k"]:
    """Solves ``(factor factorᵀ) x = right``.

    Args:
      factor: From :func:`factor_gram`.
      right: The right-hand sides, as columns.

    Returns:
      x.
    """
    return jax.scipy.linalg.cho_solve((factor, True), right)


def fit_layer(
    factor: Factor,
    inputs: Float[Array, "n i"],
    targets: Float[Array, "n o"],
    has_bias: bool,
) -> DenseLayer:
    """Minimises ``‖inputs W + b - targets‖² + damping (‖W‖² + ‖b‖²)`` over a layer.

    Args:
      factor: Of the inputs' Gram matrix (with a bias where the layer has one) and the
        damping.
      inputs: Examples as rows.
      targets: What the layer's outputs are to be.
      has_bias: Whether the layer has a bias.

    Returns:
      The layer.

    Example:
      >>> inputs = jnp.array([[0.0], [1.0]])
      >>> factor = factor_gram(gram(inputs, has_bias=True), 0.0)
      >>> layer = fit_layer(factor, inputs, jnp.array([[3.0], [5.0]]), has_bias=True)
      >>> [round(float(x[..., 0].sum()), 3) for x in layer]
      [2.0, 3.0]
    """
    moments = inputs.T @ targets
    if not has_bias:
        return DenseLayer(solve_factored(factor, moments), None)
    sums = jnp.sum(targets, axis=0)
    solution = solve_factored(factor, jnp.concatenate([moments, sums[None]]))
    return DenseLayer(solution[:-1], solution[-1])


def fit_inputs(
    layer: DenseLayer,
    targets: Float[Array, "n o"],
    prior: Float[Array, "n i"],
    weight: Scalar | float,
    prior_weight: Scalar | float,
) -> Float[Array, "n i"]:
    """Minimises ``weight ‖a W + b - targets‖² + prior_weight ‖a - prior‖²`` over a.

    With r the prior's residual, ``a = prior + r (weight WᵀW + prior_weight I)⁻¹ weight
    Wᵀ``, where the matrix in brackets may as well be that of W Wᵀ on the other side of
    Wᵀ: the smaller one is taken. Examples meet no matrix but one of the kernel's shape.

    Args:
      layer: The layer that takes a.
      targets: What its outputs are to be.
      prior: What a is to be.
      weight: Of the first squares.
      prior_weight: Of the second, positive.

    Returns:
      The minimizer.

    Example:
      >>> layer = DenseLayer(jnp.array([[2.0]]), jnp.array([1.0]))
      >>> a = fit_inputs(layer, jnp.array([[6.0]]), jnp.zeros((1, 1)), 1.0, 1.0)
      >>> round(float(a[0, 0]), 5)
      2.0
    """
    kernel = layer.kernel
    if kernel.shape[0] <= kernel.shape[1]:
        factor = factor_gram(weight * (kernel @ kernel.T), prior_weight)
        pull = solve_factored(factor, weight * kernel).T
    else:
        factor = factor_gram(weight * (kernel.T @ kernel), prior_weight)
        pull = solve_factored(factor, weight * kernel.T)
    return prior + (targets - affine(layer, prior)) @ pull


def _add_to_diagonal(
    matrix: Float[Array, "m m"], damping: Scalar | float
) -> Float[Array, "m m"]:
    return matrix + damping * jnp.eye(len(matrix), dtype=matrix.dtype)
