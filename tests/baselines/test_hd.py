"""SGD-HD, SGDN-HD and Adam-HD: their directions, and what they are without HD."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samt_jax.baselines import adam_hd, sgd_hd, sgdn_hd


def random_grads(num_steps, dtype, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 2), "b": (2,), "c": ()}
    return [
        {k: jnp.asarray(rng.normal(size=s), dtype) for k, s in shapes.items()}
        for _ in range(num_steps)
    ]


def nesterov_sgd():
    # A compiler may round a rate that it knows with what it multiplies; ours is state.
    static = ("momentum", "nesterov")
    make = optax.inject_hyperparams(optax.sgd, static_args=static)
    return make(0.1, momentum=0.7, nesterov=True)


def feed(tx, grads, jit=False):
    params = jax.tree.map(jnp.ones_like, grads[0])
    state, updates, rates = tx.init(params), [], []
    update_fn = jax.jit(tx.update) if jit else tx.update
    for grad in grads:
        update, state = update_fn(grad, state, params)
        updates.append(update)
        if hasattr(state, "learning_rate"):
            rates.append(float(state.learning_rate))
        params = optax.apply_updates(params, update)
    return updates, rates


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("with_hd", "without"),
    [
        (sgd_hd(0.1, 0.0), optax.sgd(0.1)),
        (sgd_hd(0.1, 0.0, rule="multiplicative"), optax.sgd(0.1)),
        (sgdn_hd(0.1, 0.0, 0.7), nesterov_sgd()),
        (sgdn_hd(0.1, 0.0, 0.7, nesterov=False), optax.sgd(0.1, momentum=0.7)),
        (adam_hd(0.01, 0.0), optax.adam(0.01)),
        (adam_hd(0.01, 0.0, tensor_by_tensor=True), optax.adam(0.01)),
    ],
    ids=["sgd", "sgd-multiplicative", "nesterov", "heavy-ball", "adam", "by-tensor"],
)
def test_zero_hyper_learning_rate_is_optax_to_the_bit(with_hd, without, dtype, jit):
    grads = random_grads(5, dtype)
    ours, _ = feed(with_hd, grads, jit)
    theirs, _ = feed(without, grads, jit)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_first_three_updates_of_nesterov_hd_by_hand():
    # α_0 = 1/2, κ = 1/4, μ = 1/2, gradients 2, 1, -1.
    # 1: v = 2, d = 2 + 2/2 = 3; α = 1/2, update -3/2.
    # 2: α = 1/2 + 1/4 · 1 · 3 = 5/4; v = 2/2 + 1 = 2, d = 1 + 2/2 = 2; update -5/2.
    # 3: α = 5/4 + 1/4 · (-1) · 2 = 3/4; v = 2/2 - 1 = 0, d = -1; update 3/4.
    updates, rates = feed(sgdn_hd(0.5, 0.25, 0.5), list(jnp.array([2.0, 1.0, -1.0])))
    assert (updates, rates) == ([-1.5, -2.5, 0.75], [0.5, 1.25, 0.75])


def test_first_three_updates_of_heavy_ball_hd_by_hand():
    # As above with d = v. 1: v = 2, update -1. 2: α = 1/2 + 1/4 · 1 · 2 = 1; v = 2,
    # update -2. 3: α = 1 + 1/4 · (-1) · 2 = 1/2; v = 2/2 - 1 = 0, update 0.
    tx = sgdn_hd(0.5, 0.25, 0.5, nesterov=False)
    updates, rates = feed(tx, list(jnp.array([2.0, 1.0, -1.0])))
    assert (updates, rates) == ([-1.0, -2.0, 0.0], [0.5, 1.0, 0.5])


def test_first_three_updates_of_adam_hd_by_hand():
    # α_0 = 1/2, κ = 1/8, b1 = 1/2, b2 = 3/4, ε = 0, gradients 2, 4, -1.
    # 1: m = 1, v = 1; m̂ = 1 / (1/2) = 2, v̂ = 1 / (1/4) = 4, d = 2/2 = 1; update -1/2.
    # 2: α = 1/2 + 1/8 · 4 · 1 = 1; m = 1/2 + 2 = 5/2, v = 3/4 + 4 = 19/4;
    #    m̂ = (5/2) / (3/4) = 10/3, v̂ = (19/4) / (7/16) = 76/7; d = 1.0116283.
    # 3: α = 1 - 1/8 · 1.0116283 = 0.8735465; m = 5/4 - 1/2 = 3/4,
    #    v = 57/16 + 1/4 = 61/16; m̂ = (3/4) / (7/8) = 6/7,
    #    v̂ = (61/16) / (37/64) = 244/37, d = 0.3337791; update -0.2915716.
    tx = adam_hd(0.5, 0.125, b1=0.5, b2=0.75, eps=0.0)
    updates, rates = feed(tx, list(jnp.array([2.0, 4.0, -1.0])))
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.8735465], rtol=1e-6)
    np.testing.assert_allclose(updates, [-0.5, -1.0116283, -0.2915716], rtol=1e-6)


def test_epsilon_stands_beside_the_corrected_root_or_the_uncorrected_one():
    # g = 2, b1 = 1/2, b2 = 3/4, ε = 1: m = 1, v = 1.
    # The text: m̂ / (√v̂ + ε) = 2/(2 + 1).
    # The code: √(1 - b2) / (1 - b1) · m / (√v + ε) = (1/2) / (1/2) · 1/(1 + 1) = 1/2.
    for fold_epsilon, direction in [(False, 2 / 3), (True, 1 / 2)]:
        tx = adam_hd(1.0, 0.0, 0.5, 0.75, 1.0, fold_epsilon=fold_epsilon)
        updates, _ = feed(tx, [jnp.float32(2.0)])
        np.testing.assert_allclose(updates[0], -direction, rtol=1e-6)


def test_adam_hd_as_in_the_authors_code(x64):
    grads = random_grads(6, jnp.float64)
    tx = adam_hd(
        1e-2, 1e-3, eps=0.1, weight_decay=0.1, tensor_by_tensor=True, fold_epsilon=True
    )
    updates, rates = feed(tx, grads)
    expected, expected_rates = loop_of_the_authors(grads, 1e-2, 1e-3, 0.1, 0.1)
    np.testing.assert_allclose(rates, expected_rates, rtol=1e-12)
    for ours, theirs in zip(updates, expected, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), ours, theirs
        )


def loop_of_the_authors(all_grads, rate, kappa, eps, weight_decay, b1=0.9, b2=0.999):
    """Their loop over tensors, from the specification, in NumPy."""
    params = {k: np.ones(g.shape) for k, g in all_grads[0].items()}
    m = {k: np.zeros(g.shape) for k, g in all_grads[0].items()}
    v = {k: np.zeros(g.shape) for k, g in all_grads[0].items()}
    updates, rates = [], []
    for t, grads in enumerate(all_grads, start=1):
        updates.append({})
        for k in sorted(params):
            g = np.asarray(grads[k]) + weight_decay * params[k]
            if t > 1:
                fold = np.sqrt(1 - b2 ** (t - 1)) / (1 - b1 ** (t - 1))
                rate += kappa * fold * np.sum(g * m[k] / (np.sqrt(v[k]) + eps))
            m[k] = b1 * m[k] + (1 - b1) * g
            v[k] = b2 * v[k] + (1 - b2) * g**2
            fold = np.sqrt(1 - b2**t) / (1 - b1**t)
            updates[-1][k] = -rate * fold * m[k] / (np.sqrt(v[k]) + eps)
            params[k] = params[k] + updates[-1][k]
        rates.append(rate)
    return updates, rates
