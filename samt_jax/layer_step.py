"""How a step on one layer of a chain moves that layer's pre-activations.

With inputs h and cotangents δ of the pre-activations, a dense layer's gradient is hᵀδ,
and a step of size η moves the pre-activations of any inputs h' by
``-η (h' hᵀ + 1) δ``, the 1 being the bias: products of batch by batch matrices in the
place of one with a weight-shaped gradient. Step sizes that are a row, a column or an
outer product of both go in between. Differentiating this by the step size gives the
meta-gradient without a second weight-shaped gradient: for one number
``-⟨δ', (h' hᵀ + 1) δ⟩``.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from samt_jax.blocks import BlockValues
from samt_jax.chain import Layer, LayerValues
from samt_jax.features import (
    Features,
    features_from_sums,
    gradient_features,
    largest_entry,
    max_and_min,
)
from samt_jax.meta import all_finite
from samt_jax.step_size import HeadSteps, StepLayout, spread_step_sizes


class LayerStep(NamedTuple):
    """A step on a layer before its size is known.

    Attributes:
      layer: The layer.
      layout: How its step sizes are shaped.
      hidden: Inputs of the layer on the training batch, examples first.
      cotangent: Derivatives of the mean loss by its pre-activations.
      grads: The layer's gradient.
      directions: What the step sizes multiply.
      is_gradient: Whether the direction is the gradient itself.
    """

    layer: Layer
    layout: StepLayout
    hidden: Array
    cotangent: Array
    grads: LayerValues
    directions: LayerValues
    is_gradient: bool


def layer_gradient(
    layer: Layer, values: LayerValues, hidden: Array, cotangent: Array
) -> LayerValues:
    """The gradient of a layer's parameters.

    Args:
      layer: The layer.
      values: Its parameters.
      hidden: Its inputs.
      cotangent: Derivatives of the loss by its pre-activations.

    Returns:
      The gradient, in the parameters' dtypes.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax.chain import dense
      >>> values = {"kernel": jnp.ones((2, 1))}
      >>> h, d = jnp.array([[1.0, 2.0]]), jnp.array([[3.0]])
      >>> layer_gradient(dense("a"), values, h, d)["kernel"]
      Array([[3.],
             [6.]], dtype=float32)
    """
    _, pull = jax.vjp(lambda values: layer.apply(values, hidden), values)
    return pull(cotangent)[0]


def shift(step: LayerStep, heads: tuple[HeadSteps, ...], hidden: Array) -> Array:
    """By how much a step lowers the pre-activations of some inputs.

    Args:
      step: The step.
      heads: Its size.
      hidden: Inputs of the layer, of any batch.

    Returns:
      What to subtract from the pre-activations, differentiable by the step size at
      the price that the module's docstring states.
    """
    if _is_per_output(step):
        size = heads[0].step_size
        size = (
            size if size.ndim == 0 else size.reshape((1,) * (hidden.ndim - 1) + (-1,))
        )
        return size * _push(step, hidden)
    summands = _outer_products(step, heads)
    if summands is not None and _prefers_gram(step, len(summands)):
        return _shift_of_outer_products(step, heads, summands, hidden)
    sizes = _by_leaf(spread_step_sizes(heads, step.layout))
    products = {leaf: sizes[leaf] * d for leaf, d in step.directions.items()}
    return step.layer.apply(products, hidden)


def measure_step(step: LayerStep, features: Features) -> Float[Array, "k"]:
    """The features of a layer's gradient, by way of the batch where that is cheaper.

    Mean and norm of hᵀδ follow from the sums and Gram matrices of h and δ
    (``‖hᵀδ‖² = ⟨h hᵀ, δ δᵀ⟩``); only maximum and minimum read the gradient.

    Args:
      step: The step.
      features: What the eta model is told.

    Returns:
      The measured features.
    """
    is_plain = features.measure is gradient_features
    if not (is_plain and step.layer.is_dense and _prefers_gram(step, 1)):
        return features.measure(step.grads)
    ends = [max_and_min(leaf) for leaf in step.grads.values()]
    maximum = jnp.max(jnp.stack([high for high, _ in ends]))
    minimum = jnp.min(jnp.stack([low for _, low in ends]))
    # Scaled first: squares overflow long before the gradient does.
    unit = largest_entry(maximum, minimum)
    cotangent = step.cotangent.astype(unit.dtype) / unit
    has_bias = "bias" in step.grads
    row_sums = jnp.sum(step.hidden, axis=1, dtype=unit.dtype) + has_bias
    size = sum(leaf.size for leaf in step.grads.values())
    mean = jnp.sum(row_sums * jnp.sum(cotangent, axis=1)) / size
    gram = _gram(step.hidden, step.hidden) + has_bias
    squares = jnp.sum(gram * _gram(cotangent, cotangent))
    return features_from_sums(
        maximum, minimum, unit, mean, jnp.maximum(squares, 0.0), size
    )


def candidate_is_finite(
    step: LayerStep,
    features: Features,
    measured: Float[Array, "k"],
    heads: tuple[HeadSteps, ...],
    candidate: BlockValues,
) -> Bool[Array, ""]:
    """Whether a candidate is finite; told from a bound of the step where one is known.

    Finite weights stay finite under a step of less than half the largest number, and
    the gradient's ends were read for its features: no pass over the candidate. (That
    a step between that half and the whole is refused too is no loss.)

    Args:
      step: The step.
      features: What the eta model is told.
      measured: What was measured of the gradient.
      heads: The step's size.
      candidate: The layer's parameters after the step.

    Returns:
      One boolean.
    """
    is_known = features.measure is gradient_features and step.is_gradient
    if not is_known:
        return all_finite(candidate)
    largest = jnp.maximum(jnp.abs(measured[2]), jnp.abs(measured[3]))
    bounds = [_largest_step(head) for head in heads]
    bound = largest * jnp.max(jnp.stack(bounds))
    # Half the range for the step and half for the weights.
    return jnp.isfinite(2 * bound)


def _largest_step(head: HeadSteps) -> Array:
    """A bound of a head's step sizes, from its factors."""
    bound = jnp.zeros(())
    for factors in head.summands:
        ends = [jnp.max(jnp.abs(factor)) for factor in factors]
        bound = bound + math.prod(ends[1:], start=ends[0])
    return bound


def _push(step: LayerStep, hidden: Array) -> Array:
    """The shift of a step of size one."""
    if not (step.is_gradient and step.layer.is_dense and _prefers_gram(step, 1)):
        return step.layer.apply(step.directions, hidden)
    gram = _gram(hidden, step.hidden) + ("bias" in step.grads)
    return gram.astype(step.cotangent.dtype) @ step.cotangent


def _shift_of_outer_products(
    step: LayerStep,
    heads: tuple[HeadSteps, ...],
    summands: list[tuple[Array, Array]],
    hidden: Array,
) -> Array:
    """Σ r ⊙ ((h' ⊙ c) hᵀ) δ over step sizes ``c r`` of columns c and rows r."""
    moved = jnp.zeros((hidden.shape[0], step.cotangent.shape[1]), step.cotangent.dtype)
    for columns, rows in summands:
        gram = _gram(hidden * columns, step.hidden).astype(moved.dtype)
        moved = moved + rows * (gram @ step.cotangent)
    if "bias" not in step.grads:
        return moved
    size = _by_leaf(spread_step_sizes(heads, step.layout))["bias"]
    return moved + (size * step.directions["bias"]).reshape(1, -1)


def _outer_products(
    step: LayerStep, heads: tuple[HeadSteps, ...]
) -> list[tuple[Array, Array]] | None:
    """A dense kernel's step sizes as a sum of columns times rows, if they are one."""
    if not (step.layer.is_dense and step.is_gradient):
        return None
    leaf = _by_leaf(step.layout.leaves)["kernel"]
    head = heads[leaf.head]
    num_in, num_out = step.grads["kernel"].shape
    single = len(head.proposal) == 1
    products = [(head.step_size,)] if single else list(head.summands)
    split = []
    for factors in products:
        columns, rows = jnp.ones((1, 1)), jnp.ones((1, 1))
        for factor in factors:
            shape = (1, 1) if factor.ndim == 0 else factor.shape
            if shape not in ((1, 1), (num_in, 1), (1, num_out)):
                return None
            if shape[0] > 1:
                columns = columns * factor.T
            else:
                rows = rows * factor.reshape(shape)
        split.append((columns, rows))
    return split


def _is_per_output(step: LayerStep) -> bool:
    """Whether one head serves the layer, with one size for all or one an output."""
    leaves = _by_leaf(step.layout.leaves)
    if any(leaf.head != 0 or leaf.shape is None for leaf in leaves.values()):
        return False
    return math.prod(leaves["kernel"].shape[:-1]) == 1


def _prefers_gram(step: LayerStep, num_products: int) -> bool:
    """Whether batch by batch products cost less than one with the weights' shape."""
    num_examples = step.hidden.shape[0]
    num_in, num_out = step.grads["kernel"].shape
    return num_products * num_examples * (num_in + num_out) < num_in * num_out


def _gram(left: Array, right: Array) -> Array:
    dtype = jnp.promote_types(jnp.float32, left.dtype)
    return jnp.matmul(left, right.T, preferred_element_type=dtype)


def _by_leaf(by_path: dict) -> dict:
    return {path.rpartition("/")[2]: value for path, value in by_path.items()}
