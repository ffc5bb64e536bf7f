"""Hypergradient descent: the learning rate descends on the loss as well.

A gradient method steps ``params <- params - α_t d_t``, with a direction d_t that does
not depend on α_t: the gradient, a momentum, Adam's ratio. The loss after the last step
depends on the learning rate of that step, and its derivative, the *hypergradient*, is
an inner product of two vectors that are there anyway:

    h_t = d loss(params - α d_{t-1}) / d α = -<g_t, d_{t-1}>,    h_1 = 0
    α_t = α_{t-1} - κ h_t                                        (additive rule)
    α_t = α_{t-1} (1 - κ h_t / (|g_t| |d_{t-1}|))                (multiplicative rule)

in this order: gradient, learning rate, direction, step with the *new* learning rate.

Reference: Baydin, Cornish, Martínez Rubio, Schmidt, Wood, "Online learning rate
adaptation with hypergradient descent", ICLR 2018, arXiv 1703.04782.
"""

import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PyTree

from samt_jax.base import Params, Scalar

Rule = Literal["additive", "multiplicative"]
Change = Callable[[Scalar, Scalar], Scalar]


class HypergradientInfo(NamedTuple):
    """What the last step did; for people, never read back. All of shape ``()``.

    Attributes:
      learning_rate: α_t. Nothing keeps the additive rule's above 0.
      hypergradient: h_t, the derivative of this step's loss with respect to the last
        step's learning rate; 0 at the first step.
      step_size: What multiplied the direction: α_t, or its mean with the final learning
        rate during a transition.
    """

    learning_rate: Scalar
    hypergradient: Scalar
    step_size: Scalar


class HypergradientState(NamedTuple):
    """State of hypergradient descent; all of it changes at every step.

    Attributes:
      count: Steps so far.
      learning_rate: α_t, in JAX's default floating-point dtype.
      last_direction: d_{t-1}, structured as the parameters; zeros before step 1.
      direction_state: The memory of the direction: momentum, Adam's moments.
      info: What the last step did.
    """

    # The field's name for it, though it hides the method `tuple.count`.
    count: Int[Array, ""]  # type: ignore[assignment]
    learning_rate: Scalar
    last_direction: PyTree
    direction_state: optax.OptState
    info: HypergradientInfo


def hypergradient_descent(
    direction: optax.GradientTransformation,
    learning_rate: ArrayLike,
    hyper_learning_rate: ArrayLike,
    *,
    rule: Rule = "additive",
    weight_decay: ArrayLike = 0.0,
    final_learning_rate: ArrayLike | None = None,
    tensor_by_tensor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Hypergradient descent with any direction; what the named variants are made of.

    Args:
      direction: An optax transformation from gradients to what the learning rate
        multiplies (no sign, no learning rate of its own).
      learning_rate: α_0, that of the first step.
      hyper_learning_rate: κ. The additive rule's must scale as 1/gradient²; the
        multiplicative rule's is a relative change a step, below 1 to keep α positive.
      rule: ``"additive"`` or ``"multiplicative"``.
      weight_decay: λ; `λ params` is added to the gradient before everything else, so
        that hypergradient and direction contain it.
      final_learning_rate: α_∞ of the convergence-safe transition: the step is taken
        with ``δ(t) α_t + (1 - δ(t)) α_∞``, ``δ(t) = 1/t²``, which inherits the
        guarantee of the fixed rate; `None` steps with α_t.
      tensor_by_tensor: Adds each tensor's share of the hypergradient (additive rule)
        just before that tensor's step, in the order of `jax.tree.leaves`: early tensors
        step with a learning rate that late ones have yet to change.

    Returns:
      An optax transformation with a :class:`HypergradientState`.

    Raises:
      ValueError: An unknown rule, a schedule for a learning rate, or a rule that does
        not go tensor by tensor.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from samt_jax.baselines import hypergradient_descent
      >>> heavy_ball = hypergradient_descent(optax.trace(0.5), 0.5, 0.25)
      >>> state = heavy_ball.init(jnp.zeros(()))
      >>> _, state = heavy_ball.update(jnp.float32(2.0), state)
      >>> updates, state = heavy_ball.update(jnp.float32(1.0), state)
      >>> float(state.learning_rate), float(updates)
      (1.0, -2.0)

    Reference:
      Baydin et al., arXiv 1703.04782.
    """
    _check(learning_rate, rule, tensor_by_tensor)

    def init_fn(params: Params) -> HypergradientState:
        return HypergradientState(
            count=jnp.zeros([], jnp.int32),
            learning_rate=_as_float(learning_rate),
            last_direction=optax.tree.zeros_like(params),
            direction_state=direction.init(params),
            # Numbers of its own: a state with one buffer twice could not be donated.
            info=HypergradientInfo(
                _as_float(learning_rate), _as_float(0.0), _as_float(learning_rate)
            ),
        )

    def update_fn(
        updates: PyTree,
        state: HypergradientState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, HypergradientState]:
        del extra_args
        grads = _add_weight_decay(updates, params, weight_decay)
        slopes = _hypergradients(grads, state.last_direction)
        slope = sum(slopes, start=_as_float(0.0))
        change = _CHANGES[rule](grads, state.last_direction, hyper_learning_rate)
        if tensor_by_tensor:
            rates = [*itertools.accumulate(slopes, change, initial=state.learning_rate)]
        else:
            rates = [change(state.learning_rate, slope)] * (len(slopes) + 1)
        count = optax.safe_increment(state.count)
        steps = [_step_size(rate, count, final_learning_rate) for rate in rates]
        directions, memory = direction.update(grads, state.direction_state, params)
        directions = optax.tree.cast_like(directions, state.last_direction)
        info = HypergradientInfo(rates[-1], slope, steps[-1])
        state = HypergradientState(count, rates[-1], directions, memory, info)
        return _descend(directions, steps[1:]), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check(learning_rate: Any, rule: str, tensor_by_tensor: bool) -> None:
    if callable(learning_rate):
        raise ValueError(
            "Hypergradient descent was given a schedule as learning_rate, and learns "
            "the schedule itself; give the number to start from."
        )
    if rule not in _CHANGES:
        raise ValueError(
            f"The rule '{rule}' is unknown; choose one of {sorted(_CHANGES)}."
        )
    if tensor_by_tensor and rule != "additive":
        raise ValueError(
            f"The rule '{rule}' needs the whole gradient, so it cannot go tensor by "
            "tensor; choose rule='additive' or tensor_by_tensor=False."
        )


def _as_float(value: ArrayLike) -> Array:
    return jnp.array(value, dtype=jnp.result_type(float))


def _add_weight_decay(
    grads: PyTree, params: Params | None, weight_decay: ArrayLike
) -> PyTree:
    if isinstance(weight_decay, float | int) and weight_decay == 0:
        return grads
    decay = optax.add_decayed_weights(weight_decay)
    decayed, _ = decay.update(grads, optax.EmptyState(), params)
    return optax.tree.cast_like(decayed, grads)


def _hypergradients(grads: PyTree, directions: PyTree) -> list[Scalar]:
    """Each tensor's share ``-<g_t, d_{t-1}>`` of the hypergradient."""
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(directions), strict=True)
    return [-_inner_product(grad, direction) for grad, direction in pairs]


def _inner_product(first: Array, second: Array) -> Scalar:
    # In full precision: it is a small difference of large sums near a good α.
    return jnp.vdot(_as_float(first), _as_float(second), precision="highest")


def _additive(
    grads: PyTree, directions: PyTree, hyper_learning_rate: ArrayLike
) -> Change:
    del grads, directions
    return lambda rate, slope: rate - hyper_learning_rate * slope


def _multiplicative(
    grads: PyTree, directions: PyTree, hyper_learning_rate: ArrayLike
) -> Change:
    norms = _norm(grads) * _norm(directions)
    safe_norms = jnp.where(norms > 0, norms, 1.0)

    def change(rate: Scalar, slope: Scalar) -> Scalar:
        # Rounding must not carry the cosine past 1, or α past 0.
        cosine = jnp.clip(slope / safe_norms, -1.0, 1.0)
        return rate * (1.0 - hyper_learning_rate * cosine)

    return change


_CHANGES = {"additive": _additive, "multiplicative": _multiplicative}


def _norm(tree: PyTree) -> Scalar:
    return optax.tree.norm(optax.tree.cast(tree, jnp.result_type(float)))


def _step_size(
    rate: Scalar, count: Int[Array, ""], final_learning_rate: ArrayLike | None
) -> Scalar:
    if final_learning_rate is None:
        return rate
    weight = 1.0 / _as_float(count) ** 2
    return weight * rate + (1.0 - weight) * final_learning_rate


def _descend(directions: PyTree, step_sizes: list[Scalar]) -> PyTree:
    """``-step_size * direction``, a step size a tensor, each in its tensor's dtype."""
    leaves, structure = jax.tree.flatten(directions)
    updates = [
        -step_size.astype(leaf.dtype) * leaf
        for leaf, step_size in zip(leaves, step_sizes, strict=True)
    ]
    return jax.tree.unflatten(structure, updates)
