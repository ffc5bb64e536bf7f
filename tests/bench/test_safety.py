"""What is measured as a step without guards is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.base import Batches
from samt_jax.bench import safety
from samt_jax.bench.cells import Method
from samt_jax.bench.measure import jax_subject
from samt_jax.bench.safety import measure_guards, no_guards
from samt_jax.engine import samt_algorithm
from samt_jax.models import build_model
from samt_jax.problem import supervised
from tests.bench.test_measure import TINY, random_images


@pytest.mark.parametrize("engine", ["chain", "general"])
def test_a_step_without_guards_takes_what_is_not_finite(engine):
    problem = supervised(random_images(), build_model("mlp", num_outputs=10))
    inputs, labels = jax.tree.map(lambda leaf: leaf[:8], problem.train)
    batch = (jnp.full_like(inputs, jnp.inf), labels)
    key, batches = jax.random.key(0), Batches(batch, batch)
    params, _ = problem.init(key)
    algorithm = samt_algorithm(problem.loss_fn, engine=engine)
    state = algorithm.init(params, batches, key)

    def weights_after_a_step():
        # A function of its own each time: guards are part of what is traced.
        step = jax.jit(
            lambda params, state: algorithm.step(params, state, batches, key)
        )
        moved, *_ = step(params, state)
        return np.asarray(moved["Dense_0"]["kernel"])

    with no_guards():
        assert np.isnan(weights_after_a_step()).any()
    np.testing.assert_array_equal(weights_after_a_step(), params["Dense_0"]["kernel"])


def test_guards_are_measured_in_rounds(monkeypatch):
    monkeypatch.setattr(safety, "GUARD_ROUNDS", 3)
    line = measure_guards(TINY, random_images())
    assert line["guards"] == f"SAMT-S on {TINY.name}" and line["rounds"] == 3
    low, high = line["share_quartiles"]
    assert -1 < low <= line["share"] <= high
    assert line["microseconds_per_step"] > 0 < line["microseconds_without"]


def test_a_step_that_keeps_its_records_works_all_of_them_out():
    method = Method("SAMT-S", "next", "general")
    bare, kept = (
        jax_subject(TINY, method, random_images(), keeps_records=keeps).facts
        for keeps in (False, True)
    )
    assert kept["flops_per_step"] > bare["flops_per_step"]
