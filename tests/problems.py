"""What several tests share: a comparison to the bit, and tiny networks with data."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

BAD = (jnp.nan, jnp.inf, -jnp.inf)


def assert_same_bits(actual, desired):
    """Structure, dtypes and every bit: -0.0 is not 0.0, and a NaN is itself."""
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        a, d = np.asarray(a), np.asarray(d)
        assert (a.shape, a.dtype) == (d.shape, d.dtype)
        assert a.tobytes() == d.tobytes()


def assert_close(actual, desired, rtol=1e-6, atol=1e-7):
    """Every leaf, within a tolerance; structures must be equal."""
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(
        lambda a, d: np.testing.assert_allclose(a, d, rtol=rtol, atol=atol),
        actual,
        desired,
    )


def init_mlp(key, widths, with_bias=True, dtype=jnp.float32):
    """Parameters of a dense network: `layer_0`, `layer_1`, …"""
    params = {}
    for i, (num_in, num_out) in enumerate(itertools.pairwise(widths)):
        key, kernel_key, bias_key = jax.random.split(key, 3)
        kernel = jax.random.normal(kernel_key, (num_in, num_out)) / num_in**0.5
        params[f"layer_{i}"] = {"kernel": kernel.astype(dtype)}
        if with_bias:
            bias = 0.1 * jax.random.normal(bias_key, (num_out,))
            params[f"layer_{i}"]["bias"] = bias.astype(dtype)
    return params


def mlp_outputs(params, x):
    """Runs the network of `init_mlp` with LeakyReLU between its layers."""
    for i in range(len(params)):
        layer = params[f"layer_{i}"]
        x = x if i == 0 else jax.nn.leaky_relu(x)
        x = x @ layer["kernel"]
        x = x + layer["bias"][None] if "bias" in layer else x
    return x


def mlp_loss(params, batch):
    """Mean squared error."""
    x, y = batch
    return jnp.mean((mlp_outputs(params, x) - y) ** 2)


def regression_batch(key, num_examples, num_in, num_out, dtype=jnp.float32):
    """Inputs and targets with no relation between them: gradients never vanish."""
    x_key, y_key = jax.random.split(key)
    x = jax.random.normal(x_key, (num_examples, num_in), dtype)
    return x, jax.random.normal(y_key, (num_examples, num_out), dtype)


class OneLayerEta(nn.Module):
    """A small eta model that listens to its features from the start."""

    num_steps: int

    @nn.compact
    def __call__(self, features):
        raw = nn.Dense(2 * self.num_steps, param_dtype=features.dtype)(features)
        return raw[: self.num_steps], raw[self.num_steps :]


# Quick to compile, unlike the defaults, and with the paper's direction.
LIGHT = {
    "eta_model": OneLayerEta,
    "meta_optimizer": optax.sgd(0.1),
    "direction": "gradient",
}


def remember():
    """A transformation that changes nothing and keeps what it was given."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (updates, updates),
    )


def remember_only():
    """A transformation that stands still and keeps what it was given."""
    keep = remember()
    return optax.GradientTransformation(
        keep.init,
        lambda updates, state, params=None: (
            jax.tree.map(jnp.zeros_like, updates),
            updates,
        ),
    )


@jax.custom_vjp
def spoil_gradient(leaf, bad):
    """The leaf, with `bad` added to the last entry of its gradient."""
    return leaf


def _spoil_forward(leaf, bad):
    return leaf, bad


def _spoil_backward(bad, cotangent):
    flat = cotangent.ravel()
    spoilt = flat.at[flat.size - 1].add(bad.astype(flat.dtype))
    return spoilt.reshape(cotangent.shape), jnp.zeros_like(bad)


spoil_gradient.defvjp(_spoil_forward, _spoil_backward)
