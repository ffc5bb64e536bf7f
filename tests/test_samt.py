"""SAMT's two doors held to what they must be equal to."""

import functools
import itertools

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
    remember,
)

from samt_jax import EtaMLP, partition_blocks, samt, samt_sweep

WIDTHS = (3, 4, 2)
NAMES = ("layer_0", "layer_1")


def make_batches(num_batches, seed=1):
    keys = jax.random.split(jax.random.key(seed), num_batches)
    return [regression_batch(key, 6, WIDTHS[0], WIDTHS[-1]) for key in keys]


def value_of(batch):
    return functools.partial(mlp_loss, batch=batch)


@pytest.fixture
def params(key):
    return init_mlp(key, WIDTHS)


@functools.cache
def sweep_step(**settings):
    """A compiled sweep on one training and one meta-batch."""
    tx = samt_sweep(**LIGHT | settings)

    @jax.jit
    def step(params, state, batch, meta_batch):
        updates, state = tx.update(
            params, state, params,
            value_fn=value_of(batch), meta_value_fn=value_of(meta_batch),
        )  # fmt: skip
        return optax.apply_updates(params, updates), state

    return tx, step


@functools.cache
def visit_step(**settings):
    """A compiled visit, the gradient taken where the parameters are."""
    tx = samt(**LIGHT | settings)

    @jax.jit
    def step(params, state, batch, meta_batch):
        value, grads = jax.value_and_grad(value_of(batch))(params)
        updates, state = tx.update(
            grads, state, params, value=value, meta_value_fn=value_of(meta_batch)
        )
        return optax.apply_updates(params, updates), state

    return tx, step


# A constant step size: what is known without an eta model.


# Optimised, a program may round a product and a sum at once; without, every bit is
# defined.
exactly = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


@exactly
def exact_value_and_grad(params, batch):
    return jax.value_and_grad(value_of(batch))(params)


@exactly
def exact_step(params, grads, learning_rate):
    return jax.tree.map(lambda w, g: w + (-learning_rate * g), params, grads)


def gauss_seidel(params, names, batches, learning_rate, inner_steps=1):
    """Block-wise SGD by hand: each block's gradient at the blocks before it moved."""
    for batch, name in itertools.product(batches, names):
        for _ in range(inner_steps):
            _, grads = exact_value_and_grad(params, batch)
            moved = exact_step(params, grads, learning_rate)
            params = params | {name: moved[name]}
    return params


def run_sweeps(params, batches, **settings):
    tx = samt_sweep(**LIGHT | settings)

    @exactly
    def sweep(params, state, batch):
        value_fn = value_of(batch)
        updates, state = tx.update(
            params, state, params, value_fn=value_fn, meta_value_fn=value_fn
        )
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for batch in batches:
        params, state = sweep(params, state, batch)
    return params


def run_visits(params, batches, num_visits, **settings):
    tx = samt(**LIGHT | settings)

    @exactly
    def visit(params, state, grads, batch):
        updates, state = tx.update(grads, state, params, meta_value_fn=value_of(batch))
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for batch in batches:
        for _ in range(num_visits):
            _, grads = exact_value_and_grad(params, batch)
            params, state = visit(params, state, grads, batch)
    return params


@pytest.mark.parametrize("granularity", ["scalar", "row", "column", "element"])
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_mixing_weight_one_is_block_wise_sgd_to_the_bit(params, granularity, order):
    batches, settings = make_batches(2), {"granularity": granularity, "order": order}
    names = NAMES if order == "forward" else NAMES[::-1]
    expected = gauss_seidel(params, names, batches, jnp.float32(0.1))
    swept = run_sweeps(params, batches, learning_rate=0.1, mixing_weight=1, **settings)
    assert_same_bits(swept, expected)
    visited = run_visits(
        params, batches, 2, learning_rate=0.1, mixing_weight=1, **settings
    )
    assert_same_bits(visited, expected)


def test_mixing_weight_one_and_one_block_is_sgd_to_the_bit(params):
    batches = make_batches(3)
    sgd = optax.sgd(0.1)
    expected, state = params, sgd.init(params)
    for batch in batches:
        updates, state = sgd.update(exact_value_and_grad(expected, batch)[1], state)
        expected = optax.apply_updates(expected, updates)
    settings = {"learning_rate": 0.1, "mixing_weight": 1.0, "blocks": {"net": ".*"}}
    assert_same_bits(run_sweeps(params, batches, **settings), expected)
    assert_same_bits(run_visits(params, batches, 1, **settings), expected)


def test_inner_steps_visit_a_block_again_before_the_next(params):
    batches = make_batches(2)
    expected = gauss_seidel(params, NAMES, batches, 0.1, inner_steps=3)
    settings = {"learning_rate": 0.1, "mixing_weight": 1.0, "inner_steps": 3}
    tx, step = sweep_step(**settings)
    swept, state = params, tx.init(params)
    for batch in batches:
        swept, state = step(swept, state, batch, batch)
    assert_close(swept, expected, rtol=1e-5, atol=1e-6)


def test_two_blocks_by_hand_are_one_gauss_seidel_sweep():
    # f(a, b) = (ab - 1)²/2 at a = 2, b = 1, step 1/4. The slope of a is
    # (2 - 1) * 1 = 1, so a = 1.75; the slope of b there (1.75 - 1) * 1.75 = 1.3125,
    # so b = 1 - 0.328125.
    params = {"a": jnp.float32(2.0), "b": jnp.float32(1.0)}
    f = lambda p: (p["a"] * p["b"] - 1) ** 2 / 2  # noqa: E731 - one line, two uses.

    def swept(**settings):
        tx = samt_sweep(0.25, mixing_weight=1.0, **LIGHT, **settings)
        updates, state = jax.jit(
            lambda s: tx.update(params, s, params, value_fn=f, meta_value_fn=f)
        )(tx.init(params))
        return optax.apply_updates(params, updates), state

    moved, state = swept()
    assert (moved["a"], moved["b"]) == (1.75, 0.671875)
    assert state.info["a"].value == 0.5
    assert state.info["b"].value == state.info["a"].meta_value == 0.75**2 / 2
    # The other way round b is first: its slope is (2 - 1) * 2 = 2, so b = 0.5; there
    # ab - 1 = 0, and a stays.
    moved, _ = swept(order="backward")
    assert (moved["a"], moved["b"]) == (2.0, 0.5)


def test_the_gradient_of_a_block_is_taken_where_the_blocks_before_it_have_moved(params):
    batch, meta_batch = make_batches(2)
    tx, step = sweep_step(learning_rate=0.2, direction=remember())
    moved, state = step(params, tx.init(params), batch, meta_batch)
    grad = jax.jit(jax.grad(value_of(batch)))
    halfway = params | {"layer_0": moved["layer_0"]}
    for name, at in [("layer_0", params), ("layer_1", halfway)]:
        expected = {f"{name}/{leaf}": g for leaf, g in grad(at)[name].items()}
        assert_close(state.direction[name], expected, rtol=1e-5)
    early = grad(params)["layer_1"]["kernel"]
    assert np.max(np.abs(early - state.direction["layer_1"]["layer_1/kernel"])) > 1e-2


def test_only_the_visited_block_changes(params):
    params["layer_1"]["kernel"] = params["layer_1"]["kernel"].at[0, 0].set(-0.0)
    batch, meta_batch = make_batches(2)
    tx, step = visit_step(learning_rate=0.2)
    state = tx.init(params)
    for visit in range(4):
        visited, other = NAMES[visit % 2], NAMES[1 - visit % 2]
        moved, after = step(params, state, batch, meta_batch)
        assert_same_bits(moved[other], params[other])
        assert_same_bits(after.meta[other], state.meta[other])
        assert_same_bits(after.info[other], state.info[other])
        assert np.any(moved[visited]["kernel"] != params[visited]["kernel"])
        assert after.count == visit + 1
        params, state = moved, after


# The two doors are one method.


@pytest.mark.parametrize(
    "settings",
    [
        {"eta_model": EtaMLP, "meta_optimizer": optax.sgd(0.5, momentum=0.9)},
        {"inner_steps": 2, "granularity": "row"},
        {"order": "backward", "granularity": "column", "squash": "sigmoid"},
        {"order": "random", "granularity": "element", "direction": optax.trace(0.9)},
        {"order": "random", "inner_steps": 2, "shared_eta_model": True},
        {"learning_rate": optax.exponential_decay(0.2, 1, 0.5),
         "schedule": lambda count: 1 / (1 + count)},
        {"ball_radius": 0.05, "step_bounds": (0.0, lambda count: 0.2 / (1 + count))},
    ],
    ids="-".join,
)  # fmt: skip
def test_as_many_visits_as_blocks_are_one_sweep(params, settings):
    settings = {"learning_rate": 0.1, "seed": 5, **settings}
    sweeper, sweep = sweep_step(**settings)
    visitor, visit = visit_step(**settings)
    num_visits = 2 * settings.get("inner_steps", 1)
    swept, sweep_state = params, sweeper.init(params)
    visited, visit_state = params, visitor.init(params)
    assert_same_bits(visit_state, sweep_state)
    for batch, meta_batch in itertools.pairwise(make_batches(4)):
        swept, sweep_state = sweep(swept, sweep_state, batch, meta_batch)
        for _ in range(num_visits):
            visited, visit_state = visit(visited, visit_state, batch, meta_batch)
    assert_close(visited, swept, rtol=1e-5, atol=1e-6)
    assert sweep_state.count == 3 and visit_state.count == 3 * num_visits
    same_count = visit_state._replace(count=sweep_state.count)
    assert_close(same_count, sweep_state, rtol=1e-4, atol=1e-5)


def test_a_random_order_visits_every_block_once_a_sweep_in_changing_order():
    params = {name: jnp.ones(2) for name in "abc"}
    value_fn = lambda p: sum(jnp.sum(p[n] ** 2) for n in "abc")  # noqa: E731 - short.
    orders = []
    for seed in (0, 1):
        tx = samt(0.1, mixing_weight=1.0, order="random", seed=seed, **LIGHT)

        def visit(state, _, tx=tx):
            grads = jax.grad(value_fn)(params)
            updates, state = tx.update(grads, state, params, meta_value_fn=value_fn)
            return state, jax.tree.map(jnp.any, updates)

        _, moved = jax.lax.scan(visit, tx.init(params), None, length=30)
        by_visit = np.stack([moved[name] for name in "abc"], axis=-1)
        np.testing.assert_array_equal(by_visit.sum(axis=-1), 1)
        order = by_visit.argmax(axis=-1).reshape(10, 3)
        np.testing.assert_array_equal(np.sort(order, axis=-1), [[0, 1, 2]] * 10)
        orders.append(order)
        assert len(np.unique(order, axis=0)) > 1
    assert np.any(orders[0] != orders[1])


def test_blocks_are_visited_in_the_order_in_which_the_loss_uses_them():
    names = ("b", "c", "a")
    params = {name: {"kernel": jnp.eye(2) + 0.1} for name in names}
    x = jnp.ones((3, 2))

    def value_fn(params):
        hidden = x
        for name in names:
            hidden = hidden @ params[name]["kernel"]
        return jnp.mean(hidden**2)

    tx = samt(0.1, **LIGHT)
    state, visit = tx.init(params), jax.jit(
        lambda p, s: tx.update(jax.grad(value_fn)(p), s, p, meta_value_fn=value_fn)
    )  # fmt: skip
    for name in names:
        updates, state = visit(params, state)
        moved = [n for n in names if np.any(updates[n]["kernel"])]
        assert moved == [name]


def test_a_table_fixes_the_order(params):
    table = partition_blocks(params)
    backward = table._replace(blocks=table.blocks[::-1])
    batch, meta_batch = make_batches(2)
    tx, step = visit_step(learning_rate=0.1, blocks=backward)
    moved, _ = step(params, tx.init(params), batch, meta_batch)
    assert_same_bits(moved["layer_0"], params["layer_0"])
    assert np.any(moved["layer_1"]["kernel"] != params["layer_1"]["kernel"])


# Convergence.


def test_small_steps_never_raise_a_noiseless_quadratic(key):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (20, 6))
    params = {"a": jnp.zeros((3, 1)), "b": jnp.zeros((3, 1))}
    y = x @ jax.random.normal(keys[1], (6, 1))

    def value_fn(params):
        return jnp.mean((x @ jnp.concatenate([params["a"], params["b"]]) - y) ** 2)

    tx = samt(0.02, proposal_max=0.05)

    def visit(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(value_fn)(params)
        updates, state = tx.update(grads, state, params, meta_value_fn=value_fn)
        return (optax.apply_updates(params, updates), state), value

    _, values = jax.lax.scan(visit, (params, tx.init(params)), None, length=200)
    assert np.all(np.diff(values) <= 0)
    assert values[-1] < 1e-2 * values[0]


def test_constant_steps_plateau_and_steps_of_one_over_t_go_on():
    # Strongly convex in two blocks, the optimum at 0, one noisy sample a sweep.
    def value_fn(params, sample):
        a, b = params["a"], params["b"]
        return jnp.sum(a**2 + b**2 + a * b) / 2 - jnp.sum(sample * (a + b))

    def squared_errors(schedule):
        tx = samt_sweep(schedule, mixing_weight=1.0, **LIGHT)

        def sweep(carry, sample):
            params, state = carry
            on_sample = functools.partial(value_fn, sample=sample)
            updates, state = tx.update(
                params, state, params, value_fn=on_sample, meta_value_fn=on_sample
            )
            params = optax.apply_updates(params, updates)
            return (params, state), sum(map(jnp.vdot, *[jax.tree.leaves(params)] * 2))

        # 500 coordinates that know nothing of each other: a mean without seeds.
        params = {"a": jnp.ones(500), "b": jnp.ones(500)}
        samples = jax.random.normal(jax.random.key(3), (800, 500))
        return jax.jit(lambda: jax.lax.scan(sweep, (params, tx.init(params)),
                                            samples)[1])()  # fmt: skip

    constant = squared_errors(0.2)
    decaying = squared_errors(lambda count: 2.0 / (count + 10.0))
    late, later = slice(180, 220), slice(720, 800)
    assert 0.8 < constant[late].mean() / constant[later].mean() < 1.25
    # Four times as late, a quarter of the error.
    assert 3.0 < decaying[late].mean() / decaying[later].mean() < 5.0
    assert decaying[later].mean() < 0.1 * constant[later].mean()


# Programs.


@pytest.mark.parametrize("visits", [1, 2])
def test_the_losses_are_traced_a_fixed_number_of_times(params, visits):
    batch, table = make_batches(1)[0], partition_blocks(params)
    for blocks, ordering in [(None, 1), (table, 0)]:
        counts = {"value": 0, "meta": 0}

        def counted(which, counts=counts):
            def value_fn(at):
                counts[which] += 1
                return mlp_loss(at, batch)

            return value_fn

        tx = samt_sweep(0.1, blocks=blocks, inner_steps=visits, **LIGHT)
        step = jax.jit(
            lambda p, s, tx=tx, counted=counted: tx.update(
                p, s, p, value_fn=counted("value"), meta_value_fn=counted("meta")
            )
        )
        state = tx.init(params)
        assert counts == {"value": 0, "meta": 0}
        for _ in range(3):
            updates, state = step(params, state)
            params = optax.apply_updates(params, updates)
        # Once to see the order, and once for each visit's gradient.
        assert counts == {"value": 2 * visits + ordering, "meta": 2 * visits}
        assert step._cache_size() == 1


def test_every_visit_of_samt_traces_the_meta_loss_once(params):
    batch, count = make_batches(1)[0], []

    def meta_value_fn(params):
        count.append(1)
        return mlp_loss(params, batch)

    tx = samt(0.1, **LIGHT)
    step = jax.jit(lambda p, s: tx.update(p, s, p, meta_value_fn=meta_value_fn))
    state = tx.init(params)
    for _ in range(4):
        _, state = step(params, state)
    assert len(count) == 2 + 1
    assert step._cache_size() == 1


def test_a_changing_learning_rate_compiles_once(params):
    batch = make_batches(1)[0]
    tx = optax.inject_hyperparams(samt_sweep)(learning_rate=0.05)
    state, value_fn = tx.init(params), value_of(batch)
    step = jax.jit(
        lambda p, s: tx.update(p, s, p, value_fn=value_fn, meta_value_fn=value_fn)
    )
    plain, plain_step = sweep_step(learning_rate=0.05, eta_model=None,
                                   meta_optimizer=None)  # fmt: skip
    updates, after = step(params, state)
    expected, _ = plain_step(params, plain.init(params), batch, batch)
    assert_close(optax.apply_updates(params, updates), expected)
    after.hyperparams["learning_rate"] = jnp.float32(0.5)
    step(params, after)
    assert step._cache_size() == 1


def test_clipping_before_samt_clips_what_it_steps_along(params):
    batch = make_batches(1)[0]
    clipped = samt(1.0, mixing_weight=1.0, direction="gradient")
    tx = optax.chain(optax.clip(0.01), clipped)
    grads = jax.grad(value_of(batch))(params)
    updates, _ = tx.update(
        grads, tx.init(params), params, meta_value_fn=value_of(batch)
    )
    expected = jax.tree.map(lambda g: -jnp.clip(g, -0.01, 0.01), grads["layer_0"])
    assert_same_bits(updates["layer_0"], expected)


def test_a_fresh_batch_for_every_visit(params):
    batches = make_batches(4)
    tx = samt_sweep(0.1, **LIGHT)
    updates, state = jax.jit(
        lambda s: tx.update(
            params, s, params,
            value_fn=[value_of(b) for b in batches[:2]],
            meta_value_fn=[value_of(b) for b in batches[2:]],
        )
    )(tx.init(params))  # fmt: skip
    visitor, visit = visit_step(learning_rate=0.1)
    expected, expected_state = params, visitor.init(params)
    for batch, meta_batch in zip(batches[:2], batches[2:], strict=True):
        expected, expected_state = visit(expected, expected_state, batch, meta_batch)
    assert_close(optax.apply_updates(params, updates), expected, rtol=1e-5)
    assert_close(state.info, expected_state.info, rtol=1e-4, atol=1e-6)


def test_one_eta_model_may_serve_all_blocks(params):
    batch, meta_batch = make_batches(2)
    tx, step = sweep_step(learning_rate=0.1, shared_eta_model=True)
    state = tx.init(params)
    assert list(state.meta) == ["shared"]
    _, after = step(params, state, batch, meta_batch)
    # The second visit starts from what the first has taught.
    visitor, visit = visit_step(learning_rate=0.1, shared_eta_model=True)
    half, half_state = visit(params, visitor.init(params), batch, meta_batch)
    assert_bits_differ(half_state.meta, state.meta)
    assert_bits_differ(half_state.meta, after.meta)
    _, whole_state = visit(half, half_state, batch, meta_batch)
    assert_close(whole_state.meta, after.meta, rtol=1e-4)


def assert_bits_differ(one, other):
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), one, other)
    assert not all(jax.tree.leaves(same))


@pytest.mark.parametrize("door", [samt, samt_sweep])
def test_frozen_leaves_are_untouched(params, door):
    params["layer_1"]["bias"] = jnp.array([-0.0, jnp.pi])
    params["steps"] = jnp.int32(7)
    value_fn = lambda p: mlp_loss(  # noqa: E731 - one line, two uses.
        {name: p[name] for name in NAMES}, make_batches(1)[0]
    )
    tx = door(0.1, frozen=["layer_1/bias", "steps"], **LIGHT)
    grads = jax.tree.map(jnp.ones_like, params)
    state = tx.init(params)
    step = jax.jit(lambda s, p: tx.update(grads, s, p, value_fn=value_fn,
                                          meta_value_fn=value_fn))  # fmt: skip
    for _ in range(2):
        updates, state = step(state, params)
        moved = optax.apply_updates(params, updates)
        assert_same_bits(moved["layer_1"]["bias"], params["layer_1"]["bias"])
        assert_same_bits(moved["steps"], params["steps"])
        params = moved
    assert list(state.meta) == ["layer_0", "layer_1"]


def test_a_granularity_of_the_users_own(params):
    batch, meta_batch = make_batches(2)
    halves = lambda path, shape: (1,) * (len(shape) - 1) + shape[-1:]  # noqa: E731
    tx, step = sweep_step(learning_rate=0.1, granularity=halves, eta_model=EtaMLP)
    state = tx.init(params)
    assert state.meta["layer_0"].params["params"]["Dense_2"]["bias"].shape == (2 * 8,)
    moved, after = step(params, state, batch, meta_batch)
    assert after.info["layer_0"].cause == -1
    # From the start all granularities agree.
    scalar, step = sweep_step(learning_rate=0.1, eta_model=EtaMLP)
    assert_close(moved, step(params, scalar.init(params), batch, meta_batch)[0])


def test_the_direction_may_be_any_transformation(params):
    batches = make_batches(3)
    one_block = partition_blocks(params, {"net": ".*"})
    settings = {"learning_rate": 0.1, "mixing_weight": 1.0, "blocks": one_block}
    for direction in (optax.ema(0.9), optax.scale_by_adam()):
        optimizer = optax.chain(direction, optax.scale(-0.1))
        expected, state = params, optimizer.init(params)
        for batch in batches:
            updates, state = optimizer.update(
                jax.grad(value_of(batch))(expected), state
            )
            expected = optax.apply_updates(expected, updates)
        tx, step = sweep_step(direction=direction, **settings)
        found, state = params, tx.init(params)
        for batch in batches:
            found, state = step(found, state, batch, batch)
        assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_schedule_scales_the_whole_step_by_sweeps(params):
    batches = make_batches(2)
    schedule = lambda count: 0.5**count  # noqa: E731 - one line, two uses.
    # An eta model that does not learn says the same whatever it is told.
    settings = {"eta_model": EtaMLP, "meta_optimizer": optax.sgd(0.0)}
    for door in (sweep_step, visit_step):
        tx, step = door(learning_rate=0.2, schedule=schedule, **settings)
        plain, plain_step = door(learning_rate=0.2, **settings)
        state, plain_state = tx.init(params), plain.init(params)
        num_updates = 2 if door is sweep_step else 4
        for _ in range(num_updates):
            _, state = step(params, state, *batches)
            _, plain_state = plain_step(params, plain_state, *batches)
        for name in NAMES:
            for field in ("step_size", "step_size_max", "proposal"):
                half = getattr(plain_state.info[name], field) / 2
                found = getattr(state.info[name], field)
                np.testing.assert_allclose(found, half, rtol=1e-6)


def test_a_seed_is_a_number_or_a_key(params):
    by_number, by_key = (samt(seed=s).init(params) for s in (3, jax.random.key(3)))
    assert_same_bits(by_number, by_key)
    assert_bits_differ(samt(seed=4).init(params).meta, by_number.meta)


def test_blocks_have_eta_models_of_their_own(params):
    meta = samt().init(params).meta
    assert_bits_differ(meta["layer_0"].params, meta["layer_1"].params)


# What is told to who asks for the impossible.


def update_without(door, **given):
    params = init_mlp(jax.random.key(0), WIDTHS)
    tx = door()
    return tx.update(params, tx.init(params), given.pop("params", params), **given)


ZERO = functools.partial(lambda p: 0.0)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (
            lambda: update_without(samt),
            r"samt was updated without meta_value_fn; call update\(grads, state, par",
        ),
        (
            lambda: update_without(samt_sweep, meta_value_fn=ZERO),
            "samt_sweep was updated without value_fn; call .*value_fn=..., meta_value",
        ),
        (
            lambda: update_without(samt_sweep),
            "without value_fn and meta_value_fn",
        ),
        (
            lambda: update_without(samt, params=None, meta_value_fn=ZERO),
            "params",
        ),
        (
            lambda: update_without(samt_sweep, value_fn=[ZERO], meta_value_fn=ZERO),
            "1 functions were given as value_fn and a sweep makes 2 visits; give one",
        ),
        (
            lambda: update_without(
                samt_sweep, value_fn=ZERO, meta_value_fn=[ZERO, ZERO, ZERO]
            ),
            "3 functions were given as meta_value_fn and a sweep makes 2 visits",
        ),
        (lambda: samt(inner_steps=0), "inner_steps is 0; it must be at least 1"),
        (
            lambda: samt(order="sideways").init({"w": jnp.ones(2)}),
            "order 'sideways' is unknown; it is 'forward', 'backward', 'random' or a",
        ),
        (
            lambda: samt_sweep(order=["a"]).init({"w": jnp.ones(2)}),
            r"order \['a'\] does not name every block once; the blocks are \['w'\]",
        ),
        (
            lambda: samt(granularity="rows").init({"w": jnp.ones(2)}),
            "granularity is 'rows'; it must be one of 'scalar'",
        ),
        (lambda: samt(terms="none"), "terms is 'none'; it must be one of 'both'"),
        (lambda: samt(-0.1), "learning_rate is -0.1; it must be a number at least 0"),
        (lambda: samt("0.1"), "learning_rate is '0.1'; it must be a number at least"),
        (lambda: samt(proposal_max=jnp.nan), "proposal_max is nan; it must be a num"),
        (
            lambda: samt(mixing_weight=2.0),
            "mixing_weight is 2.0; it must be a number from 0 to 1",
        ),
        (
            lambda: samt(meta_optimizer="adam"),
            "meta_optimizer is 'adam'; give an optax transformation",
        ),
        (
            lambda: samt(features=("mean",)),
            r"features is \('mean',\); give what scaled_features\(names\) makes",
        ),
        (
            lambda: samt(step_bounds=0.1),
            r"step_bounds is 0.1; it must be \(low, high\)",
        ),
        (
            lambda: samt_sweep(blocks="layers").init({"w": jnp.ones(2)}),
            "blocks is 'layers'; give a depth in the tree, names to regular expr",
        ),
        (lambda: samt(squash="relu"), "squash is 'relu'; it must be one of 'tanh'"),
        (
            lambda: samt_sweep(element_head="full"),
            "element_head is 'full'; it must be one of 'factored', 'dense'",
        ),
        (
            lambda: samt(granularity="row", shared_eta_model=True).init(
                init_mlp(jax.random.key(0), WIDTHS)
            ),
            r"One eta model cannot serve .*\{'layer_0': 4, 'layer_1': 2\}; take gran",
        ),
    ],
)
def test_an_error_is_one_sentence_that_says_what_to_do(attempt, said):
    with pytest.raises(ValueError, match=said):
        attempt()


@pytest.mark.parametrize("door", [samt, samt_sweep])
def test_an_unknown_setting_is_refused_by_the_door_that_was_called(door):
    said = rf"{door.__name__}\(\) got an unexpected keyword argument 'lr'"
    with pytest.raises(TypeError, match=said):
        door(lr=0.1)
