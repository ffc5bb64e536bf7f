"""DANTE: its steps, order and batches, and SAMT's constant step as a case of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samt_jax import samt_sweep
from samt_jax.baselines import dante

X = jax.random.normal(jax.random.key(0), (12, 3))
Y = jax.random.normal(jax.random.key(1), (12, 2))


def init_params(key):
    first, last = jax.random.split(key)
    return {
        "first": {"kernel": jax.random.normal(first, (3, 4)), "bias": jnp.zeros(4)},
        "last": {"kernel": jax.random.normal(last, (4, 2)), "bias": jnp.zeros(2)},
    }


def value_on(x, y, scale=1.0):
    def value_fn(params):
        first, last = params["first"], params["last"]
        hidden = jax.nn.leaky_relu(x @ first["kernel"] + first["bias"][None])
        outputs = hidden @ last["kernel"] + last["bias"][None]
        return scale * jnp.mean((outputs - y) ** 2)

    return value_fn


def sweep(tx, params, value_fn, num_sweeps=1):
    state = tx.init(params)
    for _ in range(num_sweeps):
        updates, state = tx.update(params, state, params, value_fn=value_fn)
        params = optax.apply_updates(params, updates)
    return params, updates, state


def assert_close(actual, desired, rtol=1e-6, atol=1e-6):
    jax.tree.map(
        lambda a, d: np.testing.assert_allclose(a, d, rtol=rtol, atol=atol),
        actual,
        desired,
    )


def test_normalised_step_has_the_length_of_the_learning_rate(key):
    # One update a block: each block moves by η, however large its gradient, and against
    # it; the gradient of the first, which goes second, is taken where the last stands.
    params = init_params(key)
    tx = dante(0.25, num_updates=1)
    for scale in (1e-3, 1.0, 1e3):
        value_fn = value_on(X, Y, scale)
        new, updates, _ = sweep(tx, params, value_fn)
        moved_last = params | {"last": new["last"]}
        for name, before in (("last", params), ("first", moved_last)):
            np.testing.assert_allclose(optax.tree.norm(updates[name]), 0.25, rtol=1e-5)
            grads = jax.grad(value_fn)(before)[name]
            slope = optax.tree.vdot(updates[name], grads)
            np.testing.assert_allclose(slope, -0.25 * optax.tree.norm(grads), rtol=1e-4)


def test_steps_on_a_block_change_no_other(key):
    params = init_params(key)
    for moving, resting in [("first", "last"), ("last", "first")]:
        tx = dante(0.25, frozen=resting)
        new, updates, state = sweep(tx, params, value_on(X, Y))
        jax.tree.map(np.testing.assert_array_equal, new[resting], params[resting])
        assert 0 < optax.tree.norm(updates[moving]) <= 5 * 0.25 * (1 + 1e-5)
        assert value_on(X, Y)(new) < value_on(X, Y)(params)
        assert list(state.info.value) == [moving]


def test_scaling_the_loss_changes_plain_steps_and_no_normalised_ones(key):
    params = init_params(key)
    for normalize in (True, False):
        tx = dante(0.05, normalize=normalize)
        one, _, _ = sweep(tx, params, value_on(X, Y), 2)
        scaled, _, _ = sweep(tx, params, value_on(X, Y, 3.0), 2)
        gap = float(optax.tree.norm(optax.tree.sub(one, scaled)))
        assert (gap < 1e-4) if normalize else (gap > 0.1)
        assert max(value_on(X, Y)(p) for p in (one, scaled)) < value_on(X, Y)(params)


def least_squares():
    """A last layer with a linear output on fixed features, and its solution."""
    solution, *_ = np.linalg.lstsq(np.asarray(X), np.asarray(Y))

    def value_fn(params):
        return jnp.mean(jnp.sum((X @ params["kernel"] - Y) ** 2, axis=1))

    return {"kernel": jnp.zeros((3, 2))}, value_fn, solution


def test_plain_steps_descend_monotonically_to_the_least_squares_solution():
    params, value_fn, solution = least_squares()
    tx = dante(0.05, normalize=False)
    run = jax.jit(lambda p, s: tx.update(p, s, p, value_fn=value_fn))
    state, values = tx.init(params), [float(value_fn(params))]
    for _ in range(60):
        updates, state = run(params, state)
        params = optax.apply_updates(params, updates)
        values.append(float(value_fn(params)))
    # Strictly down until what is left is rounding.
    assert all(a < b or a - values[-1] < 1e-5 for b, a in itertools.pairwise(values))
    np.testing.assert_allclose(params["kernel"], solution, atol=1e-3)


def test_normalised_steps_end_in_a_ball_of_the_radius_of_the_step():
    params, value_fn, solution = least_squares()
    rate = 0.02
    tx = dante(rate, num_updates=1)
    run = jax.jit(lambda p, s: tx.update(p, s, p, value_fn=value_fn))
    state, distances, values = tx.init(params), [], []
    for _ in range(120):
        updates, state = run(params, state)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(optax.tree.norm(updates), rate, rtol=1e-4)
        distances.append(float(jnp.linalg.norm(params["kernel"] - solution)))
        values.append(float(value_fn(params)))
    assert distances[0] > 10 * rate
    assert max(distances[-20:]) < 3 * rate
    assert np.any(np.diff(values[-20:]) > 0)


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_one_plain_update_a_block_is_samt_with_a_constant_step(order, key):
    params, value_fn = init_params(key), value_on(X, Y)
    ours = dante(0.1, num_updates=1, normalize=False, order=order)
    theirs = samt_sweep(0.1, mixing_weight=1.0, order=order, direction="gradient")
    state, their_state, their_params = ours.init(params), theirs.init(params), params
    for _ in range(3):
        updates, state = ours.update(params, state, params, value_fn=value_fn)
        params = optax.apply_updates(params, updates)
        updates, their_state = theirs.update(
            their_params, their_state, their_params,
            value_fn=value_fn, meta_value_fn=value_fn,
        )  # fmt: skip
        their_params = optax.apply_updates(their_params, updates)
        assert_close(params, their_params)


def test_one_plain_update_a_block_is_samt_on_a_batch_for_each_visit(key):
    params = init_params(key)
    value_fns = (value_on(X[:6], Y[:6]), value_on(X[6:], Y[6:]))
    ours = dante(0.1, num_updates=1, normalize=False, order="forward")
    theirs = samt_sweep(0.1, mixing_weight=1.0, direction="gradient")
    updates, _ = ours.update(params, ours.init(params), params, value_fn=value_fns)
    expected, _ = theirs.update(
        params, theirs.init(params), params,
        value_fn=value_fns, meta_value_fn=value_fns,
    )  # fmt: skip
    assert_close(updates, expected)


@pytest.mark.parametrize("activation", [jax.nn.sigmoid, jax.nn.leaky_relu])
def test_single_neuron_with_realisable_targets_gets_below_epsilon(activation):
    # Strict local quasi-convexity at work: SNGD with η = ε/κ gets below ε after at most
    # κ²|w - w*|²/ε² steps; κ = 1, on inputs of norm at most 1.
    x = jax.random.normal(jax.random.key(2), (64, 3))
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1.0)
    teacher, epsilon = jnp.array([1.0, -0.5, 0.5]), 0.005
    y = activation(x @ teacher)
    tx, num_sweeps = dante(epsilon, num_updates=25, keep="best"), 40
    assert num_sweeps * 25 <= float(teacher @ teacher) / epsilon**2

    def value_fn(params):
        return jnp.mean((activation(x @ params["w"]) - y) ** 2)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(params, state, params, value_fn=value_fn)
        return (optax.apply_updates(params, updates), state), None

    start = {"w": jnp.zeros(3)}
    (params, _), _ = jax.lax.scan(body, (start, tx.init(start)), length=num_sweeps)
    assert value_fn(start) > 4 * epsilon
    assert value_fn(params) < epsilon


def test_two_plain_updates_on_each_block_from_the_output_by_hand():
    # f = (a b - 1)²/2 from a = 2, b = 1, η = 1/8, output (b) first, as f takes a first.
    # b: slope (a b - 1) a = 2: b = 3/4; slope (1/2) 2 = 1: b = 5/8.
    # a: slope (5/4 - 1) 5/8 = 5/32: a = 2 - 5/256 = 507/256;
    #    slope (507/256 · 5/8 - 1) 5/8 = (487/2048) 5/8: a = 507/256 - 2435/131072.
    params = {"a": {"w": jnp.float32(2.0)}, "b": {"w": jnp.float32(1.0)}}
    x = jnp.ones(1)

    def value_fn(p):
        return jnp.sum((x * p["a"]["w"] * p["b"]["w"] - 1) ** 2) / 2

    tx = dante(0.125, num_updates=2, normalize=False)
    new, _, state = sweep(tx, params, value_fn)
    assert float(new["b"]["w"]) == 5 / 8
    np.testing.assert_allclose(new["a"]["w"], 507 / 256 - 2435 / 131072, rtol=1e-6)
    # Values before the first and last update of each block: (a b - 1)²/2.
    assert state.info.value == {"a": 1 / 32, "b": 1 / 2}
    assert state.info.last_value["b"] == 1 / 8
    np.testing.assert_allclose(
        state.info.last_value["a"], (487 / 2048) ** 2 / 2, rtol=1e-5
    )


def test_each_update_has_its_own_batch_where_there_is_one_for_each(key):
    params = init_params(key)
    batches = [slice(i, i + 3) for i in range(4)]
    fns = tuple(value_on(X[batch], Y[batch]) for batch in batches)
    tx = dante(0.1, num_updates=2, normalize=False, order="forward")
    new, _, _ = sweep(tx, params, fns)
    expected = params
    for name, fn in zip(["first", "first", "last", "last"], fns, strict=True):
        grads = jax.grad(fn)(expected)[name]
        stepped = jax.tree.map(lambda w, g: w - 0.1 * g, expected[name], grads)
        expected = expected | {name: stepped}
    assert_close(new, expected)


def test_one_batch_for_each_block_is_used_for_all_its_updates(key):
    params = init_params(key)
    one, other = value_on(X[:6], Y[:6]), value_on(X[6:], Y[6:])
    tx = dante(0.1, num_updates=3)
    by_block, _, _ = sweep(tx, params, (one, other))
    by_update, _, _ = sweep(tx, params, (one,) * 3 + (other,) * 3)
    jax.tree.map(np.testing.assert_array_equal, by_block, by_update)


def test_last_layer_goes_first_by_default_and_the_order_matters(key):
    params, value_fn = init_params(key), value_on(X, Y)
    by_default, _, _ = sweep(dante(0.1), params, value_fn)
    named, _, _ = sweep(dante(0.1, order=("last", "first")), params, value_fn)
    forward, _, _ = sweep(dante(0.1, order="forward"), params, value_fn)
    jax.tree.map(np.testing.assert_array_equal, by_default, named)
    assert optax.tree.norm(optax.tree.sub(by_default, forward)) > 1e-3


def test_best_iterate_is_that_of_the_smallest_loss():
    # f = x²/2 from 1 with η = 0.7: 1, 0.3, -0.4, 0.3: evaluated are the first three,
    # best the second; the last is 0.3 by another way, after three steps.
    # With η = 0.6: 1, 0.4, -0.2, 0.4: best the third, last 0.4.
    for keep, expected in [("best", -0.2), ("last", 0.4)]:
        tx = dante(0.6, num_updates=3, keep=keep)
        new, _, _ = sweep(tx, {"x": jnp.float32(1.0)}, lambda p: p["x"] ** 2 / 2)
        np.testing.assert_allclose(new["x"], expected, atol=1e-6)


def test_solver_stops_where_the_gradient_is_zero():
    # From 2 the first step goes to 3/2, where `flat` has no slope. Another batch might
    # move on, but a solver that met a zero gradient has stopped.
    def flat(p):
        return jnp.maximum(jnp.abs(p["x"] - 1.0) - 0.75, 0.0)

    def sloping(p):
        return p["x"]

    tx, start = dante(0.5, num_updates=3), {"x": jnp.float32(2.0)}
    stopped, _, _ = sweep(tx, start, (flat, flat, sloping))
    moving, _, _ = sweep(tx, start, (flat, sloping, flat))
    assert (stopped["x"], moving["x"]) == (1.5, 1.0)


def test_gradient_that_is_not_finite_shows():
    tx = dante(0.5, num_updates=2)
    new, _, _ = sweep(tx, {"x": jnp.float32(1.0)}, lambda p: jnp.sqrt(p["x"] - 3.0))
    assert jnp.isnan(new["x"])


def test_learning_rate_may_follow_a_schedule_of_sweeps(key):
    params = init_params(key)
    tx = dante(lambda count: 0.2 / jnp.sqrt(count + 1.0), num_updates=1)
    _, updates, state = sweep(tx, params, value_on(X, Y), 4)
    np.testing.assert_allclose(optax.tree.norm(updates["first"]), 0.1, rtol=1e-5)
    np.testing.assert_allclose(state.info.learning_rate, 0.1, rtol=1e-6)


def test_frozen_leaves_of_any_dtype_keep_every_bit(key):
    params = init_params(key) | {"steps": jnp.int32(7), "zero": jnp.float32(-0.0)}
    tx = dante(0.1, frozen=["steps", "zero"])
    new, _, _ = sweep(tx, params, lambda p: value_on(X, Y)(p) + 0.0 * p["zero"])
    assert new["steps"] == 7 and new["steps"].dtype == jnp.int32
    assert np.signbit(new["zero"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_updates": 0}, "at least 1"),
        ({"keep": "first"}, "choose 'last' or 'best'"),
        ({"keep": "best", "num_updates": 1}, "nothing ever moves"),
        ({"order": "random"}, "no random order"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        dante(0.1, **settings)


def test_wrong_calls_are_named(key):
    params, value_fn = init_params(key), value_on(X, Y)
    tx = dante(0.1)
    with pytest.raises(ValueError, match="without params or value_fn"):
        tx.update(params, tx.init(params), params)
    with pytest.raises(ValueError, match=r"3 functions for 2 blocks .* or 10"):
        tx.update(params, tx.init(params), params, value_fn=(value_fn,) * 3)
