"""Least squares over a layer's weights and inputs, against NumPy's."""

import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.baselines.layerwise import DenseLayer
from samt_jax.baselines.least_squares import (
    factor_gram,
    fit_inputs,
    fit_layer,
    gram,
)


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_fits_as_numpys_least_squares(has_bias, x64, rng):
    inputs, targets = rng.normal(size=(30, 4)), rng.normal(size=(30, 3))
    factor = factor_gram(gram(jnp.array(inputs), has_bias), 0.0)
    layer = fit_layer(factor, jnp.array(inputs), jnp.array(targets), has_bias)
    ones = np.ones((30, 1)) if has_bias else np.ones((30, 0))
    solution = np.linalg.lstsq(np.hstack([inputs, ones]), targets, rcond=None)[0]
    np.testing.assert_allclose(layer.kernel, solution[:4], atol=1e-12)
    if has_bias:
        np.testing.assert_allclose(layer.bias, solution[4], atol=1e-12)
    else:
        assert layer.bias is None


@pytest.mark.parametrize("shape", [(5, 2), (2, 5)], ids=["narrower", "wider"])
def test_inputs_have_no_gradient_left(shape, x64, rng):
    kernel, bias = rng.normal(size=shape), rng.normal(size=shape[1])
    targets, prior = rng.normal(size=(7, shape[1])), rng.normal(size=(7, shape[0]))
    layer = DenseLayer(jnp.array(kernel), jnp.array(bias))
    fitted = np.asarray(
        fit_inputs(layer, jnp.array(targets), jnp.array(prior), 0.7, 1.9)
    )
    gradient = 0.7 * (fitted @ kernel + bias - targets) @ kernel.T
    np.testing.assert_allclose(gradient, -1.9 * (fitted - prior), atol=1e-12)


def test_gram_matrices_of_parts_add_up(x64, rng):
    inputs = jnp.array(rng.normal(size=(20, 3)))
    parts = sum(gram(part, True) for part in (inputs[:7], inputs[7:]))
    np.testing.assert_allclose(gram(inputs, True), parts, atol=1e-12)
    np.testing.assert_allclose(gram(inputs), parts[:3, :3], atol=1e-12)
    assert parts[3, 3] == 20


def test_damping_makes_a_unit_that_is_never_active_harmless(rng):
    inputs = jnp.array(rng.normal(size=(20, 3)) * [1, 0, 1], jnp.float32)
    assert jnp.isnan(factor_gram(gram(inputs), 0.0)).any()
    factor = factor_gram(gram(inputs), 1e-3)
    kernel = fit_layer(factor, inputs, inputs[:, :1], has_bias=False).kernel
    np.testing.assert_allclose(kernel[:, 0], [1, 0, 0], atol=1e-3)
