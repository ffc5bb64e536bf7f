import jax
import jax.numpy as jnp
import numpy as np
import optax

from samt_jax import EtaMLP


def test_it_is_a_perceptron_of_three_layers_of_width_64(key):
    params = EtaMLP(num_steps=3).init(key, jnp.ones(5))["params"]
    shapes = {name: layer["kernel"].shape for name, layer in params.items()}
    assert shapes == {"Dense_0": (5, 64), "Dense_1": (64, 64), "Dense_2": (64, 6)}


def test_it_starts_from_the_same_step_size_whatever_the_features(key):
    model = EtaMLP(num_steps=2)
    params = model.init(key, jnp.ones(5))
    for features in (jnp.zeros(5), 100 * jax.random.normal(key, (5,))):
        for raw in model.apply(params, features):
            np.testing.assert_array_equal(raw, np.zeros(2))


def test_after_one_step_its_outputs_depend_on_the_features(key):
    model = EtaMLP(num_steps=2, width=8)
    params = model.init(key, jnp.ones(5))
    grads = jax.grad(lambda p: sum(map(jnp.sum, model.apply(p, jnp.ones(5)))))(params)
    params = optax.apply_updates(params, grads)
    first, second = model.apply(params, jnp.ones(5)), model.apply(params, -jnp.ones(5))
    for one, other in zip(first, second, strict=True):
        assert one.shape == (2,)
        assert np.all(one != other)


def test_the_two_outputs_are_separate(key):
    model = EtaMLP(num_steps=2, width=4)
    params = model.init(key, jnp.ones(5))
    params["params"]["Dense_2"]["bias"] = jnp.arange(4.0)
    mixing_weight, proposal = model.apply(params, jnp.ones(5))
    np.testing.assert_array_equal(mixing_weight, [0, 1])
    np.testing.assert_array_equal(proposal, [2, 3])


def test_its_weights_have_the_dtype_asked_for(key, x64):
    params = EtaMLP(1, param_dtype=jnp.float64).init(key, jnp.ones(5))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}
