"""Batches on their way through a chain: forward, and the cotangents backward.

What the chain engine keeps of a batch are the pre-activations of every layer, and the
derivatives of the loss by them; weights are only read.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from samt_jax.chain import Chain, Layer, LayerValues


class Rows(NamedTuple):
    """Which examples of a run are whose: static.

    A meta-batch of its own runs through the chain in one array with the training batch,
    behind it; one that is a slice of the training batch is that slice.

    Attributes:
      train: The training examples.
      meta: The meta-batch.
      num_train: How many training examples there are.
      num_meta: How many the meta-batch has.
    """

    train: slice
    meta: slice
    num_train: int
    num_meta: int


class Run(NamedTuple):
    """The examples on their way through the chain, at the current parameters.

    Attributes:
      inputs: Inputs of the first layer: the training examples', then those of a
        meta-batch of its own, which are not worth joining to one large array.
      targets: The targets of all.
      pre_activations: One array a layer, of all.
      cotangents: The derivatives of the training examples' mean loss by their
        pre-activations; those of layers that were visited already are out of date, and
        no longer needed.
      losses: Each training example's loss.
      push: What the first layer's momentum does to the training examples'
        pre-activations; after that layer's visit, to the meta-batch's. `None` where it
        is not carried from sweep to sweep.
      sound: Whether no visit was skipped so far; where one was, the arrays are of no
        use, and the visits that follow are skipped too.
    """

    inputs: tuple[Array, ...]
    targets: PyTree
    pre_activations: tuple[Array, ...]
    cotangents: tuple[Array, ...]
    losses: Float[Array, "n"]
    push: Array | None = None
    sound: Bool[Array, ""] | bool = True


def take(rows: slice, tree: PyTree) -> PyTree:
    """Some examples of every array in a tree."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def forward(
    chain: Chain,
    values: tuple[LayerValues, ...],
    inputs: Array,
    pre_activations: tuple[Array, ...],
    start: int,
) -> tuple[Array, ...]:
    """Runs examples forward.

    Args:
      chain: The chain.
      values: Every layer's parameters.
      inputs: Inputs of the first layer; not read where `start` is a later one.
      pre_activations: Those of the layers before `start`; the last of them is read.
      start: The first layer to run.

    Returns:
      The pre-activations, with those of the layers from `start` on appended.
    """
    zs = pre_activations
    for index in range(start, len(chain.layers)):
        hidden = inputs if index == 0 else chain.layers[index - 1].post(zs[-1])
        zs = (*zs, chain.layers[index].apply(values[index], hidden))
    return zs


def backward(
    chain: Chain,
    values: tuple[LayerValues, ...],
    targets: PyTree,
    zs: tuple[Array, ...],
    divisor: int,
    stop: int = 0,
) -> tuple[Float[Array, "n"], tuple[Array, ...]]:
    """Carries the cotangents of the losses' sum over a divisor back through the chain.

    Args:
      chain: The chain.
      values: Every layer's parameters.
      targets: The targets of the examples.
      zs: Pre-activations, one array a layer; those before `stop` are not read.
      divisor: What the sum of losses is divided by.
      stop: The first layer whose cotangents are wanted.

    Returns:
      Each example's loss, and the cotangents of the pre-activations from `stop` on.
    """
    last = len(chain.layers) - 1
    outputs, pull = jax.vjp(chain.layers[last].post, zs[last])
    losses, pull_loss = jax.vjp(
        lambda outputs: chain.example_loss(_widen(outputs), targets), outputs
    )
    (cotangent,) = pull(*pull_loss(jnp.full_like(losses, 1 / divisor)))
    cotangents: tuple[Array, ...] = (cotangent,)
    for index in reversed(range(stop, last)):
        cotangent = pull_back(
            chain.layers[index], chain.layers[index + 1], values[index + 1], zs[index],
            cotangent,
        )  # fmt: skip
        cotangents = (cotangent, *cotangents)
    return losses, cotangents


def pull_back(
    layer: Layer,
    above: Layer,
    above_values: LayerValues,
    pre_activations: Array,
    cotangent: Array,
) -> Array:
    """Carries the cotangent of the next layer's pre-activations to a layer's own.

    Args:
      layer: The layer.
      above: The next one.
      above_values: The next one's parameters.
      pre_activations: Of the layer.
      cotangent: Of the next layer's.

    Returns:
      The cotangent of the layer's pre-activations.
    """
    hidden, pull = jax.vjp(layer.post, pre_activations)
    _, pull_affine = jax.vjp(lambda hidden: above.apply(above_values, hidden), hidden)
    return pull(*pull_affine(cotangent))[0]


def _widen(outputs: Array) -> Array:
    return outputs.astype(jnp.promote_types(jnp.float32, outputs.dtype))
