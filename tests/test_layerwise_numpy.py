"""The layer-wise methods take the same steps as their plain NumPy renderings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.layerwise_seconds import RENDERED, measure
from samt_jax import Chain, dense
from samt_jax.problem import Problem, cross_entropy

INPUTS, WIDTH, EXAMPLES = 12, 7, 64


@pytest.fixture
def problem(rng):
    """Some examples of ten classes, in float32, and a network of two layers."""
    inputs = rng.uniform(size=(EXAMPLES, INPUTS)).astype(np.float32)
    labels = np.argmax(inputs @ rng.normal(size=(INPUTS, 10)), axis=1).astype(np.int32)

    def draw(*shape):
        return jnp.array(0.3 * rng.normal(size=shape), jnp.float32)

    params = {
        "Dense_0": {"kernel": draw(INPUTS, WIDTH), "bias": draw(WIDTH)},
        "Dense_1": {"kernel": draw(WIDTH, 10), "bias": draw(10)},
    }
    layers = (dense("Dense_0", jax.nn.relu), dense("Dense_1"))
    return Problem(
        init=lambda key: (params, ()),
        loss_fn=Chain(layers, cross_entropy),
        train=(inputs, labels),
        evaluation={},
        measure=lambda params, state, batch: {},
    )


@pytest.mark.parametrize("name", RENDERED)
def test_a_method_takes_the_steps_of_its_plain_rendering(problem, name):
    line = measure(name, problem)
    assert np.max(line["largest_difference_of_kernels"]) < 2e-4
