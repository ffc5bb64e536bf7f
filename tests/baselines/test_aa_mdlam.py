"""AA-mDLAM: mDLAM where it keeps nothing, and never worse than it may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax.baselines import SOFTMAX, aa_mdlam, mdlam

FIXED = {"tolerance": 0.1, "min_tolerance": 0.1, "penalty": 0.1}
NUM_STEPS = 40


def train(algorithm_of, num_steps=NUM_STEPS, **settings):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    return run(algorithm_of(net, **settings), params, two_moons(20), num_steps)


def test_without_memory_it_is_mdlam_without_acceleration(x64):
    settings = {"penalty": 0.1, "tolerance": 1.0}
    params, state, _ = train(aa_mdlam, memory=0, **settings)
    plain, plain_state, _ = train(mdlam, accelerate=False, **settings)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10),
        (params, state.mdlam),
        (plain, plain_state),
    )


@pytest.mark.parametrize("accelerated", ["weights", "all"])
def test_objective_never_rises_and_ends_no_higher_than_without(accelerated, x64):
    _, _, infos = train(aa_mdlam, accelerated=accelerated, **FIXED)
    values = infos.detail.objective
    assert np.all(np.diff(values) <= 1e-12)
    # Not by refusing all that is proposed.
    assert np.mean(infos.detail.is_accepted) > 0.3
    _, _, plain = train(mdlam, accelerate=False, **FIXED)
    assert values[-1] < plain.detail.objective[-1]


def test_a_proposal_that_is_not_finite_is_refused_and_the_history_cleared(x64):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    batches, key = two_moons(20), jax.random.key(0)
    algorithm, plain = aa_mdlam(net, **FIXED), mdlam(net, accelerate=False, **FIXED)
    state = algorithm.init(params, batches, key)
    step = jax.jit(algorithm.step)
    for _ in range(3):
        params, state, _ = step(params, state, batches, key)
    assert state.history.count == 3
    images = jnp.full_like(state.history.image_changes, jnp.nan)
    broken = state._replace(history=state.history._replace(image_changes=images))
    refused, after, info = step(params, broken, batches, key)
    assert info.detail.is_accepted == 0
    assert after.history.count == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    expected, _, _ = plain.step(params, state.mdlam, batches, key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), refused, expected
    )


def test_nothing_is_kept_while_the_tolerance_shrinks():
    _, state, infos = train(aa_mdlam, 3, tolerance=100.0)
    assert state.history.count == 0
    assert np.all(infos.detail.is_accepted == 0)


@pytest.mark.parametrize("accept_below", ["last", "image"])
def test_a_point_that_is_taken_is_as_good_as_its_safeguard_says(accept_below, x64):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    batches, key = two_moons(20), jax.random.key(0)
    algorithm = aa_mdlam(net, accept_below=accept_below, **FIXED)
    step, plain = jax.jit(algorithm.step), mdlam(net, accelerate=False, **FIXED)
    step_of_plain = jax.jit(plain.step)
    state = algorithm.init(params, batches, key)
    excess = []
    for _ in range(NUM_STEPS):
        *_, image = step_of_plain(params, state.mdlam, batches, key)
        params, state, info = step(params, state, batches, key)
        if info.detail.is_accepted:
            excess.append(info.detail.objective - image.detail.objective)
    assert len(excess) > 5
    # The two differ: by the first, points are taken that are worse than the image.
    assert (max(excess) <= 1e-12) == (accept_below == "image")


@pytest.mark.parametrize(("settings", "message"), [
    ({"memory": -1}, "memory is -1; it must be a whole number, 0 or more"),
    ({"memory": 1.5}, "memory is 1.5; it must be a whole number"),
    ({"accept_below": "none"}, "accept_below is 'none'; .* 'last', 'image'"),
    ({"accelerated": "biases"}, "must be one of 'weights', 'all'"),
])  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        aa_mdlam(network((2, 2), SOFTMAX, 0.0)[0], **settings)
