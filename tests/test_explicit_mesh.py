"""Parameters whose sharding is part of their type train as others do."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec, reshard
from problems import LIGHT, assert_close, init_mlp, regression_batch

from samt_jax import (
    Chain,
    choose_engine,
    dense,
    samt,
    samt_sweep,
    scale_by_learned_step_size,
)
from samt_jax.meta import adam

WIDTHS = (3, 4, 2)
# JAX refuses by the type alone, so that one device shows what many would.
UNITS = PartitionSpec(None, "units")
SHARDED = {
    "layer_0": {"kernel": UNITS, "bias": PartitionSpec("units")},
    "layer_1": {"kernel": UNITS, "bias": PartitionSpec("units")},
}
# One loss more than `scale_by_learned_step_size` wants, which may have it.
DOORS = (samt_sweep, samt, scale_by_learned_step_size)


def loss_fn(params, batch):
    x, y = batch
    first, last = params["layer_0"], params["layer_1"]
    hidden = jax.nn.leaky_relu(x @ first["kernel"] + first["bias"][None])
    hidden = reshard(hidden, PartitionSpec())
    outputs = hidden @ last["kernel"] + last["bias"][None]
    return jnp.mean((reshard(outputs, PartitionSpec()) - y) ** 2)


def train(tx, params, batch, num_updates=3):
    def value_fn(params):
        return loss_fn(params, batch)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(
            jax.grad(value_fn)(params), state, params,
            value_fn=value_fn, meta_value_fn=value_fn,
        )  # fmt: skip
        return (optax.apply_updates(params, updates), state), None

    start = (params, tx.init(params))
    (params, state), _ = jax.jit(jax.lax.scan, static_argnums=(0, 3))(
        step, start, None, num_updates
    )
    assert optax.tree.sum(state.skipped) == 0
    return params


@pytest.mark.parametrize("granularity", ["scalar", "row", "column", "element"])
@pytest.mark.parametrize("door", DOORS)
def test_sharded_by_their_type_or_not_makes_no_difference(key, door, granularity):
    params, batch = init_mlp(key, WIDTHS), regression_batch(key, 6, 3, 2)
    settings = {"granularity": granularity, "meta_optimizer": adam(1e-3)}
    tx = door(0.1, **LIGHT | settings)
    mesh = jax.make_mesh((1,), ("units",), (AxisType.Explicit,))
    with jax.set_mesh(mesh):
        shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), SHARDED)
        sharded = train(tx, jax.device_put(params, shardings), batch)
        assert jax.typeof(sharded["layer_0"]["kernel"]).sharding.spec == UNITS
        whole = train(tx, params, batch)
    assert_close(jax.device_get(sharded), jax.device_get(whole))
    moved = jnp.abs(whole["layer_1"]["kernel"] - params["layer_1"]["kernel"])
    assert moved.max() > 1e-3


def test_the_chain_engine_is_not_chosen_under_an_explicit_mesh():
    chain = Chain((dense("a"),), lambda outputs, y: (outputs[:, 0] - y) ** 2)
    for axis_type, engine in ((AxisType.Explicit, "general"), (AxisType.Auto, "chain")):
        with jax.set_mesh(jax.make_mesh((1,), ("units",), (axis_type,))):
            assert choose_engine(chain).engine == engine
    assert choose_engine(chain).engine == "chain"
