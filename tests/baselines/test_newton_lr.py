"""The Newton-based learning rate: exact on a quadratic, and idle where it should be."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samt_jax.baselines import newton_lr


def descend(tx, value_fn, params, num_steps):
    state, rates, iterates = tx.init(params), [], []
    for _ in range(num_steps):
        updates, state = tx.update(jax.grad(value_fn)(params), state, params)
        params = optax.apply_updates(params, updates)
        iterates.append(params)
        rates.append(float(state.learning_rate))
    return rates, iterates, state


def feed(tx, grads):
    state, updates, rates = tx.init(jnp.zeros_like(grads[0])), [], []
    for grad in grads:
        update, state = tx.update(grad, state)
        updates.append(update)
        rates.append(state.learning_rate)
    return updates, rates, state


@jax.jit
def newton_on_a_quadratic(curvature, ratio):
    """Rates and iterates of three whole Newton steps from `ratio / curvature`."""
    tx = newton_lr(ratio / curvature, 1, hyper_learning_rate=1.0, eps=0.0)
    x, state, rates = jnp.float32(1.0), tx.init(jnp.float32(1.0)), []
    for _ in range(3):
        updates, state = tx.update(curvature * x, state)
        x = x + updates
        rates.append(state.learning_rate)
    return jnp.stack(rates), x


@given(st.floats(0.1, 100.0), st.floats(0.01, 1.9))
def test_newtons_step_on_a_quadratic_is_exact(curvature, ratio):
    # Window 1, γ = 1: u_old = L x, u_new = L x (1 - η L), so the factor is
    # 1 + (1 - η L) / (η L) = 1 / (η L) and the rate 1/L; the next step ends at 0.
    rates, x = newton_on_a_quadratic(curvature, ratio)
    np.testing.assert_allclose(rates[0], ratio / curvature, rtol=1e-6)
    np.testing.assert_allclose(rates[1], 1 / curvature, rtol=2e-4)
    assert abs(x) < 2e-4


def test_damped_step_goes_a_part_of_the_way(x64):
    # From η = 1/2 to 1/L = 1: the factor 2 is 1 + 1; with γ = 1/4 it is 5/4.
    tx = newton_lr(0.5, 1, hyper_learning_rate=0.25, eps=0.0)
    rates, _, _ = descend(tx, lambda x: x**2 / 2, jnp.array(1.0), 2)
    np.testing.assert_allclose(rates[1], 0.5 * 1.25, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("direction", "base"),
    [
        (None, optax.sgd(0.1)),
        (optax.trace(0.8), optax.sgd(0.1, momentum=0.8)),
        (optax.scale_by_adam(), optax.adam(0.1)),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_zero_hyper_learning_rate_is_the_base_method_to_the_bit(direction, base, dtype):
    tx = newton_lr(0.1, 2, direction, hyper_learning_rate=0.0)
    grads = list(jnp.array([[1.0, -2.0], [0.3, 0.2], [-0.7, 0.9], [1.1, 0.1]], dtype))
    ours, rates, _ = feed(tx, grads)
    state = base.init(jnp.zeros_like(grads[0]))
    for update, grad in zip(ours, grads, strict=True):
        expected, state = base.update(grad, state)
        np.testing.assert_array_equal(update, expected)
    assert rates == [jnp.float32(0.1)] * 4


def test_rate_changes_at_the_end_of_each_window_by_hand():
    # Windows of 2 steps, η = 0.4, γ = 1/4. Gradients 2 2 | 1 1 | 1 0: u = 4, 2, 1.
    # After window 1 there is no u_old: the factor is 1.
    # After window 2: <u_old, u_new> = 8, |u_old|² = 16, factor 1 + 8/8/4 = 5/4: 0.5.
    # After window 3: 2 / (4 - 2) = 1, factor 5/4: 0.625.
    tx = newton_lr(0.4, 2, hyper_learning_rate=0.25)
    grads = list(jnp.array([2.0, 2.0, 1.0, 1.0, 1.0, 0.0]))
    updates, rates, state = feed(tx, grads)
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.4, 0.5, 0.5, 0.625], rtol=1e-6)
    np.testing.assert_allclose(updates, [-0.8, -0.8, -0.4, -0.4, -0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(state.info.factor, 1.25, rtol=1e-6)
    assert float(state.info.hypergradient) == -2.0
    assert float(state.info.learning_rate) == 0.5


def test_orthogonal_windows_leave_the_rate():
    tx = newton_lr(0.4, 1)
    _, rates, state = feed(tx, [jnp.array([1.0, 2.0]), jnp.array([-2.0, 1.0])])
    assert rates[1] == jnp.float32(0.4) and state.info.factor == 1.0


def test_rate_scales_inversely_with_the_loss(x64):
    def value_fn(x):
        return x[0] ** 2 / 2 + 2 * x[1] ** 2

    start, scale = jnp.array([1.0, -0.5]), 37.0
    tx, scaled_tx = (newton_lr(rate, 2, eps=0.0) for rate in (0.1, 0.1 / scale))
    rates, iterates, _ = descend(tx, value_fn, start, 8)
    scaled_rates, scaled, _ = descend(
        scaled_tx, lambda x: scale * value_fn(x), start, 8
    )
    np.testing.assert_allclose(np.array(scaled_rates) * scale, rates, rtol=1e-10)
    np.testing.assert_allclose(scaled, iterates, rtol=1e-10)
    assert rates[-1] > rates[0]  # Which is below the inverse of either curvature.


def test_growing_agreement_turns_the_rate_negative_unless_safeguarded():
    # u_old = 1, u_new = 2: 2 / (1 - 2) = -2. The code: 1 - 1 · 2 = -1, an ascent where
    # the rate should grow. Safeguarded: 1 + 1 · 2 / |-1| = 3, kept to 2.
    grads = list(jnp.array([1.0, 2.0]))
    for safeguard, factor in [(False, -1.0), (True, 2.0)]:
        tx = newton_lr(0.5, 1, hyper_learning_rate=1.0, safeguard=safeguard)
        _, rates, _ = feed(tx, grads)
        np.testing.assert_allclose(rates[1], 0.5 * factor, rtol=1e-6)


def test_epsilon_enlarges_the_denominator():
    # u_old = 1, u_new = 1/2, ε = 1/2: 1 + 1 · (1/2) / (1 - 1/2 + 1/2) = 3/2.
    tx = newton_lr(0.5, 1, hyper_learning_rate=1.0, eps=0.5)
    _, rates, _ = feed(tx, list(jnp.array([1.0, 0.5])))
    assert rates[1] == 0.75


def test_safeguard_bounds_the_factor_from_below():
    # u_old = 1, u_new = -4: 1 - 1 · 4/5 = 0.2, kept to 0.5.
    tx = newton_lr(0.5, 1, hyper_learning_rate=1.0, safeguard=True)
    _, rates, _ = feed(tx, list(jnp.array([1.0, -4.0])))
    assert rates[1] == 0.25


def test_tiny_rate_still_measures_its_window():
    # At 1e-9 the parameters do not move in float32, and the difference of parameters
    # over the rate would be 0; the sum of directions is not.
    tx = newton_lr(1e-9, 1, safeguard=True)
    params, state = jnp.float32(1.0), tx.init(jnp.float32(1.0))
    for _ in range(2):
        updates, state = tx.update(jnp.float32(1.0), state)
        assert optax.apply_updates(params, updates) == params
    assert state.learning_rate == jnp.float32(2e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "positive whole number"),
        ({"window": 2.5}, "positive whole number"),
        ({"learning_rate": optax.constant_schedule(0.1)}, "number to start from"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        newton_lr(**({"learning_rate": 0.1, "window": 2} | settings))
