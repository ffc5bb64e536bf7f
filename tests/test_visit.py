"""The visit: its meta-gradient, and what it does with what is not finite."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    BAD,
    OneLayerEta,
    assert_close,
    assert_same_bits,
    init_mlp,
    mlp_loss,
    regression_batch,
    remember_only,
    spoil_gradient,
)

from samt_jax import (
    EtaMLP,
    block_updates,
    get_block,
    gradient_features,
    meta_value_and_grad,
    partition_blocks,
    replace_block,
    samt,
    samt_sweep,
    scaled_features,
    spread_step_sizes,
    step_layout,
    step_meta_params,
    step_sizes,
)
from samt_jax.meta import CAUSES

GRANULARITIES = {
    "scalar": {"granularity": "scalar"},
    "row": {"granularity": "row"},
    "column": {"granularity": "column"},
    "element-factored": {"granularity": "element"},
    "element-dense": {"granularity": "element", "element_head": "dense"},
}
granularities = pytest.mark.parametrize(
    "granularity", GRANULARITIES.values(), ids=GRANULARITIES.keys()
)
LEAVES = ("layer_0/kernel", "layer_0/bias")


class FreeOutputs(nn.Module):
    """An eta model whose raw outputs are its weights."""

    num_steps: int

    @nn.compact
    def __call__(self, features):
        start = nn.initializers.constant(0.3, features.dtype)
        return tuple(
            self.param(name, start, (self.num_steps,))
            for name in ("mixing_weight", "proposal")
        )


def small_net(key, dtype=jnp.float32):
    """Two layers, a training and a meta-batch closed over by the loss."""
    keys = jax.random.split(key, 3)
    params = init_mlp(keys[0], (3, 4, 2), dtype=dtype)
    batches = [regression_batch(k, 6, 3, 2, dtype) for k in keys[1:]]
    return params, *(functools.partial(mlp_loss, batch=batch) for batch in batches)


def first_visit(tx, params, value_fn, meta_value_fn, state):
    """The visit to `layer_0` that a first update of `samt` is."""
    grads = jax.grad(value_fn)(params)
    return tx.update(grads, state, params, meta_value_fn=meta_value_fn)


def visit_once(tx, params, value_fn, meta_value_fn):
    """The first visit from the start, compiled."""
    visit = functools.partial(first_visit, tx, params, value_fn, meta_value_fn)
    return jax.jit(visit)(tx.init(params))


# The meta-gradient.


@granularities
def test_meta_gradient_is_that_of_finite_differences(granularity, key, x64):
    params, value_fn, meta_value_fn = small_net(key, jnp.float64)
    eta_model = functools.partial(EtaMLP, width=5, param_dtype=jnp.float64)
    tx = samt(0.1, eta_model=eta_model, meta_optimizer=remember_only(), **granularity)
    state = tx.init(params)
    # Away from the start, where the last layer's zeros hide the others.
    keys = iter(jax.random.split(key, 100))
    meta = state.meta["layer_0"]
    meta_params = jax.tree.map(
        lambda w: 0.5 * jax.random.normal(next(keys), w.shape, w.dtype), meta.params
    )

    @jax.jit
    def visit(meta_params):
        """The meta-loss that the visit leads to, and what it took for its slope."""
        tuned = state.meta | {"layer_0": meta._replace(params=meta_params)}
        updates, after = first_visit(
            tx, params, value_fn, meta_value_fn, state._replace(meta=tuned)
        )
        moved = optax.apply_updates(params, updates)
        return meta_value_fn(moved), after.meta["layer_0"].opt_state

    slope = visit(meta_params)[1]
    leaves, structure = jax.tree.flatten(meta_params)
    for i, leaf in enumerate(leaves):
        along = jax.random.normal(next(keys), leaf.shape, leaf.dtype)

        def shifted(by, i=i, along=along):
            moved = [x + by * along if j == i else x for j, x in enumerate(leaves)]
            return visit(jax.tree.unflatten(structure, moved))[0]

        difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
        found = jnp.vdot(jax.tree.leaves(slope)[i], along)
        assert abs(found) > 1e-7
        np.testing.assert_allclose(found, difference, rtol=1e-6, atol=1e-10)


def reduced(product, granularity):
    """−g'⊙g of kernel and bias, summed over what each step size is broadcast along."""
    kernel, bias = (product[path] for path in LEAVES)
    return {
        "scalar": lambda: jnp.sum(kernel)[None] + jnp.sum(bias),
        # The bias of an output unit takes its row's step.
        "row": lambda: jnp.sum(kernel, axis=0) + bias,
        # All biases take the mean of the columns' steps.
        "column": lambda: jnp.sum(kernel, axis=1) + jnp.sum(bias) / kernel.shape[0],
        "element": lambda: jnp.concatenate([jnp.ravel(bias), jnp.ravel(kernel)]),
    }[granularity]()


@pytest.mark.parametrize("granularity", ["scalar", "row", "column", "element"])
def test_slope_of_the_meta_loss_is_minus_the_product_of_two_gradients(
    granularity, key, x64
):
    params, value_fn, meta_value_fn = small_net(key, jnp.float64)
    tx = samt(
        0.1, granularity=granularity, element_head="dense", eta_model=FreeOutputs,
        squash=lambda raw: raw, proposal_max=1.0, meta_optimizer=remember_only(),
    )  # fmt: skip
    updates, state = visit_once(tx, params, value_fn, meta_value_fn)
    moved = optax.apply_updates(params, updates)
    g, g_meta = jax.grad(value_fn)(params), jax.grad(meta_value_fn)(moved)
    product = {
        f"layer_0/{leaf}": -g["layer_0"][leaf] * g_meta["layer_0"][leaf]
        for leaf in ("kernel", "bias")
    }
    slope = state.meta["layer_0"].opt_state["params"]
    expected = reduced(product, granularity)
    # η̄ = β η0 + (1 - β) η̂ at β = η̂ = 0.3: slopes 1 - β, and η0 - η̂.
    np.testing.assert_allclose(slope["proposal"], 0.7 * expected, rtol=1e-10)
    np.testing.assert_allclose(
        slope["mixing_weight"], (0.1 - 0.3) * expected, rtol=1e-10
    )


def test_the_meta_step_descends_the_meta_loss(key):
    params, value_fn, meta_value_fn = small_net(key)
    tx = samt(0.05, meta_optimizer=optax.sgd(0.1))
    state = tx.init(params)
    visit = jax.jit(lambda state: first_visit(tx, params, value_fn, meta_value_fn,
                                              state))  # fmt: skip
    values = []
    for _ in range(5):
        # The same visit again, with what the eta model has learned.
        _, after = visit(state)
        values.append(float(after.info["layer_0"].meta_value))
        state = state._replace(meta=after.meta)
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 1e-3


def test_granularities_agree_when_outputs_are_constant(key):
    params, value_fn, meta_value_fn = small_net(key)
    results = []
    for granularity in GRANULARITIES.values():
        tx = samt_sweep(0.1, eta_model=FreeOutputs, **granularity)
        updates, _ = jax.jit(
            lambda state, tx=tx: tx.update(
                params, state, params, value_fn=value_fn, meta_value_fn=meta_value_fn
            )
        )(tx.init(params))
        results.append(updates)
    for updates in results[1:]:
        assert_close(updates, results[0])


def test_the_candidate_that_was_evaluated_is_committed(key):
    params, value_fn, meta_value_fn = small_net(key)
    tx = samt(0.1, meta_optimizer=optax.sgd(10.0))
    updates, state = visit_once(tx, params, value_fn, meta_value_fn)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_allclose(
        state.info["layer_0"].meta_value, meta_value_fn(moved), rtol=1e-6
    )


def test_the_stages_called_by_hand_are_the_visit(key):
    params, value_fn, meta_value_fn = small_net(key)
    settings = {"eta_model": OneLayerEta, "meta_optimizer": optax.sgd(0.1)}
    tx = samt(0.1, granularity="row", proposal_max=0.5, **settings)
    state = tx.init(params)
    updates, after = visit_once(tx, params, value_fn, meta_value_fn)

    block = partition_blocks(params).blocks[0]
    values = get_block(params, block)
    grads = get_block(jax.grad(value_fn)(params), block)
    layout = step_layout(values, "row")
    features = scaled_features()
    eta_model, meta = OneLayerEta(layout.num_steps), state.meta[block.name]

    def objective(meta_params):
        told = features.present(features.measure(grads))
        heads = step_sizes(
            *eta_model.apply(meta_params, told), layout, 0.1, proposal_max=0.5
        )
        added = block_updates(values, grads, spread_step_sizes(heads, layout))
        candidate = optax.apply_updates(values, added)
        return meta_value_fn(replace_block(params, candidate)), added

    _, added, slope = meta_value_and_grad(objective, meta.params)
    learned = step_meta_params(meta, slope, settings["meta_optimizer"])
    assert_close(get_block(updates, block), added)
    assert_close(after.meta[block.name], learned, rtol=1e-5)


def test_the_record_says_what_was_done(key):
    params, value_fn, meta_value_fn = small_net(key)
    tx = samt(
        0.1, granularity="column", squash="sigmoid", proposal_max=0.6,
        eta_model=FreeOutputs,
    )  # fmt: skip
    state = tx.init(params)
    raw = {"mixing_weight": jnp.array([0.0, 1.0, -1.0]), "proposal": jnp.zeros(3)}
    start = state.meta["layer_0"]._replace(params={"params": raw})
    state = state._replace(meta=state.meta | {"layer_0": start})
    grads = jax.grad(value_fn)(params)
    updates, after = jax.jit(
        lambda state: tx.update(grads, state, params, meta_value_fn=meta_value_fn,
                                value=value_fn(params))
    )(state)  # fmt: skip
    info = after.info["layer_0"]
    beta = 1 / (1 + np.exp([0.0, -1.0, 1.0]))
    steps = beta * 0.1 + (1 - beta) * 0.3
    np.testing.assert_allclose(info.mixing_weight, beta.mean(), rtol=1e-6)
    np.testing.assert_allclose(info.proposal, 0.3, rtol=1e-6)
    np.testing.assert_allclose(info.step_size, steps.mean(), rtol=1e-6)
    np.testing.assert_allclose(info.step_size_min, steps.min(), rtol=1e-6)
    np.testing.assert_allclose(info.step_size_max, steps.max(), rtol=1e-6)
    np.testing.assert_allclose(info.value, value_fn(params), rtol=1e-6)
    measured = gradient_features(grads["layer_0"])
    np.testing.assert_allclose(info.features, measured, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        updates["layer_0"]["kernel"], -steps[:, None] * grads["layer_0"]["kernel"],
        rtol=1e-5,
    )  # fmt: skip
    assert info.cause == -1
    untouched = after.info["layer_1"]
    assert_same_bits(untouched, tx.init(params).info["layer_1"])


def test_without_the_training_loss_its_record_is_nan(key):
    params, value_fn, meta_value_fn = small_net(key)
    tx = samt(0.1)
    _, after = visit_once(tx, params, value_fn, meta_value_fn)
    assert np.isnan(after.info["layer_0"].value)
    assert after.info["layer_0"].cause == -1


# What is not finite.


def on_first_layer(change):
    """A transformation that changes the directions of `layer_0` alone, by its state."""

    def update_fn(updates, state, params=None):
        if "layer_0/kernel" not in updates:
            return updates, state
        kernel, state = change(updates["layer_0/kernel"], state)
        return updates | {"layer_0/kernel": kernel}, state

    return optax.GradientTransformation(lambda params: jnp.zeros(()), update_fn)


def spoil(leaf, bad):
    return leaf.at[(0,) * leaf.ndim].add(jnp.asarray(bad, leaf.dtype))


def spoil_first_kernel(params, bad, by):
    layer = params["layer_0"]
    return params | {"layer_0": layer | {"kernel": by(layer["kernel"], bad)}}


def spoil_meta(state, change):
    """The state with something of the first block's eta model changed."""
    meta = state.meta["layer_0"]
    return state._replace(meta=state.meta | {"layer_0": change(meta)})


def spoil_outputs(index):
    def change(state, bad):
        def on_meta(meta):
            dense = meta.params["params"]["Dense_0"]
            bias = dense["bias"].at[index].add(bad)
            layers = meta.params["params"] | {"Dense_0": dense | {"bias": bias}}
            return meta._replace(params={"params": layers})

        return spoil_meta(state, on_meta)

    return change


def spoil_meta_momentum(state, bad):
    return spoil_meta(
        state,
        lambda meta: meta._replace(
            opt_state=jax.tree.map(lambda leaf: spoil(leaf, bad), meta.opt_state)
        ),
    )


def same(thing, bad):
    return thing


# Point: cause, change of the state, of the loss, of the meta-loss, and the direction.
POINTS = {
    "training loss": ("loss", same, lambda f, bad: lambda p: f(p) + bad, same, None),
    "gradient": (
        "gradient", same,
        lambda f, bad: lambda p: f(spoil_first_kernel(p, bad, spoil_gradient)), same,
        None,
    ),
    "raw mixing weight": ("eta_output", spoil_outputs(0), same, same, None),
    "raw proposal": ("eta_output", spoil_outputs(1), same, same, None),
    "candidate": (
        "candidate", same, same, same,
        lambda bad: on_first_layer(lambda kernel, state: (spoil(kernel, bad), state)),
    ),
    "direction state": (
        "gradient", same, same, same,
        lambda bad: on_first_layer(lambda kernel, state: (kernel, state + bad)),
    ),
    "meta loss": ("meta_loss", same, same, lambda f, bad: lambda p: f(p) + bad, None),
    "meta gradient": (
        "meta_gradient", same, same,
        lambda f, bad: lambda p: f(spoil_first_kernel(p, bad, spoil_gradient)), None,
    ),
    "meta optimizer": ("meta_update", spoil_meta_momentum, same, same, None),
}  # fmt: skip


def of_first_block(state):
    return state.meta["layer_0"], state.direction["layer_0"]


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_what_is_not_finite_changes_nothing_and_is_counted_by_its_cause(point, key):
    cause, on_state, on_loss, on_meta_loss, direction = point
    params, value_fn, meta_value_fn = small_net(key)
    params["layer_0"]["kernel"] = params["layer_0"]["kernel"].at[0, 0].set(-0.0)

    def transformation(bad):
        return samt_sweep(
            0.1,
            direction=direction(bad) if direction else optax.trace(0.5),
            meta_optimizer=optax.sgd(1e-2, momentum=0.9),
            eta_model=OneLayerEta,
        )

    @jax.jit
    def sweep(state, bad):
        return transformation(bad).update(
            params, state, params,
            value_fn=(on_loss(value_fn, bad), value_fn),
            meta_value_fn=(on_meta_loss(meta_value_fn, bad), meta_value_fn),
        )  # fmt: skip

    start = transformation(jnp.zeros(())).init(params)
    # Not from zero: momentum has to be kept as well.
    _, start = sweep(start, jnp.zeros(()))
    assert all(np.all(counts == 0) for counts in start.skipped.values())
    for times, bad in enumerate(BAD, start=1):
        before = on_state(start, bad)
        updates, state = sweep(before, jnp.float32(bad))
        moved = optax.apply_updates(params, updates)
        assert_same_bits(moved["layer_0"], params["layer_0"])
        assert_same_bits(of_first_block(state), of_first_block(before))
        assert CAUSES[int(state.info["layer_0"].cause)] == cause
        assert state.info["layer_0"].step_size == 0
        np.testing.assert_array_equal(
            state.skipped["layer_0"], times * (np.array(CAUSES) == cause)
        )
        # The sweep has ended with it.
        assert_same_bits(moved["layer_1"], params["layer_1"])
        assert_same_bits(state.meta["layer_1"], before.meta["layer_1"])
        np.testing.assert_array_equal(
            state.skipped["layer_1"], times * (np.array(CAUSES) == "earlier_visit")
        )
        start = start._replace(skipped=state.skipped)


def test_a_skipped_visit_undoes_none_before_it_and_the_next_sweep_goes_on(key):
    params, value_fn, meta_value_fn = small_net(key)
    tx = samt_sweep(0.1, eta_model=OneLayerEta)

    @jax.jit
    def sweep(state, bad):
        return tx.update(
            params, state, params, value_fn=value_fn,
            meta_value_fn=(meta_value_fn, lambda p: meta_value_fn(p) + bad),
        )  # fmt: skip

    start = tx.init(params)
    updates, state = sweep(start, jnp.nan)
    assert np.all(updates["layer_0"]["kernel"] != 0)
    assert_same_bits(optax.apply_updates(params, updates)["layer_1"], params["layer_1"])
    assert CAUSES[int(state.info["layer_1"].cause)] == "meta_loss"
    assert state.info["layer_0"].cause == -1
    updates, state = sweep(state, jnp.zeros(()))
    assert all(np.all(layer["kernel"] != 0) for layer in updates.values())
    assert {name: int(np.sum(n)) for name, n in state.skipped.items()} == {
        "layer_0": 0, "layer_1": 1,
    }  # fmt: skip


def test_a_gradient_that_is_not_finite_reaches_no_block_of_samt(key):
    params, value_fn, meta_value_fn = small_net(key)
    tx = samt(0.1, eta_model=OneLayerEta)
    state = tx.init(params)
    grads = jax.grad(value_fn)(params)
    visit = jax.jit(lambda grads, value: tx.update(
        grads, state, params, meta_value_fn=meta_value_fn, value=value))  # fmt: skip
    for bad in BAD:
        for cause, spoilt, value in [
            ("gradient", spoil_first_kernel(grads, jnp.float32(bad), spoil), 1.0),
            ("loss", grads, bad),
        ]:
            updates, after = visit(spoilt, value)
            assert_same_bits(optax.apply_updates(params, updates), params)
            assert_same_bits(after.meta, state.meta)
            assert after.skipped["layer_0"][CAUSES.index(cause)] == 1
            assert after.count == 1


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32])
def test_a_candidate_that_overflows_is_refused(dtype):
    # Near the end of the range, with a gradient that leads over it.
    largest = float(jnp.finfo(dtype).max)
    params = {"w": jnp.full(2, 0.75 * largest, dtype)}
    tx = samt_sweep(1.0, mixing_weight=1.0)
    big_slope = jax.custom_vjp(lambda w: jnp.float32(0.0))
    big_slope.defvjp(
        lambda w: (jnp.float32(0.0), None),
        lambda _, cotangent: (jnp.full(2, -0.5 * largest, dtype),),
    )
    value_fn = lambda p: big_slope(p["w"])  # noqa: E731 - one line, used once.
    updates, state = tx.update(
        params, tx.init(params), params, value_fn=value_fn,
        meta_value_fn=lambda p: jnp.float32(0.0) * p["w"][0].astype(jnp.float32),
    )  # fmt: skip
    assert CAUSES[int(state.info["w"].cause)] == "candidate"
    assert_same_bits(optax.apply_updates(params, updates), params)
