"""Raw outputs of the eta model → the step sizes of a block's entries.

The composed step size is the convex combination (10) of the paper,

    step_size = mixing_weight * learning_rate + (1 - mixing_weight) * proposal,

with mixing weight and proposal squashed into their ranges, and as many of them as the
block's granularity asks for.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.granularity import StepLayout, check_choice

Squash = Literal["tanh", "sigmoid"] | Callable[[Array], Array]
Terms = Literal["both", "left", "right"]


class HeadSteps(NamedTuple):
    """One head's squashed outputs and what they compose to.

    Arrays that stand together in a tuple are factors: they broadcast against each other
    and are multiplied. A head of one factor has tuples of one.

    Attributes:
      mixing_weight: β in [0, 1], as factors.
      proposal: η̂ in [0, proposal_max], as factors.
      summands: The step size as a sum of such products.
    """

    mixing_weight: tuple[Array, ...]
    proposal: tuple[Array, ...]
    summands: tuple[tuple[Array, ...], ...]

    @property
    def step_size(self) -> Array:
        """η̄, between the learning rate and the proposal, in the head's shape."""
        products = [functools.reduce(operator.mul, f) for f in self.summands]
        return functools.reduce(operator.add, products)


def step_sizes(
    raw_mixing_weight: Float[Array, "n"],
    raw_proposal: Float[Array, "n"],
    layout: StepLayout,
    learning_rate: Float[Array, ""] | float,
    *,
    squash: Squash = "tanh",
    proposal_max: Float[Array, ""] | float = 1.0,
    mixing_weight: Float[Array, ""] | float | None = None,
    terms: Terms = "both",
) -> tuple[HeadSteps, ...]:
    """Squashes the eta model's outputs and composes step sizes, head by head.

    Args:
      raw_mixing_weight: The eta model's first output.
      raw_proposal: Its second.
      layout: The block's layout.
      learning_rate: η0, at least 0.
      squash: The map into (0, 1): ``"tanh"`` is ``(tanh(x) + 1) / 2``, which is
        ``sigmoid(2x)``; ``"sigmoid"``; or a function.
      proposal_max: The end of the proposal's range.
      mixing_weight: Fixes β, in [0, 1]; 1 gives the constant step `learning_rate`.
      terms: ``"both"`` of the paper's components, ``"left"`` (β η0 alone) or
        ``"right"`` ((1 − β) η̂ alone).

    Returns:
      One :class:`HeadSteps` a head.

    Raises:
      ValueError: An unknown squash or terms.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import step_layout
      >>> layout = step_layout({"w": jnp.ones((2, 2))}, "scalar")
      >>> head, = step_sizes(jnp.zeros(1), jnp.zeros(1), layout, 0.1)
      >>> round(float(head.step_size), 6)  # ½ * 0.1 + ½ * ½
      0.3

    Reference:
      Yan et al., arXiv 2508.04193, (10); ablations §5.5; squashes §5.6.
    """
    check_choice("terms", terms)
    betas = _squash_heads(raw_mixing_weight, layout, squash)
    unit_proposals = _squash_heads(raw_proposal, layout, squash)
    composed = []
    for beta, unit_proposal in zip(betas, unit_proposals, strict=True):
        first, *rest = unit_proposal
        proposal = (proposal_max * first, *rest)
        if mixing_weight is None:
            left = (learning_rate * beta[0], *beta[1:])
            right = _times_one_minus(proposal, beta)
        else:
            # As a number of its own: 1 leaves exactly nothing of the proposal.
            beta = (
                jnp.full_like(beta[0], mixing_weight),
                *map(jnp.ones_like, beta[1:]),
            )
            left = (learning_rate * beta[0], *beta[1:])
            right = (((1 - beta[0]) * proposal[0], *proposal[1:]),)
        summands = {"both": (left, *right), "left": (left,), "right": right}[terms]
        composed.append(HeadSteps(beta, proposal, summands))
    return tuple(composed)


def spread_step_sizes(
    heads: tuple[HeadSteps, ...], layout: StepLayout
) -> dict[str, Array]:
    """Gives every leaf of a block its step sizes, ready to broadcast against it.

    Args:
      heads: The composed step sizes.
      layout: The block's layout.

    Returns:
      Step sizes by path.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import step_layout
      >>> values = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
      >>> layout = step_layout(values, "column")
      >>> heads = step_sizes(jnp.zeros(2), jnp.zeros(2), layout, 0.1)
      >>> {path: s.shape for path, s in spread_step_sizes(heads, layout).items()}
      {'kernel': (2, 1), 'bias': ()}
    """
    spread = {}
    for path, leaf in layout.leaves.items():
        step_size = heads[leaf.head].step_size
        mean = leaf.shape is None
        spread[path] = _mean(step_size) if mean else step_size.reshape(leaf.shape)
    return spread


def squash_outputs(raw: Array, squash: Squash) -> Array:
    """Maps raw outputs into (0, 1).

    Args:
      raw: Outputs of the eta model.
      squash: ``"tanh"``, ``"sigmoid"`` or a function.

    Returns:
      Numbers in [0, 1] (floating point reaches the ends), the shape of `raw`.

    Raises:
      ValueError: An unknown name.

    Example:
      >>> import jax.numpy as jnp
      >>> squash_outputs(jnp.zeros(()), "tanh")
      Array(0.5, dtype=float32)

    Reference:
      Yan et al., arXiv 2508.04193, §5.6 and B.3.
    """
    check_choice("squash", squash)
    if callable(squash):
        return squash(raw)
    return jax.nn.sigmoid(raw) if squash == "sigmoid" else (jnp.tanh(raw) + 1) / 2


def _mean(step_size: Array) -> Array:
    """The mean, which of equal numbers is that number to the bit."""
    first = step_size.ravel()[0]
    return first + jnp.mean(step_size - first)


def _squash_heads(
    raw: Array, layout: StepLayout, squash: Squash
) -> list[tuple[Array, ...]]:
    squashed, start, heads = squash_outputs(raw, squash), 0, []
    for head in layout.heads:
        factors = []
        for shape in head.factors:
            stop = start + math.prod(shape)
            factors.append(squashed[start:stop].reshape(shape))
            start = stop
        single = len(factors) == 1
        heads.append(tuple(factors if single else map(_safe_root, factors)))
    return heads


def _safe_root(factor: Array) -> Array:
    """Makes the product of two factors their geometric mean, still a product of two.

    At 0 the root's slope is infinite and the squash's is 0: the floor makes their
    product a number.
    """
    return jnp.sqrt(jnp.maximum(factor, jnp.finfo(factor.dtype).tiny))


def _times_one_minus(
    proposal: tuple[Array, ...], beta: tuple[Array, ...]
) -> tuple[tuple[Array, ...], ...]:
    """``(1 - beta) * proposal`` as summands; two where both are products."""
    if len(beta) == 1:
        return (((1 - beta[0]) * proposal[0],),)
    both = tuple(b * p for b, p in zip(beta, proposal, strict=True))
    return proposal, (-both[0], *both[1:])
