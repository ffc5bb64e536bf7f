import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.baselines.anderson import clear, propose, start_history

SIZE = 5


@pytest.fixture
def contraction(rng, x64):
    """An affine map with its fixed point."""
    matrix = rng.normal(size=(SIZE, SIZE))
    matrix = jnp.array(0.9 * matrix / np.linalg.norm(matrix, 2))
    offset = jnp.array(rng.normal(size=SIZE))
    return lambda x: matrix @ x + offset, jnp.linalg.solve(
        jnp.eye(SIZE) - matrix, offset
    )


def iterate(image_of, memory, num_steps):
    x, history = jnp.zeros(SIZE), start_history(jnp.zeros(SIZE), memory)
    step = jax.jit(lambda history, x: propose(history, x, image_of(x)))
    for _ in range(num_steps):
        x, history = step(history, x)
    return x, history


def test_affine_map_of_d_numbers_is_solved_in_about_d_steps(contraction):
    image_of, fixed_point = contraction
    x, _ = iterate(image_of, SIZE, SIZE + 2)
    assert jnp.max(jnp.abs(x - fixed_point)) < 1e-9
    plain, _ = iterate(image_of, 0, SIZE + 2)
    assert jnp.max(jnp.abs(plain - fixed_point)) > 1e-3


def test_a_short_memory_is_filled_again_and_still_faster(contraction):
    image_of, fixed_point = contraction
    x, _ = iterate(image_of, 2, 25)
    plain, _ = iterate(image_of, 0, 25)
    error, plain_error = (jnp.max(jnp.abs(p - fixed_point)) for p in (x, plain))
    assert error < plain_error / 10


def test_first_proposal_and_that_of_a_cleared_history_is_the_image(contraction):
    image_of, _ = contraction
    x, history = iterate(image_of, 3, 4)
    for empty in (start_history(x, 3), clear(history)):
        proposal, _ = propose(empty, x, image_of(x))
        np.testing.assert_array_equal(proposal, image_of(x))
