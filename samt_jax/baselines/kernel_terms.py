"""A penalised least-squares problem as a function of a kernel alone.

``weight/2 ‖inputs W + b - z‖² + decay/2 ‖W‖²``, in which mDLAM and its kin try several
steps on W from several points. All that they ask for follows from an image of W that is
affine in it: what the layer makes of its inputs, or, where the inputs' Gram matrix is
known, ``weight inputsᵀ (inputs W + b - z)``, and then two passes over the examples do
for all that is tried.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Scalar
from samt_jax.baselines.moves import Move, gram_curvature, kernel_move


class KernelTerms(NamedTuple):
    """The problem, by its functions.

    Attributes:
      image: Of the kernel as it is.
      image_of: What a change of the kernel adds to the image.
      value: The problem's value at a kernel and its image, up to a constant.
      move: A backtracked gradient step from a kernel and its image; its
        `product_change` is that of the image.
      product: What the layer makes of its inputs, at a kernel and its image.
    """

    image: Array
    image_of: Callable[[Array], Array]
    value: Callable[[Array, Array], Scalar]
    move: Callable[[Array, Array], Move]
    product: Callable[[Array, Array], Float[Array, "n o"]]


def kernel_terms(
    kernel: Float[Array, "i o"],
    inputs: Float[Array, "n i"],
    product: Float[Array, "n o"],
    preactivations: Float[Array, "n o"],
    weight: float,
    *,
    decay: float,
    max_doublings: int | None,
    gram: Float[Array, "i i"] | None = None,
) -> KernelTerms:
    """The problem as a function of the kernel.

    Args:
      kernel: W as it is.
      inputs: The layer's inputs.
      product: ``inputs W + b``.
      preactivations: z.
      weight: Of the squares.
      decay: Of the kernel.
      max_doublings: After how many doublings of its curvature, from 1, a step is given
        up; by default never.
      gram: ``inputsᵀ inputs``, where it is known.

    Returns:
      The functions.

    Example:
      >>> zero, ones = jnp.zeros((1, 1)), jnp.ones((4, 1))
      >>> terms = kernel_terms(
      ...     zero, ones, 0 * ones, ones, 1.0, decay=0.0, max_doublings=None
      ... )
      >>> float(terms.value(zero, terms.image))
      2.0
    """
    start = jnp.ones((), kernel.dtype)
    if gram is None:
        return _by_products(
            inputs, product, preactivations, weight, start, decay, max_doublings
        )
    pulled = weight * (inputs.T @ (product - preactivations))

    def image_of(change: Array) -> Array:
        return weight * (gram @ change)

    def value(other: Array, image: Array) -> Scalar:
        # What it has more than at the kernel as it is: without sums over all examples
        # that would cancel.
        middle = (pulled + image) / 2 + decay * (kernel + other) / 2
        return jnp.sum(middle * (other - kernel))

    def move(other: Array, image: Array) -> Move:
        gradient = image + decay * other
        curvature, found = gram_curvature(
            gradient, gram, weight, start, decay=decay, max_doublings=max_doublings
        )
        change = jnp.where(found, -gradient / curvature, 0)
        return Move(change, image_of(change), curvature, found)

    return KernelTerms(
        pulled,
        image_of,
        value,
        move,
        lambda other, image: product + inputs @ (other - kernel),
    )


def _by_products(
    inputs: Array,
    product: Array,
    preactivations: Array,
    weight: float,
    start: Scalar,
    decay: float,
    max_doublings: int | None,
) -> KernelTerms:
    def value(kernel: Array, product: Array) -> Scalar:
        squares = jnp.sum((product - preactivations) ** 2)
        return weight / 2 * squares + decay / 2 * jnp.sum(kernel**2)

    def move(kernel: Array, product: Array) -> Move:
        return kernel_move(
            kernel,
            inputs,
            product - preactivations,
            weight,
            start,
            decay=decay,
            max_doublings=max_doublings,
        )

    return KernelTerms(
        product,
        lambda change: inputs @ change,
        value,
        move,
        lambda kernel, product: product,
    )
