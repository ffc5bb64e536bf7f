"""What SAMT tells people: what a visit saw and did, and what its eta models take.

No algorithm reads any of it back.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samt_jax.base import Scalar, State, state_fields
from samt_jax.step_size import HeadSteps


class VisitInfo(NamedTuple):
    """What the last visit to a block saw and did; for people, never read back.

    All are float32 numbers of shape ``()`` unless said otherwise.

    Attributes:
      features: What was measured of the gradient, unscaled: for the five statistics
        shape ``(5,)`` in the order of `FEATURE_NAMES`.
      mixing_weight: Mean mixing weight β, in [0, 1].
      proposal: Mean proposal η̂, in [0, proposal_max].
      step_size: Mean step size taken; 0 where the visit was skipped.
      step_size_min: Smallest step size taken.
      step_size_max: Largest step size taken.
      value: Loss on the training batch before the visit; NaN where it was not given.
      meta_value: Loss on the meta-batch with the candidate in place; NaN where there is
        no such batch.
      cause: Index into `CAUSES` of what was not finite and had the visit skipped, or
        -1, int32.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import samt
      >>> tx, params = samt(0.25, mixing_weight=1.0), {"w": jnp.float32(2.0)}
      >>> _, state = tx.update(
      ...     params, tx.init(params), params, meta_value_fn=lambda p: p["w"] ** 2 / 2
      ... )
      >>> info = state.info["w"]
      >>> float(info.step_size), round(float(info.meta_value), 5)  # (2 - 0.25 * 2)² / 2
      (0.25, 1.125)
    """

    features: Float[Array, "k"]
    mixing_weight: Scalar
    proposal: Scalar
    step_size: Scalar
    step_size_min: Scalar
    step_size_max: Scalar
    value: Scalar
    meta_value: Scalar
    cause: Int[Array, ""]


def describe_visit(
    measured: Float[Array, "k"],
    heads: tuple[HeadSteps, ...],
    value: Scalar | None,
    meta_value: Scalar | None,
    cause: Int[Array, ""],
) -> VisitInfo:
    """The record of a visit.

    Args:
      measured: The features, unscaled.
      heads: The step sizes.
      value: Loss on the training batch, if known.
      meta_value: Loss on the meta-batch with the candidate in place, if known.
      cause: What had the visit skipped, or -1.

    Returns:
      The record.
    """
    steps = [head.step_size for head in heads]
    taken = cause < 0

    def number(value: Array | float | None) -> Scalar:
        return jnp.asarray(jnp.nan if value is None else value, jnp.float32)

    def if_taken(step_size: Array) -> Scalar:
        return number(jnp.where(taken, step_size, 0.0))

    return VisitInfo(
        features=measured.astype(jnp.float32),
        mixing_weight=number(_mean(heads, lambda head: (head.mixing_weight,))),
        proposal=number(_mean(heads, lambda head: (head.proposal,))),
        step_size=if_taken(_mean(heads, lambda head: head.summands)),
        step_size_min=if_taken(functools.reduce(jnp.minimum, map(jnp.min, steps))),
        step_size_max=if_taken(functools.reduce(jnp.maximum, map(jnp.max, steps))),
        value=number(value),
        meta_value=number(meta_value),
        cause=cause,
    )


def no_visit(measured: Float[Array, "k"]) -> VisitInfo:
    """The record of a block that has not been visited: zeros, and no cause.

    Args:
      measured: Features, for their number.

    Returns:
      The record.
    """
    # An array each: a state that holds one twice cannot be donated.
    numbers = {name: jnp.zeros((), jnp.float32) for name in VisitInfo._fields}
    features = jnp.zeros(measured.shape, jnp.float32)
    never = jnp.full((), -1, jnp.int32)
    return VisitInfo(**numbers | {"features": features, "cause": never})


def eta_model_bytes(state: State) -> dict[str, int]:
    """The memory of each eta model with its optimizer, from shapes alone.

    Element-wise step sizes have by far the largest eta models, so ask before you
    allocate them: `jax.eval_shape` makes a state of shapes without allocating it.

    Args:
      state: A state of :func:`samt`, :func:`samt_sweep`, :func:`samt_algorithm` or
        :func:`scale_by_learned_step_size`, or its shapes.

    Returns:
      Bytes by block; one entry `"shared"` where all blocks share one eta model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import eta_model_bytes, samt_sweep
      >>> params = {"Dense_0": {"kernel": jnp.ones((784, 800))}}
      >>> for element_head in ("dense", "factored"):
      ...     tx = samt_sweep(granularity="element", element_head=element_head)
      ...     sizes = eta_model_bytes(jax.eval_shape(tx.init, params))
      ...     print(element_head, f"{sizes['Dense_0'] / 2**20:.1f} MiB")
      dense 933.2 MiB
      factored 2.4 MiB
    """
    # Every method keeps the eta models under this name.
    meta, *_ = state_fields(state, "meta")
    return {
        name: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(each))
        for name, each in meta.items()
    }


def _mean(
    heads: tuple[HeadSteps, ...],
    products_of: Callable[[HeadSteps], tuple[tuple[Array, ...], ...]],
) -> Array:
    """The mean over all step sizes of sums of products of factors.

    The mean of an outer product is the product of its factors' means.
    """
    total, size = jnp.zeros(()), 0
    for head in heads:
        means = [math.prod(map(jnp.mean, factors)) for factors in products_of(head)]
        head_size = math.prod(jnp.broadcast_shapes(*map(jnp.shape, head.proposal)))
        total, size = total + head_size * sum(means), size + head_size
    return total / size
