"""The table of public algorithms; `test_contract.py` holds every row to the contract.

A transformation is a row of `TRANSFORMATIONS`; a method with a memory of the data is a
row of `ALGORITHMS` alone. A row carries all that its method needs, so that no test asks
which one it has.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from problems import LIGHT

from samt_jax import (
    Algorithm,
    Batches,
    BatchSpec,
    from_optax,
    samt,
    samt_sweep,
    scale_by_learned_step_size,
)
from samt_jax.baselines import (
    SQUARED_ERROR,
    Network,
    aa_mdlam,
    adam_hd,
    adam_level,
    badm,
    bcd,
    dante,
    dladmm,
    mdlam,
    newton_lr,
    pdadmm,
    scaleadmm,
    sgd_hd,
    sgd_level,
    sgdn_hd,
    tiam,
    ultimate,
)
from samt_jax.optimizers import make_optimizer


class Problem(NamedTuple):
    """A tiny problem whose smallest loss is known.

    Attributes:
      init_params: Parameters from a key.
      loss_fn: ``loss_fn(params, batch)``.
      batch: The batch of an index; all have the same minimizer.
      minimum: The smallest loss, on any batch.
    """

    init_params: Callable[[Any], Any]
    loss_fn: Callable[[Any, Any], Any]
    batch: Callable[[int], Any]
    minimum: float

    def batches(self, spec: BatchSpec, step: int = 0) -> Batches:
        """What a step gets to see: batches of its own."""
        several = [self.batch(100 * step + i) for i in range(spec.num_train)]
        if spec.num_train == 1:
            return Batches(several[0], self.batch(100 * step + 50))
        train = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
        return Batches(train, train)


def _init_two_layers(key):
    keys = jax.random.split(key)
    return {
        "first": {"kernel": jax.random.normal(keys[0], (3, 2)), "bias": jnp.zeros(2)},
        "last": {"kernel": jax.random.normal(keys[1], (2, 2)), "bias": jnp.ones(2)},
    }


def _two_layers_outputs(params, x):
    first, last = params["first"], params["last"]
    hidden = x @ first["kernel"] + first["bias"][None]
    return hidden + x[:, :2] @ last["kernel"] + last["bias"][None]


def _two_layers_loss(params, batch):
    x, y = batch
    return jnp.mean((_two_layers_outputs(params, x) - y) ** 2)


def _two_layers_batch(index):
    x = jax.random.normal(jax.random.key(1000 + index), (16, 3))
    teacher = _init_two_layers(jax.random.key(7))
    return x, _two_layers_outputs(teacher, x)


# Least squares in two blocks, with a teacher: convex, and its minimum is 0.
LEAST_SQUARES = Problem(_init_two_layers, _two_layers_loss, _two_layers_batch, 0.0)


def _init_chain(key):
    keys = jax.random.split(key)
    return {
        "first": {"kernel": jax.random.normal(keys[0], (3, 3)), "bias": jnp.zeros(3)},
        "last": {"kernel": jax.random.normal(keys[1], (3, 2)), "bias": jnp.ones(2)},
    }


def _chain_outputs(params, x):
    first, last = params["first"], params["last"]
    hidden = x @ first["kernel"] + first["bias"][None]
    return hidden @ last["kernel"] + last["bias"][None]


def _chain_loss(params, batch):
    x, y = batch
    return jnp.mean(jnp.sum((_chain_outputs(params, x) - y) ** 2, axis=1))


def _chain_batch(index):
    # The same at every step: the methods keep variables for these very examples.
    del index
    x = jax.random.normal(jax.random.key(1000), (16, 3))
    return x, _chain_outputs(_init_chain(jax.random.key(7)), x)


# A chain of two layers, with a teacher: what the layer-wise methods train.
CHAIN = Problem(_init_chain, _chain_loss, _chain_batch, 0.0)


class Transformation(NamedTuple):
    """A row of the table: an optax transformation.

    Attributes:
      name: What the tests call it.
      factory: Makes the transformation.
      settings: Its arguments.
      batch_spec: What it needs to see.
      static: Settings that shape the program and cannot be traced.
    """

    name: str
    factory: Callable[..., Any]
    settings: dict[str, Any]
    batch_spec: BatchSpec = BatchSpec()
    static: tuple[str, ...] = ()


class Row(NamedTuple):
    """A row of the table: an algorithm on a tiny problem.

    Attributes:
      name: What the tests call it.
      make: The algorithm for a loss.
      problem: The problem.
      num_steps: Steps after which it has to be at the minimum.
    """

    name: str
    make: Callable[[Any], Algorithm]
    problem: Problem = LEAST_SQUARES
    num_steps: int = 400


def _algorithm_row(row: Transformation) -> Row:
    return Row(
        row.name,
        lambda loss_fn: from_optax(
            row.factory(**row.settings), loss_fn, row.batch_spec
        ),
    )


def _layerwise_row(name: str, method: Callable[..., Algorithm], **settings: Any) -> Row:
    return Row(
        name,
        lambda loss_fn: method(Network(loss_fn, SQUARED_ERROR, 1.0), **settings),
        CHAIN,
        num_steps=200,
    )


_MDLAM = {"penalty": 1.0, "weight_decay": 0.0, "tolerance": 0.1, "min_tolerance": 1e-4}


def _decay(count):
    return 0.3 / (count + 1)


# What shapes SAMT's program; its numbers may be traced.
_SAMT_STATIC = ("eta_model", "meta_optimizer", "direction", "inner_steps", "seed")

TRANSFORMATIONS = (
    Transformation(
        "samt", samt, {"learning_rate": 0.2, "proposal_max": 0.3, **LIGHT},
        BatchSpec(meta="next"), static=_SAMT_STATIC,
    ),
    Transformation(
        "samt-sweep", samt_sweep,
        {**LIGHT, "learning_rate": 0.1, "proposal_max": 0.2, "granularity": "element",
         "direction": optax.trace(0.3), "inner_steps": 2},
        BatchSpec(meta="next"), static=_SAMT_STATIC,
    ),
    Transformation(
        "learned-step-size", scale_by_learned_step_size,
        {**LIGHT, "learning_rate": 0.1, "proposal_max": 0.2, "granularity": "row"},
        static=("eta_model", "meta_optimizer", "direction", "seed"),
    ),
    Transformation(
        "learned-step-size-wide", scale_by_learned_step_size,
        {**LIGHT, "learning_rate": 0.1, "proposal_max": 0.2,
         "direction": optax.ema(0.5, accumulator_dtype=jnp.float32)},
        static=("eta_model", "meta_optimizer", "direction", "seed"),
    ),
    Transformation("sgd", optax.sgd, {"learning_rate": 0.1}),
    Transformation("momentum", optax.sgd, {"learning_rate": 0.02, "momentum": 0.9}),
    Transformation("adam", optax.adam, {"learning_rate": 0.03}),
    Transformation(
        "sgd-hd", sgd_hd, {"learning_rate": 0.02, "hyper_learning_rate": 1e-3}
    ),
    Transformation(
        "sgd-hd-multiplicative", sgd_hd,
        {"learning_rate": 0.02, "hyper_learning_rate": 0.02, "rule": "multiplicative"},
    ),
    Transformation(
        "sgd-hd-transition", sgd_hd,
        {"learning_rate": 0.02, "hyper_learning_rate": 1e-3,
         "final_learning_rate": 0.1},
    ),
    Transformation(
        "sgdn-hd", sgdn_hd, {"learning_rate": 0.01, "hyper_learning_rate": 1e-5}
    ),
    Transformation(
        "adam-hd", adam_hd, {"learning_rate": 0.03, "hyper_learning_rate": 1e-5}
    ),
    Transformation(
        "adam-hd-as-authors-code", adam_hd,
        {"learning_rate": 0.03, "hyper_learning_rate": 1e-5, "weight_decay": 1e-6,
         "tensor_by_tensor": True, "fold_epsilon": True},
    ),
    Transformation(
        "ultimate", ultimate, {"levels": [adam_level(0.03), sgd_level(1e-4)]}
    ),
    Transformation(
        "ultimate-of-three", ultimate,
        {"levels": [sgd_level(0.02, 0.5, per_tensor=True), adam_level(1e-3),
                    sgd_level(1e-6)]},
    ),
    Transformation(
        "newton-lr", newton_lr,
        {"learning_rate": 0.05, "window": 5, "direction": optax.trace(0.5),
         "hyper_learning_rate": 0.1},
        static=("window", "direction"),
    ),
    Transformation(
        "newton-lr-safeguarded", newton_lr,
        {"learning_rate": 0.05, "window": 5, "safeguard": True},
        static=("window",),
    ),
    Transformation(
        "dante", dante, {"learning_rate": _decay, "num_updates": 3},
        BatchSpec(num_train=6), static=("num_updates",),
    ),
    Transformation(
        "dante-gd", dante,
        {"learning_rate": 0.05, "num_updates": 2, "normalize": False, "keep": "best"},
        static=("num_updates",),
    ),
)  # fmt: skip

# An algorithm that is no transformation: the parameters it shows are averages.
SCHEDULE_FREE = Row(
    "schedule-free",
    lambda loss_fn: make_optimizer("schedule-free", learning_rate=0.1)(
        loss_fn, jax.random.key(0), 400
    ),
)

ALGORITHMS = (
    *(_algorithm_row(row) for row in TRANSFORMATIONS),
    _layerwise_row("dladmm", dladmm, penalty=1.0, penalty_schedule="constant"),
    _layerwise_row("mdlam", mdlam, **_MDLAM),
    _layerwise_row("aa-mdlam", aa_mdlam, **_MDLAM),
    _layerwise_row("pdadmm", pdadmm, penalty=1.0, curvature=1.0),
    _layerwise_row("bcd", bcd, proximal_weight=0.1),
    _layerwise_row(
        "scaleadmm", scaleadmm, activation_penalty=1.0, warm_steps=100, ridge=1e-7
    ),
    _layerwise_row("tiam", tiam, **_MDLAM),
    Row("badm", partial(badm, penalty=4.0, proximal_weight=12.0, num_parts=3)),
    SCHEDULE_FREE,
)
