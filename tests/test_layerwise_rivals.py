"""The auxiliary-variable rivals by name, and what they read from a loss."""

import inspect

import jax
import jax.numpy as jnp
import optax
import pytest

from samt_jax import Chain, baselines, convolution, dense
from samt_jax.baselines import SOFTMAX, SQUARED_ERROR
from samt_jax.layerwise_rivals import LAYERWISE, network_of
from samt_jax.optimizers import OPTIMIZERS, make_optimizer
from samt_jax.problem import cross_entropy, squared_error


def leaky(slope):
    return lambda z: jax.nn.leaky_relu(z, slope)


@pytest.mark.parametrize(("post", "slope"), [
    (jax.nn.relu, 0.0), (leaky(0.01), 0.01), (leaky(0.3), 0.3), (lambda z: z, 1.0),
])  # fmt: skip
def test_slope_and_output_loss_are_read_from_a_chain(post, slope):
    layers = (dense("a", post), dense("b", post), dense("c"))
    of_classes = network_of(Chain(layers, cross_entropy))
    assert of_classes.negative_slope == slope
    assert of_classes.output is SOFTMAX
    assert network_of(Chain(layers, squared_error)).output is SQUARED_ERROR
    # While a run is traced, too.
    assert jax.jit(
        lambda: network_of(Chain(layers, cross_entropy)).negative_slope * jnp.ones(())
    )() == jnp.float32(slope)


@pytest.mark.parametrize(("loss_fn", "message"), [
    (lambda params, batch: 0.0, "a chain of dense ones, and this network is none"),
    (Chain((convolution("a"),), cross_entropy), "take --model mlp"),
    (Chain((dense("a", jnp.tanh), dense("b")), cross_entropy), r"slopes \[None, 1.0\]"),
    (Chain((dense("a", leaky(0.1)), dense("b", leaky(0.2)), dense("c")), cross_entropy),
     r"slopes \[0.1, 0.2, 1.0\]"),
    (Chain((dense("a", jax.nn.relu),), cross_entropy), r"slopes \[0.0\]"),
    (Chain((dense("a"),), optax.squared_error), "known for `cross_entropy` and"),
])  # fmt: skip
def test_what_has_no_known_minimizers_is_refused(loss_fn, message):
    with pytest.raises(ValueError, match=message):
        network_of(loss_fn)


@pytest.mark.parametrize("name", LAYERWISE)
def test_a_row_builds_its_method_and_says_that_it_needs_full_batches(name):
    chain = Chain((dense("a", jax.nn.relu), dense("b")), cross_entropy)
    algorithm = make_optimizer(name)(chain, jax.random.key(0), 10)
    assert algorithm.batch_spec.full_batch and OPTIMIZERS[name].full_batch


@pytest.mark.parametrize("name", ["dladmm", "mdlam", "aa-mdlam", "pdadmm"])
def test_every_setting_of_a_method_can_be_named(name):
    method = getattr(baselines, name.replace("-", "_"))
    settings = set(inspect.signature(method).parameters) - {"network"}
    assert settings == OPTIMIZERS[name].takes
