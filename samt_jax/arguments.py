"""What SAMT's doors are called with: settings once, losses at every update.

All doors take the same settings, one of them not all. Their names, order and defaults
stand here alone.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeAlias

import optax
from jaxtyping import PyTree

from samt_jax.base import Key, Params, ValueFn
from samt_jax.blocks import BlockRules, BlockTable, Order
from samt_jax.constraints import BallRadius, StepBounds
from samt_jax.eta import EtaModel
from samt_jax.features import Features
from samt_jax.granularity import Granularity
from samt_jax.rule import Direction, SamtRule, complete_rule
from samt_jax.step_size import Squash, Terms

# One function, or one for each visit of a sweep where visits have batches of their own.
ValueFns = ValueFn | Sequence[ValueFn]
Transformation: TypeAlias = optax.GradientTransformationExtraArgs
Settings = ParamSpec("Settings")


def settings(
    learning_rate: optax.ScalarOrSchedule = 0.1,
    *,
    granularity: Granularity = "scalar",
    blocks: BlockRules | BlockTable | None = None,
    frozen: str | Sequence[str] = (),
    order: Order = "forward",
    inner_steps: int | None = None,
    eta_model: EtaModel | None = None,
    shared_eta_model: bool = False,
    element_head: Literal["factored", "dense"] = "factored",
    kernel_layout: Literal["auto", "in_out", "out_in"] = "auto",
    features: Features | None = None,
    squash: Squash = "tanh",
    proposal_max: float = 0.3,
    mixing_weight: float | None = None,
    terms: Terms = "both",
    direction: Direction | optax.GradientTransformation = "momentum",
    meta_optimizer: optax.GradientTransformation | None = None,
    meta_params: Mapping[str, PyTree] | None = None,
    schedule: optax.Schedule | None = None,
    step_bounds: StepBounds | None = None,
    ball_radius: BallRadius | None = None,
    seed: int | Key = 0,
) -> SamtRule:
    """The settings, explained at :func:`~samt_jax.samt.samt_sweep`."""
    return complete_rule(locals())


def settings_but(*left_out: str) -> Callable[..., SamtRule]:
    """The settings without some, for a method that has no use for these.

    Args:
      *left_out: Names of settings, which keep their defaults.

    Returns:
      As :func:`settings`, with a shorter signature.

    Example:
      >>> import inspect
      >>> "order" in inspect.signature(settings_but("order")).parameters
      False
    """
    whole = inspect.signature(settings)
    kept = dict(whole.parameters)
    for name in left_out:
        del kept[name]
    signature = whole.replace(parameters=list(kept.values()))

    def fewer(*args: Any, **kwargs: Any) -> SamtRule:
        return settings(**signature.bind(*args, **kwargs).arguments)

    # What `inspect` looks for first; mypy knows no attributes of functions.
    fewer.__signature__ = signature  # type: ignore[attr-defined]
    return fewer


def takes(
    settings: Callable[Settings, SamtRule],
) -> Callable[
    [Callable[[SamtRule], Transformation]], Callable[Settings, Transformation]
]:
    """Makes a door that takes a rule take the settings that make one.

    Args:
      settings: Its signature becomes the door's, also for editors, `help` and
        `optax.inject_hyperparams`.

    Returns:
      A decorator.
    """

    def decorate(
        door: Callable[[SamtRule], Transformation],
    ) -> Callable[Settings, Transformation]:
        signature = inspect.signature(settings)

        def make(*args: Settings.args, **kwargs: Settings.kwargs) -> Transformation:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{door.__name__}() {error}") from None
            return door(settings(*args, **kwargs))

        names = ("__module__", "__name__", "__qualname__", "__doc__")
        functools.update_wrapper(make, door, assigned=names)
        # What `inspect` looks for first; mypy knows no attributes of functions.
        make.__signature__ = signature  # type: ignore[attr-defined]
        return make

    return decorate


def one_a_visit(name: str, value_fn: ValueFns, num_visits: int) -> list[ValueFn]:
    """The loss of each visit, where visits may have batches of their own.

    Args:
      name: What an error calls it.
      value_fn: One function, or one for every visit.
      num_visits: Visits of a sweep.

    Returns:
      One function a visit.

    Raises:
      ValueError: Another number of functions.
    """
    if callable(value_fn):
        return [value_fn] * num_visits
    if len(value_fn) != num_visits:
        raise ValueError(
            f"{len(value_fn)} functions were given as {name} and a sweep makes "
            f"{num_visits} visits; give one function, or one for every visit."
        )
    return list(value_fn)


def needed(who: str, params: Params | None, **functions: Any) -> tuple[Any, ...]:
    """The functions that an update cannot do without.

    Args:
      who: The door.
      params: The parameters, which it cannot do without either.
      **functions: What was given of the others, by name; `None` if nothing was.

    Returns:
      The functions.

    Raises:
      ValueError: Something was not given; the message names it.
    """
    if params is None:
        raise ValueError(
            f"{who} was updated without params; call update(grads, state, params, ...)."
        )
    missing = [name for name, value in functions.items() if value is None]
    if missing:
        call = ", ".join(f"{name}=..." for name in functions)
        raise ValueError(
            f"{who} was updated without {' and '.join(missing)}; call "
            f"update(grads, state, params, {call})."
        )
    return tuple(functions.values())
