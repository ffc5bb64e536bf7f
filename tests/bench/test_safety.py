"""What is measured as a step without guards is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.base import Batches
from samt_jax.bench.safety import no_guards
from samt_jax.engine import samt_algorithm
from samt_jax.models import build_model
from samt_jax.problem import supervised
from tests.bench.test_measure import random_images


@pytest.mark.parametrize("engine", ["chain", "general"])
def test_a_step_without_guards_takes_what_is_not_finite(engine):
    problem = supervised(random_images(), build_model("mlp", num_outputs=10))
    inputs, labels = jax.tree.map(lambda leaf: leaf[:8], problem.train)
    batch = (jnp.full_like(inputs, jnp.inf), labels)
    params, _ = problem.init(jax.random.key(0))
    algorithm = samt_algorithm(problem.loss_fn, engine=engine)
    batches = Batches(batch, batch)
    state = algorithm.init(params, batches, jax.random.key(0))

    def weights_after_a_step():
        moved, *_ = algorithm.step(params, state, batches, jax.random.key(0))
        return np.asarray(moved["Dense_0"]["kernel"])

    with no_guards():
        assert np.isnan(weights_after_a_step()).any()
    np.testing.assert_array_equal(weights_after_a_step(), params["Dense_0"]["kernel"])
