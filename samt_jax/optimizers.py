"""Optimizers by name: one table for the command, the benchmarks and a notebook.

A row says what an optimizer is, which settings it takes, its default learning rate and
how it is built. JAX is imported only when one is built, so that a wrong name or setting
is refused at once. AdaBound is not among them: optax does not have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from samt_jax.layerwise_rivals import LAYERWISE
from samt_jax.rivals import RIVALS
from samt_jax.samt_rows import SAMT_ROWS

if TYPE_CHECKING:
    from samt_jax.base import Algorithm, Key, LossFn
    from samt_jax.loop import MakeAlgorithm

SCHEDULES = ("constant", "cosine", "step")

_ANNEALED = frozenset({"learning_rate", "schedule"})


class Setup(NamedTuple):
    """What a row builds from.

    Attributes:
      loss_fn: The loss.
      key: For the optimizer's own randomness.
      num_steps: Length of the run.
      settings: What was asked for; what was not is absent.
    """

    loss_fn: LossFn
    key: Key
    num_steps: int
    settings: dict[str, Any]


class Optimizer(NamedTuple):
    """A row of the table.

    Attributes:
      summary: What it is, in a few words.
      learning_rate: What `learning_rate` is by default; `None` where there is none.
      takes: The settings that it takes.
      build: Makes the algorithm.
      full_batch: Whether a step needs the whole training set.
    """

    summary: str
    learning_rate: float | None
    takes: frozenset[str]
    build: Callable[[Setup], Algorithm]
    full_batch: bool = False


def make_optimizer(name: str, **settings: Any) -> MakeAlgorithm:
    """An optimizer by its name, ready for :func:`~samt_jax.training.fit`.

    Args:
      name: A key of `OPTIMIZERS`.
      **settings: Of those that its row takes; `None` stands for the default.
        `learning_rate` and `schedule` (`"constant"`, `"cosine"` to zero, or `"step"`: a
        tenth after half of the run, a hundredth after three quarters) are taken by
        nearly all; SAMT's others are those of :func:`~samt_jax.samt.samt_sweep`, and
        `meta_batch`, `meta_optimizer` (``"adam"`` or ``"sgd"``), `meta_learning_rate`
        (of it; by default 0.6 divided by the steps of the run for Adam, or 0.2 where
        the direction is the gradient, and 0.1 for SGD; at 0 eta models stay as they
        are), `feature_scale`
        (`log_scale` of :func:`~samt_jax.features.scaled_features`; 0 for raw features),
        `features` (the names to keep, or `"raw_gradient"`, see
        :func:`~samt_jax.features.raw_gradient_features`), `num_train` (batches a sweep)
        and `direction` (`"gradient"`, `"momentum"` or `"adam"`, or an optax
        transformation).

    Returns:
      ``make_algorithm(loss_fn, key, num_steps) -> Algorithm``.

    Raises:
      ValueError: No such optimizer, or it does not take a setting.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> loss_fn = lambda params, batch: jnp.mean((params - batch) ** 2)
      >>> make_algorithm = make_optimizer("sgd", learning_rate=0.5, schedule="cosine")
      >>> make_algorithm(loss_fn, jax.random.key(0), 100).batch_spec
      BatchSpec(num_train=1, meta=None, full_batch=False)
    """
    row = find_optimizer(name)
    given = {key: value for key, value in settings.items() if value is not None}
    for setting in given:
        check_takes(name, setting)
    if row.learning_rate is not None:
        given.setdefault("learning_rate", row.learning_rate)

    def make_algorithm(loss_fn: LossFn, key: Key, num_steps: int) -> Algorithm:
        return row.build(Setup(loss_fn, key, num_steps, dict(given)))

    return make_algorithm


def find_optimizer(name: str) -> Optimizer:
    """The row of a name, or a `ValueError` that lists the names."""
    if name not in OPTIMIZERS:
        raise ValueError(
            f"there is no optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}."
        )
    return OPTIMIZERS[name]


def check_takes(name: str, setting: str) -> None:
    """Raises a `ValueError` where an optimizer does not take a setting."""
    if setting in find_optimizer(name).takes:
        return
    takers = [other for other, row in OPTIMIZERS.items() if setting in row.takes]
    if not takers:
        takes = ", ".join(sorted(find_optimizer(name).takes))
        raise ValueError(f"{name} takes no setting {setting!r}; it takes {takes}.")
    raise ValueError(
        f"{name} takes no setting {setting!r}, which is for {', '.join(takers)}; leave "
        "it out or take one of these."
    )


def learning_rate_factor(setup: Setup) -> Any:
    """The schedule as a factor of the learning rate: an optax schedule, or 1.0."""
    import optax

    schedule = setup.settings.get("schedule", "constant")
    if schedule not in SCHEDULES:
        raise ValueError(
            f"there is no schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}."
        )
    if schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, setup.num_steps)
    if schedule == "step":
        drops = {setup.num_steps // 2: 0.1, 3 * setup.num_steps // 4: 0.1}
        return optax.piecewise_constant_schedule(1.0, drops)
    return 1.0


def _scheduled_learning_rate(setup: Setup) -> Any:
    factor, learning_rate = learning_rate_factor(setup), setup.settings["learning_rate"]
    if callable(factor):
        return lambda count: learning_rate * factor(count)
    return learning_rate


def _from_optax(
    make: Callable[[Any, Any, dict[str, Any]], Any],
) -> Callable[[Setup], Algorithm]:
    """A row's `build` of ``make(optax, learning_rate, settings) -> transformation``."""

    def build(setup: Setup) -> Algorithm:
        import optax
        import optax.contrib

        from samt_jax.base import from_optax

        learning_rate = _scheduled_learning_rate(setup)
        return from_optax(make(optax, learning_rate, setup.settings), setup.loss_fn)

    return build


def _schedule_free(setup: Setup) -> Algorithm:
    from samt_jax.schedule_free import schedule_free

    return schedule_free(setup.settings["learning_rate"], setup.loss_fn)


OPTIMIZERS: dict[str, Optimizer] = {
    **{name: Optimizer(*row) for name, row in SAMT_ROWS.items()},
    "sgd": Optimizer(
        "stochastic gradient descent",
        0.1,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.sgd(rate)),
    ),
    "momentum": Optimizer(
        "SGD with heavy-ball momentum (0.9)",
        0.02,
        _ANNEALED | {"momentum"},
        _from_optax(
            lambda optax, rate, settings: optax.sgd(rate, settings.get("momentum", 0.9))
        ),
    ),
    "nesterov": Optimizer(
        "SGD with Nesterov's momentum (0.9)",
        0.02,
        _ANNEALED | {"momentum"},
        _from_optax(
            lambda optax, rate, settings: optax.sgd(
                rate, settings.get("momentum", 0.9), nesterov=True
            )
        ),
    ),
    "adam": Optimizer(
        "Adam",
        1e-3,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.adam(rate)),
    ),
    "adamw": Optimizer(
        "Adam with decoupled weight decay",
        1e-3,
        _ANNEALED | {"weight_decay"},
        _from_optax(
            lambda optax, rate, settings: optax.adamw(
                rate, weight_decay=settings.get("weight_decay", 1e-2)
            )
        ),
    ),
    "adagrad": Optimizer(
        "AdaGrad",
        1e-2,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.adagrad(rate)),
    ),
    "rmsprop": Optimizer(
        "RMSProp",
        1e-3,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.rmsprop(rate)),
    ),
    "amsgrad": Optimizer(
        "AMSGrad",
        1e-3,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.amsgrad(rate)),
    ),
    "adabelief": Optimizer(
        "AdaBelief",
        1e-3,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.adabelief(rate)),
    ),
    "lion": Optimizer(
        "Lion",
        1e-4,
        _ANNEALED | {"weight_decay"},
        _from_optax(
            lambda optax, rate, settings: optax.lion(
                rate, weight_decay=settings.get("weight_decay", 1e-3)
            )
        ),
    ),
    "schedule-free": Optimizer(
        "schedule-free AdamW", 2.5e-3, frozenset({"learning_rate"}), _schedule_free
    ),
    "prodigy": Optimizer(
        "Prodigy, whose learning rate is a factor of its own estimate",
        1.0,
        _ANNEALED,
        _from_optax(lambda optax, rate, settings: optax.contrib.prodigy(rate)),
    ),
    **{name: Optimizer(*row) for name, row in RIVALS.items()},
    **{name: Optimizer(*row) for name, row in LAYERWISE.items()},
}
