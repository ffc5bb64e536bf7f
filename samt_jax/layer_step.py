"""How a step on one layer of a chain moves that layer's pre-activations.

With inputs h and cotangents δ of the pre-activations, a dense layer's gradient is hᵀδ,
and a step of size η moves the pre-activations of any inputs h' by
``-η (h' hᵀ + 1) δ``, the 1 being the bias: products of batch by batch matrices in the
place of one with a weight-shaped gradient. Step sizes that are a row, a column or an
outer product of both go in between. Differentiating this by the step size gives the
meta-gradient without a second weight-shaped gradient: for one number
``-⟨δ', (h' hᵀ + 1) δ⟩``.

A moving average of gradients, ``m ← d m + (1 - d) hᵀδ``, takes a product with m's
shape. Of inputs whose product with the old m is known that of the new one is no more
than the gradient's.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from samt_jax.blocks import BlockValues
from samt_jax.chain import Layer, LayerValues
from samt_jax.chain_run import Rows, take
from samt_jax.features import (
    Features,
    ends_and_sums,
    features_from_sums,
    gradient_features,
    largest_entry,
)
from samt_jax.meta import is_wide
from samt_jax.step_size import HeadSteps, StepLayout, spread_step_sizes


class Average(NamedTuple):
    """A direction that is a moving average of gradients, with its bias corrected.

    Attributes:
      decay: What the old average is multiplied by.
      correction: What the average is multiplied by to make the direction.
      largest: Its largest entry in magnitude; not finite where one is not.
      past: Of the first rows of what is pushed, the push of the old average; `None`
        where that is not known.
    """

    decay: float
    correction: Array
    largest: Array
    past: Array | None


class LayerStep(NamedTuple):
    """A step on a layer before its size is known.

    Attributes:
      layer: The layer.
      layout: How its step sizes are shaped.
      hidden: Inputs of the layer on the training batch, examples first.
      cotangent: Derivatives of the mean loss by its pre-activations.
      grads: The layer's gradient.
      directions: What the step sizes multiply; an average without its correction.
      is_gradient: Whether the direction is the gradient itself.
      average: What is known of a direction that is a moving average.
    """

    layer: Layer
    layout: StepLayout
    hidden: Array
    cotangent: Array
    grads: LayerValues
    directions: LayerValues
    is_gradient: bool
    average: Average | None = None


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


class Pushed(NamedTuple):
    """Inputs of a layer, and what a step does to them as far as its size is not in it.

    Attributes:
      hidden: The inputs, in one array or more.
      push: The shift of a step of size one; `None` where sizes stand inside of it.
    """

    hidden: tuple[Array, ...]
    push: Array | None

    def of_meta_batch(self, rows: Rows) -> "Pushed":
        """The same of the meta-batch, which may have an array of inputs of its own."""
        hidden = self.hidden[1:] or take(rows.meta, self.hidden)
        return Pushed(hidden, take(rows.meta, self.push))


def push(step: LayerStep, hidden: tuple[Array, ...]) -> Pushed:
    """Works out what of a shift does not depend on the size of the step.

    Args:
      step: The step.
      hidden: Inputs of the layer, in one array or more: those of the training batch
        come first.

    Returns:
      What :func:`shift` takes.
    """
    if not is_per_output(step.layout):
        return Pushed(hidden, None)
    average = step.average
    if average is not None and average.past is not None:
        own, others = hidden
        new = _push_of_gradient(step, (own,)).astype(average.past.dtype)
        moved = average.decay * average.past + (1 - average.decay) * new
        rest = step.layer.apply(step.directions, others).astype(moved.dtype)
        return Pushed(hidden, _corrected(step, jnp.concatenate([moved, rest])))
    if step.is_gradient and step.layer.is_dense and _takes_gram(step, 1):
        return Pushed(hidden, _push_of_gradient(step, hidden))
    return Pushed(hidden, _corrected(step, _applied(step, step.directions, hidden)))


def _push_of_gradient(step: LayerStep, hidden: tuple[Array, ...]) -> Array:
    """What the gradient does to the pre-activations of a dense layer's inputs."""
    moved = _gram(hidden, step.hidden).astype(step.cotangent.dtype) @ step.cotangent
    if "bias" in step.grads:
        moved = moved + step.grads["bias"].reshape(1, -1).astype(moved.dtype)
    return moved


def _corrected(step: LayerStep, moved: Array) -> Array:
    if step.average is None:
        return moved
    return step.average.correction.astype(moved.dtype) * moved


def shift(step: LayerStep, heads: tuple[HeadSteps, ...], pushed: Pushed) -> Array:
    """By how much a step lowers the pre-activations of some inputs.

    Args:
      step: The step.
      heads: Its size.
      pushed: The inputs.

    Returns:
      What to subtract from the pre-activations, differentiable by the step size at
      the price that the module's docstring states.
    """
    hidden = pushed.hidden
    if pushed.push is not None:
        size = heads[0].step_size
        if size.ndim:
            size = size.reshape((1,) * (hidden[0].ndim - 1) + (-1,))
        return size * pushed.push
    summands = _outer_products(step, heads)
    if summands is not None and _takes_gram(step, len(summands)):
        return _shift_of_outer_products(step, heads, summands, hidden)
    sizes = _by_leaf(spread_step_sizes(heads, step.layout))
    products = {leaf: sizes[leaf] * d for leaf, d in step.directions.items()}
    return _corrected(step, _applied(step, products, hidden))


def _applied(step: LayerStep, values: LayerValues, hidden: tuple[Array, ...]) -> Array:
    """The layer with other values: one product, or one of each input's windows."""
    if step.layer.is_dense:
        return step.layer.apply(values, jnp.concatenate(hidden))
    # Of each input by itself a convolution has the windows already.
    return jnp.concatenate([step.layer.apply(values, each) for each in hidden])


def measure_step(step: LayerStep, features: Features) -> Float[Array, "k"]:
    """The features of a layer's gradient, in one pass over a dense layer's.

    Sums are taken in a unit of the cotangents' size, since squares overflow long before
    the gradient does, and that takes no pass over the gradient first. (With inputs of
    over 1e16 they overflow all the same, to the largest number.)

    Args:
      step: The step.
      features: What the eta model is told.

    Returns:
      The measured features.
    """
    if not (features.measure is gradient_features and step.layer.is_dense):
        return features.measure(step.grads)
    leaves = [leaf.astype(_wide(leaf)) for leaf in step.grads.values()]
    largest = len(step.hidden) * jnp.max(jnp.abs(step.cotangent))
    unit = largest_entry(largest, largest).astype(leaves[0].dtype)
    highs, lows, sums, squares = zip(
        *[ends_and_sums(leaf, unit) for leaf in leaves], strict=True
    )
    size = sum(leaf.size for leaf in leaves)
    return features_from_sums(
        functools.reduce(jnp.maximum, highs),
        functools.reduce(jnp.minimum, lows),
        unit,
        sum(sums, start=jnp.zeros((), unit.dtype)) / size,
        sum(squares, start=jnp.zeros((), unit.dtype)),
        size,
    )


def candidate_evidence(
    step: LayerStep,
    features: Features,
    measured: Float[Array, "k"],
    heads: tuple[HeadSteps, ...],
    candidate: BlockValues,
) -> PyTree:
    """What is finite only if a candidate is; a bound of the step where one is known.

    Finite weights stay finite under a step of less than half the largest number, and
    the gradient's ends were read for its features, an average's for its own check: no
    pass over the candidate. (That a step between that half and the whole is refused too
    is no loss.)

    Args:
      step: The step.
      features: What the eta model is told.
      measured: What was measured of the gradient.
      heads: The step's size.
      candidate: The layer's parameters after the step.

    Returns:
      The bound, or the candidate.
    """
    if not is_wide(candidate):
        return candidate
    if step.average is not None:
        largest = step.average.correction * step.average.largest
    elif features.measure is gradient_features and step.is_gradient:
        largest = jnp.maximum(jnp.abs(measured[2]), jnp.abs(measured[3]))
    else:
        return candidate
    bounds = [_largest_step(head) for head in heads]
    # Half the range for the step and half for the weights.
    return 2 * (largest * jnp.max(jnp.stack(bounds)))


def _largest_step(head: HeadSteps) -> Array:
    """A bound of a head's step sizes, from its factors."""
    bound = jnp.zeros(())
    for factors in head.summands:
        ends = [jnp.max(jnp.abs(factor)) for factor in factors]
        bound = bound + math.prod(ends[1:], start=ends[0])
    return bound


def _shift_of_outer_products(
    step: LayerStep,
    heads: tuple[HeadSteps, ...],
    summands: list[tuple[Array, Array]],
    hidden: tuple[Array, ...],
) -> Array:
    """Σ r ⊙ ((h' ⊙ c) hᵀ) δ over step sizes ``c r`` of columns c and rows r."""
    moved = jnp.zeros((), step.cotangent.dtype)
    for columns, rows in summands:
        weighted = tuple(part * columns for part in hidden)
        gram = _gram(weighted, step.hidden).astype(moved.dtype)
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


def is_per_output(layout: StepLayout) -> bool:
    """Whether one head serves the layer, with one size for all or one an output."""
    leaves = _by_leaf(layout.leaves)
    if any(leaf.head != 0 or leaf.shape is None for leaf in leaves.values()):
        return False
    return math.prod(leaves["kernel"].shape[:-1]) == 1


def prefers_gram(shape: tuple[int, ...], num_examples: int, num_products: int) -> bool:
    """Whether batch by batch products cost less than one with the weights' shape."""
    num_in, num_out = shape
    return num_products * num_examples * (num_in + num_out) < num_in * num_out


def _takes_gram(step: LayerStep, num_products: int) -> bool:
    shape, hidden = step.grads["kernel"].shape, step.hidden
    return hidden.ndim == 2 and prefers_gram(shape, len(hidden), num_products)


def _gram(left: tuple[Array, ...], right: Array) -> Array:
    wide = _wide(right)
    products = [jnp.matmul(x, right.T, preferred_element_type=wide) for x in left]
    return jnp.concatenate(products)


def _wide(array: Array) -> jnp.dtype:
    return jnp.promote_types(jnp.float32, array.dtype)


def _by_leaf(by_path: dict) -> dict:
    return {path.rpartition("/")[2]: value for path, value in by_path.items()}
