import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax import Batches
from samt_jax.baselines import (
    SOFTMAX,
    SQUARED_ERROR,
    Network,
    dladmm,
    pdadmm,
    scaleadmm,
)
from samt_jax.baselines.layerwise import (
    find_layers,
    pass_forward,
    read_layers,
    write_layers,
)


def test_a_pass_is_the_networks_own(x64):
    net, params = network((2, 3, 2), SOFTMAX, 0.1)
    batches = two_moons(10)
    passed = pass_forward(net, params, batches)
    assert [block.name for block in passed.blocks] == ["layer_0", "layer_1"]
    assert [z.shape for z in passed.preactivations] == [(10, 3), (10, 2)]
    assert passed.value == pytest.approx(net.loss_fn(params, batches.train))


def test_targets_that_the_output_loss_does_not_take_are_refused():
    net, params = network((2, 3, 1), SQUARED_ERROR, 0.1)
    batches = Batches((jnp.ones((4, 2)), jnp.ones(4)))
    # By default JAX would spread outputs and targets over a square of differences.
    with (
        jax.numpy_rank_promotion("allow"),
        pytest.raises(ValueError, match=r"shape \(4,\); for outputs of shape \(4, 1"),
    ):
        pass_forward(net, params, batches)


# Of each method: weights of the squares in linear, activation and split residuals.
PARTS = {
    dladmm: ({"penalty": 0.3}, (0.15, 0.15, 0)),
    pdadmm: ({"penalty": 0.3, "constraint_penalty": 0.5}, (0.15, 0.15, 0.25)),
    scaleadmm: ({"penalty": 0.3, "activation_penalty": 2.0, "warm_steps": 1},
                (0.3, 2.0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("method", PARTS, ids=lambda method: method.__name__)
def test_an_objective_can_be_taken_apart(method, x64):
    settings, weights = PARTS[method]
    net, params = network((2, 5, 3, 2), SOFTMAX, 0.1)
    *_, infos = run(method(net, **settings), params, two_moons(30), 4)
    detail = infos.detail
    residuals = (
        detail.linear_residual,
        detail.activation_residual,
        detail.constraint_residual or {},
    )
    sizes = {"layer_0": 30 * 5, "layer_1": 30 * 3, "layer_2": 30 * 2}
    penalties = sum(
        weight * sizes[layer] * rms**2
        for weight, each in zip(weights, residuals, strict=True)
        for layer, rms in each.items()
    )
    parts = detail.output_loss + detail.multiplier_term + penalties
    np.testing.assert_allclose(detail.objective, parts, rtol=1e-9)
    assert np.all(np.abs(detail.multiplier_term[2:]) > 1e-6)


def nested_outputs(params, batch):
    first, last = (params["deep"][0][f"layer_{i}"]["kernel"] for i in range(2))
    return jnp.sum(jnp.maximum(batch[0] @ first, 0) @ last.astype(jnp.float32))


def test_layers_go_back_where_they_came_from_in_their_own_dtype():
    _, params = network((2, 3, 2), SOFTMAX, 0.1)
    params["layer_1"] = {"kernel": params["layer_1"]["kernel"].astype(jnp.bfloat16)}
    nested = {"deep": [params]}
    blocks = find_layers(
        Network(nested_outputs, SOFTMAX, 0.0), nested, two_moons(4).train
    )
    layers = read_layers(nested, blocks, jnp.float32)
    assert layers[1].bias is None and layers[1].kernel.dtype == jnp.float32
    doubled = [jax.tree.map(lambda x: 2 * x, layer) for layer in layers]
    written = write_layers(nested, blocks, doubled)["deep"][0]
    assert written["layer_1"]["kernel"].dtype == jnp.bfloat16
    jax.tree.map(
        lambda new, old: np.testing.assert_array_equal(new, 2 * old), written, params
    )


def side_by_side(params, batch):
    return sum(jnp.sum(batch[0] @ layer["kernel"]) for layer in params.values())


def scaled(params, batch):
    return jnp.sum(batch[0] @ params["a"]["kernel"] * params["a"]["scale"][None])


def test_what_is_no_chain_of_dense_layers_is_refused():
    batch = two_moons(4).train
    params = {"a": {"kernel": jnp.ones((2, 3))}, "b": {"kernel": jnp.ones((2, 2))}}
    with pytest.raises(ValueError, match=r"shapes \[\(2, 3\), \(2, 2\)\] and the in"):
        find_layers(Network(side_by_side, SOFTMAX, 0.0), params, batch)
    params = {"a": {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}}
    with pytest.raises(ValueError, match=r"'a' has leaves .*'scale'"):
        find_layers(Network(scaled, SOFTMAX, 0.0), params, batch)
