"""What is minimised over outputs, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from samt_jax.baselines import (
    HALF_SQUARED_ERROR,
    HINGE,
    SOFTMAX,
    SQUARED_ERROR,
    outputs,
)
from samt_jax.baselines.outputs import minimise_by_fista, output_minimiser

NUM_EXAMPLES, CLASSES = 12, 4


@pytest.fixture
def problem(rng, x64):
    """Centre, multiplier, labels and a start."""
    center, multiplier, start = rng.normal(size=(3, NUM_EXAMPLES, CLASSES))
    labels = np.arange(NUM_EXAMPLES) % CLASSES
    # As in dlADMM, the multiplier is a label less some probabilities.
    odds = np.exp(multiplier)
    multiplier = np.eye(CLASSES)[labels] - odds / odds.sum(axis=1, keepdims=True)
    return *map(jnp.array, (center, multiplier, labels)), jnp.array(start)


def objective(loss, center, weight, multiplier, targets):
    def value(z):
        pull = multiplier * z + weight / 2 * (z - center) ** 2
        return jnp.sum(loss.values(z, targets)) + jnp.sum(pull)

    return value


minimise_softmax = jax.jit(SOFTMAX.minimise)


@pytest.mark.parametrize("weight", [1e-6, 1e-2, 1.0, 30.0])
def test_newton_ends_where_the_gradient_is_zero(problem, weight):
    center, multiplier, labels, _ = problem
    start = SOFTMAX.start(labels, CLASSES, jnp.float64)
    z = minimise_softmax(center, weight, multiplier, labels, start)
    gradient = jax.grad(objective(SOFTMAX, center, weight, multiplier, labels))(z)
    assert jnp.max(jnp.abs(gradient)) < 1e-12


def test_newton_finds_what_scipy_finds(problem):
    center, multiplier, labels, start = problem
    value = objective(SOFTMAX, center, 0.5, multiplier, labels)
    flat = jax.jit(jax.value_and_grad(lambda z: value(z.reshape(center.shape))))
    found = scipy.optimize.minimize(
        flat, np.ravel(start), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    z = minimise_softmax(center, 0.5, multiplier, labels, start)
    np.testing.assert_allclose(np.ravel(z), found.x, atol=1e-6)


def test_newton_in_float32_reaches_rounding(problem):
    center, multiplier, labels, start = (
        x if x.dtype == int else x.astype(jnp.float32) for x in problem
    )
    for weight in (1e-6, 1.0):
        z = minimise_softmax(center, jnp.float32(weight), multiplier, labels, start)
        value = objective(SOFTMAX, center, weight, multiplier, labels)
        assert z.dtype == jnp.float32
        assert jnp.max(jnp.abs(jax.grad(value)(z))) < 2e-5


def test_newton_is_not_kept_by_outputs_that_have_grown_large(monkeypatch):
    # What cancels in their objective once made it halve its steps to nothing.
    rng = np.random.default_rng(0)
    z = jnp.array(10 * rng.normal(size=(2000, 10)), jnp.float32)
    labels = jnp.array(rng.integers(0, 10, 2000))
    arguments = (z, 1e-3, jnp.zeros_like(z), labels, z + 1)
    exact = outputs.minimise_softmax(*arguments)
    monkeypatch.setattr(outputs, "MAX_NEWTON_STEPS", 40)
    np.testing.assert_array_equal(outputs.minimise_softmax(*arguments), exact)


def test_newton_leaves_an_example_that_is_not_finite_and_solves_the_others(problem):
    center, multiplier, labels, start = problem
    z = minimise_softmax(center, 1.0, multiplier, labels, start)
    broken = center.at[0, 0].set(jnp.nan)
    others = minimise_softmax(broken, 1.0, multiplier, labels, start)[1:]
    np.testing.assert_allclose(others, z[1:], atol=1e-10)


@pytest.mark.parametrize(("loss", "weight"), [
    (SOFTMAX, 0.5), (SQUARED_ERROR, 1e-6), (HALF_SQUARED_ERROR, 1e-6),
])  # fmt: skip
def test_fista_approaches_the_exact_minimum(problem, loss, weight):
    center, multiplier, labels, start = problem
    targets = center[::-1] if loss is SQUARED_ERROR else labels
    value = objective(loss, center, weight, multiplier, targets)
    exact = loss.minimise(center, weight, multiplier, targets, start)
    z = minimise_by_fista(
        loss, center, weight, multiplier, targets, start, tolerance=1e-13
    )
    assert value(exact) - 1e-12 <= value(z) < value(exact) + 1e-3


def test_fista_is_refused_where_a_loss_has_no_gradient():
    with pytest.raises(ValueError, match="hinge loss has none at its kinks; take out"):
        output_minimiser(HINGE, "fista")


@pytest.mark.parametrize(("loss", "targets", "message"), [
    (SOFTMAX, jnp.zeros(4), r"float32 of shape \(4,\); .* integers from 0 to 2"),
    (SOFTMAX, jnp.zeros((4, 3), int), r"int32 of shape \(4, 3\); .* of shape \(4,\)"),
    (HINGE, jnp.zeros((4, 3)), "a loss of classes they must be integers from 0 to 2"),
    (SQUARED_ERROR, jnp.zeros(4), r"shape \(4,\); for outputs of shape \(4, 3\)"),
    (HALF_SQUARED_ERROR, jnp.zeros(4), r"shape \(4,\); .* must be of that shape"),
])  # fmt: skip
def test_targets_that_are_not_the_losss_are_refused(loss, targets, message):
    with pytest.raises(ValueError, match=message):
        loss.check(targets, (4, 3))


@pytest.mark.parametrize(("loss", "targets"), [
    (SOFTMAX, jnp.zeros(4, "uint8")), (HINGE, jnp.zeros(4, int)),
    (HALF_SQUARED_ERROR, jnp.zeros(4, int)), (HALF_SQUARED_ERROR, jnp.zeros((4, 3))),
    (SQUARED_ERROR, jnp.zeros((4, 3))),
])  # fmt: skip
def test_targets_that_are_the_losss_pass(loss, targets):
    loss.check(targets, (4, 3))


def test_fista_of_the_authors_stops_within_its_tolerance(problem):
    center, multiplier, labels, start = problem
    value = objective(SOFTMAX, center, 1.0, multiplier, labels)
    z = output_minimiser(SOFTMAX, "fista")(center, 1.0, multiplier, labels, start)
    exact = output_minimiser(SOFTMAX, "newton")(center, 1.0, multiplier, labels, start)
    assert 0 < value(z) - value(exact) < 0.01


@pytest.mark.parametrize("tolerance", [1.0, 0.1, 1e-3])
def test_fista_ends_where_its_literal_form_ends(problem, tolerance):
    center, multiplier, labels, start = map(np.asarray, problem)
    codes, weight, step_size = np.eye(CLASSES)[labels], 0.5, 1.0
    center = 3 * center

    def probabilities(z):
        odds = np.exp(z)
        return odds / odds.sum(axis=1, keepdims=True)

    def total(z):
        pull = np.sum(multiplier * z + weight / 2 * (z - center) ** 2)
        return pull - np.sum(codes * np.log(probabilities(z)))

    z = ahead = start
    momentum, last = 1.0, np.inf
    while abs(total(z) - last) >= tolerance:
        last = total(z)
        gradient = probabilities(ahead) - codes
        moved = weight * center - multiplier + ahead / step_size - gradient
        moved = moved / (weight + 1 / step_size)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - z)
        z, momentum = moved, following
    found = minimise_by_fista(
        SOFTMAX, center, weight, multiplier, labels, start,
        step_size=step_size, tolerance=tolerance,
    )  # fmt: skip
    np.testing.assert_allclose(found, z, atol=1e-12)


def test_squared_error_is_minimised_exactly(problem):
    center, multiplier, _, start = problem
    targets = start
    z = SQUARED_ERROR.minimise(center, 0.7, multiplier, targets, start)
    gradient = jax.grad(objective(SQUARED_ERROR, center, 0.7, multiplier, targets))(z)
    assert jnp.max(jnp.abs(gradient)) < 1e-12


def test_outputs_start_at_plus_and_minus_one_or_at_the_targets():
    np.testing.assert_array_equal(
        SOFTMAX.start(jnp.array([1, 0]), 3, jnp.float32), [[-1, 1, -1], [1, -1, -1]]
    )
    targets = jnp.array([[2.0], [3.0]])
    np.testing.assert_array_equal(SQUARED_ERROR.start(targets, 1, jnp.float32), targets)


def test_what_is_measured_is_accuracy_and_the_root_of_the_mean_squared_error():
    outputs = jnp.array([[1.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    assert SOFTMAX.measure(outputs, jnp.array([0, 1, 1]))["accuracy"] == pytest.approx(
        2 / 3
    )
    rmse = SQUARED_ERROR.measure(outputs, outputs - jnp.array([[3.0, 4.0]]))["rmse"]
    assert rmse == pytest.approx(5.0)


def test_another_solver_is_refused():
    with pytest.raises(ValueError, match="must be 'newton' or 'fista'"):
        output_minimiser(SOFTMAX, "adam")
