"""The tower: its vector-Jacobian products, its order, and its plainest cases."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samt_jax.baselines import (
    Level,
    adagrad_level,
    adam_level,
    rmsprop_level,
    sgd_hd,
    sgd_level,
    ultimate,
)
from samt_jax.baselines.levels import start_of, values_of

NO_OP = Level(optax.set_to_zero, {})
START = {"w": jnp.array([0.5, -1.0, 2.0], jnp.float32), "b": jnp.float32(0.3)}


def value_fn(p):
    return jnp.sum(jnp.cos(p["w"]) * p["b"]) + p["b"] ** 4 + jnp.sum(p["w"] ** 2)


def descend(tx, num_steps, start=START, loss=value_fn):
    """The parameters and states before each step and after the last."""
    params, state = start, tx.init(start)
    history = [(params, state)]
    for _ in range(num_steps):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        history.append((params, state))
    return history


def assert_same_params(history, other, rtol):
    for (ours, _), (theirs, _) in zip(history, other, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol),
            ours,
            theirs,
        )


def feed(tx, grads):
    params = jnp.zeros_like(grads[0])
    state, updates, numbers = tx.init(params), [], []
    for grad in grads:
        update, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, update)
        updates.append(float(update))
        numbers.append([float(h["learning_rate"]) for h in state.info.hyperparams])
    return updates, numbers, state


def test_tower_of_height_one_is_hypergradient_descent(x64):
    start = optax.tree.cast(START, jnp.float64)
    tower = descend(ultimate([sgd_level(0.05), sgd_level(0.01)]), 8, start)
    hd = descend(sgd_hd(0.05, 0.01), 8, start)
    assert_same_params(tower, hd, rtol=1e-12)
    (_, ours), (_, theirs) = tower[-1], hd[-1]
    np.testing.assert_allclose(
        ours.info.hypergradients[0]["learning_rate"],
        theirs.info.hypergradient,
        rtol=1e-12,
    )
    assert abs(theirs.learning_rate - 0.05) > 0.01


def test_two_levels_above_sgd_by_hand():
    # α = 1/2, κ = 1/4, κ2 = 1/8, gradients 2, 1, 3.
    # 1: no update to differentiate: h = 0; update -1/2 · 2 = -1.
    # 2: h = -1 · 2 = -2, h_prev = 0: κ stays 1/4; α = 1/2 + 1/4 · 2 = 1; update -1.
    # 3: h = -3 · 1 = -3, h_prev = -2: κ = 1/4 + 1/8 · (-3)(-2) = 1;
    #    α = 1 + 1 · 3 = 4; update -4 · 3 = -12.
    tx = ultimate([sgd_level(0.5), sgd_level(0.25), sgd_level(0.125)])
    updates, numbers, state = feed(tx, list(jnp.array([2.0, 1.0, 3.0])))
    assert updates == [-1.0, -1.0, -12.0]
    assert numbers == [[0.5, 0.25, 0.125], [1.0, 0.25, 0.125], [4.0, 1.0, 0.125]]
    assert [float(h["learning_rate"]) for h in state.info.hypergradients] == [
        -3.0,
        -6.0,
    ]


@pytest.mark.parametrize(
    ("level", "base"),
    [
        (sgd_level(0.05), optax.sgd(0.05)),
        (sgd_level(0.05, 0.9), optax.sgd(0.05, 0.9)),
        (sgd_level(0.05, 0.9, per_tensor=True), optax.sgd(0.05, 0.9)),
        (adam_level(0.05, initial_second_moment=0.0), optax.adam(0.05)),
        (rmsprop_level(0.05, 0.9), optax.rmsprop(0.05, 0.9)),
        (adagrad_level(0.05), optax.adagrad(0.05)),
    ],
    ids=["sgd", "momentum", "per-tensor", "adam", "rmsprop", "adagrad"],
)
def test_no_level_or_an_idle_one_above_is_the_plain_optimizer(level, base, x64):
    start = optax.tree.cast(START, jnp.float64)
    plain = descend(base, 4, start)
    assert_same_params(descend(ultimate([level]), 4, start), plain, rtol=1e-10)
    assert_same_params(descend(ultimate([level, NO_OP]), 4, start), plain, rtol=1e-10)


def test_idle_level_above_sgd_is_sgd_to_the_bit():
    plain = descend(optax.sgd(0.05), 4)
    for tower in ([sgd_level(0.05)], [sgd_level(0.05), NO_OP]):
        for (ours, _), (theirs, _) in zip(
            descend(ultimate(tower), 4), plain, strict=True
        ):
            jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    "level",
    [
        sgd_level(0.05, 0.8),
        sgd_level(0.05, 0.8, per_tensor=True),
        adam_level(0.05),
        adam_level(0.05, initial_second_moment=0.0, learn_decays=False),
        rmsprop_level(0.05),
        adagrad_level(0.05),
    ],
    ids=["momentum", "per-tensor", "adam", "adam-alpha", "rmsprop", "adagrad"],
)
def test_hypergradients_are_finite_differences_of_the_last_update(level, x64):
    start = optax.tree.cast(START, jnp.float64)
    # The hypergradient at step 3 is the derivative of the loss after step 2.
    history = descend(ultimate([level, NO_OP]), 3, start)
    (before, state), (_, last) = history[1], history[3]
    grads, numbers = jax.grad(value_fn)(before), start_of(level, start)

    def loss_after_update(numbers):
        optimizer = level.factory(**values_of(level, numbers))
        updates, _ = optimizer.update(grads, state.levels[0].opt_state, before)
        return value_fn(optax.apply_updates(before, updates))

    leaves, structure = jax.tree.flatten(numbers)
    found = jax.tree.leaves(last.info.hypergradients[0])
    for i, hypergradient in enumerate(found):
        up, down = (
            loss_after_update(
                structure.unflatten([*leaves[:i], leaves[i] + step, *leaves[i + 1 :]])
            )
            for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(hypergradient, (up - down) / 2e-5, rtol=1e-5)
        assert abs(hypergradient) > 1e-6


def test_rates_per_tensor_are_a_tower_for_each_tensor():
    tx = ultimate([sgd_level(0.05, per_tensor=True), sgd_level(0.01)])
    together = descend(tx, 4, loss=lambda p: jnp.sum(p["w"] ** 2) + p["b"] ** 4)
    alone = descend(sgd_hd(0.05, 0.01), 4, START["w"], lambda w: jnp.sum(w**2))
    rates = together[-1][1].info.hyperparams[0]["learning_rate"]
    np.testing.assert_allclose(together[-1][0]["w"], alone[-1][0], rtol=1e-6)
    np.testing.assert_allclose(rates["w"], alone[-1][1].learning_rate, rtol=1e-6)
    assert rates["w"] != rates["b"]


def test_decays_stay_between_zero_and_one_however_far_they_are_pushed():
    tx = ultimate([adam_level(0.05, b1=0.5, b2=0.6), adam_level(2.0)])
    history = descend(tx, 8, loss=lambda p: jnp.sum(jnp.abs(p["w"])) + jnp.abs(p["b"]))
    decays = [
        [float(state.info.hyperparams[0][name]) for name in ("b1", "b2")]
        for _, state in history
    ]
    assert np.min(decays) >= 0 and np.max(decays) <= 1
    assert np.max(np.ptp(decays, axis=0)) > 0.3


def test_entries_without_gradient_give_no_nan():
    # A pixel that is always black: its second moment is 0, where √ has no derivative.
    tx = ultimate([adam_level(0.05, initial_second_moment=0.0), sgd_level(1e-3)])
    start = {"w": jnp.array([1.0, 0.0]), "b": jnp.float32(0.3)}
    params, state = descend(tx, 3, start, lambda p: p["w"][0] ** 2 + p["b"] ** 2)[-1]
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((params, state)))
    assert float(params["w"][1]) == 0.0


def test_top_level_keeps_its_hyperparameters():
    tx = ultimate([sgd_level(0.05), adam_level(0.01)])
    top = descend(tx, 4)[-1][1].info.hyperparams[1]
    np.testing.assert_allclose(list(top.values()), [0.01, 0.9, 0.999], rtol=1e-4)


def test_taller_towers_depend_less_on_where_they_start():
    # The paper's claim, on a quadratic: the spread of the loss over initial rates from
    # 1e-3 to 1e-1 shrinks from height 0 to height 2.
    def spread(*above):
        losses = []
        for rate in (1e-3, 1e-2, 1e-1):
            tx = ultimate([sgd_level(rate), *above])
            params, _ = descend(tx, 30, jnp.float32(1.0), lambda x: x**2)[-1]
            losses.append(float(params**2))
        return max(losses) - min(losses)

    plain, one = spread(), spread(sgd_level(0.01))
    two = spread(sgd_level(0.01), sgd_level(0.01))
    assert two < one < plain


@pytest.mark.parametrize(
    ("levels", "message"),
    [([], "at least one"), ([optax.sgd(0.1)], "a level is a `Level`")],
)
def test_wrong_towers_are_named(levels, message):
    with pytest.raises(ValueError, match=message):
        ultimate(levels)


def test_update_without_params_is_refused():
    tx = ultimate([sgd_level(0.1)])
    with pytest.raises(ValueError, match="params"):
        tx.update(START, tx.init(START))
