"""The numbers that a tower learns, and the hyperparameters they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.baselines import adagrad_level, adam_level, rmsprop_level, sgd_level
from samt_jax.baselines.levels import start_of, values_of

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


@pytest.mark.parametrize(
    "level",
    [
        sgd_level(0.3, 0.8),
        sgd_level(0.3, 0.8, per_tensor=True),
        adam_level(0.3, 0.8, 0.99),
        rmsprop_level(0.3, 0.8),
        adagrad_level(0.3),
    ],
)
def test_values_of_the_start_are_the_hyperparameters(level, x64):
    values = values_of(level, start_of(level, PARAMS))
    for name, value in level.hyperparams.items():
        for leaf in jax.tree.leaves(values[name]):
            np.testing.assert_allclose(leaf, value, rtol=1e-12)


def test_authors_parametrisation():
    # Adam's b1 = (tanh(x) + 1)/2 at x = 0 is 1/2; RMSProp's rate is x² with x = √0.09.
    adam = start_of(adam_level(0.3, b1=0.5), PARAMS)
    assert float(adam["b1"]) == 0.0 and float(adam["learning_rate"]) == np.float32(0.3)
    rmsprop = start_of(rmsprop_level(0.09, 0.5), PARAMS)
    np.testing.assert_allclose(rmsprop["learning_rate"], 0.3, rtol=1e-6)
    assert float(values_of(adam_level(), {"b2": jnp.float32(1.0)})["b2"]) == (
        pytest.approx((np.tanh(1.0) + 1) / 2, rel=1e-6)
    )


def test_per_tensor_has_a_number_for_each_tensor():
    numbers = start_of(sgd_level(0.3, per_tensor=True), PARAMS)["learning_rate"]
    assert jax.tree.map(jnp.shape, numbers) == {"w": (), "b": ()}


def test_second_moment_starts_where_the_authors_start_it():
    level = adam_level()
    state = level.factory(**values_of(level, start_of(level, PARAMS))).init(PARAMS)
    np.testing.assert_array_equal(state[0].nu["b"], np.full(3, np.float32(1e-8)))
