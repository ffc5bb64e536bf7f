"""Convolution and pooling of images in forms that are fast inside a compiled loop.

XLA compiles a convolution's gradient to plain loops where it stands in the body of a
`while` on a CPU (https://github.com/jax-ml/jax/issues/12868), and whoever trains in one
compiled program is there: the step of the paper's CNN takes some twenty times as long.
On a CPU a convolution here is therefore one matrix product over the windows, which has
matrix products for gradients; on other devices it is XLA's own.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images: TypeAlias = Float[Array, "batch height width channels"]
Kernel: TypeAlias = Float[Array, "height width channels outputs"]
Padding: TypeAlias = str | Sequence[tuple[int, int]]


def convolve(
    images: Images, kernel: Kernel, strides: Sequence[int], padding: Padding
) -> Images:
    """Convolves images with a kernel, on every device the way that is fast there.

    Args:
      images: NHWC images.
      kernel: HWIO kernel.
      strides: Steps of the window, of rows and of columns.
      padding: ``"SAME"``, ``"VALID"``, or zeros before and after rows and columns.

    Returns:
      The outputs, as of :func:`jax.lax.conv_general_dilated` to rounding.

    Example:
      >>> images, kernel = jnp.ones((2, 8, 8, 1)), jnp.ones((3, 3, 1, 5))
      >>> convolve(images, kernel, (2, 2), "SAME").shape
      (2, 4, 4, 5)
    """
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=functools.partial(_multiply_windows, strides=strides, padding=padding),
        default=functools.partial(
            jax.lax.conv_general_dilated,
            window_strides=strides,
            padding=padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
    )


def _multiply_windows(
    images: Images, kernel: Kernel, *, strides: Sequence[int], padding: Padding
) -> Images:
    window = kernel.shape[:2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(images.shape[1:3], window, strides, padding)
    images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    rows, columns = map(_slices, images.shape[1:3], window, strides)
    windows = [
        images[:, row, column] for row, column in itertools.product(rows, columns)
    ]
    return jnp.concatenate(windows, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _slices(length: int, size: int, stride: int) -> list[slice]:
    """The pixels along an axis that are each window's first, second, …; maybe none."""
    last = max(-1, (length - size) // stride * stride)
    return [slice(start, start + last + 1, stride) for start in range(size)]


def pool(images: Images) -> Images:
    """Takes the largest of every 2×2 pixels; an odd last row or column is dropped.

    Equal ones share the gradient. A reduction over axes, for the gradient of
    `reduce_window` is a scatter, which alone takes a third of the paper's CNN's step.

    Example:
      >>> pool(jnp.arange(20.0).reshape(1, 4, 5, 1))[0, :, :, 0].tolist()
      [[6.0, 8.0], [16.0, 18.0]]
    """
    batch, height, width, channels = images.shape
    rows, columns = height // 2, width // 2
    windows = images[:, : 2 * rows, : 2 * columns]
    return windows.reshape(batch, rows, 2, columns, 2, channels).max(axis=(2, 4))
