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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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
        1 no activation.
    """

    loss_fn: LossFn
    output: OutputLoss
    negative_slope: float = 0.0


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
    """

    objective: Scalar
    output_loss: Scalar
    linear_residual: dict[str, Scalar]
    activation_residual: dict[str, Scalar]
    network: dict[str, Scalar]


class Move(NamedTuple):
    """A step on one factor of a product.

    Attributes:
      change: What is added to the factor.
      product_change: What that adds to the product.
      curvature: The θ of the step, whose size is 1/θ.
    """

    change: Float[Array, "..."]
    product_change: Float[Array, "n o"]
    curvature: Scalar


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


def backtracked_curvature(
    quotient: Scalar, start: Scalar, max_doublings: int | None = None
) -> tuple[Scalar, Bool[Array, ""]]:
    """The curvature that backtracking by doubling ends at, without a trial.

    For a quadratic φ with gradient G, the step ``-G/θ`` meets the model's bound
    ``φ - ‖G‖²/(2θ)`` just where θ is at least ``⟨G, ∇²φ G⟩ / ‖G‖²``. So doubling from
    the start ends at the first ``start·2^k`` that is no smaller than this quotient.

    Args:
      quotient: ``⟨G, ∇²φ G⟩ / ‖G‖²``.
      start: θ_0 > 0.
      max_doublings: After how many to give up; by default never.

    Returns:
      The curvature, and whether it was found (a quotient that is not finite has none).

    Example:
      >>> curvature, found = backtracked_curvature(jnp.float32(5.0), jnp.float32(1.0))
      >>> float(curvature), bool(found)
      (8.0, True)
      >>> bool(backtracked_curvature(jnp.float32(5.0), jnp.float32(1.0), 2)[1])
      False
    """
    mantissa, exponent = jnp.frexp(jnp.maximum(quotient / start, 1))
    # A power of two has the mantissa one half.
    doublings = exponent - (mantissa == 0.5)
    found = jnp.isfinite(quotient)
    if max_doublings is not None:
        found &= doublings <= max_doublings
    return jnp.ldexp(start, doublings), found


def kernel_move(
    kernel: Float[Array, "i o"],
    inputs: Float[Array, "n i"],
    residual: Float[Array, "n o"],
    weight: Scalar,
    start: Scalar,
    *,
    decay: float = 0.0,
    max_doublings: int | None = None,
) -> Move:
    """A backtracked gradient step on a kernel W of a least-squares problem.

    It is taken on ``φ(W) = weight/2 ‖inputs W - t‖² + decay/2 ‖W‖²``.

    Args:
      kernel: W.
      inputs: The layer's inputs.
      residual: ``inputs W - t``.
      weight: Of the squares.
      start: θ_0 of the backtracking.
      decay: Of the kernel.
      max_doublings: After how many the step is given up and W stays.

    Returns:
      The step.
    """
    gradient = weight * (inputs.T @ residual) + decay * kernel
    product = inputs @ gradient
    squares = jnp.sum(gradient**2)
    curved = weight * jnp.sum(product**2) + decay * squares
    return _move(gradient, product, curved, squares, start, max_doublings)


def inputs_move(
    kernel: Float[Array, "i o"],
    residual: Float[Array, "n o"],
    weight: Scalar,
    pull: Float[Array, "n i"],
    pull_weight: Scalar,
    start: Scalar,
) -> Move:
    """A backtracked gradient step on the inputs a of a layer.

    It is taken on ``ψ(a) = weight/2 ‖a W - t‖² + q(a)`` with a q whose Hessian is a
    number.

    Args:
      kernel: W.
      residual: ``a W - t``.
      weight: Of the squares.
      pull: The gradient of q at a.
      pull_weight: Its Hessian.
      start: τ_0 of the backtracking.

    Returns:
      The step.
    """
    gradient = weight * (residual @ kernel.T) + pull
    product = gradient @ kernel
    squares = jnp.sum(gradient**2)
    curved = weight * jnp.sum(product**2) + pull_weight * squares
    return _move(gradient, product, curved, squares, start, None)


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


def rms(values: Float[Array, "..."]) -> Scalar:
    """The root mean square."""
    return jnp.sqrt(jnp.mean(values**2))


def _move(
    gradient: Array,
    product: Array,
    curved: Scalar,
    squares: Scalar,
    start: Scalar,
    max_doublings: int | None,
) -> Move:
    # At a stationary point any step is none, and 0/0 must not be NaN.
    quotient = curved / jnp.where(squares == 0, 1, squares)
    curvature, found = backtracked_curvature(quotient, start, max_doublings)
    step_size = jnp.where(found, -1 / curvature, 0)
    # A gradient that is not finite would make NaN of a step of no length.
    return Move(
        jnp.where(found, step_size * gradient, 0),
        jnp.where(found, step_size * product, 0),
        curvature,
    )


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
