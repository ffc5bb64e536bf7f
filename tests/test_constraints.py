"""The analysed scheme's settings: step sizes within bounds, blocks within balls."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    LIGHT,
    OneLayerEta,
    assert_close,
    assert_same_bits,
    init_mlp,
    mlp_loss,
    regression_batch,
    remember_only,
)

from samt_jax import (
    Batches,
    Chain,
    choose_engine,
    dense,
    get_block,
    partition_blocks,
    samt,
    samt_algorithm,
    samt_sweep,
)
from samt_jax.constraints import project_on_ball

RADII = {"layer_0": 0.3, "layer_1": 0.1}


@pytest.fixture
def net(key):
    """Two layers and the loss on a batch."""
    params = init_mlp(key, (3, 4, 2))
    return params, functools.partial(mlp_loss, batch=regression_batch(key, 6, 3, 2))


@pytest.fixture
def layer(key):
    """One layer: a sweep of one visit compiles sooner."""
    params = init_mlp(key, (3, 2))
    return params, functools.partial(mlp_loss, batch=regression_batch(key, 6, 3, 2))


def sweeps(tx, params, value_fn, num_sweeps):
    """The parameters and the states after each of some sweeps."""

    @jax.jit
    def step(params, state):
        updates, state = tx.update(
            params, state, params, value_fn=value_fn, meta_value_fn=value_fn
        )
        return optax.apply_updates(params, updates), state

    state, found = tx.init(params), []
    for _ in range(num_sweeps):
        params, state = step(params, state)
        found.append((params, state))
    return found


def distances(params, start):
    """How far each block is from where it started."""
    moved = optax.tree.sub(params, start)
    blocks = partition_blocks(start).blocks
    return {b.name: float(optax.tree.norm(get_block(moved, b))) for b in blocks}


# The projection.


def test_a_point_outside_goes_to_the_nearest_of_the_ball(key):
    keys = jax.random.split(key, 3)
    center = {"w": jax.random.normal(keys[0], (4, 3)), "b": jnp.ones(3)}
    point = {"w": jax.random.normal(keys[1], (4, 3)), "b": jnp.zeros(3)}
    nearest = project_on_ball(point, center, 1.5)
    np.testing.assert_allclose(
        optax.tree.norm(optax.tree.sub(nearest, center)), 1.5, rtol=1e-6
    )
    # No point of the ball makes an acute angle with the way out of it.
    out = optax.tree.sub(point, nearest)
    for each in jax.random.split(keys[2], 20):
        other = {"w": jax.random.normal(each, (4, 3)), "b": jnp.zeros(3)}
        inside = project_on_ball(other, center, 1.5)
        way = optax.tree.sub(inside, nearest)
        assert optax.tree.vdot(out, way) < 1e-5


def test_a_point_inside_stays_to_the_bit_and_its_slope_is_one():
    center, point = {"w": jnp.array([0.1, 0.7])}, {"w": jnp.array([0.3, 0.9])}
    assert_same_bits(project_on_ball(point, center, 1.0), point)

    def first(scale):
        moved = {"w": center["w"] + scale * jnp.array([1.0, 0.0])}
        return project_on_ball(moved, center, 1.0)["w"][0]

    # At the center too, where the distance has no slope; also mapped over seeds.
    slopes = jax.vmap(jax.grad(first))(jnp.array([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(slopes, [1, 1, 0], atol=1e-6)


def test_every_visit_ends_in_the_ball_of_its_block_before_the_next_begins(net):
    params, value_fn = net
    # Steps that would run far away.
    tx = samt_sweep(0.5, ball_radius=RADII, mixing_weight=1.0, **LIGHT)
    swept = [after for after, _ in sweeps(tx, params, value_fn, 8)]
    found = [distances(after, params) for after in swept]
    for name, radius in RADII.items():
        assert max(there[name] for there in found) <= radius * (1 + 1e-6)
        assert max(there[name] for there in found) >= radius * (1 - 1e-3)
    # The first sweep by hand: the second visit starts from where the first ended.
    by_hand = dict(params)
    for name, radius in RADII.items():
        slope = jax.grad(value_fn)(by_hand)[name]
        candidate = jax.tree.map(lambda w, g: w - 0.5 * g, params[name], slope)
        by_hand[name] = project_on_ball(candidate, params[name], radius)
    assert distances(by_hand, params) == pytest.approx(RADII, rel=1e-5)
    assert_close(swept[0], by_hand, rtol=1e-5, atol=1e-6)


def test_balls_and_bounds_that_are_never_reached_change_nothing(layer):
    params, value_fn = layer
    free = samt_sweep(0.05, granularity="element", **LIGHT)
    wide = samt_sweep(
        0.05, granularity="element", step_bounds=(0.0, 1.0), ball_radius=50.0, **LIGHT
    )
    for (one, _), (other, _) in zip(
        sweeps(free, params, value_fn, 4), sweeps(wide, params, value_fn, 4),
        strict=True,
    ):  # fmt: skip
        assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_the_meta_loss_and_its_slope_are_of_the_projected_candidate(key, x64):
    params = init_mlp(key, (3, 4, 2), dtype=jnp.float64)
    one, other = (regression_batch(k, 6, 3, 2, jnp.float64)
                  for k in jax.random.split(key))  # fmt: skip
    tx = samt(
        0.1, granularity="row", ball_radius=0.01, eta_model=OneLayerEta,
        direction="gradient", meta_optimizer=remember_only(),
    )  # fmt: skip
    state = tx.init(params)
    meta = state.meta["layer_0"]

    @jax.jit
    def visit(meta_params):
        tuned = state.meta | {"layer_0": meta._replace(params=meta_params)}
        updates, after = tx.update(
            jax.grad(mlp_loss)(params, one), state._replace(meta=tuned), params,
            meta_value_fn=functools.partial(mlp_loss, batch=other),
        )  # fmt: skip
        moved = optax.apply_updates(params, updates)
        info = after.info["layer_0"]
        return mlp_loss(moved, other), info.meta_value, after.meta["layer_0"].opt_state

    value, said, slope = visit(meta.params)
    np.testing.assert_allclose(said, value, rtol=1e-6)  # Records are float32.
    along = jax.tree.map(lambda w: jnp.cos(jnp.arange(w.size)).reshape(w.shape), slope)

    def shifted(by):
        return visit(jax.tree.map(lambda w, a: w + by * a, meta.params, along))[0]

    difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
    found = optax.tree.vdot(slope, along)
    assert abs(found) > 1e-7
    np.testing.assert_allclose(found, difference, rtol=1e-5)


# The bounds.


@pytest.mark.parametrize("granularity", ["scalar", "element"])
def test_step_sizes_keep_their_bounds_sweep_by_sweep(layer, granularity):
    params, value_fn = layer
    # Without them steps are anywhere between 0 and 0.15.
    bounds = (lambda t: 0.11 / (t + 1.0), lambda t: 0.12 / (t + 1.0))
    tx = samt_sweep(0.1, granularity=granularity, step_bounds=bounds, **LIGHT)
    for count, (_, state) in enumerate(sweeps(tx, params, value_fn, 4)):
        for info in state.info.values():
            assert info.step_size_min >= (1 - 1e-6) * bounds[0](count)
            assert info.step_size_max <= (1 + 1e-6) * bounds[1](count)


def test_a_step_that_is_cut_off_teaches_nothing_and_one_within_does(layer):
    params, value_fn = layer

    def meta_gradient(bounds):
        settings = LIGHT | {"meta_optimizer": remember_only()}
        tx = samt_sweep(0.1, step_bounds=bounds, **settings)
        _, state = sweeps(tx, params, value_fn, 1)[0]
        return float(optax.tree.norm(state.meta["layer_0"].opt_state))

    assert meta_gradient((0.0, 1e-3)) == 0
    assert meta_gradient((0.0, 1.0)) > 0


# Engines and errors.


def test_both_engines_keep_the_same_bounds_and_balls_want_the_general_one(key, x64):
    params = init_mlp(key, (3, 4, 2), dtype=jnp.float64)
    layers = (dense("layer_0", jax.nn.leaky_relu), dense("layer_1"))
    chain = Chain(layers, lambda out, y: jnp.mean((out - y) ** 2, axis=1))
    batch, found = regression_batch(key, 6, 3, 2, jnp.float64), []
    for engine in ("general", "chain"):
        # Step sizes that are products of two vectors, until they are cut off.
        algorithm = samt_algorithm(
            chain, 0.1, meta_batch="same", engine=engine, granularity="element",
            step_bounds=(0.02, lambda t: 0.09 / (t + 1)), eta_model=OneLayerEta,
            meta_optimizer=optax.sgd(0.1),
        )  # fmt: skip
        at, batches = params, Batches(batch, batch)
        state, step = algorithm.init(at, batches, key), jax.jit(algorithm.step)
        for _ in range(3):
            at, state, _ = step(at, state, batches, key)
        found.append(at)
    assert_close(*found, rtol=1e-9, atol=1e-10)
    assert choose_engine(chain, step_bounds=(0.0, 1.0)).engine == "chain"
    choice = choose_engine(chain, ball_radius=1.0)
    assert choice.engine == "general" and "projected on balls" in choice.reason
    with pytest.raises(ValueError, match="cannot serve here: the blocks are projected"):
        choose_engine(chain, ball_radius=1.0, engine="chain")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"step_bounds": (0.2, 0.1)}, r"\(0.2, 0.1\); it must be \(low, high\) with"),
        ({"step_bounds": (-0.1, 0.1)}, "with 0 <= low <= high, each a number or a"),
        ({"step_bounds": (0.1,)}, "it must be .low, high. with"),
        ({"ball_radius": 0.0}, "ball_radius is 0.0; it must be a positive number"),
        ({"ball_radius": {"layer_0": -1.0}}, "it must be a positive number"),
        (
            {"ball_radius": {"layer_7": 1.0}},
            r"names the blocks \['layer_7'\] and the blocks are .* or one number",
        ),
    ],
)
def test_bounds_and_radii_that_cannot_be_kept_are_refused(net, settings, said):
    with pytest.raises(ValueError, match=said):
        samt_sweep(0.1, **settings).init(net[0])
