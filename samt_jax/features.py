"""What the eta model is told about a block: five statistics of its gradient.

The paper feeds mean, variance, maximum, minimum and norm of the visited block's
gradient to the eta model (§3.2), and not the gradient itself, with which step sizes
oscillate. :func:`raw_gradient_features` is there to see that happen.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Params, Scalar

FEATURE_NAMES = ("mean", "variance", "max", "min", "norm")
# A larger gradient would give the eta model a first layer of over 64 MiB.
RAW_GRADIENT_LIMIT = 2**18


class Features(NamedTuple):
    """How a gradient becomes the eta model's input, in two steps.

    Attributes:
      measure: Gradient of the block → what is known of it, shape ``(num_features,)``.
      present: What is known → the input of the eta model, same shape.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> norm_alone = Features(lambda grads: optax.tree.norm(grads)[None], jnp.log1p)
      >>> norm_alone.measure({"w": jnp.array([3.0, 4.0])})
      Array([5.], dtype=float32)
    """

    measure: Callable[[Params], Float[Array, "k"]]
    present: Callable[[Float[Array, "k"]], Float[Array, "k"]]


def gradient_features(grads: Params) -> Float[Array, "5"]:
    """Measures a block's gradient: mean, variance, maximum, minimum, Frobenius norm.

    The variance is the unbiased one, and 0 for a single entry. Sums are taken of the
    gradient divided by its largest entry, so that squares of entries as large as 1e19
    do not overflow; a statistic beyond the range of the dtype is its largest finite
    number. Of a gradient with entries, maximum and minimum are not finite exactly when
    it is not.

    Args:
      grads: The block's gradient, a pytree of arrays.

    Returns:
      The statistics in the order of `FEATURE_NAMES`, in float32 (or the gradient's
      dtype where that is wider).

    Example:
      >>> import jax.numpy as jnp
      >>> gradient_features({"w": jnp.array([3.0, -4.0])})
      Array([-0.5, 24.5,  3. , -4. ,  5. ], dtype=float32)

    Reference:
      Yan et al., arXiv 2508.04193, §3.2.
    """
    leaves = _float_leaves(grads)
    size = sum(leaf.size for leaf in leaves)
    # A leaf may be empty.
    highs = [jnp.max(leaf, initial=-jnp.inf) for leaf in leaves]
    lows = [jnp.min(leaf, initial=jnp.inf) for leaf in leaves]
    maximum = functools.reduce(jnp.maximum, highs)
    minimum = functools.reduce(jnp.minimum, lows)
    unit = largest_entry(maximum, minimum)
    # Leaf by leaf: joining the leaves would copy the gradient.
    zero = jnp.zeros((), unit.dtype)
    mean = sum((jnp.sum(leaf / unit) for leaf in leaves), zero) / size
    deviations = sum((jnp.sum((leaf / unit - mean) ** 2) for leaf in leaves), zero)
    norm = jnp.sqrt(deviations + size * mean**2)
    variance = deviations / max(size - 1, 1)
    return stack_features(unit, mean, variance, maximum, minimum, norm)


def largest_entry(maximum: Scalar, minimum: Scalar) -> Scalar:
    """The gradient's unit of measure: its largest magnitude, or 1 where that is 0.

    Args:
      maximum: Largest entry.
      minimum: Smallest entry.

    Returns:
      A positive number by which the gradient can be divided.

    Example:
      >>> import jax.numpy as jnp
      >>> float(largest_entry(jnp.float32(3.0), jnp.float32(-4.0)))
      4.0
    """
    largest = jnp.maximum(jnp.abs(maximum), jnp.abs(minimum))
    tiny = jnp.finfo(largest.dtype).tiny
    # No unit whose reciprocal is flushed to zero: XLA divides by multiplying with it.
    return jnp.where(largest > tiny, jnp.minimum(largest, 1 / tiny), 1.0)


def stack_features(
    unit: Scalar,
    mean: Scalar,
    variance: Scalar,
    maximum: Scalar,
    minimum: Scalar,
    norm: Scalar,
) -> Float[Array, "5"]:
    """Joins the statistics of a gradient whose sums were taken in a unit of measure.

    Args:
      unit: What the gradient was divided by.
      mean: Mean of the divided gradient.
      variance: Its variance.
      maximum: Largest entry of the gradient itself.
      minimum: Smallest entry of the gradient itself.
      norm: Norm of the divided gradient.

    Returns:
      The features of the gradient itself, finite whenever it is.

    Example:
      >>> import jax.numpy as jnp
      >>> one = jnp.float32(1.0)
      >>> stack_features(2 * one, one, one, 3 * one, -one, one)
      Array([ 2.,  4.,  3., -1.,  2.], dtype=float32)
    """
    limit = jnp.finfo(unit.dtype).max
    mean, variance, norm = (
        jnp.clip(each, -limit, limit)
        for each in (mean * unit, variance * unit * unit, norm * unit)
    )
    # Never a maximum or minimum: they carry the news of a bad gradient.
    return jnp.stack([mean, variance, maximum, minimum, norm])


def ends_and_sums(
    leaf: Float[Array, "..."], unit: Scalar
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Largest and smallest entry, sum and sum of squares, in one pass over an array.

    Args:
      leaf: Any array.
      unit: What entries are divided by before they are summed.

    Returns:
      The four; the ends are those of the array itself.

    Example:
      >>> import jax.numpy as jnp
      >>> [float(x) for x in ends_and_sums(jnp.array([3.0, -4.0]), jnp.float32(2.0))]
      [3.0, -4.0, -0.5, 6.25]
    """
    # A reduction over a short leading axis is unrolled and vectorised along the others;
    # XLA's processor backend reduces several things to single numbers entry by entry.
    tiles = jnp.reshape(leaf, (_num_tiles(leaf.size), -1))
    scaled = tiles / unit
    zero, infinity = jnp.zeros((), scaled.dtype), jnp.array(jnp.inf, leaf.dtype)
    high, low, sums, squares = jax.lax.reduce(
        (tiles, tiles, scaled, scaled * scaled),
        (-infinity, infinity, zero, zero),
        lambda a, b: (
            jnp.maximum(a[0], b[0]), jnp.minimum(a[1], b[1]), a[2] + b[2], a[3] + b[3],
        ),
        (0,),
    )  # fmt: skip
    return jnp.max(high), jnp.min(low), jnp.sum(sums), jnp.sum(squares)


def features_from_sums(
    maximum: Scalar, minimum: Scalar, unit: Scalar, mean: Scalar, squares: Scalar,
    size: int,
) -> Float[Array, "5"]:  # fmt: skip
    """The features of a gradient whose sums are known without reading it.

    Args:
      maximum: Its largest entry.
      minimum: Its smallest.
      unit: What it was divided by before the sums were taken.
      mean: Mean of the divided gradient.
      squares: Sum of its squares.
      size: Number of its entries.

    Returns:
      As :func:`gradient_features`.

    Example:
      >>> import jax.numpy as jnp
      >>> high, low, one = jnp.float32(3.0), jnp.float32(-4.0), jnp.float32(1.0)
      >>> features_from_sums(high, low, one, -one / 2, 25 * one, 2)
      Array([-0.5, 24.5,  3. , -4. ,  5. ], dtype=float32)
    """
    variance = (squares - size * mean**2) / max(size - 1, 1)
    return stack_features(
        unit, mean, jnp.maximum(variance, 0.0), maximum, minimum, jnp.sqrt(squares)
    )


def scaled_features(
    keep: Sequence[str] = FEATURE_NAMES, log_scale: float | None = 1e-8
) -> Features:
    """The five statistics, masked and put on a scale that an eta model can see.

    Raw statistics are tiny (the variance is often near 1e-6), and an eta model that
    reads them as they are sees almost a constant. Each feature x becomes
    ``sign(x) log(1 + |x| / log_scale) / log(1 + 1 / log_scale)``: 1 stays 1, and
    magnitudes between `log_scale` and 1 spread over (0, 1).

    Args:
      keep: The features to tell; the others are set to zero, the shape stays.
      log_scale: The magnitude below which a feature is as good as zero; `None` leaves
        features raw, as the paper states them.

    Returns:
      The measuring and the presenting function.

    Raises:
      ValueError: `keep` names something that is not a feature, or `log_scale` is not
        positive.

    Example:
      >>> import jax.numpy as jnp
      >>> features = scaled_features(keep=("norm",), log_scale=None)
      >>> features.present(features.measure(jnp.array([3.0, 4.0])))
      Array([0., 0., 0., 0., 5.], dtype=float32)

    Reference:
      Deviation: the paper states no scaling; see `log_scale`.
    """
    unknown = [name for name in keep if name not in FEATURE_NAMES]
    if unknown:
        raise ValueError(
            f"The features {unknown} are unknown; choose among {list(FEATURE_NAMES)}."
        )
    if log_scale is not None and not log_scale > 0:
        raise ValueError(
            f"log_scale is {log_scale}; it must be a positive number, or None for raw "
            "features."
        )
    mask = tuple(name in keep for name in FEATURE_NAMES)

    def present(measured: Float[Array, "5"]) -> Float[Array, "5"]:
        if log_scale is not None:
            # log(1 + |x| / log_scale), where the quotient itself may overflow.
            logs = jnp.logaddexp(0.0, jnp.log(jnp.abs(measured)) - math.log(log_scale))
            measured = jnp.sign(measured) * logs / math.log1p(1 / log_scale)
        return jnp.where(jnp.array(mask), measured, 0.0)

    return Features(gradient_features, present)


def raw_gradient_features() -> Features:
    """The gradient itself as the eta model's input: the paper's counter-example.

    With it step sizes oscillate (§3.2 of the paper). Only for small blocks: the eta
    model's first layer has 64 weights for every entry of the block.

    Returns:
      The measuring and the presenting function; measuring raises a `ValueError` for a
      block of over `RAW_GRADIENT_LIMIT` entries.

    Example:
      >>> import jax.numpy as jnp
      >>> raw_gradient_features().measure({"w": jnp.array([[1.0, 2.0]])})
      Array([1., 2.], dtype=float32)

    Reference:
      Yan et al., arXiv 2508.04193, §3.2.
    """

    def measure(grads: Params) -> Float[Array, "k"]:
        flat = _flatten(grads)
        if flat.size > RAW_GRADIENT_LIMIT:
            raise ValueError(
                f"The raw gradient of a block has {flat.size:,} entries, and as a "
                f"feature it may have at most {RAW_GRADIENT_LIMIT:,}; take "
                "scaled_features(), or a smaller block."
            )
        return flat

    return Features(measure, lambda measured: measured)


def _num_tiles(size: int) -> int:
    """The largest divisor of an array's size that a reduction is unrolled for."""
    return max(k for k in range(1, 17) if size % k == 0)


def _float_leaves(grads: Params) -> list[Float[Array, "..."]]:
    leaves = jax.tree.leaves(grads)
    dtype = jnp.promote_types(jnp.float32, jnp.result_type(*leaves))
    return [leaf.astype(dtype) for leaf in leaves]


def _flatten(grads: Params) -> Float[Array, "n"]:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in _float_leaves(grads)])
