"""Losses of codes: values by hand, minimisers against grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network

from samt_jax import Batches
from samt_jax.baselines import (
    HALF_SQUARED_ERROR,
    HINGE,
    SQUARED_ERROR,
    bcd,
    scaleadmm,
)

LOSSES = pytest.mark.parametrize(
    "loss", [HALF_SQUARED_ERROR, HINGE], ids=lambda loss: loss.name
)


def test_values_by_hand():
    outputs, labels = jnp.array([[0.5, 2.0], [-1.0, 3.0]]), jnp.array([0, 0])
    # Hinge: (1 - 0.5) + 2, then (1 + 1) + 3. Squares: (0.25 + 4)/2, then (4 + 9)/2.
    np.testing.assert_array_equal(HINGE.values(outputs, labels), [2.5, 5.0])
    np.testing.assert_array_equal(
        HALF_SQUARED_ERROR.values(outputs, labels), [2.125, 6.5]
    )
    values = jnp.array([[0.5, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(
        HALF_SQUARED_ERROR.values(outputs, values), [0.5, 5.0]
    )


@LOSSES
def test_minimiser_is_the_best_of_a_fine_grid(loss, x64, rng):
    center, multiplier = rng.normal(size=(40, 3)) + 0.5, 1.5 * rng.normal(size=(40, 3))
    labels, weight = rng.integers(0, 3, 40), 0.8
    found = loss.minimise(
        jnp.array(center), weight, jnp.array(multiplier), jnp.array(labels), None
    )
    grid = np.linspace(-8, 8, 32_001)
    codes = np.eye(3)[labels]
    pieces = {
        HINGE.name: lambda z, y: np.where(
            y == 1, np.maximum(1 - z, 0), np.maximum(z, 0)
        ),
        HALF_SQUARED_ERROR.name: lambda z, y: (z - y) ** 2 / 2,
    }
    kinks = 0
    for m, u, y, z in zip(
        *map(np.ravel, (center, multiplier, codes, found)), strict=True
    ):
        cost = lambda z, m=m, u=u, y=y: (  # noqa: E731
            pieces[loss.name](z, y) + u * z + weight / 2 * (z - m) ** 2
        )
        assert cost(z) <= cost(grid).min() + 1e-12
        assert abs(z - grid[cost(grid).argmin()]) < 1e-3
        kinks += z == y
    # The kinks of the hinge are minimisers, too, which is easily forgotten.
    assert kinks > 10 or loss is not HINGE


@LOSSES
def test_one_output_takes_the_label_for_its_code(loss):
    outputs, labels = jnp.array([[0.9], [0.2], [0.7]]), jnp.array([1, 0, 0])
    np.testing.assert_allclose(loss.start(labels, 1, jnp.float32)[:, 0], labels)
    assert abs(loss.measure(outputs, labels)["accuracy"] - 2 / 3) < 1e-6
    assert float(loss.values(jnp.ones((1, 1)), jnp.array([1]))[0]) == 0


def test_measures_classes_by_the_largest_output_and_values_by_their_error():
    outputs = jnp.array([[3.0, 1.0], [0.0, 2.0]])
    measure = HALF_SQUARED_ERROR.measure
    assert float(measure(outputs, jnp.array([0, 0]))["accuracy"]) == 0.5
    # Squared distances 1 and 4, mean 2.5.
    targets = jnp.array([[3.0, 0.0], [2.0, 2.0]])
    np.testing.assert_allclose(measure(outputs, targets)["rmse"], 2.5**0.5)


@pytest.mark.parametrize("method", [bcd, scaleadmm])
def test_hinge_refuses_values(method):
    net, params = network((2, 3, 1), SQUARED_ERROR, 0.0)
    algorithm = method(net, output_loss=HINGE)
    batches = Batches((jnp.ones((4, 2)), jnp.ones((4, 1))))
    with pytest.raises(ValueError, match="a loss of classes they must be integers"):
        algorithm.init(params, batches, jax.random.key(0))
