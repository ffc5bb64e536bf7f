"""The gradient rivals by name are the methods themselves, with the settings given."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from algorithms import LEAST_SQUARES

from samt_jax import from_optax
from samt_jax.baselines import (
    adam_hd,
    adam_level,
    badm,
    dante,
    newton_lr,
    sgd_hd,
    sgd_level,
    sgdn_hd,
    ultimate,
)
from samt_jax.optimizers import make_optimizer

NUM_STEPS = 4


def train(algorithm):
    params, key = LEAST_SQUARES.init_params(jax.random.key(0)), jax.random.key(0)
    state = algorithm.init(params, LEAST_SQUARES.batches(algorithm.batch_spec), key)
    step = jax.jit(algorithm.step)
    for i in range(NUM_STEPS):
        batches = LEAST_SQUARES.batches(algorithm.batch_spec, i)
        params, state, _ = step(params, state, batches, key)
    return params


@pytest.mark.parametrize(
    ("name", "settings", "tx"),
    [
        ("sgd-hd", {"hyper_learning_rate": 0.1, "rule": "multiplicative"},
         sgd_hd(0.05, 0.1, rule="multiplicative")),
        ("sgdn-hd", {"learning_rate": 0.02, "momentum": 0.5},
         sgdn_hd(0.02, 1e-5, 0.5)),
        ("adam-hd", {"tensor_by_tensor": True, "weight_decay": 0.1},
         adam_hd(1e-3, 1e-7, weight_decay=0.1, tensor_by_tensor=True)),
        ("ultimate", {"hyper_learning_rate": 1e-4},
         ultimate([adam_level(1e-3), sgd_level(1e-4)])),
        ("newton-lr", {"window": 1, "hyper_learning_rate": 0.5, "momentum": 0.2},
         newton_lr(0.05, 1, optax.trace(0.2), hyper_learning_rate=0.5)),
        ("dante", {"normalize": False, "num_updates": 2}, dante(
            0.01, normalize=False, num_updates=2)),
        ("dante", {"schedule": "step", "order": "forward"}, dante(
            optax.piecewise_constant_schedule(0.01, {2: 0.1, 3: 0.1}),
            order="forward")),
    ],
)  # fmt: skip
def test_named_rival_is_the_method_with_these_settings(name, settings, tx):
    named = make_optimizer(name, **settings)(
        LEAST_SQUARES.loss_fn, jax.random.key(0), NUM_STEPS
    )
    expected = train(from_optax(tx, LEAST_SQUARES.loss_fn))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        train(named),
        expected,
    )


def test_badm_by_name_is_badm_with_the_settings_given():
    settings = {"penalty": 3.0, "proximal_weight": 8.0, "num_parts": 2}
    named = make_optimizer("badm", **settings)(
        LEAST_SQUARES.loss_fn, jax.random.key(0), NUM_STEPS
    )
    expected = train(badm(LEAST_SQUARES.loss_fn, **settings))
    jax.tree.map(np.testing.assert_array_equal, train(named), expected)


def test_dante_takes_as_many_batches_as_asked_for():
    algorithm = make_optimizer("dante", num_train=10)(
        LEAST_SQUARES.loss_fn, jax.random.key(0), NUM_STEPS
    )
    assert algorithm.batch_spec.num_train == 10
    assert all(
        bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(train(algorithm))
    )


@pytest.mark.parametrize(("num_steps", "window"), [(12000, 200), (60, 100)])
def test_newtons_window_is_a_sixtieth_of_the_run_and_no_shorter_than_100(
    num_steps, window
):
    algorithm = make_optimizer("newton-lr")(
        lambda x, batch: x**2 / 2, jax.random.key(0), num_steps
    )
    x = jnp.float32(1.0)
    state, rates = algorithm.init(x, None, None), []
    batches = LEAST_SQUARES.batches(algorithm.batch_spec)
    step = jax.jit(algorithm.step)
    for _ in range(2 * window):
        _, state, _ = step(x, state, batches, jax.random.key(0))
        rates.append(float(state.learning_rate))
    # Measured where it stands, a constant gradient: the rate changes at two windows.
    assert set(rates[:-1]) == {rates[0]} and rates[-1] != rates[0]
