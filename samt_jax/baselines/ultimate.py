"""The ultimate optimizer: hyperparameters are optimized by optimizers, in a tower.

An update ``params_t = U(params_{t-1}, grads, state; hyper)`` is a function of the
optimizer's hyperparameters too. With everything else taken as data (a horizon of one
step), the derivative of the next loss with respect to them is

    h = (d params_t / d hyper)ᵀ ∇loss(params_t),

a vector-Jacobian product, and another optimizer can step on it, whose own
hyperparameters a third one learns likewise. Given the gradient G of a level's
parameters, its step is, from the top down,

    h       = vjp of the level's last update with respect to its hyperparameters, at G
    hyper  += the step of the level above on (hyper, h)
    params += U(params, G, state; hyper)

With SGD on SGD this is SGD-HD.

Reference: Chandra, Xie, Ragan-Kelley, Meijer, "Gradient descent: the ultimate
optimizer", NeurIPS 2022, arXiv 1909.13371.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from samt_jax.base import Params
from samt_jax.baselines.levels import Level, start_of, values_of


class LastUpdate(NamedTuple):
    """What a level's last update was computed from.

    Attributes:
      params: The parameters that it started from.
      grads: Their gradient.
      opt_state: The optimizer's state before it.
    """

    params: PyTree
    grads: PyTree
    opt_state: optax.OptState


class LevelState(NamedTuple):
    """State of one level; all of it changes at every step.

    Attributes:
      hyperparams: The numbers that the level above learns, before they are squashed.
      opt_state: The optimizer's state.
      last: What the last update was computed from; `None` at the top, where nothing is
        learned.
    """

    hyperparams: PyTree
    opt_state: optax.OptState
    last: LastUpdate | None


class UltimateInfo(NamedTuple):
    """What the last step used; for people, never read back.

    Attributes:
      hyperparams: Each level's hyperparameters by name, the lowest level first.
      hypergradients: The last loss's derivatives with respect to the numbers that are
        learned (before squashing), for every level but the top; 0 at the first step.
    """

    hyperparams: tuple[dict[str, PyTree], ...]
    hypergradients: tuple[dict[str, PyTree], ...]


class UltimateState(NamedTuple):
    """State of the tower.

    Attributes:
      count: Steps so far.
      levels: Each level's state, the lowest first.
      info: What the last step used.
    """

    # The field's name for it, though it hides the method `tuple.count`.
    count: Int[Array, ""]  # type: ignore[assignment]
    levels: tuple[LevelState, ...]
    info: UltimateInfo


def ultimate(levels: Sequence[Level]) -> optax.GradientTransformationExtraArgs:
    """A tower of optimizers, each learning the hyperparameters of the one below it.

    The top level's hyperparameters stay as they are; a tower of one level is the plain
    optimizer. Every level but the top keeps a copy of what its last update was computed
    from and computes that update twice, so a step costs one gradient and a few passes
    over the parameters. Too bold a top makes hyperparameters NaN in the first steps;
    Adam as the top bounds their change. All is computed in JAX's default floating-point
    dtype.

    Args:
      levels: The levels from the bottom, which moves the parameters, to the top.

    Returns:
      An optax transformation with an :class:`UltimateState`.

    Raises:
      ValueError: No level, or something else than levels.

    Example:
      >>> import jax, optax
      >>> from samt_jax.baselines import sgd_level, ultimate
      >>> params, tx = 1.0, ultimate([sgd_level(0.1), sgd_level(0.1)])
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     grads = jax.grad(lambda x: x**2 / 2)(params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> round(float(state.info.hyperparams[0]["learning_rate"]), 3)
      0.19

    Reference:
      Chandra et al., arXiv 1909.13371.
    """
    levels = tuple(levels)
    _check(levels)

    def init_fn(params: Params) -> UltimateState:
        states = _init_levels(levels, _as_float(params))
        nothing = tuple(optax.tree.zeros_like(s.hyperparams) for s in states[:-1])
        info = UltimateInfo(_values(levels, states), nothing)
        return UltimateState(jnp.zeros([], jnp.int32), states, info)

    def update_fn(
        updates: PyTree,
        state: UltimateState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, UltimateState]:
        del extra_args
        if params is None:
            raise ValueError(
                "ultimate was updated without params; call "
                "update(grads, state, params)."
            )
        steps, states, hypergradients = _step_level(
            levels,
            state.levels,
            _as_float(params),
            _as_float(updates),
            state.count == 0,
        )
        info = UltimateInfo(_values(levels, states), hypergradients)
        count = optax.safe_increment(state.count)
        steps = optax.tree.cast_like(steps, params)
        return steps, UltimateState(count, states, info)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check(levels: tuple[Level, ...]) -> None:
    if not levels:
        raise ValueError(
            "The tower was given no level; give at least one, such as sgd_level(0.01)."
        )
    strangers = [type(lvl).__name__ for lvl in levels if not isinstance(lvl, Level)]
    if strangers:
        raise ValueError(
            f"The tower was given {strangers} among its levels; a level is a `Level`, "
            "which names the numbers to learn, such as sgd_level(0.01)."
        )


def _as_float(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.array(x, dtype=jnp.result_type(float)), tree)


def _init_levels(levels: tuple[Level, ...], params: PyTree) -> tuple[LevelState, ...]:
    level, *above = levels
    hyperparams = start_of(level, params)
    opt_state = _optimizer(level, hyperparams).init(params)
    if not above:
        return (LevelState(hyperparams, opt_state, None),)
    last = LastUpdate(_as_float(params), optax.tree.zeros_like(params), opt_state)
    # Copies, so that a state has no buffer twice and can be donated.
    last = jax.tree.map(jnp.copy, last)
    state = LevelState(hyperparams, opt_state, last)
    return (state, *_init_levels(tuple(above), hyperparams))


def _step_level(
    levels: tuple[Level, ...],
    states: tuple[LevelState, ...],
    params: PyTree,
    grads: PyTree,
    is_first: Bool[Array, ""],
) -> tuple[PyTree, tuple[LevelState, ...], tuple[PyTree, ...]]:
    """A level's updates; the states and hypergradients from this level upwards."""
    level, state = levels[0], states[0]
    if state.last is None:
        optimizer = _optimizer(level, state.hyperparams)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        return updates, (state._replace(opt_state=opt_state),), ()
    # Before the first step there was no update that hyperparameters could change.
    slope = optax.tree.where(
        is_first,
        optax.tree.zeros_like(state.hyperparams),
        _hypergradient(level, state.hyperparams, state.last, grads),
    )
    steps, states_above, slopes_above = _step_level(
        levels[1:], states[1:], state.hyperparams, slope, is_first
    )
    hyperparams = optax.apply_updates(state.hyperparams, steps)
    optimizer = _optimizer(level, hyperparams)
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    last = LastUpdate(params, grads, state.opt_state)
    state = LevelState(hyperparams, opt_state, last)
    return updates, (state, *states_above), (slope, *slopes_above)


def _optimizer(level: Level, hyperparams: PyTree) -> optax.GradientTransformation:
    return level.factory(**values_of(level, hyperparams))


def _hypergradient(
    level: Level, hyperparams: PyTree, last: LastUpdate, grads: PyTree
) -> PyTree:
    """The derivative of the loss with respect to what made the last update."""

    def last_update(hyperparams: PyTree) -> PyTree:
        optimizer = _optimizer(level, hyperparams)
        return optimizer.update(last.grads, last.opt_state, last.params)[0]

    _, pull_back = jax.vjp(last_update, hyperparams)
    return pull_back(grads)[0]


def _values(
    levels: tuple[Level, ...], states: tuple[LevelState, ...]
) -> tuple[dict[str, PyTree], ...]:
    return tuple(
        values_of(level, state.hyperparams)
        for level, state in zip(levels, states, strict=True)
    )
