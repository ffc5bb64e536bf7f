"""Backtracking without trials ends where trials end."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.baselines.moves import (
    backtracked_curvature,
    gram_curvature,
    inputs_move,
    kernel_move,
    kernel_moves,
    projected_move,
)

WEIGHT, DECAY = 0.7, 8.0


@pytest.fixture
def factors(rng, x64):
    """Inputs, kernel and target of a least-squares problem."""
    return (
        jnp.array(rng.normal(size=(20, 4))),
        jnp.array(rng.normal(size=(4, 3))),
        jnp.array(rng.normal(size=(20, 3))),
    )


def backtrack(value, start_point, gradient, start):
    """The curvature at the end of a literal backtracking by doubling."""
    squares, curvature = np.sum(gradient**2), start
    first = value(start_point)
    while value(start_point - gradient / curvature) > first - squares / (2 * curvature):
        curvature *= 2
    return curvature


@pytest.mark.parametrize("start", [1e-3, 1.0, 7.0, 1e4])
def test_kernel_moves_as_literal_backtracking_moves_it(factors, start):
    inputs, kernel, target = factors

    def value(w):
        squares = WEIGHT / 2 * np.sum((inputs @ w - target) ** 2)
        return squares + DECAY / 2 * np.sum(w**2)

    move = kernel_move(
        kernel, inputs, inputs @ kernel - target, WEIGHT, jnp.array(start), decay=DECAY
    )
    gradient = WEIGHT * inputs.T @ (inputs @ kernel - target) + DECAY * kernel
    assert move.curvature == backtrack(value, kernel, gradient, start)
    np.testing.assert_allclose(move.change, -gradient / move.curvature, rtol=1e-12)
    np.testing.assert_allclose(move.product_change, inputs @ move.change, atol=1e-12)
    assert value(kernel + move.change) <= value(kernel) - np.sum(gradient**2) / (
        2 * move.curvature
    )


@pytest.mark.parametrize("start", [1e-3, 1.0])
def test_inputs_move_as_literal_backtracking_moves_them(factors, start):
    inputs, kernel, target = factors
    middle = inputs + 1.0

    def value(a):
        squares = WEIGHT / 2 * np.sum((a @ kernel - target) ** 2)
        return squares + DECAY / 2 * np.sum((a - middle) ** 2)

    residual = inputs @ kernel - target
    pull = DECAY * (inputs - middle)
    move = inputs_move(kernel, residual, WEIGHT, pull, DECAY, jnp.array(start))
    gradient = WEIGHT * residual @ kernel.T + pull
    assert move.curvature == backtrack(value, inputs, gradient, start)
    np.testing.assert_allclose(move.change, -gradient / move.curvature, rtol=1e-12)
    np.testing.assert_allclose(move.product_change, move.change @ kernel, atol=1e-12)


def test_a_projected_move_in_a_wide_box_is_a_gradient_step(factors):
    inputs, kernel, target = factors
    residual, far = inputs @ kernel - target, jnp.full_like(inputs, 1e3)
    move = projected_move(kernel, inputs, residual, WEIGHT, -far, far, jnp.array(0.01))
    gradient = WEIGHT * residual @ kernel.T
    np.testing.assert_allclose(move.change, -gradient / move.curvature, rtol=1e-12)
    quotient = WEIGHT * np.sum((gradient @ kernel) ** 2) / np.sum(gradient**2)
    assert move.curvature / 2 < quotient <= move.curvature


def test_a_projected_move_stays_in_its_box_and_below_the_model(factors):
    inputs, kernel, target = factors
    residual = inputs @ kernel - target
    move = projected_move(
        kernel, inputs, residual, WEIGHT, inputs - 0.1, inputs + 0.05, jnp.array(0.01)
    )
    assert jnp.min(move.change) >= -0.1 - 1e-12
    assert jnp.max(move.change) <= 0.05 + 1e-12
    assert jnp.any(jnp.abs(move.change + 0.1) < 1e-12)
    gradient = WEIGHT * residual @ kernel.T
    drop = -jnp.sum(gradient * move.change) - WEIGHT / 2 * jnp.sum(
        move.product_change**2
    )
    assert drop >= -jnp.sum(gradient * move.change) - move.curvature / 2 * jnp.sum(
        move.change**2
    )
    np.testing.assert_allclose(move.product_change, move.change @ kernel, atol=1e-12)


@pytest.mark.parametrize("start", [1e-3, 1e4])
def test_moves_in_a_row_by_the_gram_matrix_are_single_moves(factors, start):
    inputs, kernel, target = factors
    gradient = WEIGHT * inputs.T @ (inputs @ kernel - target)
    moves = kernel_moves(
        kernel, gradient, inputs, inputs.T @ inputs, WEIGHT, jnp.array(start)
    )
    for move in itertools.islice(moves, 3):
        single = kernel_move(
            kernel, inputs, inputs @ kernel - target, WEIGHT, jnp.array(start)
        )
        kernel += single.change
        assert move.curvature == single.curvature
        np.testing.assert_allclose(factors[1] + move.change, kernel, atol=1e-12)
        np.testing.assert_allclose(
            move.product_change, inputs @ move.change, atol=1e-12
        )


@pytest.mark.parametrize("max_doublings", [None, 2])
def test_curvature_by_the_gram_matrix_is_that_of_the_move(factors, max_doublings):
    inputs, kernel, target = factors
    residual, start = inputs @ kernel - target, jnp.array(0.1)
    move = kernel_move(
        kernel, inputs, residual, WEIGHT, start,
        decay=DECAY, max_doublings=max_doublings,
    )  # fmt: skip
    curvature, found = gram_curvature(
        WEIGHT * inputs.T @ residual + DECAY * kernel, inputs.T @ inputs, WEIGHT,
        start, decay=DECAY, max_doublings=max_doublings,
    )  # fmt: skip
    assert curvature == move.curvature
    assert found == move.found == (max_doublings is None)


def test_too_many_doublings_are_given_up(factors):
    inputs, kernel, target = factors
    residual, one = 100 * (inputs @ kernel - target), jnp.array(1.0)
    found = kernel_move(kernel, 100 * inputs, residual, 1.0, one)
    assert found.found and found.curvature >= 2**11
    given_up = kernel_move(kernel, 100 * inputs, residual, 1.0, one, max_doublings=10)
    assert not given_up.found
    np.testing.assert_array_equal(given_up.change, jnp.zeros_like(kernel))
    far = jnp.full_like(inputs, jnp.inf)
    for max_doublings, found in [(10, False), (30, True)]:
        move = projected_move(
            100 * kernel, inputs, residual, 1.0, -far, far, one,
            max_doublings=max_doublings,
        )  # fmt: skip
        assert move.found == found


@pytest.mark.parametrize(
    ("quotient", "doublings"),
    [(0.3, 0), (3.0, 0), (3.1, 1), (6.0, 1), (6.1, 2), (0.0, 0)],
)
def test_curvature_is_the_first_doubling_that_is_no_smaller(quotient, doublings, x64):
    curvature, found = backtracked_curvature(jnp.array(quotient), jnp.array(3.0))
    assert found
    assert curvature == 3.0 * 2**doublings


def test_at_a_stationary_point_nothing_moves_and_nothing_is_nan(factors):
    inputs, kernel, _ = factors
    move = kernel_move(kernel, inputs, jnp.zeros((20, 3)), WEIGHT, jnp.array(1.0))
    np.testing.assert_array_equal(move.change, jnp.zeros_like(kernel))


def test_a_residual_that_is_not_finite_moves_nothing(factors):
    inputs, kernel, target = factors
    residual = (inputs @ kernel - target).at[0, 0].set(jnp.nan)
    move = kernel_move(kernel, inputs, residual, WEIGHT, jnp.array(1.0))
    assert not move.found
    np.testing.assert_array_equal(move.change, jnp.zeros_like(kernel))
