"""The networks of the paper's experiments, and two that are common beside them.

Layers are named so that the natural order of their names is the forward order. An MLP
is the chain

    flatten, Dense_0, leaky_relu, Dense_1, leaky_relu, …, Dense_k

and the CNN

    Conv_0, pool, leaky_relu, Conv_1, pool, leaky_relu, flatten,
    Dense_0, leaky_relu, Dense_1.

Leaky ReLU grows with its argument, so it may stand before or after the max-pool; after,
it sees a quarter of the numbers. ResNet-18 and VGG-11 are chains of `Layer_0`,
`Layer_1`, … with batch normalization inside.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from samt_jax.base import Key
from samt_jax.image_ops import Images, Kernel, Padding, convolve, pool

Outputs: TypeAlias = Float[Array, "batch num_outputs"]
FanInInit: TypeAlias = Callable[[int], nn.initializers.Initializer]

NEGATIVE_SLOPE = 0.01
RUNNING_SHARE = 0.9


def uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
    """Initializes kernel and bias alike, uniformly in ±1/√fan_in.

    PyTorch's default for linear and convolution layers ("uniform Kaiming, a = √5"),
    hence most likely the paper's.

    Args:
      fan_in: Inputs of one output unit; for a convolution times the kernel's pixels.

    Returns:
      An initializer as Flax takes it.

    Example:
      >>> import jax
      >>> weights = uniform_fan_in(4)(jax.random.key(0), (4, 100))
      >>> bool(abs(weights).max() <= 0.5)
      True

    Reference: He et al., "Delving Deep into Rectifiers", 2015, with a² = 5.
    """
    bound = 1 / math.sqrt(fan_in)

    def init(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class MLP(nn.Module):
    """Fully connected layers with leaky ReLU between them, on flattened inputs.

    Attributes:
      hidden: Width of each hidden layer.
      num_outputs: Width of the last layer.
      use_bias: Whether layers have biases.
      negative_slope: Slope of the leaky ReLU below zero.
      kernel_init: Initializer of a kernel, given its fan-in.
      bias_init: Initializer of a bias, given the fan-in of its layer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = MLP(hidden=(16,), num_outputs=10)
      >>> variables = network.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
      >>> sorted(variables["params"])
      ['Dense_0', 'Dense_1']
    """

    hidden: Sequence[int]
    num_outputs: int
    use_bias: bool = True
    negative_slope: float = NEGATIVE_SLOPE
    kernel_init: FanInInit = uniform_fan_in
    bias_init: FanInInit = uniform_fan_in

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch ..."]) -> Outputs:
        """Returns the outputs (logits, or predictions) of a batch."""
        x = flatten(inputs)
        for width in self.hidden:
            x = nn.leaky_relu(_dense(self, width, x), self.negative_slope)
        return _dense(self, self.num_outputs, x)


class CNN(nn.Module):
    """Two convolutions and two fully connected layers, leaky ReLU between them.

    Convolution 3×3×32, max-pool 2, convolution 3×3×64, max-pool 2, dense 128, dense
    `num_outputs`; convolutions pad with zeros to keep height and width.

    Attributes:
      num_outputs: Width of the last layer.
      width: Multiplies 32, 64 and 128.
      use_bias: Whether layers have biases.
      negative_slope: Slope of the leaky ReLU below zero.
      kernel_init: Initializer of a kernel, given its fan-in.
      bias_init: Initializer of a bias, given the fan-in of its layer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = CNN(num_outputs=10, width=0.25)
      >>> variables = network.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
      >>> sorted(variables["params"])
      ['Conv_0', 'Conv_1', 'Dense_0', 'Dense_1']
    """

    num_outputs: int
    width: float = 1.0
    use_bias: bool = True
    negative_slope: float = NEGATIVE_SLOPE
    kernel_init: FanInInit = uniform_fan_in
    bias_init: FanInInit = uniform_fan_in

    @nn.compact
    def __call__(self, inputs: Images) -> Outputs:
        """Returns the outputs (logits) of a batch of images of at least 4×4 pixels."""
        _check_images("cnn", inputs, smallest=4)
        x = inputs
        for channels in (32, 64):
            x = pool(_conv(self, scale_width(channels, self.width), x))
            x = nn.leaky_relu(x, self.negative_slope)
        x = _dense(self, scale_width(128, self.width), flatten(x))
        x = nn.leaky_relu(x, self.negative_slope)
        return _dense(self, self.num_outputs, x)


class ConvNorm(nn.Module):
    """A convolution without bias, then batch normalization.

    Attributes:
      channels: Output channels.
      kernel_size: Height and width of the kernel.
      strides: Step in both directions.
      train: Whether to normalize with the statistics of the batch.
      kernel_init: Initializer of the kernel, given its fan-in.
    """

    channels: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: int = 1
    train: bool = True
    kernel_init: FanInInit = uniform_fan_in

    @nn.compact
    def __call__(self, inputs: Images) -> Images:
        """Returns the normalized channels."""
        fan_in = inputs.shape[-1] * math.prod(self.kernel_size)
        x = nn.Conv(
            self.channels,
            self.kernel_size,
            self.strides,
            # Symmetric, as PyTorch pads; "SAME" pads one side only when striding.
            padding=self.kernel_size[0] // 2,
            use_bias=False,
            kernel_init=self.kernel_init(fan_in),
            conv_general_dilated_cls=_convolution,
            name="Conv_0",
        )(inputs)
        return nn.BatchNorm(
            use_running_average=not self.train, momentum=RUNNING_SHARE, name="Norm_0"
        )(x)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around which the input is added back.

    Attributes:
      channels: Output channels.
      strides: Step of the first convolution.
      train: Whether to normalize with the statistics of the batch.
      negative_slope: Slope of the leaky ReLU below zero.
      kernel_init: Initializer of kernels, given their fan-in.
    """

    channels: int
    strides: int = 1
    train: bool = True
    negative_slope: float = NEGATIVE_SLOPE
    kernel_init: FanInInit = uniform_fan_in

    @nn.compact
    def __call__(self, inputs: Images) -> Images:
        """Returns the activations after the block."""
        settings: dict[str, Any] = {
            "train": self.train,
            "kernel_init": self.kernel_init,
        }
        x = ConvNorm(self.channels, strides=self.strides, name="Layer_0", **settings)(
            inputs
        )
        x = nn.leaky_relu(x, self.negative_slope)
        x = ConvNorm(self.channels, name="Layer_1", **settings)(x)
        if inputs.shape != x.shape:
            inputs = ConvNorm(
                self.channels, (1, 1), self.strides, name="Shortcut_0", **settings
            )(inputs)
        return nn.leaky_relu(x + inputs, self.negative_slope)


class ResNet18(nn.Module):
    """ResNet-18 for small images: a 3×3 stem, eight residual blocks, one dense layer.

    Attributes:
      num_outputs: Width of the last layer.
      width: Multiplies the channels 64, 128, 256, 512.
      use_bias: Whether the last layer has a bias; the others have batch normalization.
      negative_slope: Slope of the leaky ReLU below zero.
      kernel_init: Initializer of kernels, given their fan-in.
      bias_init: Initializer of the bias, given the fan-in.

    Reference: He et al., "Deep Residual Learning for Image Recognition", 2016, section
    4.2 for small images.
    """

    num_outputs: int
    width: float = 1.0
    use_bias: bool = True
    negative_slope: float = NEGATIVE_SLOPE
    kernel_init: FanInInit = uniform_fan_in
    bias_init: FanInInit = uniform_fan_in

    @nn.compact
    def __call__(self, inputs: Images, train: bool) -> Outputs:
        """Returns the outputs (logits) of a batch of images."""
        _check_images("resnet18", inputs, smallest=1)
        settings: dict[str, Any] = {"train": train, "kernel_init": self.kernel_init}
        stem = ConvNorm(scale_width(64, self.width), name="Layer_0", **settings)
        x = nn.leaky_relu(stem(inputs), self.negative_slope)
        for i in range(8):
            x = ResidualBlock(
                scale_width(64 * 2 ** (i // 2), self.width),
                strides=2 if i in (2, 4, 6) else 1,
                negative_slope=self.negative_slope,
                name=f"Layer_{i + 1}",
                **settings,
            )(x)
        return _dense(self, self.num_outputs, x.mean(axis=(1, 2)), name="Layer_9")


class VGG11(nn.Module):
    """VGG-11 with batch normalization for images of at least 32×32 pixels.

    Eight 3×3 convolutions, a max-pool after the first, second, fourth, sixth and
    eighth, and one dense layer.

    Attributes:
      num_outputs: Width of the last layer.
      width: Multiplies the channels 64, 128, 256, 512.
      use_bias: Whether the last layer has a bias; the others have batch normalization.
      negative_slope: Slope of the leaky ReLU below zero.
      kernel_init: Initializer of kernels, given their fan-in.
      bias_init: Initializer of the bias, given the fan-in.

    Reference: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition", 2015, configuration A; one dense layer as is usual for CIFAR.
    """

    num_outputs: int
    width: float = 1.0
    use_bias: bool = True
    negative_slope: float = NEGATIVE_SLOPE
    kernel_init: FanInInit = uniform_fan_in
    bias_init: FanInInit = uniform_fan_in

    @nn.compact
    def __call__(self, inputs: Images, train: bool) -> Outputs:
        """Returns the outputs (logits) of a batch of images."""
        _check_images("vgg11", inputs, smallest=32)
        x = inputs
        for i, channels in enumerate((64, 128, 256, 256, 512, 512, 512, 512)):
            x = ConvNorm(
                scale_width(channels, self.width),
                train=train,
                kernel_init=self.kernel_init,
                name=f"Layer_{i}",
            )(x)
            x = nn.leaky_relu(x, self.negative_slope)
            x = pool(x) if i in (0, 1, 3, 5, 7) else x
        return _dense(self, self.num_outputs, flatten(x), name="Layer_8")


def flatten(inputs: Float[Array, "batch ..."]) -> Float[Array, "batch size"]:
    """Returns each example as one row."""
    return inputs.reshape(inputs.shape[0], -1)


def scale_width(width: int, multiplier: float) -> int:
    """Returns a layer's width times the multiplier, rounded, at least one."""
    return max(1, round(width * multiplier))


def _dense(module: Any, features: int, inputs: Array, name: str | None = None) -> Array:
    fan_in = inputs.shape[-1]
    return nn.Dense(
        features,
        use_bias=module.use_bias,
        kernel_init=module.kernel_init(fan_in),
        bias_init=module.bias_init(fan_in),
        name=name,
    )(inputs)


def _conv(module: Any, channels: int, inputs: Images) -> Images:
    fan_in = inputs.shape[-1] * 9
    return nn.Conv(
        channels,
        (3, 3),
        use_bias=module.use_bias,
        kernel_init=module.kernel_init(fan_in),
        bias_init=module.bias_init(fan_in),
        conv_general_dilated_cls=_convolution,
    )(inputs)


def _convolution() -> Callable[..., Images]:
    """What Flax's layers call; of the settings beyond these none is used here."""

    def apply(
        images: Images,
        kernel: Kernel,
        strides: Sequence[int],
        padding: Padding,
        **unused: Any,
    ) -> Images:
        del unused
        return convolve(images, kernel, strides, padding)

    return apply


def _check_images(name: str, inputs: Array, smallest: int) -> None:
    if inputs.ndim != 4 or min(inputs.shape[1:3]) < smallest:
        raise ValueError(
            f"{name} takes images of shape (batch, height, width, channels), at least "
            f"{smallest} by {smallest} pixels, got inputs of shape {inputs.shape}; "
            "choose another model, mlp takes any inputs."
        )
