"""The methods with eta models by name: rows of :data:`~samt_jax.optimizers.OPTIMIZERS`.

A row is what `Optimizer` is made of: a summary, the default learning rate, the settings
that it takes, and `build`. JAX is imported only when one is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samt_jax.base import Algorithm
    from samt_jax.granularity import Granularity
    from samt_jax.optimizers import Setup

    Build = Callable[[Setup], Algorithm]

# What any adaptive meta-optimizer moves in a run is about its rate times the steps. On
# FMNIST with 784-400-10 and 20 epochs a product of 0.6 was best on validation of those
# tried (0.15 to 2.5).
META_DISTANCE = 0.6
# Along the paper's direction the first layer's step sizes collapse at that, at a third
# of it they do not, and as much is reached (`benchmarks/readings.py`).
META_DISTANCE_ALONG_GRADIENT = 0.2
# SGD moves by the size of the meta-gradient, so that no distance can be promised: best
# of three rates in ten epochs, and in fifty step sizes collapse at it.
META_SGD_RATE = 0.1
META_OPTIMIZERS = ("adam", "sgd")

_SAMT = frozenset(
    {
        "ball_radius",
        "blocks",
        "direction",
        "element_head",
        "engine",
        "feature_scale",
        "features",
        "frozen",
        "inner_steps",
        "learning_rate",
        "meta_batch",
        "meta_learning_rate",
        "meta_optimizer",
        "meta_params",
        "mixing_weight",
        "num_train",
        "order",
        "proposal_max",
        "schedule",
        "shared_eta_model",
        "squash",
        "step_bounds",
        "terms",
    }
)

# Where all blocks move at once there is no order, and what comes next is the verdict.
_LEARNED = _SAMT - {
    "ball_radius",
    "engine",
    "inner_steps",
    "meta_batch",
    "num_train",
    "order",
}


def _samt(granularity: Granularity) -> Build:
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


def _learned(granularity: Granularity) -> Build:
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
    from samt_jax.optimizers import learning_rate_factor

    settings, factor = dict(setup.settings), learning_rate_factor(setup)
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


_LETTERS: dict[str, tuple[Granularity, str]] = {
    "s": ("scalar", "a block"),
    "r": ("row", "a row"),
    "c": ("column", "a column"),
    "e": ("element", "an entry"),
}
_HEAD_OF_ENTRIES = frozenset({"element_head"})


def _rows(
    name: str,
    summary: str,
    takes: frozenset[str],
    make: Callable[[Granularity], Build],
) -> dict[str, tuple[str, float, frozenset[str], Build]]:
    """A row for each granularity; the head of entries is for entries alone."""
    return {
        f"{name}-{letter}": (
            f"{summary} {words}",
            0.1,
            takes if letter == "e" else takes - _HEAD_OF_ENTRIES,
            make(granularity),
        )
        for letter, (granularity, words) in _LETTERS.items()
    }


SAMT_ROWS = {
    **_rows("samt", "SAMT, one step size", _SAMT, _samt),
    **_rows(
        "learned", "SAMT's step sizes learned in one pass, one", _LEARNED, _learned
    ),
}
