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

if TYPE_CHECKING:
    from samt_jax.base import Algorithm, Key, LossFn
    from samt_jax.granularity import Granularity
    from samt_jax.loop import MakeAlgorithm

SCHEDULES = ("constant", "cosine", "step")

# What any adaptive meta-optimizer moves in a run is about its rate times the steps. On
# FMNIST with 784-400-10 and 20 epochs a product of 0.6 was best on validation of those
# tried (0.15 to 2.5).
META_DISTANCE = 0.6
# Along the paper's direction the first layer's step sizes collapse at that, at a third
# of it they do not, and as much is reached (`benchmarks/readings.py`).
META_DISTANCE_ALONG_GRADIENT = 0.2
# SGD moves by the size of the meta-gradient, so that no distance can be promised.
META_SGD_RATE = 0.1
META_OPTIMIZERS = ("adam", "sgd")

_ANNEALED = frozenset({"learning_rate", "schedule"})
_SAMT = _ANNEALED | {
    "ball_radius",
    "blocks",
    "direction",
    "element_head",
    "engine",
    "feature_scale",
    "features",
    "frozen",
    "inner_steps",
    "meta_batch",
    "meta_learning_rate",
    "meta_optimizer",
    "meta_params",
    "mixing_weight",
    "num_train",
    "order",
    "proposal_max",
    "shared_eta_model",
    "squash",
    "step_bounds",
    "terms",
}

# Where all blocks move at once there is no order, and what comes next is the verdict.
_LEARNED = _SAMT - {
    "ball_radius",
    "engine",
    "inner_steps",
    "meta_batch",
    "num_train",
    "order",
}


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
        (of it; by default `META_DISTANCE` divided by the steps of the run for Adam, or,
        where the direction is the gradient, `META_DISTANCE_ALONG_GRADIENT`, and
        `META_SGD_RATE` for SGD; at 0 eta models stay as they are), `feature_scale`
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


def _samt(granularity: Granularity) -> Callable[[Setup], Algorithm]:
    """A row's `build` of SAMT with this granularity."""

    def build(setup: Setup) -> Algorithm:
        from samt_jax.engine import samt_algorithm

        settings = _of_eta_models(setup)
        return samt_algorithm(
            setup.loss_fn,
            settings.pop("learning_rate"),
            meta_batch=settings.pop("meta_batch", "next"),
            num_train=settings.pop("num_train", 1),
            engine=settings.pop("engine", "auto"),
            granularity=granularity,
            **settings,
        )

    return build


def _learned(granularity: Granularity) -> Callable[[Setup], Algorithm]:
    """A row's `build` of learned step sizes of this granularity, all blocks at once."""

    def build(setup: Setup) -> Algorithm:
        from samt_jax.base import from_optax
        from samt_jax.learned_step_size import scale_by_learned_step_size

        tx = scale_by_learned_step_size(
            granularity=granularity, **_of_eta_models(setup)
        )
        return from_optax(tx, setup.loss_fn)

    return build


def _of_eta_models(setup: Setup) -> dict[str, Any]:
    """The settings of a row with eta models, made from names and numbers."""
    settings = dict(setup.settings)
    factor = learning_rate_factor(setup)
    settings["features"] = _features(settings)
    settings["meta_optimizer"] = _meta_optimizer(settings, setup.num_steps)
    settings["schedule"] = factor if callable(factor) else None
    settings["seed"] = setup.key
    return settings


def _meta_optimizer(settings: dict[str, Any], num_steps: int) -> Any:
    import optax

    from samt_jax.meta import adam

    name = settings.pop("meta_optimizer", "adam")
    if name not in META_OPTIMIZERS:
        raise ValueError(
            f"there is no meta-optimizer {name!r}; choose one of "
            f"{', '.join(META_OPTIMIZERS)}."
        )
    if name == "sgd":
        return optax.sgd(settings.pop("meta_learning_rate", META_SGD_RATE))
    along_gradient = settings.get("direction") == "gradient"
    distance = META_DISTANCE_ALONG_GRADIENT if along_gradient else META_DISTANCE
    return adam(settings.pop("meta_learning_rate", distance / num_steps))


def _features(settings: dict[str, Any]) -> Any:
    from samt_jax.features import (
        FEATURE_NAMES,
        raw_gradient_features,
        scaled_features,
    )

    keep = settings.pop("features", FEATURE_NAMES)
    if keep == "raw_gradient":
        if "feature_scale" in settings:
            raise ValueError(
                f"feature_scale is {settings['feature_scale']}, which is for the five "
                "statistics, and features is 'raw_gradient'; leave one of them out."
            )
        return raw_gradient_features()
    if "feature_scale" not in settings:
        return scaled_features(keep)
    scale = settings.pop("feature_scale")
    return scaled_features(keep, log_scale=scale if scale else None)


def _schedule_free(setup: Setup) -> Algorithm:
    from samt_jax.schedule_free import schedule_free

    return schedule_free(setup.settings["learning_rate"], setup.loss_fn)


_LETTERS: dict[str, tuple[Granularity, str]] = {
    "s": ("scalar", "a block"),
    "r": ("row", "a row"),
    "c": ("column", "a column"),
    "e": ("element", "an entry"),
}
OPTIMIZERS: dict[str, Optimizer] = {
    **{
        f"samt-{letter}": Optimizer(
            f"SAMT, one step size {words}", 0.1, _SAMT, _samt(granularity)
        )
        for letter, (granularity, words) in _LETTERS.items()
    },
    **{
        f"learned-{letter}": Optimizer(
            f"SAMT's step sizes learned in one pass, one {words}",
            0.1,
            _LEARNED,
            _learned(granularity),
        )
        for letter, (granularity, words) in _LETTERS.items()
    },
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
