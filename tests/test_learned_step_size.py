"""Learned step sizes in one pass, held to what they must be equal to."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    LIGHT,
    assert_close,
    assert_same_bits,
    init_mlp,
    mlp_loss,
    regression_batch,
)

from samt_jax import samt_sweep, scale_by_learned_step_size, trained_meta_params
from samt_jax.baselines import adam_hd, sgd_hd
from samt_jax.meta import CAUSES

WIDTHS = (3, 4, 2)
ONE_BLOCK = {"all": ["layer_0", "layer_1"]}
BATCHES = [regression_batch(jax.random.key(i), 6, 3, 2) for i in range(12)]


@pytest.fixture
def params(key):
    return init_mlp(key, WIDTHS)


def descend(tx, params, batches=BATCHES[:-1], spoil=None):
    """Parameters and state after a step on each batch; one gradient may be spoilt."""
    step = jax.jit(lambda grads, state, params: tx.update(grads, state, params))
    gradient = jax.jit(jax.grad(mlp_loss))
    state = tx.init(params)
    for index, batch in enumerate(batches):
        grads = gradient(params, batch)
        if index == spoil:
            grads["layer_1"]["kernel"] *= jnp.nan
        updates, state = step(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def sweep(params, **settings):
    """The exact method in one block, its meta-batch the next training batch."""
    tx = samt_sweep(**LIGHT | settings, blocks=ONE_BLOCK)

    @jax.jit
    def step(params, state, batch, next_batch):
        updates, state = tx.update(
            params, state, params,
            value_fn=lambda p: mlp_loss(p, batch),
            meta_value_fn=lambda p: mlp_loss(p, next_batch),
        )  # fmt: skip
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for batch, next_batch in itertools.pairwise(BATCHES):
        params, state = step(params, state, batch, next_batch)
    return params, state


@pytest.mark.parametrize("granularity", ["scalar", "row", "column", "element"])
@pytest.mark.parametrize("direction", ["gradient", "momentum", "adam"])
def test_in_one_block_it_is_samt_on_the_next_batch(params, granularity, direction):
    settings = {
        "granularity": granularity,
        "direction": direction,
        "learning_rate": 0.05,
        "meta_optimizer": optax.adam(1e-2),
        "schedule": optax.cosine_decay_schedule(1.0, 20),
    }
    exact, swept = sweep(params, **settings)
    tx = scale_by_learned_step_size(**LIGHT | settings, blocks=ONE_BLOCK)
    found, state = descend(tx, params)
    assert_close(found, exact, rtol=1e-4)
    taken = state.info["all"].step_size
    np.testing.assert_allclose(taken, swept.info["all"].step_size, rtol=1e-4)
    _, first = descend(tx, params, BATCHES[:1])
    assert not jnp.allclose(taken, first.info["all"].step_size)


class OneNumber(nn.Module):
    """An eta model that reads nothing: its proposal is a free number."""

    num_steps: int

    @nn.compact
    def __call__(self, features):
        del features
        rate = self.param("rate", nn.initializers.constant(0.02), (self.num_steps,))
        return jnp.zeros_like(rate), rate


@pytest.mark.parametrize(
    ("direction", "rival"),
    [("gradient", sgd_hd(0.02, 1e-3)), ("adam", adam_hd(0.02, 1e-3))],
)
def test_with_a_free_number_it_is_hypergradient_descent(params, direction, rival):
    tx = scale_by_learned_step_size(
        blocks=ONE_BLOCK, eta_model=OneNumber, squash=lambda raw: raw,
        mixing_weight=0.0, proposal_max=1.0, direction=direction,
        meta_optimizer=optax.sgd(1e-3),
    )  # fmt: skip
    found, state = descend(tx, params)
    exact, hd = descend(rival, params)
    assert_close(found, exact, rtol=1e-4)
    taken = state.info["all"].step_size
    np.testing.assert_allclose(taken, hd.learning_rate, rtol=1e-5)
    assert not np.isclose(hd.learning_rate, 0.02)


def test_two_blocks_by_hand_move_along_the_gradient_that_came_in():
    # Loss (a b - 1)² / 2 at a = 2, b = 1 with steps of 0.25: the gradients are
    # (a b - 1) b = 1 and (a b - 1) a = 2, both at the start.
    params = {"a": {"w": jnp.float32(2.0)}, "b": {"w": jnp.float32(1.0)}}
    grads = jax.grad(lambda p: (p["a"]["w"] * p["b"]["w"] - 1) ** 2 / 2)(params)
    tx = scale_by_learned_step_size(0.25, mixing_weight=1.0, direction="gradient")
    updates, _ = tx.update(grads, tx.init(params))
    assert (float(updates["a"]["w"]), float(updates["b"]["w"])) == (-0.25, -0.5)


def test_a_gradient_along_the_last_step_lengthens_the_next_and_against_it_shortens():
    params = {"w": jnp.ones(3)}
    grads = {"w": jnp.array([1.0, -2.0, 0.5])}
    tx = scale_by_learned_step_size(
        0.1, direction="gradient", meta_optimizer=optax.sgd(0.1)
    )
    _, start = tx.update(grads, tx.init(params))
    usual = start.info["w"].step_size
    for sign in (1.0, -1.0):
        _, state = tx.update(optax.tree.scale(sign, grads), start)
        assert sign * (state.info["w"].step_size - usual) > 0


def test_nothing_is_learned_before_there_was_a_step(params):
    tx = scale_by_learned_step_size(**LIGHT)
    before = tx.init(params)
    _, after = descend(tx, params, BATCHES[:1])
    assert_same_bits(after.meta, before.meta)


def test_a_block_that_is_not_finite_stays_as_it_is_and_the_others_move(params):
    tx = scale_by_learned_step_size(**LIGHT)
    before, last = descend(tx, params, BATCHES[:4])
    after, state = descend(tx, params, BATCHES[:5], spoil=4)
    assert_same_bits(after["layer_1"], before["layer_1"])
    for field in ("meta", "direction"):
        kept, was = getattr(state, field), getattr(last, field)
        assert_same_bits(kept["layer_1"], was["layer_1"])
    assert not jnp.array_equal(after["layer_0"]["kernel"], before["layer_0"]["kernel"])
    counted = dict(zip(CAUSES, state.skipped["layer_1"].tolist(), strict=True))
    assert counted.pop("gradient") == 1 and not any(counted.values())
    assert not state.skipped["layer_0"].any()
    assert float(state.info["layer_1"].step_size) == 0


def test_after_a_skipped_step_it_goes_on_and_learns_nothing_of_that_one(params):
    tx = scale_by_learned_step_size(**LIGHT)
    _, skipped = descend(tx, params, BATCHES[:5], spoil=4)
    _, after = descend(tx, params, BATCHES[:6], spoil=4)
    _, later = descend(tx, params, BATCHES[:7], spoil=4)
    meta = [state.meta["layer_1"] for state in (skipped, after, later)]
    assert_same_bits(meta[1], meta[0])
    pairs = zip(jax.tree.leaves(meta[2]), jax.tree.leaves(meta[1]), strict=True)
    assert not all(jnp.array_equal(*pair) for pair in pairs)
    assert float(after.info["layer_1"].step_size) > 0


class Infinite(nn.Module):
    """An eta model whose outputs are not finite."""

    num_steps: int

    @nn.compact
    def __call__(self, features):
        weight = self.param("weight", nn.initializers.ones, (self.num_steps,))
        return weight / 0.0, weight + 0.0 * features[0]


def spoil(direction=jnp.nan):
    """A transformation whose updates are all the same bad number."""
    return optax.stateless(
        lambda updates, params: jax.tree.map(
            lambda leaf: jnp.full_like(leaf, direction), updates
        )
    )


@pytest.mark.parametrize(
    ("cause", "settings", "value"),
    [
        ("loss", {}, jnp.nan),
        ("meta_gradient", {}, 0.0),
        ("meta_update", {"meta_optimizer": spoil()}, 0.0),
        ("eta_output", {"eta_model": Infinite}, 0.0),
        ("candidate", {"direction": spoil(jnp.inf)}, 0.0),
    ],
)
def test_whatever_is_not_finite_has_the_step_skipped(cause, settings, value):
    tx = scale_by_learned_step_size(**LIGHT | settings)
    params, state = {"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)})
    # The product of two gradients is beyond the largest number, and neither of them is.
    grads = {"w": jnp.full(3, 1e25 if cause == "meta_gradient" else 1.0)}
    if cause.startswith("meta"):  # A verdict comes with the second gradient.
        _, state = tx.update(grads, state, params, value=value)
        assert not state.skipped["w"].any()
    before = state
    updates, state = tx.update(grads, before, params, value=value)
    counted = dict(zip(CAUSES, state.skipped["w"].tolist(), strict=True))
    assert counted.pop(cause) == 1 and not any(counted.values())
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates))
    assert_same_bits((state.meta, state.direction), (before.meta, before.direction))


def test_a_candidate_beyond_the_range_is_not_taken():
    params = {"w": jnp.full(3, 6e4, jnp.float16)}
    tx = scale_by_learned_step_size(1.0, mixing_weight=1.0, direction="gradient")
    updates, state = tx.update(optax.tree.scale(-1, params), tx.init(params), params)
    assert not updates["w"].any()
    assert state.skipped["w"][CAUSES.index("candidate")] == 1


def test_a_meta_optimizer_that_cannot_take_zeros_has_none_to_take(params):
    divide = optax.stateless(
        lambda updates, params: jax.tree.map(lambda g: -1e-3 * g / jnp.abs(g), updates)
    )
    tx = scale_by_learned_step_size(0.1, meta_optimizer=divide, eta_model=OneNumber)
    _, state = descend(tx, params)
    assert not any(counts.any() for counts in state.skipped.values())
    assert all(info.step_size > 0 for info in state.info.values())


def test_the_loss_is_taken_note_of():
    params = {"w": jnp.ones(3)}
    tx = scale_by_learned_step_size()
    _, state = tx.update(params, tx.init(params), value=2.5)
    assert state.info["w"].value == 2.5 and jnp.isnan(state.info["w"].meta_value)


def test_frozen_leaves_do_not_move(params):
    tx = scale_by_learned_step_size(**LIGHT, frozen="layer_0")
    found, _ = descend(tx, params)
    assert_same_bits(found["layer_0"], params["layer_0"])
    assert not jnp.array_equal(found["layer_1"]["bias"], params["layer_1"]["bias"])


def test_one_eta_model_may_serve_all_blocks(params):
    settings = LIGHT | {"meta_optimizer": optax.adam(1e-2)}
    tx = scale_by_learned_step_size(**settings, shared_eta_model=True)
    _, after = descend(tx, params)
    assert list(after.meta) == ["shared"]
    # One verdict a block and step, and none at the first.
    counts = optax.tree.get_all_with_path(after.meta, "count")
    assert [int(count) for _, count in counts] == [2 * (len(BATCHES) - 2)]


def test_what_it_has_learned_serves_samt_and_the_other_way(params):
    tx = scale_by_learned_step_size(**LIGHT)
    _, state = descend(tx, params)
    learned = trained_meta_params(state)
    assert_same_bits(
        trained_meta_params(samt_sweep(**LIGHT, meta_params=learned).init(params)),
        learned,
    )


def test_a_schedule_counts_updates(params):
    tx = scale_by_learned_step_size(
        **LIGHT, mixing_weight=1.0, schedule=lambda count: 1 / (1 + count)
    )
    sizes = []
    for n in range(1, 4):
        _, state = descend(tx, params, BATCHES[:n])
        sizes.append(float(state.info["layer_0"].step_size))
    np.testing.assert_allclose(np.divide(sizes[0], sizes), [1, 2, 3], rtol=1e-6)


@pytest.mark.parametrize("setting", ["order", "inner_steps", "ball_radius"])
def test_settings_of_blocks_in_turn_are_refused(setting):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{setting}'"):
        scale_by_learned_step_size(**{setting: 1})


def test_a_setting_out_of_its_range_is_refused():
    with pytest.raises(ValueError, match="squash is 'relu'; it must be one of 'tanh'"):
        scale_by_learned_step_size(squash="relu")
