"""Why mDLAM collapses: what is tried from a start, and the table of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import layerwise_collapse
from samt_jax import Chain, dense
from samt_jax.problem import Problem, cross_entropy


def problem_of(scale, num_examples=4000):
    """Labels that inputs of this size tell, and a network of two layers."""
    rng = np.random.default_rng(0)
    inputs = np.abs(scale * rng.normal(size=(num_examples, 6))).astype(np.float32)
    layers = (dense("Dense_0", jax.nn.relu), dense("Dense_1"))

    def init(key):
        keys = jax.random.split(key)
        kernels = (jax.random.normal(keys[0], (6, 5)), 0.1 * jnp.ones((5, 3)))
        return {
            f"Dense_{i}": {"kernel": kernel, "bias": jnp.zeros(kernel.shape[1])}
            for i, kernel in enumerate(kernels)
        }, ()

    return Problem(
        init=init,
        loss_fn=Chain(layers, cross_entropy),
        train=(inputs, np.argmax(inputs[:, :3], axis=1).astype(np.int32)),
        evaluation={},
        measure=lambda params, state, batch: {},
    )


@pytest.mark.parametrize(("scale", "moves"), [(1.0, True), (100.0, False)])
def test_the_second_kernel_moves_where_the_cap_lets_it(scale, moves):
    lines = list(layerwise_collapse.try_starts(problem_of(scale), (3, 4)))
    assert [line["seed"] for line in lines] == [3, 4]
    assert [line["second_kernel_moves"] for line in lines] == [moves, moves]
    assert all((line["largest_curvature"] > 1024) != moves for line in lines)


def test_table_counts_the_starts_and_has_the_range_of_their_curvatures():
    lines = [
        {"dataset": "mnist", "hidden": 200, "seed": i, "second_kernel_moves": i > 0,
         "largest_curvature": 100.0 * (i + 1)}
        for i in range(3)
    ]  # fmt: skip
    rows = layerwise_collapse.table(lines).splitlines()
    assert rows[-2] == "| mnist |  | 2 of 3 (100 to 300) |  |  |"
    assert rows[-1] == "| fashion_mnist |  |  |  |  |"
