"""Noisy least squares in three blocks, with every constant of the theory known.

A sample is a pair ``(x, y)``, ``y = x·W* + noise``, and its loss ``(x·W - y)² / 2``.
With ``H = E x xᵀ`` the mean loss is ``(W - W*)ᵀ H (W - W*) / 2`` and a constant. The
paper's assumptions can be read off H: a block on the diagonal has its eigenvalues
between λ (A1, strong convexity) and μ (A2, smoothness), one beside it has norm γ (A3,
gradient stability). Each can be broken by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

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
        features[block_of(i), block_of(i)] = turn * eigenvalues @ turn.T
        for j in range(i):
            block = problem.coupling * _orthogonal(rng) * is_coupled
            features[block_of(i), block_of(j)], features[block_of(j), block_of(i)] = (
                block,
                block.T,
            )
    added = np.zeros((SIZE, SIZE))
    slowest = turns[0][:, :1]
    added[block_of(0), block_of(0)] = (
        (problem.curvature - CONVEXITY) * slowest @ slowest.T
    )
    saddle = problem.saddle * np.eye(WIDTH)
    added[block_of(0), block_of(1)], added[block_of(1), block_of(0)] = saddle, saddle
    return features, features + added


def optimum() -> Params:
    """W*, of norm 1 in every block."""
    signs = np.resize([1.0, -1.0, 1.0], SIZE) / WIDTH**0.5
    return {f"block_{i}": jnp.asarray(signs[block_of(i)]) for i in range(NUM_BLOCKS)}


def start() -> Params:
    """W⁰, zero."""
    return jax.tree.map(jnp.zeros_like, optimum())


def squared_error(params: Params) -> Scalar:
    """Σ‖W_l - W_l*‖²."""
    return jnp.sum((joined(params) - joined(optimum())) ** 2)


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
        weights = joined(params)
        squares = (x @ weights - y) ** 2
        loss = jnp.mean(squares / 2 + terms.quartic * squares**2)
        error = weights - joined(optimum())
        return loss + error @ terms.added @ error / 2 + terms.bias * jnp.sum(weights)

    return loss_fn


def mean_loss(problem: LeastSquares) -> Callable[[Params, Any], Scalar]:
    """The mean of the loss over all samples, noise apart: (W - W*)ᵀ H (W - W*) / 2."""
    whole = jnp.asarray(curvatures(problem)[1])

    def loss_fn(params: Params, batch: Any) -> Scalar:
        del batch
        error = joined(params) - joined(optimum())
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
    return x, x @ joined(optimum()) + NOISES[noise](noise_key, shape)


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


def block_of(index: int) -> slice:
    """Where a block lies in a vector of all weights."""
    return slice(WIDTH * index, WIDTH * (index + 1))


def joined(params: Params) -> Array:
    """All weights as one vector."""
    return jnp.concatenate([params[f"block_{i}"] for i in range(NUM_BLOCKS)])


def _orthogonal(rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
