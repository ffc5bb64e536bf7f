"""The hypergradient, its two rules, and the ways to use the learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samt_jax.baselines import hypergradient_descent, sgd_hd, sgdn_hd
from samt_jax.meta import block_updates, meta_value_and_grad


def feed(tx, grads, params=None):
    """Hands gradients to a transformation; its updates and learning rates."""
    params = jax.tree.map(jnp.zeros_like, grads[0]) if params is None else params
    state, updates, rates = tx.init(params), [], []
    for grad in grads:
        update, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, update)
        updates.append(update)
        rates.append(state.learning_rate)
    return updates, rates, state


def descend(tx, value_fn, params, num_steps):
    """Trains on a loss; the iterates and learning rates."""
    state, iterates, rates = tx.init(params), [params], []
    for _ in range(num_steps):
        update, state = tx.update(jax.grad(value_fn)(params), state, params)
        params = optax.apply_updates(params, update)
        iterates.append(params)
        rates.append(float(state.learning_rate))
    return iterates, rates, state


def test_first_three_updates_of_sgd_hd_by_hand():
    # f = x²/2 + 3 y²/2 from (1, 1) with α_0 = 1/4 and κ = 1/8; g = (x, 3 y).
    # g_1 = (1, 3), h_1 = 0, α_1 = 1/4: to (3/4, 1/4).
    # g_2 = (3/4, 3/4), <g_2, g_1> = 3/4 + 9/4 = 3, α_2 = 1/4 + 3/8 = 5/8:
    #   to (3/4 - 15/32, 1/4 - 15/32) = (9/32, -7/32).
    # g_3 = (9/32, -21/32), <g_3, g_2> = 3/4 (9 - 21)/32 = -9/32,
    #   α_3 = 5/8 - 9/256 = 151/256:
    #   to (9/32 (1 - 151/256), -7/32 (1 - 453/256)) = (945/8192, 1379/8192).
    def value_fn(p):
        return p[0] ** 2 / 2 + 3 * p[1] ** 2 / 2

    start = jnp.array([1.0, 1.0])
    iterates, rates, state = descend(sgd_hd(0.25, 0.125), value_fn, start, 3)
    assert rates == [1 / 4, 5 / 8, 151 / 256]
    by_hand = [[1, 1], [3 / 4, 1 / 4], [9 / 32, -7 / 32], [945 / 8192, 1379 / 8192]]
    np.testing.assert_array_equal(iterates, by_hand)
    assert float(state.info.hypergradient) == 9 / 32


def test_first_step_uses_the_initial_learning_rate_exactly():
    for rule in ("additive", "multiplicative"):
        tx = sgd_hd(0.3, 0.9, rule=rule)
        updates, rates, state = feed(tx, [jnp.array([4.0, -2.0])])
        assert rates[0] == jnp.float32(0.3)
        assert float(state.info.hypergradient) == 0.0
        np.testing.assert_array_equal(
            updates[0], -jnp.float32(0.3) * jnp.array([4.0, -2.0])
        )


@pytest.mark.parametrize(
    "direction",
    [optax.identity(), optax.trace(0.9, nesterov=True), optax.scale_by_adam()],
    ids=["sgd", "sgdn", "adam"],
)
def test_second_learning_rate_is_a_gradient_step_on_the_first(direction, x64):
    start = {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.array(0.3)}
    rate, kappa = 0.2, 0.05

    def value_fn(p):
        return jnp.sum(jnp.cos(p["w"]) * p["b"]) + p["b"] ** 4 + jnp.sum(p["w"] ** 2)

    tx = hypergradient_descent(direction, rate, kappa)
    _, rates, _ = descend(tx, value_fn, start, 2)
    first_direction, _ = direction.update(
        jax.grad(value_fn)(start), direction.init(start), start
    )

    def value_of_rate(alpha):
        return value_fn(
            jax.tree.map(lambda p, d: p - alpha * d, start, first_direction)
        )

    np.testing.assert_allclose(
        rates[1], rate - kappa * jax.grad(value_of_rate)(rate), rtol=1e-12
    )


def test_hypergradient_is_the_scalar_meta_gradient_of_samt_one_step_later(x64):
    # SAMT asks how the loss on the next batch depends on the step it is about to take;
    # HD asks, one step later, how it depended on the step it took: -<g', g> both times.
    batches = jnp.array([[1.0, -2.0], [0.5, 3.0]])
    start, rate = {"w": jnp.array([0.3, 0.7])}, 0.1

    def loss_fn(params, batch):
        return jnp.sum(jnp.sin(params["w"] * batch) + params["w"] ** 2)

    grads = jax.grad(loss_fn)(start, batches[0])

    def objective(step_size):
        updates = block_updates(start, grads, {"w": step_size})
        return loss_fn(optax.apply_updates(start, updates), batches[1]), ()

    _, _, meta_gradient = meta_value_and_grad(objective, jnp.array(rate))

    tx = sgd_hd(rate, 0.01)
    updates, state = tx.update(grads, tx.init(start))
    params = optax.apply_updates(start, updates)
    _, state = tx.update(jax.grad(loss_fn)(params, batches[1]), state)
    np.testing.assert_allclose(state.info.hypergradient, meta_gradient, rtol=1e-12)


@jax.jit
def rates_on_a_quadratic(curvature, ratio):
    """The learning rates of four steps, which start from `ratio / curvature`."""
    tx = sgd_hd(ratio / curvature, 1e-3 / curvature**3)
    x, state, rates = jnp.float32(1.0), tx.init(jnp.float32(1.0)), []
    for _ in range(4):
        updates, state = tx.update(curvature * x, state)
        x = x + updates
        rates.append(state.learning_rate)
    return jnp.stack(rates)


@given(st.floats(0.5, 20.0), st.floats(0.02, 1.98).filter(lambda r: abs(r - 1) > 0.02))
def test_on_a_quadratic_the_rate_moves_towards_the_inverse_curvature(curvature, ratio):
    # g_t g_{t-1} has the sign of 1 - α L: below 1/L the rate grows, between 1/L and 2/L
    # it falls; and with a small κ it comes closer at every step.
    rates = rates_on_a_quadratic(curvature, ratio)
    assert (rates[1] > rates[0]) == (ratio < 1)
    distances = np.abs(rates - 1 / curvature)
    assert np.all(np.diff(distances) <= 0) and distances[-1] < distances[0]


def test_permuting_the_tensors_does_not_change_the_trajectory(x64):
    grads = [
        {"a": jnp.array([1.0, 2.0]), "b": jnp.array(0.5), "c": jnp.array([[3.0]])},
        {"a": jnp.array([0.3, -1.0]), "b": jnp.array(2.0), "c": jnp.array([[0.7]])},
        {"a": jnp.array([-0.2, 0.1]), "b": jnp.array(1.0), "c": jnp.array([[-0.4]])},
    ]
    renamed = {"a": "z", "b": "y", "c": "x"}
    permuted = [{renamed[k]: g for k, g in grad.items()} for grad in grads]

    def largest_change(tx):
        updates, _, _ = feed(tx, grads)
        others, _, _ = feed(tx, permuted)
        return max(
            float(jnp.max(jnp.abs(update[k] - other[renamed[k]])))
            for update, other in zip(updates, others, strict=True)
            for k in renamed
        )

    assert largest_change(sgdn_hd(0.1, 0.01)) < 1e-14
    by_tensor = hypergradient_descent(
        optax.identity(), 0.1, 0.01, tensor_by_tensor=True
    )
    assert largest_change(by_tensor) > 1e-3


def test_tensor_by_tensor_steps_with_partly_updated_rates():
    # α_0 = 1/2, κ = 1/4, g_1 = (1 | 2), g_2 = (1 | 1).
    # Step 2: the first tensor adds 1/4 · 1 · 1, the second then 1/4 · 1 · 2: rates 3/4
    # and 5/4. With one hypergradient for all, both step with 5/4.
    grads = [{"a": jnp.float32(a), "b": jnp.float32(b)} for a, b in [(1, 2), (1, 1)]]
    for by_tensor, first in [(True, -0.75), (False, -1.25)]:
        tx = hypergradient_descent(
            optax.identity(), 0.5, 0.25, tensor_by_tensor=by_tensor
        )
        updates, rates, state = feed(tx, grads)
        assert updates[1] == {"a": first, "b": -1.25}
        assert rates[1] == 1.25
        assert state.info.hypergradient == -3.0


def test_multiplicative_rule_by_hand():
    # α_0 = κ = 1/2; cos∠((4, 3), (3, 4)) = 24/25, cos∠(-(4, 3), (4, 3)) = -1:
    # α_2 = 1/2 (1 + 12/25) = 0.74, α_3 = 0.74 (1 - 1/2) = 0.37.
    grads = [jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0]), jnp.array([-8.0, -6.0])]
    _, rates, _ = feed(sgd_hd(0.5, 0.5, rule="multiplicative"), grads)
    np.testing.assert_allclose(rates, [0.5, 0.74, 0.37], rtol=1e-6)


@given(st.integers(0, 10**6), st.floats(0.05, 0.9))
def test_multiplicative_rule_keeps_the_rate_positive_whatever_comes(seed, kappa):
    # Gradients that reverse, of sizes between 1e-6 and 1e6, and some that are zero.
    rng = np.random.default_rng(seed)
    one = rng.normal(size=3)
    signs = rng.choice([-1.0, 1.0, 0.0], size=20, p=[0.6, 0.3, 0.1])
    sizes = 10.0 ** rng.uniform(-6, 6, size=20)
    grads = [
        jnp.array(one * a * b, jnp.float32) for a, b in zip(signs, sizes, strict=True)
    ]
    _, rates, _ = feed(sgd_hd(0.1, kappa, rule="multiplicative"), grads)
    assert min(rates) > 0
    assert max(rates) <= 0.1 * (1 + kappa) ** 20


def test_multiplicative_rule_does_not_see_the_scale_of_the_loss():
    grads = [jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0]), jnp.array([-1.0, 2.0])]
    tx = sgd_hd(0.5, 0.5, rule="multiplicative")
    _, rates, _ = feed(tx, grads)
    _, scaled, _ = feed(tx, [1000.0 * g for g in grads])
    np.testing.assert_allclose(rates, scaled, rtol=1e-6)


def test_additive_rate_may_turn_negative_and_is_not_clipped():
    _, rates, _ = feed(sgd_hd(0.1, 1.0), [jnp.float32(1.0), jnp.float32(-1.0)])
    np.testing.assert_allclose(rates[1], -0.9, rtol=1e-6)


def test_transition_goes_from_the_learned_rate_to_the_final_one():
    # δ(t) = 1/t²: with α = 2 (κ = 0) and α_∞ = 1/4 the steps are
    # 2, 1/4 · 2 + 3/4 · 1/4 = 11/16, 1/9 · 2 + 8/9 · 1/4 = 4/9; α itself stays 2.
    tx = sgd_hd(2.0, 0.0, final_learning_rate=0.25)
    updates, rates, state = feed(tx, [jnp.float32(1.0)] * 3)
    np.testing.assert_allclose(updates, [-2.0, -11 / 16, -4 / 9], rtol=1e-6)
    assert rates == [2.0, 2.0, 2.0]
    np.testing.assert_allclose(state.info.step_size, 4 / 9, rtol=1e-6)


def test_transition_learns_the_rate_by_the_same_rule():
    grads = [jnp.float32(g) for g in (2.0, 1.0, -3.0)]
    _, with_transition, _ = feed(sgd_hd(0.5, 0.25, final_learning_rate=0.1), grads)
    _, without, _ = feed(sgd_hd(0.5, 0.25), grads)
    assert with_transition == without


def test_transition_converges_where_the_learned_rate_would_not():
    # L = 4: a fixed rate of 0.2 < 1/L converges, the learned one starts above 2/L.
    tx = sgd_hd(0.6, 0.0, final_learning_rate=0.2)
    iterates, _, _ = descend(tx, lambda x: 2 * x**2, jnp.float32(1.0), 60)
    assert abs(iterates[-1]) < 1e-6
    diverging, _, _ = descend(
        sgd_hd(0.6, 0.0), lambda x: 2 * x**2, jnp.float32(1.0), 60
    )
    assert abs(diverging[-1]) > 1e6


def test_weight_decay_comes_before_everything():
    # λ = 1/2, θ_0 = 2, gradients 1, 1: with decay 2, then (after α = 1/2: θ = 1) 3/2.
    # α_2 = 1/2 + 1/4 · 3/2 · 2 = 5/4; the second update is -5/4 · 3/2 = -15/8.
    tx = sgd_hd(0.5, 0.25, weight_decay=0.5)
    updates, rates, _ = feed(tx, [jnp.float32(1.0)] * 2, params=jnp.float32(2.0))
    assert (updates, rates) == ([-1.0, -15 / 8], [1 / 2, 5 / 4])


def test_weight_decay_without_params_says_what_is_missing():
    tx = sgd_hd(0.5, 0.25, weight_decay=0.5)
    with pytest.raises(ValueError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_group_without_parameters_is_allowed():
    tx = sgd_hd(0.5, 0.25)
    updates, state = tx.update({}, tx.init({}))
    assert updates == {} and state.learning_rate == 0.5


def test_hyper_learning_rate_can_be_scheduled():
    tx = optax.inject_hyperparams(sgd_hd)(0.5, lambda count: 0.25 * (count < 2))
    state = tx.init(jnp.float32(0.0))
    rates = []
    for _ in range(3):
        _, state = tx.update(jnp.float32(1.0), state, jnp.float32(0.0))
        rates.append(float(state.inner_state.learning_rate))
    assert rates == [0.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "geometric"}, "'geometric' is unknown; choose one of"),
        ({"rule": "multiplicative", "tensor_by_tensor": True}, "tensor by tensor"),
        ({"learning_rate": optax.constant_schedule(0.1)}, "number to start from"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    arguments = {"learning_rate": 0.1, "hyper_learning_rate": 0.1} | settings
    with pytest.raises(ValueError, match=message):
        hypergradient_descent(optax.identity(), **arguments)
