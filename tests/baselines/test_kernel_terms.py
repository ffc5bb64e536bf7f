"""Both ways of working a kernel's problem out are the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.baselines.kernel_terms import kernel_terms

WEIGHT, DECAY = 0.7, 0.3


@pytest.fixture
def problem(rng, x64):
    """Kernel, inputs, product with a bias in it, and pre-activations."""
    draw = lambda *shape: jnp.array(rng.normal(size=shape))  # noqa: E731
    kernel, inputs = draw(4, 3), draw(20, 4)
    return kernel, inputs, inputs @ kernel + draw(1, 3), draw(20, 3)


def terms_of(problem, *, with_gram, max_doublings=None):
    gram = problem[1].T @ problem[1] if with_gram else None
    return kernel_terms(
        *problem, WEIGHT, decay=DECAY, max_doublings=max_doublings, gram=gram
    )


def value_of(problem, kernel):
    """The problem as it is written."""
    before, inputs, product, z = problem
    squares = jnp.sum((product + inputs @ (kernel - before) - z) ** 2)
    return WEIGHT / 2 * squares + DECAY / 2 * jnp.sum(kernel**2)


with_and_without = pytest.mark.parametrize("with_gram", [False, True])


@with_and_without
def test_values_are_those_of_the_problem_up_to_a_constant(problem, rng, with_gram):
    kernel, terms = problem[0], terms_of(problem, with_gram=with_gram)
    change = jnp.array(rng.normal(size=kernel.shape))
    there = terms.value(kernel + change, terms.image + terms.image_of(change))
    rise = value_of(problem, kernel + change) - value_of(problem, kernel)
    np.testing.assert_allclose(
        there - terms.value(kernel, terms.image), rise, rtol=1e-10
    )


@with_and_without
def test_a_step_is_down_the_gradient_from_wherever_it_starts(problem, rng, with_gram):
    terms = terms_of(problem, with_gram=with_gram)
    offset = jnp.array(rng.normal(size=problem[0].shape))
    start, image = problem[0] + offset, terms.image + terms.image_of(offset)
    move = terms.move(start, image)
    gradient = jax.grad(lambda kernel: value_of(problem, kernel))(start)
    np.testing.assert_allclose(move.change, -gradient / move.curvature, atol=1e-12)
    np.testing.assert_allclose(
        move.product_change, terms.image_of(move.change), atol=1e-12
    )
    drop = value_of(problem, start) - value_of(problem, start + move.change)
    assert drop >= jnp.sum(gradient**2) / (2 * move.curvature)
    # The curvature is the first power of two that will do.
    bold = value_of(problem, start - 2 * gradient / move.curvature)
    assert value_of(problem, start) - bold < jnp.sum(gradient**2) / move.curvature


@with_and_without
def test_the_product_is_what_the_layer_makes_of_its_inputs(problem, rng, with_gram):
    kernel, inputs, product, _ = problem
    terms = terms_of(problem, with_gram=with_gram)
    change = jnp.array(rng.normal(size=kernel.shape))
    image = terms.image + terms.image_of(change)
    np.testing.assert_allclose(
        terms.product(kernel + change, image), product + inputs @ change, atol=1e-12
    )


@with_and_without
def test_too_many_doublings_are_given_up(problem, with_gram):
    terms = terms_of(problem, with_gram=with_gram, max_doublings=1)
    move = terms.move(problem[0], terms.image)
    assert not move.found
    np.testing.assert_array_equal(move.change, jnp.zeros_like(problem[0]))
