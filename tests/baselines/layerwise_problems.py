"""Small problems for the layer-wise methods, in the dtype that is switched on."""

import jax
import jax.numpy as jnp
import numpy as np

from samt_jax import Batches, Chain, dense
from samt_jax.baselines import Network


def network(widths, output, negative_slope, has_bias=True):
    """A network of dense layers `layer_0`, … and random parameters for it."""
    rng = np.random.default_rng(len(widths))
    leaky = lambda z: jnp.where(z > 0, z, negative_slope * z)  # noqa: E731
    count = len(widths) - 1
    layers = [dense(f"layer_{i}", leaky) for i in range(count - 1)]
    layers.append(dense(f"layer_{count - 1}"))
    params = {}
    for i in range(count):
        kernel = rng.normal(size=widths[i : i + 2]) / widths[i] ** 0.5
        params[f"layer_{i}"] = {"kernel": jnp.array(kernel)}
        if has_bias:
            bias = 0.3 * rng.normal(size=widths[i + 1])
            params[f"layer_{i}"]["bias"] = jnp.array(bias)
    return Network(Chain(tuple(layers), output.values), output, negative_slope), params


def two_moons(num_examples, seed=0):
    """Inputs in the plane and two classes that a bent line separates."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, np.pi, num_examples)
    labels = np.arange(num_examples) % 2
    x = np.where(labels, 1 - np.cos(angles), np.cos(angles))
    y = np.where(labels, 0.4 - np.sin(angles), np.sin(angles))
    inputs = np.stack([x, y], axis=1) + 0.05 * rng.normal(size=(num_examples, 2))
    return Batches((jnp.array(inputs), jnp.array(labels)))


def run(algorithm, params, batches, num_steps, state=None):
    """Parameters, state and the reports of all steps."""
    key = jax.random.key(1)
    state = algorithm.init(params, batches, key) if state is None else state

    def body(carry, _):
        params, state, info = algorithm.step(*carry, batches, key)
        return (params, state), info

    scan = jax.jit(lambda carry: jax.lax.scan(body, carry, length=num_steps))
    (params, state), infos = scan((params, state))
    return params, state, infos
