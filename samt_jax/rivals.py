"""The gradient rivals by name: rows of :data:`~samt_jax.optimizers.OPTIMIZERS`.

A row is what `Optimizer` is made of: a summary, the default learning rate, the settings
that it takes, and `build`. JAX is imported only when one is built. The defaults were
best of a few tried on validation images of FMNIST (784-100-10, batches of 64), and are
no substitute for tuning: a hyper-learning rate belongs to one loss and batch size, and
SGD-HD's lets some runs of ten epochs diverge there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samt_jax.base import Algorithm
    from samt_jax.optimizers import Setup

    Build = Callable[[Setup], Algorithm]

_HD = frozenset(
    {
        "final_learning_rate",
        "hyper_learning_rate",
        "learning_rate",
        "rule",
        "weight_decay",
    }
)
_DANTE = frozenset(
    {
        "blocks",
        "frozen",
        "keep",
        "learning_rate",
        "normalize",
        "num_train",
        "num_updates",
        "order",
        "schedule",
    }
)

# Of a run: a third of an epoch, as its authors have it, where a run is twenty epochs.
NEWTON_WINDOWS = 60
# Short windows of gradients with little noise agree, so that the rate grows until it
# diverges, with or without the safeguard.
SHORTEST_WINDOW = 100


def _hd(variant: str, hyper_learning_rate: float) -> Build:
    """A row's `build` of a variant of hypergradient descent."""

    def build(setup: Setup) -> Algorithm:
        from samt_jax import baselines
        from samt_jax.base import from_optax

        settings = {"hyper_learning_rate": hyper_learning_rate} | setup.settings
        return from_optax(getattr(baselines, variant)(**settings), setup.loss_fn)

    return build


def _ultimate(setup: Setup) -> Algorithm:
    from samt_jax.base import from_optax
    from samt_jax.baselines import adam_level, sgd_level, ultimate

    top = sgd_level(setup.settings.get("hyper_learning_rate", 1e-7))
    tower = ultimate([adam_level(setup.settings["learning_rate"]), top])
    return from_optax(tower, setup.loss_fn)


def _newton_lr(setup: Setup) -> Algorithm:
    import optax

    from samt_jax.base import from_optax
    from samt_jax.baselines import newton_lr

    window = max(SHORTEST_WINDOW, setup.num_steps // NEWTON_WINDOWS)
    settings = {"window": window} | setup.settings
    direction = optax.trace(settings.pop("momentum", 0.8))
    return from_optax(newton_lr(direction=direction, **settings), setup.loss_fn)


def _badm(setup: Setup) -> Algorithm:
    from samt_jax.baselines import badm

    return badm(setup.loss_fn, **setup.settings)


def _dante(setup: Setup) -> Algorithm:
    from samt_jax.base import BatchSpec, from_optax
    from samt_jax.baselines import dante
    from samt_jax.optimizers import learning_rate_factor

    settings: dict[str, Any] = dict(setup.settings)
    factor, learning_rate = learning_rate_factor(setup), settings.pop("learning_rate")
    settings.pop("schedule", None)
    spec = BatchSpec(num_train=settings.pop("num_train", 1))
    if callable(factor):
        scheduled = dante(lambda count: learning_rate * factor(count), **settings)
        return from_optax(scheduled, setup.loss_fn, spec)
    return from_optax(dante(learning_rate, **settings), setup.loss_fn, spec)


RIVALS: dict[str, tuple[str, float | None, frozenset[str], Build]] = {
    "sgd-hd": ("SGD with hypergradient descent", 0.05, _HD, _hd("sgd_hd", 1e-2)),
    "sgdn-hd": (
        "SGD with Nesterov's momentum and hypergradient descent",
        0.01,
        _HD | {"momentum", "nesterov"},
        _hd("sgdn_hd", 1e-5),
    ),
    "adam-hd": (
        "Adam with hypergradient descent",
        1e-3,
        _HD | {"fold_epsilon", "tensor_by_tensor"},
        _hd("adam_hd", 1e-7),
    ),
    "ultimate": (
        "Adam whose rate and decays SGD learns, the ultimate optimizer",
        1e-3,
        frozenset({"hyper_learning_rate", "learning_rate"}),
        _ultimate,
    ),
    "newton-lr": (
        "momentum (0.8) whose learning rate Newton's method trains",
        0.05,
        frozenset(
            {
                "hyper_learning_rate",
                "learning_rate",
                "momentum",
                "safeguard",
                "window",
            }
        ),
        _newton_lr,
    ),
    "dante": (
        "five normalised steps on a layer before the next",
        0.01,
        _DANTE,
        _dante,
    ),
    "badm": (
        "batch ADMM, a consensus between the parts of a batch",
        None,
        frozenset({"num_parts", "penalty", "proximal_weight"}),
        _badm,
    ),
}
