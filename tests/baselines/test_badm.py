"""BADM: updates against their sub-problems' minimisers, identities, convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from samt_jax import Batches
from samt_jax.baselines import badm

KEY = jax.random.key(0)


def quadratic(w, batch):
    """``Σ curvature (w - centre)² / 2``, a mean over the examples."""
    curvature, centre = batch
    return jnp.mean(jnp.sum(curvature * (w[None] - centre) ** 2, axis=1)) / 2


def examples(rng, count, size=3):
    return jnp.array(rng.uniform(0.5, 2, (count, size))), jnp.array(
        rng.normal(size=(count, size))
    )


def run(algorithm, w, batches, num_steps=1, multipliers=None):
    """The first or a given state; the values before and after the last step."""
    state = algorithm.init(w, batches[0], KEY)
    if multipliers is not None:
        state = state._replace(multipliers=multipliers)
    step = jax.jit(algorithm.step)
    for i in range(num_steps):
        before = w, state.multipliers
        w, state, info = step(w, state, batches[i % len(batches)], KEY)
    return before, (w, state.multipliers), info


def parts_of(batch, sizes):
    stops = np.cumsum(sizes)
    starts = stops - sizes
    return [
        jax.tree.map(lambda x, a=a, b=b: x[a:b], batch)
        for a, b in zip(starts, stops, strict=True)
    ]


def test_every_update_minimises_its_part_of_the_augmented_lagrangian(x64, rng):
    sigma, rho, sizes = 1.7, 0.6, np.array([4, 3, 3])
    shares = sizes / sizes.sum()
    batch = examples(rng, 10)
    w, pi = jnp.array(rng.normal(size=3)), jnp.array(rng.normal(size=(3, 3)))
    algorithm = badm(quadratic, penalty=sigma, proximal_weight=rho, num_parts=3)
    _, (w_next, pi_next), info = run(algorithm, w, [Batches(batch)], multipliers=pi)

    def argmin(function):
        return scipy.optimize.minimize(function, np.zeros(3), tol=1e-12).x

    local = []
    for s, part in enumerate(parts_of(batch, sizes)):
        value, grad = jax.value_and_grad(quadratic)(w, part)
        np.testing.assert_allclose(info.detail.values[s], value)
        grad, centre, dual = map(np.asarray, (grad, w, pi[s]))
        local.append(
            argmin(
                lambda v, g=grad, c=centre, d=dual: (
                    (g + d) @ (v - c) + (sigma + rho) / 2 * np.sum((v - c) ** 2)
                )
            )
        )
        np.testing.assert_allclose(
            pi_next[s], dual + sigma * (local[s] - centre), atol=1e-6
        )
        np.testing.assert_allclose(
            info.detail.residuals[s], np.linalg.norm(local[s] - centre), atol=1e-6
        )
    duals = np.asarray(pi_next)
    consensus = argmin(
        lambda v: sum(
            a * (-d @ v + sigma / 2 * np.sum((u - v) ** 2))
            for a, d, u in zip(shares, duals, local, strict=True)
        )
    )
    np.testing.assert_allclose(w_next, consensus, atol=1e-6)
    np.testing.assert_allclose(
        info.detail.multiplier_sum, np.linalg.norm(shares @ duals)
    )


def test_one_part_without_proximal_term_by_hand():
    # F = w² at w = 3, π = 1, σ = 2: ∇F = 6, w_1 = 3 - 7/2 = -0.5, π = 1 - 2 (3.5) = -6
    # = -∇F, and the next w = w_1 + π/σ = -0.5 - 3 = -3.5.
    algorithm = badm(
        lambda w, batch: jnp.mean(batch) * w**2,
        penalty=2.0, proximal_weight=0.0, num_parts=1,
    )  # fmt: skip
    _, (w, pi), info = run(
        algorithm, jnp.float32(3.0), [Batches(jnp.ones(4))], multipliers=jnp.ones(1)
    )
    assert (float(w), float(pi[0]), float(info.value)) == (-3.5, -6.0, 9.0)


def test_minus_the_multiplier_is_an_average_of_gradients(x64, rng):
    sigma, rho = 0.8, 2.4
    batch, w = examples(rng, 8), jnp.array(rng.normal(size=3))
    pi = jnp.array(rng.normal(size=(2, 3)))
    algorithm = badm(quadratic, penalty=sigma, proximal_weight=rho, num_parts=2)
    _, (_, pi_next), _ = run(algorithm, w, [Batches(batch)], multipliers=pi)
    grads = jnp.stack(
        [jax.grad(quadratic)(w, part) for part in parts_of(batch, [4, 4])]
    )
    np.testing.assert_allclose(pi_next, (rho * pi - sigma * grads) / (rho + sigma))


def test_reaches_the_minimum_where_the_multipliers_cancel(x64, rng):
    batch = examples(rng, 9)
    curvature, centre = (np.asarray(x) for x in batch)
    minimum = (curvature * centre).sum(0) / curvature.sum(0)
    algorithm = badm(quadratic, penalty=5.0, proximal_weight=1.0, num_parts=4)
    _, (w, pi), info = run(algorithm, jnp.zeros(3), [Batches(batch)], num_steps=300)
    np.testing.assert_allclose(w, minimum, atol=1e-9)
    assert info.detail.multiplier_sum < 1e-9
    # The parts disagree: each has a force of its own.
    assert np.abs(pi).max() > 0.1


def test_equal_parts_have_equal_multipliers(rng):
    half = examples(rng, 5)
    batch = jax.tree.map(lambda x: jnp.concatenate([x, x]), half)
    algorithm = badm(quadratic, penalty=3.0, proximal_weight=1.0, num_parts=2)
    _, (_, pi), info = run(algorithm, jnp.zeros(3), [Batches(batch)], num_steps=5)
    np.testing.assert_allclose(pi[0], pi[1], rtol=1e-6)
    np.testing.assert_allclose(*info.detail.residuals, rtol=1e-5)


def test_equal_weights_of_penalty_and_proximal_term_are_gradient_descent(x64, rng):
    batch, w = examples(rng, 6), jnp.array(rng.normal(size=3))
    algorithm = badm(quadratic, penalty=4.0, proximal_weight=4.0, num_parts=3)
    (w, _), (w_next, _), _ = run(algorithm, w, [Batches(batch)], num_steps=3)
    np.testing.assert_allclose(w_next, w - jax.grad(quadratic)(w, batch) / 4)


def test_multipliers_go_on_from_batch_to_batch(x64, rng):
    first, second = (Batches(examples(rng, 4)) for _ in range(2))
    algorithm = badm(quadratic, penalty=3.0, proximal_weight=9.0, num_parts=1)
    _, (w, pi), _ = run(algorithm, jnp.ones(3), [first])
    onward = run(algorithm, w, [second], multipliers=pi)[1]
    afresh = run(algorithm, w, [second])[1]
    together = run(algorithm, jnp.ones(3), [first, second], num_steps=2)[1]
    np.testing.assert_allclose(together[0], onward[0])
    # What a multiplier adds to a step: π (ρ/σ - 1) / (ρ + σ) = π (3 - 1) / 12.
    np.testing.assert_allclose(onward[0] - afresh[0], pi[0] / 6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"penalty": 0.0}, "penalty is 0.0; it must be positive"),
        ({"proximal_weight": -1.0}, "proximal_weight is -1.0"),
        ({"num_parts": 0}, "num_parts is 0"),
        ({"num_parts": 2.0}, "a whole number of parts"),
    ],
)
def test_refuses_what_it_cannot_do(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        badm(quadratic, **settings)


def test_refuses_a_batch_of_fewer_examples_than_parts(rng):
    with pytest.raises(ValueError, match="3 examples for 4 parts"):
        run(badm(quadratic, num_parts=4), jnp.ones(3), [Batches(examples(rng, 3))])
