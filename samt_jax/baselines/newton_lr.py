"""A learning rate trained by Newton's method (NTLR, "TLR").

Seen from afar, the steps of a window are one macro-step ``params <- params - η u``, u
being the sum of their directions. As a function of η the loss has, at the end of the
window, the slope and (by the secant over the step) the curvature

    φ'(η)  ≈ -<u_old, u_new>
    φ''(η) ≈ (|u_old|² - <u_old, u_new>) / η

with u_old, u_new of consecutive windows. A damped Newton step on η is then

    η <- η (1 + γ <u_old, u_new> / (|u_old|² - <u_old, u_new> + ε)).

Reference: Retsinas, Sfikas, Filntisis, Maragos, "Newton-based trainable learning rate",
ICASSP 2023; the formula as in the authors' code.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PyTree

from samt_jax.base import Params, Scalar

FACTOR_BOUNDS = (0.5, 2.0)


class NewtonLrInfo(NamedTuple):
    """What the last step did; for people, never read back. All of shape ``()``.

    Attributes:
      learning_rate: η of the last step.
      hypergradient: φ'(η) at the end of the last window, 0 before there were two.
      factor: What the end of the last window multiplied the learning rate by.
    """

    learning_rate: Scalar
    hypergradient: Scalar
    factor: Scalar


class NewtonLrState(NamedTuple):
    """State of the Newton-based learning rate.

    Attributes:
      count: Steps so far; changes at every step.
      window_sum: Sum of this window's directions, structured as the parameters; changes
        at every step.
      direction_state: The memory of the direction; changes at every step.
      learning_rate: η, in JAX's default floating-point dtype; changes with the window.
      last_window_sum: That sum over the last window, zeros in the first one; changes
        with the window.
      info: What the last step did.
    """

    # The field's name for it, though it hides the method `tuple.count`.
    count: Int[Array, ""]  # type: ignore[assignment]
    window_sum: PyTree
    direction_state: optax.OptState
    learning_rate: Scalar
    last_window_sum: PyTree
    info: NewtonLrInfo


def newton_lr(
    learning_rate: ArrayLike,
    window: int,
    direction: optax.GradientTransformation | None = None,
    *,
    hyper_learning_rate: ArrayLike = 0.2,
    eps: ArrayLike = 1e-10,
    safeguard: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Steps along any direction with a learning rate trained by Newton's method.

    The authors' code multiplies the learning rate by a factor that turns negative where
    ``<u_old, u_new> > |u_old|²``, which is where the rate should grow, and that has no
    bound near equality; `safeguard` mends both and is no part of the method. Weight
    decay belongs before it, in an `optax.chain` with `optax.add_decayed_weights`.

    Args:
      learning_rate: η of the first two windows.
      window: Steps between changes of the learning rate, K >= 1. The authors take a
        third of an epoch.
      direction: What the learning rate multiplies, an optax transformation without sign
        and learning rate of its own; `None` is the gradient. The authors take
        ``optax.trace(0.8)`` or ``optax.scale_by_adam()``.
      hyper_learning_rate: γ in [0, 1]: 1 is the whole Newton step, 0 leaves the
        learning rate as it is.
      eps: Added to the denominator, in the unit of a squared gradient: where the sums
        are smaller, the learning rate stays.
      safeguard: Divides by the denominator's absolute value and keeps the factor in
        [0.5, 2].

    Returns:
      An optax transformation with a :class:`NewtonLrState`.

    Raises:
      ValueError: A window that is not a positive integer, or a schedule for the
        learning rate.

    Example:
      >>> import jax, optax
      >>> from samt_jax.baselines import newton_lr
      >>> params, tx = 1.0, newton_lr(0.01, window=1, hyper_learning_rate=1.0)
      >>> state = tx.init(params)
      >>> for _ in range(2):  # Newton's step on 5 x² / 2 is exact: η = 1 / 5.
      ...     grads = jax.grad(lambda x: 5 * x**2 / 2)(params)
      ...     updates, state = tx.update(grads, state)
      ...     params = optax.apply_updates(params, updates)
      >>> round(float(state.learning_rate), 5)
      0.2

    Reference:
      Retsinas et al., ICASSP 2023.
    """
    _check(learning_rate, window)
    direction = optax.identity() if direction is None else direction

    def init_fn(params: Params) -> NewtonLrState:
        return NewtonLrState(
            count=jnp.zeros([], jnp.int32),
            window_sum=_as_float(optax.tree.zeros_like(params)),
            direction_state=direction.init(params),
            learning_rate=_as_float(learning_rate),
            last_window_sum=_as_float(optax.tree.zeros_like(params)),
            info=NewtonLrInfo(_as_float(learning_rate), _as_float(0.0), _as_float(1.0)),
        )

    def update_fn(
        updates: PyTree,
        state: NewtonLrState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, NewtonLrState]:
        del extra_args
        directions, memory = direction.update(updates, state.direction_state, params)
        state = state._replace(
            count=optax.safe_increment(state.count),
            # The authors' (params before - params after) / η, without its rounding: at
            # η = 1e-9 no difference would be left.
            window_sum=optax.tree.add(state.window_sum, _as_float(directions)),
            direction_state=memory,
            info=state.info._replace(learning_rate=state.learning_rate),
        )
        updates = jax.tree.map(
            lambda d: -state.learning_rate.astype(d.dtype) * d, directions
        )
        settings = (hyper_learning_rate, eps, safeguard)
        return updates, jax.lax.cond(
            state.count % window == 0,
            lambda state: _end_window(state, *settings),
            lambda state: state,
            state,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check(learning_rate: Any, window: Any) -> None:
    if callable(learning_rate):
        raise ValueError(
            "newton_lr was given a schedule as learning_rate, and learns the schedule "
            "itself; give the number to start from."
        )
    if not isinstance(window, int) or window < 1:
        raise ValueError(
            f"The window is {window!r} and has to be a positive whole number of steps; "
            "a third of an epoch is the authors' choice."
        )


def _as_float(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.array(x, dtype=jnp.result_type(float)), tree)


def _end_window(
    state: NewtonLrState,
    hyper_learning_rate: ArrayLike,
    eps: ArrayLike,
    safeguard: bool,
) -> NewtonLrState:
    old, new = state.last_window_sum, state.window_sum
    agreement = optax.tree.vdot(old, new)
    curvature = optax.tree.vdot(old, old) - agreement + eps
    curvature = jnp.abs(curvature) if safeguard else curvature
    # Where there is no slope, as in the first window, there is no step: not 0 / 0.
    curvature = jnp.where(agreement == 0, 1.0, curvature)
    factor = 1.0 + hyper_learning_rate * agreement / curvature
    factor = jnp.clip(factor, *FACTOR_BOUNDS) if safeguard else factor
    return state._replace(
        window_sum=optax.tree.zeros_like(new),
        learning_rate=state.learning_rate * factor,
        last_window_sum=new,
        info=NewtonLrInfo(state.learning_rate, -agreement, factor),
    )
