"""What the theorem promises for the problem of `theory_problem.py`.

The theorem's symbols are lost in the paper's text. :func:`contraction` and
:func:`noise_factor` have the form of those of the work that it generalises, and can be
derived in a few lines. A visit to block l with step η and an unbiased gradient g, the
projection being no expansion, has

    E‖Δ_l⁺‖² <= (1 - 2 η λ)‖Δ_l‖² + 2 η γ ‖Δ_l‖ Σ_{i≠l} ‖Δ_i‖ + η² E‖g‖²,

with those i < l already updated; with ``2ab <= a² + b²``, summed over l,

    E Σ‖Δ⁺‖² <= q Σ‖Δ‖² + c σ²,   q = (1 - 2 η λ + 2 η γ (L-1)) / (1 - η γ (L-1)),
                                  c = η² / (1 - η γ (L-1)),   σ² = Σ_l sup E‖g_l‖².

The theorem, as recalled, has the larger ``ξ = 2 λ μ / (λ + μ)`` in the place of λ; what
a sweep leaves is measured beside both.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.theory_problem import (
    BALL_RADIUS,
    CONVEXITY,
    COUPLING,
    NOISE,
    NUM_BLOCKS,
    SIZE,
    SMOOTHNESS,
    WIDTH,
    LeastSquares,
    block_of,
    curvatures,
    squared_error,
    start,
)


def second_moment_bound(problem: LeastSquares) -> float:
    """σ², the sum over blocks of the largest E‖g_l‖² within the balls.

    Of corners z, ``E (zᵀAz)(bᵀz)² = tr(A)‖b‖² + 2 bᵀ(A - diag A)b``.

    Args:
      problem: One of least squares alone, with bounded noise.

    Returns:
      An upper bound: the balls lie in one about W*.
    """
    features, _ = curvatures(problem)
    root = np.linalg.cholesky(features)
    moments = np.zeros((SIZE, SIZE))
    for i in range(NUM_BLOCKS):
        squares = root[block_of(i)].T @ root[block_of(i)]
        off_diagonal = squares - np.diag(np.diag(squares))
        inner = np.trace(squares) * np.eye(SIZE) + 2 * off_diagonal
        moments += root @ inner @ root.T
    farthest = NUM_BLOCKS * (BALL_RADIUS + 1.0) ** 2
    largest = np.linalg.eigvalsh(moments)[-1]
    return float(farthest * largest + NOISE**2 * np.trace(features))


def harmonic(convexity: float = CONVEXITY, smoothness: float = SMOOTHNESS) -> float:
    """ξ = 2 λ μ / (λ + μ), which the theorem has where λ belongs."""
    return 2 * convexity * smoothness / (convexity + smoothness)


def contraction(step: Any, rate: float = CONVEXITY, coupling: float = COUPLING) -> Any:
    """q: what is left of the squared error after a sweep, noise apart.

    Args:
      step: η.
      rate: λ, or the theorem's ξ.
      coupling: γ.

    Returns:
      q, a number where η is one.

    Example:
      >>> contraction(0.1, coupling=0.0)
      0.8
    """
    coupled = step * coupling * (NUM_BLOCKS - 1)
    return (1 - 2 * step * rate + 2 * coupled) / (1 - coupled)


def noise_factor(step: Any, coupling: float = COUPLING) -> Any:
    """c: what a sweep adds of the gradients' second moment."""
    return step**2 / (1 - step * coupling * (NUM_BLOCKS - 1))


def error_bound(num_sweeps: int, low: Any, high: Any) -> Float[np.ndarray, "t"]:
    """The recursion unrolled: a bound of the mean squared error after every sweep.

    q falls with the step and c grows, so steps within [low, high] have ``q(low)`` and
    ``c(high)``.

    Args:
      num_sweeps: How many.
      low: The lower envelope, a function of the sweep.
      high: The upper one.

    Returns:
      One bound a sweep.
    """
    counts = np.arange(num_sweeps)
    shrink = contraction(np.asarray(low(counts)))
    grow = noise_factor(np.asarray(high(counts))) * second_moment_bound(LeastSquares())
    bounds, bound = [], float(squared_error(start()))
    for q, add in zip(shrink, grow, strict=True):
        bound = q * bound + add
        bounds.append(bound)
    return np.array(bounds)


def weakest_pull(ratio: float) -> float:
    """How little element-wise steps between 1 and `ratio` may pull a block towards W*.

    The smallest eigenvalue of the symmetric part of ``D H_ll`` over all diagonal D with
    entries 1 and `ratio` and all blocks. It is λ or more for one number; where it is
    negative, a step within the bounds, however small, leads away from W*.

    Args:
      ratio: The largest step, in smallest ones.

    Returns:
      The eigenvalue.
    """
    whole = curvatures(LeastSquares())[1]
    corners = np.stack(np.meshgrid(*[[1.0, ratio]] * WIDTH), -1).reshape(-1, WIDTH)
    products = [
        corner[:, None] * whole[block_of(i), block_of(i)]
        for i in range(NUM_BLOCKS)
        for corner in corners
    ]
    return min(np.linalg.eigvalsh((p + p.T) / 2)[0] for p in products)


def safe_ratio() -> float:
    """The ratio up to which :func:`weakest_pull` is positive for any H of this κ.

    By Kantorovich's inequality the angle between Δ and HΔ has a cosine of at least
    ``2√κ / (1 + κ)``, and likewise for D; their sum stays below 90 degrees up to
    ``((√κ + 1) / (√κ - 1))²``.
    """
    root = (SMOOTHNESS / CONVEXITY) ** 0.5
    return ((root + 1) / (root - 1)) ** 2
