"""Raw outputs of the eta model → the step sizes of a block's entries.

The composed step size is the convex combination (10) of the paper,

    step_size = mixing_weight * learning_rate + (1 - mixing_weight) * proposal,

with mixing weight and proposal squashed into their ranges. Its shape is the block's
*granularity*: one number a block (SAMT-S), a row (R), a column (C) or an entry (E). A
row is an output unit of a layer and a column an input unit, whatever the memory layout.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Shape = tuple[int, ...]
Granularity = (
    Literal["scalar", "row", "column", "element"] | Callable[[str, Shape], Shape]
)
Squash = Literal["tanh", "sigmoid"] | Callable[[Array], Array]
Terms = Literal["both", "left", "right"]
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


class HeadSteps(NamedTuple):
    """One head's squashed outputs and what they compose to.

    Arrays that stand together in a tuple are factors: they broadcast against each other
    and are multiplied. A head of one factor has tuples of one.

    Attributes:
      mixing_weight: β in [0, 1], as factors.
      proposal: η̂ in [0, proposal_max], as factors.
      summands: The step size as a sum of such products.
    """

    mixing_weight: tuple[Array, ...]
    proposal: tuple[Array, ...]
    summands: tuple[tuple[Array, ...], ...]

    @property
    def step_size(self) -> Array:
        """η̄, between the learning rate and the proposal, in the head's shape."""
        products = [functools.reduce(operator.mul, f) for f in self.summands]
        return functools.reduce(operator.add, products)


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


def step_sizes(
    raw_mixing_weight: Float[Array, "n"],
    raw_proposal: Float[Array, "n"],
    layout: StepLayout,
    learning_rate: Float[Array, ""] | float,
    *,
    squash: Squash = "tanh",
    proposal_max: Float[Array, ""] | float = 1.0,
    mixing_weight: Float[Array, ""] | float | None = None,
    terms: Terms = "both",
) -> tuple[HeadSteps, ...]:
    """Squashes the eta model's outputs and composes step sizes, head by head.

    Args:
      raw_mixing_weight: The eta model's first output.
      raw_proposal: Its second.
      layout: The block's layout.
      learning_rate: η0, at least 0.
      squash: The map into (0, 1): ``"tanh"`` is ``(tanh(x) + 1) / 2``, which is
        ``sigmoid(2x)``; ``"sigmoid"``; or a function.
      proposal_max: The end of the proposal's range.
      mixing_weight: Fixes β, in [0, 1]; 1 gives the constant step `learning_rate`.
      terms: ``"both"`` of the paper's components, ``"left"`` (β η0 alone) or
        ``"right"`` ((1 − β) η̂ alone).

    Returns:
      One :class:`HeadSteps` a head.

    Raises:
      ValueError: An unknown squash or terms.

    Example:
      >>> import jax.numpy as jnp
      >>> layout = step_layout({"w": jnp.ones((2, 2))}, "scalar")
      >>> head, = step_sizes(jnp.zeros(1), jnp.zeros(1), layout, 0.1)
      >>> round(float(head.step_size), 6)  # ½ * 0.1 + ½ * ½
      0.3

    Reference:
      Yan et al., arXiv 2508.04193, (10); ablations §5.5; squashes §5.6.
    """
    check_choice("terms", terms)
    betas = _squash_heads(raw_mixing_weight, layout, squash)
    unit_proposals = _squash_heads(raw_proposal, layout, squash)
    composed = []
    for beta, unit_proposal in zip(betas, unit_proposals, strict=True):
        first, *rest = unit_proposal
        proposal = (proposal_max * first, *rest)
        if mixing_weight is None:
            left = (learning_rate * beta[0], *beta[1:])
            right = _times_one_minus(proposal, beta)
        else:
            # As a number of its own: 1 leaves exactly nothing of the proposal.
            beta = (
                jnp.full_like(beta[0], mixing_weight),
                *map(jnp.ones_like, beta[1:]),
            )
            left = (learning_rate * beta[0], *beta[1:])
            right = (((1 - beta[0]) * proposal[0], *proposal[1:]),)
        summands = {"both": (left, *right), "left": (left,), "right": right}[terms]
        composed.append(HeadSteps(beta, proposal, summands))
    return tuple(composed)


def spread_step_sizes(
    heads: tuple[HeadSteps, ...], layout: StepLayout
) -> dict[str, Array]:
    """Gives every leaf of a block its step sizes, ready to broadcast against it.

    Args:
      heads: The composed step sizes.
      layout: The block's layout.

    Returns:
      Step sizes by path.

    Example:
      >>> import jax.numpy as jnp
      >>> values = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
      >>> layout = step_layout(values, "column")
      >>> heads = step_sizes(jnp.zeros(2), jnp.zeros(2), layout, 0.1)
      >>> {path: s.shape for path, s in spread_step_sizes(heads, layout).items()}
      {'kernel': (2, 1), 'bias': ()}
    """
    spread = {}
    for path, leaf in layout.leaves.items():
        step_size = heads[leaf.head].step_size
        mean = leaf.shape is None
        spread[path] = _mean(step_size) if mean else step_size.reshape(leaf.shape)
    return spread


def squash_outputs(raw: Array, squash: Squash) -> Array:
    """Maps raw outputs into (0, 1).

    Args:
      raw: Outputs of the eta model.
      squash: ``"tanh"``, ``"sigmoid"`` or a function.

    Returns:
      Numbers in [0, 1] (floating point reaches the ends), the shape of `raw`.

    Raises:
      ValueError: An unknown name.

    Example:
      >>> import jax.numpy as jnp
      >>> squash_outputs(jnp.zeros(()), "tanh")
      Array(0.5, dtype=float32)

    Reference:
      Yan et al., arXiv 2508.04193, §5.6 and B.3.
    """
    check_choice("squash", squash)
    if callable(squash):
        return squash(raw)
    return jax.nn.sigmoid(raw) if squash == "sigmoid" else (jnp.tanh(raw) + 1) / 2


def _mean(step_size: Array) -> Array:
    """The mean, which of equal numbers is that number to the bit."""
    first = step_size.ravel()[0]
    return first + jnp.mean(step_size - first)


def _squash_heads(
    raw: Array, layout: StepLayout, squash: Squash
) -> list[tuple[Array, ...]]:
    squashed, start, heads = squash_outputs(raw, squash), 0, []
    for head in layout.heads:
        factors = []
        for shape in head.factors:
            stop = start + math.prod(shape)
            factors.append(squashed[start:stop].reshape(shape))
            start = stop
        single = len(factors) == 1
        heads.append(tuple(factors if single else map(_safe_root, factors)))
    return heads


def _safe_root(factor: Array) -> Array:
    """Makes the product of two factors their geometric mean, still a product of two.

    At 0 the root's slope is infinite and the squash's is 0: the floor makes their
    product a number.
    """
    return jnp.sqrt(jnp.maximum(factor, jnp.finfo(factor.dtype).tiny))


def _times_one_minus(
    proposal: tuple[Array, ...], beta: tuple[Array, ...]
) -> tuple[tuple[Array, ...], ...]:
    """``(1 - beta) * proposal`` as summands; two where both are products."""
    if len(beta) == 1:
        return (((1 - beta[0]) * proposal[0],),)
    both = tuple(b * p for b, p in zip(beta, proposal, strict=True))
    return proposal, (-both[0], *both[1:])


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
