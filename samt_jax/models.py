"""Networks by name, as pure functions that a training loop calls alike."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from flax import linen as nn
from jaxtyping import Array, PyTree

from samt_jax.base import Key, Params
from samt_jax.chain import Layer, convolution, dense
from samt_jax.image_ops import pool
from samt_jax.networks import (
    CNN,
    MLP,
    NEGATIVE_SLOPE,
    VGG11,
    FanInInit,
    Outputs,
    ResNet18,
    flatten,
    uniform_fan_in,
)

ModelState: TypeAlias = PyTree

DEFAULT_HIDDEN = (100,)


class Model(NamedTuple):
    """A network as pure functions; `model_state` holds its running batch statistics.

    Attributes:
      name: The name it was built by.
      init: ``init(key, inputs) -> (params, model_state)``; `inputs` shows the shape.
        `params` is the bare Linen collection; `model_state` is an empty dictionary for
        networks without batch normalization.
      apply: ``apply(params, inputs) -> outputs`` while training: normalizes with the
        statistics of this batch, and neither reads nor moves the running ones.
      predict: ``predict(params, model_state, inputs) -> outputs``: normalizes with the
        running statistics, so that examples do not influence each other.
      update_model_state: ``update_model_state(params, model_state, inputs) ->
        model_state``: the running statistics, moved once (``0.9 old + 0.1 batch``).
      layers: The same network as `apply`, layer by layer on flattened inputs or images,
        where it is a chain of them; `None` where it is not.
      prepare: What happens to the inputs before the first of them.
      blocks: How deep in the tree of names a block goes that suits it, see
        :func:`~samt_jax.blocks.partition_blocks`: a convolution with its normalization,
        a residual block whole. `None`: every layer is one.
    """

    name: str
    init: Callable[[Key, Array], tuple[Params, ModelState]]
    apply: Callable[[Params, Array], Outputs]
    predict: Callable[[Params, ModelState, Array], Outputs]
    update_model_state: Callable[[Params, ModelState, Array], ModelState]
    layers: tuple[Layer, ...] | None = None
    prepare: Callable[[Array], Array] = lambda inputs: inputs
    blocks: int | None = None


IMAGE_NETWORKS = {"cnn": CNN, "resnet18": ResNet18, "vgg11": VGG11}
MODELS = ("mlp", *IMAGE_NETWORKS)


def build_model(
    name: str,
    *,
    num_outputs: int,
    hidden: Sequence[int] | None = None,
    width: float | None = None,
    use_bias: bool = True,
    negative_slope: float = NEGATIVE_SLOPE,
    kernel_init: FanInInit = uniform_fan_in,
    bias_init: FanInInit = uniform_fan_in,
) -> Model:
    """Builds a network by name.

    Args:
      name: One of `MODELS`.
      num_outputs: Classes, or 1 for regression.
      hidden: For `mlp`: width of each hidden layer, by default one of 100.
      width: For the other networks: multiplies all their widths, by default 1.
      use_bias: Whether dense and plain convolution layers have biases.
      negative_slope: Slope of the leaky ReLU below zero.
      kernel_init: Initializer of a kernel, given its fan-in.
      bias_init: Initializer of a bias, given the fan-in of its layer.

    Returns:
      The model.

    Raises:
      ValueError: No such network, or a width that it cannot have. Inputs that it cannot
        take raise it from the model's functions.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = build_model("mlp", num_outputs=3, hidden=(8,))
      >>> params, model_state = model.init(jax.random.key(0), jnp.ones((1, 4)))
      >>> model.apply(params, jnp.ones((5, 4))).shape
      (5, 3)
    """
    _check_settings(name, num_outputs, hidden, width)
    settings: dict[str, Any] = {
        "num_outputs": num_outputs,
        "use_bias": use_bias,
        "negative_slope": negative_slope,
        "kernel_init": kernel_init,
        "bias_init": bias_init,
    }
    if name == "mlp":
        widths = DEFAULT_HIDDEN if hidden is None else tuple(hidden)
        model = _plain_model(name, MLP(hidden=widths, **settings))
        layers = _dense_layers(len(widths) + 1, negative_slope)
        return model._replace(layers=layers, prepare=flatten)
    network = IMAGE_NETWORKS[name](width=1.0 if width is None else width, **settings)
    if name == "cnn":
        return _plain_model(name, network)._replace(layers=_cnn_layers(negative_slope))
    return _normalized_model(name, network)


def _dense_layers(num_layers: int, negative_slope: float) -> tuple[Layer, ...]:
    """The layers of an :class:`MLP`."""
    activate = functools.partial(nn.leaky_relu, negative_slope=negative_slope)
    hidden = [dense(f"Dense_{i}", activate) for i in range(num_layers - 1)]
    return (*hidden, dense(f"Dense_{num_layers - 1}"))


def _cnn_layers(negative_slope: float) -> tuple[Layer, ...]:
    """The layers of a :class:`CNN`."""
    activate = functools.partial(nn.leaky_relu, negative_slope=negative_slope)

    def activate_pooled(pre_activations: Array) -> Array:
        return activate(pool(pre_activations))

    return (
        convolution("Conv_0", activate_pooled),
        convolution("Conv_1", lambda z: flatten(activate_pooled(z))),
        *_dense_layers(2, negative_slope),
    )


def _plain_model(name: str, module: nn.Module) -> Model:
    """Makes a model of a network that has no state."""

    def init(key: Key, inputs: Array) -> tuple[Params, ModelState]:
        return module.init(key, inputs)["params"], {}

    def apply(params: Params, inputs: Array) -> Outputs:
        outputs: Any = module.apply({"params": params}, inputs)
        return outputs

    def predict(params: Params, model_state: ModelState, inputs: Array) -> Outputs:
        del model_state
        return apply(params, inputs)

    def update(params: Params, model_state: ModelState, inputs: Array) -> ModelState:
        del params, inputs
        return model_state

    return Model(name, init, apply, predict, update)


def _normalized_model(name: str, module: nn.Module) -> Model:
    """Makes a model of a network with batch normalization."""

    def init(key: Key, inputs: Array) -> tuple[Params, ModelState]:
        variables = module.init(key, inputs, train=True)
        return variables["params"], variables["batch_stats"]

    def apply(params: Params, inputs: Array) -> Outputs:
        # Fresh running statistics are made, moved and dropped; outputs ignore them.
        outputs, _ = module.apply(
            {"params": params}, inputs, train=True, mutable=["batch_stats"]
        )
        return outputs

    def predict(params: Params, model_state: ModelState, inputs: Array) -> Outputs:
        variables = {"params": params, "batch_stats": model_state}
        outputs: Any = module.apply(variables, inputs, train=False)
        return outputs

    def update(params: Params, model_state: ModelState, inputs: Array) -> ModelState:
        variables = {"params": params, "batch_stats": model_state}
        _, moved = module.apply(variables, inputs, train=True, mutable=["batch_stats"])
        return moved["batch_stats"]

    return Model(name, init, apply, predict, update, blocks=1)


def _check_settings(
    name: str, num_outputs: int, hidden: Sequence[int] | None, width: float | None
) -> None:
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; choose one of {', '.join(MODELS)}.")
    if num_outputs < 1:
        raise ValueError(f"num_outputs is {num_outputs}; give at least 1.")
    if name == "mlp" and width is not None:
        raise ValueError(f"mlp takes hidden, got width={width}; leave width out.")
    if name != "mlp" and hidden is not None:
        raise ValueError(
            f"{name} takes width, got hidden={tuple(hidden)}; leave hidden out."
        )
    if width is not None and not 0 < width < math.inf:
        raise ValueError(f"width is {width}; give a positive multiplier.")
    if any(size < 1 for size in hidden or ()):
        raise ValueError(
            f"hidden is {tuple(hidden or ())}; give every layer at least 1 unit."
        )
