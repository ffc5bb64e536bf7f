"""Granularity: which step sizes a block has, and which of them each leaf takes.

One number a block (SAMT-S), a row (R), a column (C) or an entry (E). A row is an output
unit of a layer and a column an input unit, whatever the memory layout.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

Shape = tuple[int, ...]
Granularity = (
    Literal["scalar", "row", "column", "element"] | Callable[[str, Shape], Shape]
)
# What the settings may be, apart from functions of the user's own.
CHOICES = {
    "granularity": ("scalar", "row", "column", "element"),
    "element_head": ("factored", "dense"),
    "kernel_layout": ("auto", "in_out", "out_in"),
    "squash": ("tanh", "sigmoid"),
    "terms": ("both", "left", "right"),
}


class Head(NamedTuple):
    """A group of step sizes that the eta model gives, as arrays that are multiplied.

    Attributes:
      factors: Shapes of the factors. One factor: the step sizes themselves. Two: they
        broadcast against each other, and every step size is the geometric mean of its
        two, so a wide layer's element-wise step sizes take ``rows + columns`` outputs.
    """

    factors: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """Shape of the head's step sizes."""
        return jnp.broadcast_shapes(*self.factors)


class LeafStep(NamedTuple):
    """Which step sizes a leaf takes.

    Attributes:
      head: Index of the head.
      shape: Shape to give that head's step sizes; `None` takes their mean.
    """

    head: int
    shape: Shape | None


class StepLayout(NamedTuple):
    """How a block's step sizes are shaped and spread over its leaves.

    Attributes:
      heads: What the eta model gives.
      leaves: Which head each leaf (by path) uses.

    Example:
      >>> import jax.numpy as jnp
      >>> layout = step_layout({"kernel": jnp.ones((4, 3))}, "column")
      >>> layout.num_steps, layout.leaves["kernel"]
      (4, LeafStep(head=0, shape=(4, 1)))
    """

    heads: tuple[Head, ...]
    leaves: dict[str, LeafStep]

    @property
    def num_steps(self) -> int:
        """Pairs of raw outputs that the eta model has to give."""
        return sum(math.prod(f) for head in self.heads for f in head.factors)


def check_choice(setting: str, given: Any) -> None:
    """Refuses what a setting cannot be.

    Args:
      setting: One of `CHOICES`.
      given: Its value; a function is taken as the user's own.

    Raises:
      ValueError: The value is unknown; the message says which are known.

    Example:
      >>> check_choice("squash", "tanh")
    """
    if not callable(given) and given not in CHOICES[setting]:
        allowed = ", ".join(map(repr, CHOICES[setting]))
        raise ValueError(f"{setting} is {given!r}; it must be one of {allowed}.")


def step_layout(
    values: Mapping[str, Any],
    granularity: Granularity,
    *,
    element_head: Literal["factored", "dense"] = "factored",
    kernel_layout: Literal["auto", "in_out", "out_in"] = "auto",
) -> StepLayout:
    """Lays out the step sizes of a block.

    A leaf of two or more dimensions is a kernel. Rows are its output units, columns its
    input units; the other axes of a convolution share. The other leaves of a layer
    (biases) take the block's number (scalar), the step of their row (row), the mean of
    the columns' steps (column) or entries of their own (element). A layer without a
    kernel (a normalisation) has one step size a unit by row and by column.

    Args:
      values: The block's leaves, or their shapes and dtypes, by path.
      granularity: ``"scalar"``, ``"row"``, ``"column"``, ``"element"``, or a function
        of a leaf's path and shape that returns a shape that broadcasts to it.
      element_head: For ``"element"``: ``"factored"`` makes a kernel's step sizes of a
        vector for its rows and one for the rest; ``"dense"`` is the literal head with
        64 x 2 weights for every entry of the block.
      kernel_layout: ``"in_out"``: the last axis of a kernel is its output, the one
        before its input (Flax); ``"out_in"``: the first is its output, the second its
        input (Equinox, PyTorch); ``"auto"``: ``out_in`` for leaves called `weight`.

    Returns:
      The layout.

    Raises:
      ValueError: An unknown setting, or a shape that does not broadcast to its leaf.

    Example:
      >>> import jax.numpy as jnp
      >>> values = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
      >>> step_layout(values, "row").heads
      (Head(factors=((1, 3),)),)
      >>> step_layout(values, "element").num_steps  # 4 + 3 for the kernel, 3 biases
      10

    Reference:
      Yan et al., arXiv 2508.04193, Algorithms 2 and 3; biases and convolutions are not
      treated there.
    """
    shapes = {path: tuple(jnp.shape(leaf)) for path, leaf in values.items()}
    check_choice("element_head", element_head)
    check_choice("kernel_layout", kernel_layout)
    check_choice("granularity", granularity)
    if callable(granularity):
        return _one_head_a_leaf(
            {p: (_checked_broadcast(p, granularity(p, s), s),)
             for p, s in shapes.items()}
        )  # fmt: skip
    if granularity == "scalar":
        one = Head(((),))
        return StepLayout((one,), {path: LeafStep(0, ()) for path in shapes})
    if granularity == "element":
        factored = element_head == "factored"
        return _one_head_a_leaf(
            {p: _row_and_rest(p, s, kernel_layout) if factored else (s,)
             for p, s in shapes.items()}
        )  # fmt: skip
    return _rows_or_columns(shapes, granularity, kernel_layout)


def _one_head_a_leaf(factors: Mapping[str, tuple[Shape, ...]]) -> StepLayout:
    heads = tuple(Head(shapes) for shapes in factors.values())
    return StepLayout(
        heads,
        {path: LeafStep(i, heads[i].shape) for i, path in enumerate(factors)},
    )


def _rows_or_columns(
    shapes: Mapping[str, Shape], granularity: str, kernel_layout: str
) -> StepLayout:
    heads: list[Head] = []
    leaves: dict[str, LeafStep] = {}

    def add_head(shape: Shape) -> int:
        heads.append(Head((shape,)))
        return len(heads) - 1

    for paths in _layers(shapes).values():
        kernels = [path for path in paths if _is_kernel(path, shapes[path])]
        for path in kernels:
            shape = _unit_shape(path, shapes[path], granularity, kernel_layout)
            leaves[path] = LeafStep(add_head(shape), shape)
        flat_heads: dict[Shape, int] = {}
        for path in (path for path in paths if path not in kernels):
            shape = shapes[path]
            if not kernels and shape not in flat_heads:
                flat_heads[shape] = add_head(shape)
            if not kernels:
                leaves[path] = LeafStep(flat_heads[shape], shape)
                continue
            owner = _kernel_of(path, kernels, shapes, kernel_layout)
            rows = shapes[owner][_output_axis(owner, shapes[owner], kernel_layout)]
            own_row = granularity == "row" and rows == math.prod(shape)
            leaves[path] = LeafStep(leaves[owner].head, shape if own_row else None)
    return StepLayout(tuple(heads), leaves)


def _layers(shapes: Mapping[str, Shape]) -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for path in shapes:
        layers.setdefault(path.rpartition("/")[0], []).append(path)
    return layers


def _is_kernel(path: str, shape: Shape) -> bool:
    return len(shape) > 1 and path.rpartition("/")[2] != "bias"


def _kernel_of(
    path: str, kernels: list[str], shapes: Mapping[str, Shape], kernel_layout: str
) -> str:
    """The kernel that a bias belongs to: the first with as many output units."""
    size = math.prod(shapes[path])
    for kernel in kernels:
        if shapes[kernel][_output_axis(kernel, shapes[kernel], kernel_layout)] == size:
            return kernel
    return kernels[0]


def _output_axis(path: str, shape: Shape, kernel_layout: str) -> int:
    is_weight = path.rpartition("/")[2] == "weight"
    output_first = kernel_layout == "out_in" or (kernel_layout == "auto" and is_weight)
    return 0 if output_first else len(shape) - 1


def _unit_shape(path: str, shape: Shape, granularity: str, kernel_layout: str) -> Shape:
    output = _output_axis(path, shape, kernel_layout)
    axis = output if granularity == "row" else (1 if output == 0 else output - 1)
    return tuple(n if i == axis else 1 for i, n in enumerate(shape))


def _row_and_rest(path: str, shape: Shape, kernel_layout: str) -> tuple[Shape, ...]:
    if not _is_kernel(path, shape):
        return (shape,)
    output = _output_axis(path, shape, kernel_layout)
    row = tuple(n if i == output else 1 for i, n in enumerate(shape))
    return row, tuple(1 if i == output else n for i, n in enumerate(shape))


def _checked_broadcast(path: str, step_shape: Shape, shape: Shape) -> Shape:
    try:
        fits = jnp.broadcast_shapes(step_shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"The granularity gave the shape {step_shape} for the leaf '{path}', which "
            f"does not broadcast to {shape}; return a shape that does."
        )
    return tuple(step_shape)
