"""Networks that are a chain of layers, described so that they can be swept fast.

A chain is a list of layers, each affine in its own parameters, with a map after it that
acts on each example by itself (an activation, pooling, flattening; no batch
statistics), and a loss that is a mean over examples with no term in the parameters.
`chain_sweep.py` sweeps such a network with the iterates of `samt_sweep`, to rounding,
at a fraction of its price.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Batch, Params, Scalar
from samt_jax.blocks import Block, get_block, leaf_paths
from samt_jax.image_ops import convolve

LayerValues = dict[str, Array]


class Layer(NamedTuple):
    """One layer of a chain.

    Attributes:
      name: Where its parameters are: the ``/``-joined path of their folder, which is
        the name of the layer's block.
      apply: ``apply(values, inputs) -> pre_activations``, linear in `values` (the
        layer's leaves by their last key: `kernel`, `bias`) and, for fixed values,
        affine in the inputs of each example by itself.
      post: The map after it, on each example by itself.
      is_dense: Whether `apply` is ``inputs @ kernel + bias``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> scale = Layer("scale", lambda values, h: h * values["kernel"], jax.nn.relu)
      >>> scale.apply({"kernel": jnp.array([[1.0, 2.0]])}, jnp.ones((1, 2)))
      Array([[1., 2.]], dtype=float32)
    """

    name: str
    apply: Callable[[LayerValues, Array], Array]
    post: Callable[[Array], Array]
    is_dense: bool = False


class Chain(NamedTuple):
    """A network as a chain of layers, with its loss: a loss function that shows both.

    It is called as any loss, ``chain(params, (inputs, targets)) -> scalar``, the mean
    over the batch, and an engine that knows chains sees the layers.

    Attributes:
      layers: The layers, first to last.
      example_loss: ``example_loss(outputs, targets) -> losses``, shape
        ``(num_examples,)``.
      prepare: What happens to the inputs before the first layer (flattening).

    Example:
      >>> import jax.numpy as jnp
      >>> chain = Chain((dense("a"),), lambda outputs, y: (outputs[:, 0] - y) ** 2)
      >>> batch = (jnp.ones((4, 1)), jnp.zeros(4))
      >>> float(chain({"a": {"kernel": jnp.full((1, 1), 3.0)}}, batch))
      9.0
    """

    layers: tuple[Layer, ...]
    example_loss: Callable[[Array, Array], Float[Array, "n"]]
    prepare: Callable[[Array], Array] = lambda inputs: inputs

    def __call__(self, params: Params, batch: Batch) -> Scalar:
        """The mean loss of a batch of inputs and targets."""
        inputs, targets = batch
        return jnp.mean(self.example_loss(chain_outputs(self, params, inputs), targets))


def dense(name: str, post: Callable[[Array], Array] = lambda z: z) -> Layer:
    """A dense layer with a `kernel` of shape ``(in, out)`` and perhaps a `bias`.

    Args:
      name: Path of the layer's parameters.
      post: The map after it.

    Returns:
      The layer.

    Example:
      >>> import jax.numpy as jnp
      >>> layer = dense("Dense_0")
      >>> layer.apply({"kernel": jnp.ones((2, 3))}, jnp.ones((1, 2)))
      Array([[2., 2., 2.]], dtype=float32)
    """
    return Layer(name, _apply_dense, post, is_dense=True)


def convolution(
    name: str,
    post: Callable[[Array], Array] = lambda z: z,
    *,
    strides: Sequence[int] = (1, 1),
    padding: str = "SAME",
) -> Layer:
    """A 2-D convolution of NHWC images with an HWIO `kernel` and perhaps a `bias`.

    Args:
      name: Path of the layer's parameters.
      post: The map after it (activation, pooling, flattening).
      strides: Steps of the window.
      padding: ``"SAME"`` or ``"VALID"``.

    Returns:
      The layer.

    Example:
      >>> import jax.numpy as jnp
      >>> layer = convolution("Conv_0")
      >>> kernel = jnp.ones((3, 3, 1, 5))
      >>> layer.apply({"kernel": kernel}, jnp.ones((2, 8, 8, 1))).shape
      (2, 8, 8, 5)
    """

    def apply(values: LayerValues, inputs: Array) -> Array:
        kernel = _kernel(values, inputs)
        outputs = convolve(inputs, kernel, tuple(strides), padding)
        return _add_bias(outputs, values)

    return Layer(name, apply, post)


def chain_outputs(chain: Chain, params: Params, inputs: Array) -> Array:
    """Runs a chain.

    Args:
      chain: The chain.
      params: The parameter tree that holds every layer's leaves.
      inputs: Examples along the first axis.

    Returns:
      The outputs of the last layer.

    Raises:
      ValueError: A layer's name is the folder of no parameters.

    Example:
      >>> import jax.numpy as jnp
      >>> chain = Chain((dense("a"), dense("b")), lambda o, y: o[:, 0])
      >>> params = {"a": {"kernel": jnp.eye(2)}, "b": {"kernel": jnp.ones((2, 1))}}
      >>> chain_outputs(chain, params, jnp.ones((1, 2)))
      Array([[2.]], dtype=float32)
    """
    hidden = chain.prepare(inputs)
    for layer, block in zip(chain.layers, chain_blocks(chain, params), strict=True):
        hidden = layer.post(layer.apply(layer_values(get_block(params, block)), hidden))
    return hidden


def chain_blocks(chain: Chain, params: Params) -> tuple[Block, ...]:
    """The blocks of a chain: one a layer, first to last.

    Args:
      chain: The chain.
      params: The parameter tree.

    Returns:
      The blocks, named as the layers.

    Raises:
      ValueError: A layer's name is the folder of no parameters.
    """
    folders: dict[str, list[str]] = {}
    for path in leaf_paths(params):
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    missing = [layer.name for layer in chain.layers if layer.name not in folders]
    if missing:
        raise ValueError(
            f"The chain's layers {missing} have no parameters; the tree has them for "
            f"{sorted(folders)}: name each layer by the folder of its parameters."
        )
    return tuple(
        Block(layer.name, tuple(folders[layer.name])) for layer in chain.layers
    )


def layer_values(values: dict[str, Array]) -> LayerValues:
    """A block's leaves by their last key, as `Layer.apply` takes them."""
    return {path.rpartition("/")[2]: leaf for path, leaf in values.items()}


def _apply_dense(values: LayerValues, inputs: Array) -> Array:
    return _add_bias(inputs @ _kernel(values, inputs), values)


def _kernel(values: LayerValues, inputs: Array) -> Array:
    """The kernel in the inputs' dtype, which must have room for it."""
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(
            f"A layer was given inputs of dtype {inputs.dtype}, and takes floating-"
            "point numbers; convert them before, or in the chain's `prepare`."
        )
    return values["kernel"].astype(inputs.dtype)


def _add_bias(outputs: Array, values: LayerValues) -> Array:
    if "bias" not in values:
        return outputs
    # An explicit shape: under strict rank promotion nothing broadcasts by itself.
    bias = values["bias"].reshape((1,) * (outputs.ndim - 1) + (-1,))
    return outputs + bias.astype(outputs.dtype)
