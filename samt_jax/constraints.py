"""The constraints of the scheme that the paper analyses: steps and blocks in bounds.

Assumption 4 has step sizes lie between a lower and an upper envelope, functions of the
sweep. The iteration (11) projects a block, after its step, on a ball about its start.
Neither is part of Algorithms 1 to 3; they are settings, and none by default.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from samt_jax.step_size import HeadSteps

BlockValues = dict[str, Array]
StepBounds = tuple[optax.ScalarOrSchedule, optax.ScalarOrSchedule]
BallRadius = float | Mapping[str, float]


def bound_step_sizes(
    heads: tuple[HeadSteps, ...],
    low: Float[Array, ""] | float,
    high: Float[Array, ""] | float,
) -> tuple[HeadSteps, ...]:
    """Clips composed step sizes into an interval, as Assumption 4 of the paper asks.

    A step size that is cut off no longer moves with the eta model's outputs: it has no
    share in the meta-gradient.

    Args:
      heads: The composed step sizes.
      low: The smallest step size, at least 0.
      high: The largest, at least `low`.

    Returns:
      Heads with the same mixing weights and proposals and step sizes in [low, high].

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import step_layout, step_sizes
      >>> layout = step_layout({"w": jnp.ones((2, 2))}, "scalar")
      >>> heads = step_sizes(jnp.zeros(1), jnp.zeros(1), layout, 0.1)  # 0.3
      >>> head, = bound_step_sizes(heads, 0.01, 0.25)
      >>> float(head.step_size)
      0.25

    Reference:
      Yan et al., arXiv 2508.04193, Assumption 4.
    """
    return tuple(
        head._replace(summands=((jnp.clip(head.step_size, low, high),),))
        for head in heads
    )


def project_on_ball(
    values: BlockValues, center: BlockValues, radius: Float[Array, ""] | float
) -> BlockValues:
    """Moves a block to the nearest point of a ball: `values` itself if it lies inside.

    Args:
      values: The block's leaves by path.
      center: The ball's center, same shapes.
      radius: Its radius, positive; the distance is the Euclidean one over all leaves.

    Returns:
      The nearest point, in the leaves' own dtypes; outside it lies on the sphere, to
      rounding.

    Example:
      >>> import jax.numpy as jnp
      >>> w, center = {"w": jnp.array([3.0, 5.0])}, {"w": jnp.array([0.0, 1.0])}
      >>> project_on_ball(w, center, 2.5)
      {'w': Array([1.5, 3. ], dtype=float32)}
      >>> project_on_ball(w, center, 6.0)
      {'w': Array([3., 5.], dtype=float32)}

    Reference:
      Yan et al., arXiv 2508.04193, (11).
    """
    wide = {
        path: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        for path, leaf in optax.tree.sub(values, center).items()
    }
    squares = optax.tree.norm(wide, squared=True)
    # A point inside stays what it is to the bit, and the root is of no zero.
    inside = squares <= radius**2
    factor = radius / jnp.sqrt(jnp.where(inside, 1.0, squares))
    return {
        path: jnp.where(
            inside, leaf, (center[path] + factor * wide[path]).astype(leaf.dtype)
        )
        for path, leaf in values.items()
    }


def bounds_now(
    bounds: StepBounds, num_sweeps: Int[Array, ""]
) -> tuple[Float[Array, ""] | float, Float[Array, ""] | float]:
    """The bounds of this sweep.

    Args:
      bounds: Numbers or schedules.
      num_sweeps: Sweeps completed.

    Returns:
      The smallest and the largest step size.

    Example:
      >>> bounds_now((0.1, lambda count: 2.0 / (count + 1)), 3)
      (0.1, 0.5)
    """
    low, high = (each(num_sweeps) if callable(each) else each for each in bounds)
    return low, high


def ball_centers(
    radius: BallRadius | None, blocks: Mapping[str, BlockValues]
) -> dict[str, BlockValues] | None:
    """The centers of the balls: copies, for a state must not hold what params do.

    Args:
      radius: The setting.
      blocks: Every block's leaves, by its name.

    Returns:
      Leaves by block; `None` where there are no balls.

    Raises:
      ValueError: The radii are not of these blocks.

    Example:
      >>> ball_centers(None, {"first": {}}) is None
      True
    """
    if radius is None:
        return None
    if isinstance(radius, Mapping) and set(radius) != set(blocks):
        raise ValueError(
            f"ball_radius names the blocks {sorted(radius)} and the blocks are "
            f"{list(blocks)}; give each of these a radius, or one number for all."
        )
    return jax.tree.map(jnp.copy, dict(blocks))


def radius_of(radius: BallRadius, name: str) -> float:
    """The radius of one block's ball.

    Args:
      radius: The setting.
      name: The block's name.

    Returns:
      The radius.

    Example:
      >>> radius_of({"first": 2.0, "last": 1.0}, "last")
      1.0
    """
    return radius[name] if isinstance(radius, Mapping) else radius


def check_constraints(bounds: StepBounds | None, radius: BallRadius | None) -> None:
    """Refuses bounds that no step and radii that no block could keep.

    Args:
      bounds: The setting `step_bounds`; what is traced or scheduled is not looked at.
      radius: The setting `ball_radius`, likewise.

    Raises:
      ValueError: With what is allowed.

    Example:
      >>> check_constraints((0.01, 0.1), 2.0)
    """
    if bounds is not None:
        pair = bounds if isinstance(bounds, Sequence) else ()
        numbers = [bound for bound in pair if _is_number(bound)]
        if len(pair) != 2 or not all(map(_in_order, [0, *numbers], numbers)):
            raise ValueError(
                f"step_bounds is {bounds!r}; it must be (low, high) with 0 <= low <= "
                "high, each a number or a schedule."
            )
    radii = radius.values() if isinstance(radius, Mapping) else [radius]
    if not all(each > 0 for each in radii if _is_number(each)):
        raise ValueError(f"ball_radius is {radius!r}; it must be a positive number.")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float)


def _in_order(low: float, high: float) -> bool:
    return low <= high
