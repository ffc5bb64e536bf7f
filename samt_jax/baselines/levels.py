"""The levels of :func:`ultimate`'s tower: optimizers as functions of their numbers.

Any differentiable optax factory makes a :class:`Level`. The ones below are those of the
authors' code, with its parametrisation: a rate is learned as it is (RMSProp's as a
square root), a decay through ``(tanh(x) + 1) / 2``, which keeps it in (0, 1).

Reference: Chandra, Xie, Ragan-Kelley, Meijer, "Gradient descent: the ultimate
optimizer", NeurIPS 2022, arXiv 1909.13371.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from samt_jax.base import Params


class Squash(NamedTuple):
    """A map from the number that is learned to the hyperparameter.

    Attributes:
      apply: The map, from any real number into the hyperparameter's range.
      invert: Its inverse.
    """

    apply: Callable[[Array], Array]
    invert: Callable[[Array], Array]


class Level(NamedTuple):
    """An optimizer of the tower as a function of its hyperparameters.

    Attributes:
      factory: ``factory(**hyperparams)`` makes the optax transformation, its updates
        with the sign and learning rate to be added with. It has to be differentiable.
      hyperparams: Where the hyperparameters start, by name. The level above learns
        them.
      squash: The maps through which some of them are learned, by name.
      per_tensor: Each hyperparameter is one number a tensor of what the level moves,
        and `factory` takes trees of numbers.
    """

    factory: Callable[..., optax.GradientTransformation]
    hyperparams: Mapping[str, ArrayLike]
    squash: Mapping[str, Squash] = MappingProxyType({})
    per_tensor: bool = False


UNIT_INTERVAL = Squash(
    lambda x: (jnp.tanh(x) + 1) / 2, lambda y: jnp.arctanh(2 * y - 1)
)
POSITIVE = Squash(jnp.square, jnp.sqrt)


def sgd_level(
    learning_rate: ArrayLike = 0.01,
    momentum: ArrayLike | None = None,
    *,
    per_tensor: bool = False,
) -> Level:
    """SGD; its learning rate, and momentum where given, are learned as they are.

    Args:
      learning_rate: Start of the learning rate.
      momentum: Start of the momentum; `None` has none.
      per_tensor: One learning rate (and momentum) for each tensor.

    Returns:
      The level.

    Example:
      >>> from samt_jax.baselines import sgd_level
      >>> dict(sgd_level(0.1, momentum=0.9).hyperparams)
      {'learning_rate': 0.1, 'momentum': 0.9}
    """
    hyperparams = {"learning_rate": learning_rate}
    if momentum is not None:
        hyperparams["momentum"] = momentum
    factory = _sgd_per_tensor if per_tensor else optax.sgd
    return Level(factory, hyperparams, per_tensor=per_tensor)


def adam_level(
    learning_rate: ArrayLike = 1e-3,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    *,
    eps: float = 1e-8,
    initial_second_moment: float = 1e-8,
    learn_decays: bool = True,
) -> Level:
    """Adam; its learning rate is learned as it is, its decays squashed into (0, 1).

    Args:
      learning_rate: Start of the learning rate.
      b1: Start of the first moment's decay.
      b2: Start of the second moment's decay.
      eps: Added to the root.
      initial_second_moment: Where the second moment starts. The authors' code has 1e-8,
        as the root has no derivative at 0; that is guarded besides, so 0 is allowed.
      learn_decays: Whether `b1` and `b2` are learned; without, it is "Adam-alpha".

    Returns:
      The level.

    Example:
      >>> from samt_jax.baselines import adam_level
      >>> list(adam_level(learn_decays=False).hyperparams)
      ['learning_rate']
    """
    adam = functools.partial(
        _adam, eps=eps, initial_second_moment=initial_second_moment
    )
    if not learn_decays:
        factory = functools.partial(adam, b1=b1, b2=b2)
        return Level(factory, {"learning_rate": learning_rate})
    return Level(
        adam,
        {"learning_rate": learning_rate, "b1": b1, "b2": b2},
        {"b1": UNIT_INTERVAL, "b2": UNIT_INTERVAL},
    )


def rmsprop_level(learning_rate: ArrayLike = 0.01, decay: ArrayLike = 0.99) -> Level:
    """RMSProp; its rate is learned by its root, its decay squashed into (0, 1).

    Args:
      learning_rate: Start of the learning rate, at least 0.
      decay: Start of the decay.

    Returns:
      The level.

    Example:
      >>> from samt_jax.baselines import rmsprop_level
      >>> sorted(rmsprop_level().squash)
      ['decay', 'learning_rate']
    """
    return Level(
        optax.rmsprop,
        {"learning_rate": learning_rate, "decay": decay},
        {"learning_rate": POSITIVE, "decay": UNIT_INTERVAL},
    )


def adagrad_level(learning_rate: ArrayLike = 0.01) -> Level:
    """AdaGrad, its sum of squares starting at 0.1; the learning rate is learned.

    Args:
      learning_rate: Start of the learning rate.

    Returns:
      The level.

    Example:
      >>> from samt_jax.baselines import adagrad_level
      >>> dict(adagrad_level(0.1).hyperparams)
      {'learning_rate': 0.1}
    """
    factory = functools.partial(optax.adagrad, initial_accumulator_value=0.1)
    return Level(factory, {"learning_rate": learning_rate})


def start_of(level: Level, params: Params) -> dict[str, PyTree]:
    """The numbers that are learned, where they start.

    Args:
      level: The level.
      params: What the level moves.

    Returns:
      By name a number in JAX's default floating-point dtype, before it is squashed, or
      a tree of them, structured as `params`, where the level is `per_tensor`.

    Example:
      >>> start_of(sgd_level(0.5), params={})
      {'learning_rate': Array(0.5, dtype=float32)}
    """

    def start(name: str) -> Array:
        value = jnp.array(level.hyperparams[name], dtype=jnp.result_type(float))
        return level.squash[name].invert(value) if name in level.squash else value

    def spread(name: str) -> PyTree:
        return jax.tree.map(lambda _: start(name), params)

    return {n: spread(n) if level.per_tensor else start(n) for n in level.hyperparams}


def values_of(level: Level, numbers: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """The hyperparameters of the numbers that are learned.

    Args:
      level: The level.
      numbers: As :func:`start_of` gives them.

    Returns:
      The squashed numbers.

    Example:
      >>> level = rmsprop_level(0.25)
      >>> float(values_of(level, start_of(level, {}))["learning_rate"])
      0.25
    """

    def squashed(name: str, number: PyTree) -> PyTree:
        apply = level.squash[name].apply if name in level.squash else jnp.copy
        return jax.tree.map(apply, number)

    return {name: squashed(name, number) for name, number in numbers.items()}


def _adam(
    learning_rate: ArrayLike,
    b1: ArrayLike,
    b2: ArrayLike,
    eps: float,
    initial_second_moment: float,
) -> optax.GradientTransformation:
    # Far below ε inside the root: it changes no value, but an entry whose gradients are
    # all zero (a pixel that is always black) has the derivative 0 and not NaN.
    adam = optax.adam(learning_rate, b1, b2, eps, eps_root=1e-30)

    def init_fn(params: Params) -> optax.OptState:
        moments = optax.tree.full_like(params, initial_second_moment)
        return optax.tree.set(adam.init(params), nu=moments)

    return optax.GradientTransformation(init_fn, adam.update)


def _sgd_per_tensor(
    learning_rate: PyTree, momentum: PyTree | None = None
) -> optax.GradientTransformation:
    """SGD whose learning rate and momentum are trees with a number a tensor."""

    def init_fn(params: Params) -> optax.OptState:
        return () if momentum is None else optax.tree.zeros_like(params)

    def update_fn(
        updates: PyTree, state: optax.OptState, params: Params | None = None
    ) -> tuple[PyTree, optax.OptState]:
        del params
        if momentum is not None:
            updates = state = jax.tree.map(
                lambda g, v, mu: g + mu * v, updates, state, momentum
            )
        return jax.tree.map(lambda g, a: -a * g, updates, learning_rate), state

    return optax.GradientTransformation(init_fn, update_fn)
