"""BADM: batch ADMM, consensus between the parts of a batch.

A batch is cut into parts s with shares α_s of its examples and losses F_s. Each part
has parameters w_s of its own, which a multiplier π_s ties to the common ones,

    Σ_s α_s [ F_s(w_s) + <π_s, w_s - w> + σ/2 |w_s - w|² ].

One step, from the common parameters w (all parts side by side, then the consensus):

    w_s <- w - (∇F_s(w) + π_s) / (ρ + σ)       F_s linearised at w, proximal weight ρ
    π_s <- π_s + σ (w_s - w)
    w   <- Σ_s α_s (w_s + π_s / σ)

which is the method's own order with the consensus moved from the beginning of a step to
the end of the one before, where w_s is still at hand: only π_s is carried on. By
substitution ``π_s <- (ρ π_s - σ ∇F_s) / (ρ + σ)``: minus the multiplier is an average
of gradients that decays by ρ / (ρ + σ), and a constant gradient moves w by 1/σ of it.

Reference: Wang, Zhou, Li, "BADM: Batch ADMM for deep learning", arXiv 2407.01640. Its
text and code were not at hand: the updates are derived from the augmented Lagrangian,
and the authors' σ and ρ are not known.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from samt_jax.base import (
    Algorithm,
    Batch,
    Batches,
    Key,
    LossFn,
    Params,
    Scalar,
    StepInfo,
)


class BadmInfo(NamedTuple):
    """What a step saw and did; for people, never read back.

    Attributes:
      values: Loss of each part at the common parameters before the step.
      residuals: ``|w_s - w|`` of each part, w before the step.
      multiplier_sum: ``|Σ α_s π_s|`` after the step, which is 0 at a minimum.
    """

    values: Float[Array, " parts"]
    residuals: Float[Array, " parts"]
    multiplier_sum: Scalar


class BadmState(NamedTuple):
    """State of BADM.

    Attributes:
      multipliers: π_s, shaped as the parameters behind a leading axis of parts; in
        float32 or wider.
    """

    multipliers: Params


def badm(
    loss_fn: LossFn,
    *,
    penalty: float = 5.0,
    proximal_weight: float = 45.0,
    num_parts: int = 4,
) -> Algorithm:
    """BADM: a linearised ADMM step for each part of the batch, then their consensus.

    It takes the gradients of the parts, together one pass over the batch, and keeps
    `num_parts` copies of the parameters. The multipliers go on from batch to batch.

    Args:
      loss_fn: ``loss_fn(params, batch) -> scalar``, a mean over the batch.
      penalty: σ > 0. In the long run a step moves w by the gradient over σ.
      proximal_weight: ρ >= 0. With ρ above σ, the momentum is ρ / (ρ + σ) and a step
        starts as 2 / (ρ + σ) of the gradient; ρ = σ is gradient descent.
      num_parts: S >= 1, parts of a batch; their sizes differ by one at most.

    Returns:
      The algorithm, with a :class:`BadmState`; its `StepInfo.detail` is a
      :class:`BadmInfo`.

    Raises:
      ValueError: A setting out of its range, or a batch of fewer examples than parts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches
      >>> from samt_jax.baselines import badm
      >>> loss_fn = lambda w, batch: jnp.mean((w - batch) ** 2) / 2
      >>> algorithm = badm(loss_fn, penalty=1.0, proximal_weight=0.0, num_parts=2)
      >>> batches, key = Batches(train=jnp.array([1.0, 3.0])), jax.random.key(0)
      >>> w = jnp.float32(0.0)
      >>> state = algorithm.init(w, batches, key)
      >>> w, state, info = algorithm.step(w, state, batches, key)
      >>> float(w), state.multipliers, float(info.value)
      (4.0, Array([1., 3.], dtype=float32), 2.5)

    Reference:
      Wang, Zhou, Li, arXiv 2407.01640.
    """
    _check(penalty, proximal_weight, num_parts)
    total = proximal_weight + penalty

    def init_fn(params: Params, batches: Batches, key: Key) -> BadmState:
        del batches, key
        zeros = lambda w: jnp.zeros((num_parts, *w.shape), _wide(w))  # noqa: E731
        return BadmState(jax.tree.map(zeros, params))

    def step_fn(
        params: Params, state: BadmState, batches: Batches, key: Key
    ) -> tuple[Params, BadmState, StepInfo]:
        del key
        shares, values, grads = _parts(loss_fn, params, batches.train, num_parts)
        moves = jax.tree.map(
            lambda g, pi: -(g.astype(pi.dtype) + pi) / total, grads, state.multipliers
        )
        multipliers = jax.tree.map(
            lambda pi, move: pi + penalty * move, state.multipliers, moves
        )
        # Σ α_s = 1, so that w itself may stand outside the sum.
        updates = jax.tree.map(
            lambda move, pi: _average(shares, move + pi / penalty), moves, multipliers
        )
        mean = jax.tree.map(lambda pi: _average(shares, pi), multipliers)
        info = BadmInfo(values, jax.vmap(optax.tree.norm)(moves), optax.tree.norm(mean))
        params = jax.tree.map(lambda w, u: (w + u).astype(w.dtype), params, updates)
        return params, BadmState(multipliers), StepInfo(shares @ values, info)

    return Algorithm(init_fn, step_fn)


def _check(penalty: Any, proximal_weight: Any, num_parts: Any) -> None:
    # A traced number cannot be looked at.
    if not isinstance(penalty, jax.core.Tracer) and not penalty > 0:
        raise ValueError(f"penalty is {penalty}; it must be positive.")
    if not isinstance(proximal_weight, jax.core.Tracer) and not proximal_weight >= 0:
        raise ValueError(
            f"proximal_weight is {proximal_weight}; it must be 0 or positive."
        )
    if not isinstance(num_parts, int) or num_parts < 1:
        raise ValueError(
            f"num_parts is {num_parts!r}; a batch is cut into a whole number of parts, "
            "at least 1."
        )


def _wide(w: Array) -> Any:
    """A dtype for sums over many steps."""
    return jnp.promote_types(w.dtype, jnp.float32)


def _average(shares: Float[Array, " parts"], parts: Array) -> Array:
    return jnp.tensordot(shares.astype(parts.dtype), parts, axes=1)


def _parts(
    loss_fn: LossFn, params: Params, batch: Batch, num_parts: int
) -> tuple[Float[Array, " parts"], Float[Array, " parts"], Params]:
    """Shares, losses and gradients of the parts, each along a leading axis.

    Parts have at most two sizes, and those of one size are worked on side by side.
    """
    num_examples = len(jax.tree.leaves(batch)[0])
    if num_examples < num_parts:
        raise ValueError(
            f"The batch has {num_examples} examples for {num_parts} parts; take a "
            "larger batch or a smaller num_parts."
        )
    size, num_larger = divmod(num_examples, num_parts)
    groups = [(num_larger, size + 1), (num_parts - num_larger, size)]
    start, shares, results = 0, [], []
    for count, part_size in groups:
        if not count:
            continue
        stop = start + count * part_size
        parts = jax.tree.map(
            lambda x, a=start, b=stop, n=count: x[a:b].reshape(n, -1, *x.shape[1:]),
            batch,
        )
        results.append(jax.vmap(jax.value_and_grad(loss_fn), (None, 0))(params, parts))
        shares += [part_size / num_examples] * count
        start = stop
    values, grads = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)
    values = values.astype(jnp.result_type(float))
    return jnp.array(shares, values.dtype), values, grads
