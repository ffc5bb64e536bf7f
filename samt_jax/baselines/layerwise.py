"""What the auxiliary-variable methods share: layers, their copies, and steps on them.

ADMM and block coordinate descent train a chain of dense layers,

    z_l = a_{l-1} W_l + b_l,    a_l = f(z_l),    a_0 = inputs,

without back-propagation: every z_l, and every a_l but the last, is a variable of its
own for every example, tied to the network by penalties, and each variable is minimised
over in turn. An example is a row here, a kernel W_l is of shape ``(in, out)``. The
weights are the parameters; z, a and multipliers are the method's state, so that a
step needs the same examples in the same order every time. Objectives are sums over
examples, as in the papers; a mean would need every penalty divided too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Batch, Batches, BatchSpec, LossFn, Params, Scalar
from samt_jax.baselines.activations import activate, check_slope
from samt_jax.baselines.outputs import OutputLoss
from samt_jax.blocks import Block, get_block, partition_blocks, replace_block

# The whole training set at every step, in one order.
FULL_BATCH = BatchSpec(full_batch=True)


class Network(NamedTuple):
    """A chain of dense layers with leaky ReLUs between them, and its loss.

    Attributes:
      loss_fn: ``loss_fn(params, (inputs, targets))``: the mean loss of the network that
        the other fields describe. It shows where the layers are in the tree, and their
        order.
      output: The loss of an example.
      negative_slope: s of the leaky ReLU after every layer but the last: 0 is the ReLU,
        1 no activation. It is what the methods go by: a slope that is not that of
        `loss_fn` is another network's.
    """

    loss_fn: LossFn
    output: OutputLoss
    negative_slope: float


class DenseLayer(NamedTuple):
    """The parameters of one layer.

    Attributes:
      kernel: W, shape ``(in, out)``.
      bias: b, shape ``(out,)``, or `None` where the layer has none.
    """

    kernel: Float[Array, "i o"]
    bias: Float[Array, "o"] | None


class LayerwiseInfo(NamedTuple):
    """What a step reports; for people, never read back.

    Attributes:
      objective: What the method minimises, after the step, summed over examples:
        augmented Lagrangian or penalised objective.
      output_loss: Its part that is the loss of the output variables z_L.
      linear_residual: By layer, the root mean square of z_l - a_{l-1} W_l - b_l.
      activation_residual: By hidden layer, that of a_l - f(z_l).
      network: Means over the examples of a forward pass before the step: accuracy or
        root mean squared error. They are the network's, not the variables'.
      constraint_residual: By hidden layer, the root mean square of p_{l+1} - q_l, where
        a method splits a layer's inputs from the outputs before it.
      multiplier_term: The objective's part that the multipliers are in; what is left of
        it are penalties, which the residuals tell.
      is_accepted: 1 where an accelerated point was taken and 0 where it was not, by a
        method that decides it for all variables at once.
    """

    objective: Scalar
    output_loss: Scalar
    linear_residual: dict[str, Scalar]
    activation_residual: dict[str, Scalar]
    network: dict[str, Scalar]
    constraint_residual: dict[str, Scalar] | None = None
    multiplier_term: Scalar | None = None
    is_accepted: Scalar | None = None


def find_layers(network: Network, params: Params, batch: Batch) -> tuple[Block, ...]:
    """The layers of a network, first to last.

    Args:
      network: The network.
      params: Its parameters.
      batch: Inputs and targets, for their shapes.

    Returns:
      One block a layer.

    Raises:
      ValueError: The parameters are not those of a chain of dense layers, or the slope
        is out of its range.

    Example:
      >>> from samt_jax.baselines.outputs import SQUARED_ERROR
      >>> params = {"b": {"kernel": jnp.ones((3, 2))}, "a": {"kernel": jnp.ones((2, 1))}}
      >>> def loss_fn(params, batch):
      ...     x, y = batch
      ...     return jnp.mean((x @ params["b"]["kernel"] @ params["a"]["kernel"] - y) ** 2)
      >>> batch = jnp.ones((4, 3)), jnp.ones((4, 1))
      >>> network = Network(loss_fn, SQUARED_ERROR, 1.0)
      >>> [block.name for block in find_layers(network, params, batch)]
      ['b', 'a']
    """  # noqa: E501 - the example's formula is one line.
    check_slope(network.negative_slope)
    table = partition_blocks(params, value_fn=lambda p: network.loss_fn(p, batch))
    shapes = [_kernel_shape(block, params) for block in table.blocks]
    inputs, _ = batch
    widths = [(inputs.size // len(inputs), *shapes[0])[0], *(s[1] for s in shapes)]
    if [shape[0] for shape in shapes] != widths[:-1]:
        raise ValueError(
            f"The kernels have shapes {shapes} and the inputs {widths[0]} numbers; a "
            "layer-wise method trains a chain, in which each layer takes what the one "
            "before it gives."
        )
    return table.blocks


def read_layers(
    params: Params, blocks: tuple[Block, ...], dtype: jnp.dtype
) -> list[DenseLayer]:
    """The layers' parameters, in the dtype in which a method computes.

    Args:
      params: The parameters.
      blocks: The layers, from :func:`find_layers`.
      dtype: The dtype.

    Returns:
      One :class:`DenseLayer` a block.
    """
    layers = []
    for block in blocks:
        values = {
            path.rpartition("/")[2]: leaf.astype(dtype)
            for path, leaf in get_block(params, block).items()
        }
        layers.append(DenseLayer(values["kernel"], values.get("bias")))
    return layers


def write_layers(
    params: Params, blocks: tuple[Block, ...], layers: list[DenseLayer]
) -> Params:
    """Puts layers back where they came from, in the parameters' own dtypes.

    Args:
      params: The parameters.
      blocks: The layers, from :func:`find_layers`.
      layers: Their new values.

    Returns:
      The parameters with these layers.
    """
    for block, layer in zip(blocks, layers, strict=True):
        values = layer._asdict()
        new = {
            path: values[path.rpartition("/")[2]].astype(leaf.dtype)
            for path, leaf in get_block(params, block).items()
        }
        params = replace_block(params, new)
    return params


def examples_of(batches: Batches) -> tuple[Float[Array, "n d"], Array]:
    """The training examples: inputs as rows of at least 32-bit numbers, and targets.

    Args:
      batches: What a step is given.

    Returns:
      Inputs of shape ``(n, d)``, and targets.

    Example:
      >>> batches = Batches((jnp.ones((5, 2, 3)), jnp.zeros(5)))
      >>> examples_of(batches)[0].shape
      (5, 6)
    """
    inputs, targets = batches.train
    dtype = jnp.promote_types(jnp.float32, inputs.dtype)
    return inputs.reshape(len(inputs), -1).astype(dtype), targets


class Pass(NamedTuple):
    """A step's data, and a forward pass through the network that it is given.

    Attributes:
      inputs: Examples as rows.
      targets: As the loss takes them.
      blocks: Where the layers are in the parameters.
      layers: Their parameters.
      preactivations: z_1 to z_L of the pass; the last are the network's outputs.
      value: The network's mean loss.
    """

    inputs: Float[Array, "n d"]
    targets: Array
    blocks: tuple[Block, ...]
    layers: tuple[DenseLayer, ...]
    preactivations: tuple[Float[Array, "n _"], ...]
    value: Scalar


def pass_forward(network: Network, params: Params, batches: Batches) -> Pass:
    """Reads a step's data and layers, and runs the network.

    Args:
      network: The network.
      params: Its parameters.
      batches: What the step is given.

    Returns:
      The pass.

    Raises:
      ValueError: As of :func:`find_layers`; or the targets are not what the output loss
        takes.
    """
    inputs, targets = examples_of(batches)
    blocks = find_layers(network, params, batches.train)
    layers = read_layers(params, blocks, inputs.dtype)
    preactivations = forward(layers, inputs, network.negative_slope)
    network.output.check(targets, preactivations[-1].shape)
    value = jnp.mean(network.output.values(preactivations[-1], targets))
    return Pass(inputs, targets, blocks, tuple(layers), tuple(preactivations), value)


def start_variables(
    network: Network, passed: Pass
) -> tuple[tuple[Float[Array, "n _"], ...], tuple[Float[Array, "n _"], ...]]:
    """Variables to start from: those of a forward pass, and the loss's own outputs.

    Args:
      network: The network.
      passed: The pass.

    Returns:
      z_1 to z_L, and a_1 to a_{L-1}.
    """
    *hidden, outputs = passed.preactivations
    start = network.output.start(passed.targets, outputs.shape[1], outputs.dtype)
    # Linear activations are z itself, and a donated state holds no array twice.
    activations = tuple(jnp.array(activate(z, network.negative_slope)) for z in hidden)
    return (*hidden, start), activations


def products_of(
    passed: Pass, activations: Sequence[Float[Array, "n _"]]
) -> tuple[Float[Array, "n _"], ...]:
    """What each layer makes of its input variables; the first one's is known.

    Args:
      passed: The pass.
      activations: a_1 to a_{L-1}, the inputs of layers 2 to L.

    Returns:
      ``a_{l-1} W_l + b_l`` of every layer.
    """
    later = zip(passed.layers[1:], activations, strict=True)
    return passed.preactivations[0], *(affine(layer, a) for layer, a in later)


def affine(layer: DenseLayer, inputs: Float[Array, "n i"]) -> Float[Array, "n o"]:
    """A layer's pre-activations.

    Args:
      layer: The layer.
      inputs: Its inputs.

    Returns:
      ``inputs @ kernel + bias``.

    Example:
      >>> affine(DenseLayer(jnp.ones((2, 1)), jnp.ones(1)), jnp.ones((1, 2)))
      Array([[3.]], dtype=float32)
    """
    product = inputs @ layer.kernel
    return product if layer.bias is None else product + layer.bias[None]


def forward(
    layers: list[DenseLayer], inputs: Float[Array, "n d"], negative_slope: float
) -> list[Float[Array, "n _"]]:
    """The pre-activations of every layer in a forward pass.

    Args:
      layers: The layers.
      inputs: Examples as rows.
      negative_slope: s of the activation.

    Returns:
      z_1 to z_L, of which the last are the network's outputs.

    Example:
      >>> layers = [DenseLayer(jnp.eye(2), None), DenseLayer(jnp.ones((2, 1)), None)]
      >>> forward(layers, jnp.array([[1.0, -1.0]]), 0.0)[-1]
      Array([[1.]], dtype=float32)
    """
    preactivations = [affine(layers[0], inputs)]
    for layer in layers[1:]:
        hidden = activate(preactivations[-1], negative_slope)
        preactivations.append(affine(layer, hidden))
    return preactivations


def residuals(
    network: Network,
    blocks: tuple[Block, ...],
    preactivations: Sequence[Float[Array, "n _"]],
    activations: Sequence[Float[Array, "n _"]],
    products: Sequence[Float[Array, "n _"]],
) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """How far the variables are from the network's equations, root mean squares.

    Args:
      network: The network.
      blocks: Its layers.
      preactivations: z_1 to z_L.
      activations: a_1 to a_{L-1}.
      products: ``a_{l-1} W_l + b_l`` of every layer.

    Returns:
      By layer that of z - product, and by hidden layer that of a - f(z).
    """
    names = [block.name for block in blocks]
    linear = [rms(z - p) for z, p in zip(preactivations, products, strict=True)]
    hidden = [
        rms(a - activate(z, network.negative_slope))
        for a, z in zip(activations, preactivations[:-1], strict=True)
    ]
    return dict(zip(names, linear, strict=True)), dict(
        zip(names[:-1], hidden, strict=True)
    )


def put(values: tuple, i: int, value: Any) -> tuple:
    """A tuple with another value at one place.

    Example:
      >>> put((1, 2, 3), 1, 9)
      (1, 9, 3)
    """
    return (*values[:i], value, *values[i + 1 :])


def with_layer(
    variables: Any, i: int, layer: DenseLayer, product: Float[Array, "n o"]
) -> Any:
    """Variables with another layer and what it now makes of its inputs.

    Args:
      variables: A named tuple with the fields `layers` and `products`.
      i: The layer's place.
      layer: Its new parameters.
      product: The new ``a_{l-1} W_l + b_l``.

    Returns:
      The variables.
    """
    return variables._replace(
        layers=put(variables.layers, i, layer),
        products=put(variables.products, i, product),
    )


def with_fitted_bias(variables: Any, i: int, residual: Float[Array, "n o"]) -> Any:
    """Variables with the bias that minimises the squares of a layer's residual.

    Args:
      variables: A named tuple with the fields `layers` and `products`.
      i: The layer's place.
      residual: ``a_{l-1} W_l + b_l - t_l``.

    Returns:
      The variables; the same where the layer has no bias.
    """
    layer = variables.layers[i]
    if layer.bias is None:
        return variables
    change = -jnp.mean(residual, axis=0)
    layer = layer._replace(bias=layer.bias + change)
    return with_layer(variables, i, layer, variables.products[i] + change[None])


def check_positive(**numbers: float) -> None:
    """Raises a `ValueError` for a number, given by its name, that is not positive."""
    for name, number in numbers.items():
        if not isinstance(number, jax.core.Tracer) and not number > 0:
            raise ValueError(f"{name} is {number}; it must be greater than 0.")


def check_not_negative(**numbers: float) -> None:
    """Raises a `ValueError` for a number, given by its name, that is below zero."""
    for name, number in numbers.items():
        if not isinstance(number, jax.core.Tracer) and not number >= 0:
            raise ValueError(f"{name} is {number}; it must be 0 or greater.")


def rms(values: Float[Array, "..."]) -> Scalar:
    """The root mean square."""
    return jnp.sqrt(jnp.mean(values**2))


def _kernel_shape(block: Block, params: Params) -> tuple[int, int]:
    leaves = {
        path.rpartition("/")[2]: leaf.shape
        for path, leaf in jax.eval_shape(lambda p: get_block(p, block), params).items()
    }
    is_dense = len(leaves.get("kernel", ())) == 2 and leaves.keys() <= {
        "kernel",
        "bias",
    }
    if not is_dense:
        raise ValueError(
            f"The layer '{block.name}' has leaves {leaves}; a layer-wise method needs "
            "dense layers, each a 'kernel' of shape (in, out) and perhaps a 'bias'."
        )
    return leaves["kernel"]
