"""Noisy least squares in three blocks, with every constant of the theory known.

A sample is a pair ``(x, y)``, ``y = x·W* + noise``, and its loss ``(x·W - y)² / 2``.
With ``H = E x xᵀ`` the mean loss is ``(W - W*)ᵀ H (W - W*) / 2`` and a constant. The
paper's assumptions can be read off H: a block on the diagonal has its eigenvalues
between λ (A1, strong convexity) and μ (A2, smoothness), one beside it has norm γ (A3,
gradient stability). Each can be broken by itself.

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

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samt_jax.base import Batch, Key, Params, Scalar

NUM_BLOCKS, WIDTH = 3, 4
SIZE = NUM_BLOCKS * WIDTH
CONVEXITY, SMOOTHNESS, COUPLING = 1.0, 4.0, 0.1
NOISE = 2.0
# The blocks start at 0 and W* lies at distance 1 of them, well inside.
BALL_RADIUS = 2.0
Noise = Callable[[Key, tuple[int, ...]], Array]


class LeastSquares(NamedTuple):
    """The problem, as it is or with an assumption broken.

    Attributes:
      coupling: γ, the norm of what couples two blocks.
      curvature: Takes the place of the smallest eigenvalue λ of the first block; with
        another than λ, blocks are not coupled.
      saddle: Couples the first two blocks further, by a term that is no mean square.
      quartic: Weight of the residual's fourth power: no bound on the second derivative.
      bias: Added to every entry of every gradient.
      noise: What is added to the targets, one of `NOISES`.
    """

    coupling: float = COUPLING
    curvature: float = CONVEXITY
    saddle: float = 0.0
    quartic: float = 0.0
    bias: float = 0.0
    noise: str = "uniform"


def uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Bounded noise of standard deviation `NOISE`."""
    end = NOISE * 3**0.5
    return jax.random.uniform(key, shape, minval=-end, maxval=end)


def heavy(key: Key, shape: tuple[int, ...]) -> Array:
    """Student's t with 1.5 degrees of freedom: no variance."""
    return NOISE * jax.random.t(key, 1.5, shape)


NOISES: dict[str, Noise] = {"uniform": uniform, "heavy": heavy}


def curvatures(problem: LeastSquares) -> tuple[np.ndarray, np.ndarray]:
    """Of the features and of the mean loss: E x xᵀ, and H.

    Args:
      problem: The problem.

    Returns:
      Two matrices of shape ``(SIZE, SIZE)``; equal where nothing is added to the loss.
    """
    rng = np.random.default_rng(0)
    turns = [_orthogonal(rng) for _ in range(NUM_BLOCKS)]
    eigenvalues = np.linspace(CONVEXITY, SMOOTHNESS, WIDTH)
    features = np.zeros((SIZE, SIZE))
    is_coupled = problem.curvature == CONVEXITY
    for i, turn in enumerate(turns):
        features[_of(i), _of(i)] = turn * eigenvalues @ turn.T
        for j in range(i):
            block = problem.coupling * _orthogonal(rng) * is_coupled
            features[_of(i), _of(j)], features[_of(j), _of(i)] = block, block.T
    added = np.zeros((SIZE, SIZE))
    slowest = turns[0][:, :1]
    added[_of(0), _of(0)] = (problem.curvature - CONVEXITY) * slowest @ slowest.T
    saddle = problem.saddle * np.eye(WIDTH)
    added[_of(0), _of(1)], added[_of(1), _of(0)] = saddle, saddle
    return features, features + added


def optimum() -> Params:
    """W*, of norm 1 in every block."""
    signs = np.resize([1.0, -1.0, 1.0], SIZE) / WIDTH**0.5
    return {f"block_{i}": jnp.asarray(signs[_of(i)]) for i in range(NUM_BLOCKS)}


def start() -> Params:
    """W⁰, zero."""
    return jax.tree.map(jnp.zeros_like, optimum())


def squared_error(params: Params) -> Scalar:
    """Σ‖W_l - W_l*‖²."""
    return jnp.sum((_joined(params) - _joined(optimum())) ** 2)


class Terms(NamedTuple):
    """The problem's numbers, by which problems that share a program differ.

    Attributes:
      root: A root of ``E x xᵀ``, shape ``(SIZE, SIZE)``.
      added: What H has beyond that, same shape.
      quartic: As of :class:`LeastSquares`.
      bias: Likewise.
    """

    root: Array
    added: Array
    quartic: Any
    bias: Any


def terms_of(problem: LeastSquares) -> Terms:
    """The numbers of a problem."""
    features, whole = curvatures(problem)
    root = jnp.asarray(np.linalg.cholesky(features))
    return Terms(root, jnp.asarray(whole - features), problem.quartic, problem.bias)


def make_loss(terms: Terms) -> Callable[[Params, Batch], Scalar]:
    """The loss of a batch of samples.

    Args:
      terms: The problem's numbers.

    Returns:
      ``loss_fn(params, (x, y))`` with x of shape ``(b, SIZE)``.
    """

    def loss_fn(params: Params, batch: Batch) -> Scalar:
        x, y = batch
        weights = _joined(params)
        squares = (x @ weights - y) ** 2
        loss = jnp.mean(squares / 2 + terms.quartic * squares**2)
        error = weights - _joined(optimum())
        return loss + error @ terms.added @ error / 2 + terms.bias * jnp.sum(weights)

    return loss_fn


def mean_loss(problem: LeastSquares) -> Callable[[Params, Any], Scalar]:
    """The mean of the loss over all samples, noise apart: (W - W*)ᵀ H (W - W*) / 2."""
    whole = jnp.asarray(curvatures(problem)[1])

    def loss_fn(params: Params, batch: Any) -> Scalar:
        del batch
        error = _joined(params) - _joined(optimum())
        return error @ whole @ error / 2

    return loss_fn


def draw(terms: Terms, noise: str, key: Key, shape: tuple[int, ...]) -> Batch:
    """Samples ``(x, y)``; the features are bounded: corners of a turned cube.

    Args:
      terms: The problem's numbers.
      noise: One of `NOISES`.
      key: A key.
      shape: How many, along how many axes.

    Returns:
      x of shape ``(*shape, SIZE)`` and y of shape `shape`.
    """
    feature_key, noise_key = jax.random.split(key)
    x = jax.random.rademacher(feature_key, (*shape, SIZE), float) @ terms.root.T
    return x, x @ _joined(optimum()) + NOISES[noise](noise_key, shape)


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
        squares = root[_of(i)].T @ root[_of(i)]
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


def largest_step() -> float:
    """Lemma 1's end of the steps, 2 / (λ + μ)."""
    return 2 / (CONVEXITY + SMOOTHNESS)


class Course(NamedTuple):
    """A step over the sweeps, ``min(cap, factor / (count + offset) ** power)``.

    Attributes:
      factor: The numerator.
      power: 1 for 1/t, 0 for a constant step.
      offset: Added to the count of sweeps.
      cap: The largest step.
    """

    factor: float
    power: float = 0.0
    offset: float = 1.0
    cap: float = 1e6

    def __call__(self, count: Any) -> Any:
        """The step of the sweep after `count` of them."""
        step = self.factor / (count + self.offset) ** self.power
        return jnp.minimum(step, self.cap)


def theory_course(ratio: float = 1.0) -> Course:
    """The theory's decaying step, which makes ``1 - q = 1.5 / (t + 2)``, or a multiple.

    The cap is Lemma 1's.

    Args:
      ratio: Multiplies the step.

    Returns:
      The course.
    """
    coupled = COUPLING * (NUM_BLOCKS - 1)
    rate = 2 * CONVEXITY - 3 * coupled
    return Course(1.5 * ratio / rate, 1.0, 2 + 1.5 * coupled / rate, largest_step())


theory_step = theory_course()


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
        corner[:, None] * whole[_of(i), _of(i)]
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


def _of(index: int) -> slice:
    return slice(WIDTH * index, WIDTH * (index + 1))


def _joined(params: Params) -> Array:
    return jnp.concatenate([params[f"block_{i}"] for i in range(NUM_BLOCKS)])


def _orthogonal(rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
