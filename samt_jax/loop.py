"""One seed's run as pure functions: the first state, consecutive steps, a judgement.

`training.py` compiles them, maps them over seeds and calls them epoch by epoch.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree, UInt32

from samt_jax.base import Algorithm, Batch, Key, LossFn, Params, Scalar, State, StepInfo
from samt_jax.data_order import StepIndices, gather_batches
from samt_jax.problem import ModelState, Problem

# ``make_algorithm(loss_fn, key, num_steps)``: an algorithm for a loss and a run's
# length. It is called while tracing, so the key may differ from seed to seed.
MakeAlgorithm = Callable[[LossFn, Key, int], Algorithm]

# What a run's key is used for; each use has a key of its own.
_INIT, _MAKE, _ALGORITHM, _STEPS = range(4)


class TrainState(NamedTuple):
    """Everything that a run changes; outside this file a leading axis counts seeds.

    Attributes:
      step: Steps taken.
      params: The parameters.
      algorithm_state: The algorithm's own state.
      model_state: Batch statistics and the like; `()` or `{}` where there are none.
      key: Key data from which all of the run's randomness is drawn; never changes.
    """

    step: Int[Array, "*seeds"]
    params: Params
    algorithm_state: State
    model_state: ModelState
    key: UInt32[Array, "*seeds 2"]


class EpochMetrics(NamedTuple):
    """What consecutive steps reported.

    Attributes:
      info: Mean over the steps of every floating-point leaf of their
        `StepInfo`, over the steps at which it was finite; the last value of the others.
      nonfinite_losses: Steps whose training loss was not finite.
      is_finite: Whether the last step's loss and all parameters after it are finite.
    """

    info: StepInfo
    nonfinite_losses: Int[Array, "*seeds"]
    is_finite: Bool[Array, "*seeds"]


def init_state(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    num_steps: int,
    seed: Int[Array, ""],
    indices: StepIndices,
    train: Batch,
) -> TrainState:
    """The state before the first step.

    Args:
      problem: What is trained.
      make_algorithm: Makes the algorithm.
      num_steps: Length of the run.
      seed: The run's seed.
      indices: The examples of the first step.
      train: The training set.

    Returns:
      The state.
    """
    key = jax.random.key(seed)
    params, model_state = problem.init(jax.random.fold_in(key, _INIT))
    algorithm = make_algorithm(
        problem.loss_fn, jax.random.fold_in(key, _MAKE), num_steps
    )
    algorithm_state = algorithm.init(
        params, gather_batches(train, indices), jax.random.fold_in(key, _ALGORITHM)
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        algorithm_state=algorithm_state,
        model_state=model_state,
        key=jax.random.key_data(key),
    )


def train_steps(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    num_steps: int,
    state: TrainState,
    indices: StepIndices,
    train: Batch,
) -> tuple[TrainState, EpochMetrics]:
    """Takes consecutive steps.

    Args:
      problem: What is trained.
      make_algorithm: Makes the algorithm.
      num_steps: Length of the whole run.
      state: The state before.
      indices: The examples of each step, along a leading axis.
      train: The training set.

    Returns:
      The state after, and what the steps reported.
    """
    key = jax.random.wrap_key_data(state.key)
    algorithm = make_algorithm(
        problem.loss_fn, jax.random.fold_in(key, _MAKE), num_steps
    )
    step_key = jax.random.fold_in(key, _STEPS)

    def step(state: TrainState, indices: StepIndices) -> tuple[TrainState, StepInfo]:
        batches = gather_batches(train, indices)
        params, algorithm_state, info = algorithm.step(
            state.params,
            state.algorithm_state,
            batches,
            jax.random.fold_in(step_key, state.step),
        )
        last = batches.train
        if algorithm.batch_spec.num_train > 1:
            last = jax.tree.map(lambda leaf: leaf[-1], last)
        model_state = problem.update_model_state(params, state.model_state, last)
        return TrainState(
            state.step + 1, params, algorithm_state, model_state, state.key
        ), info

    return _scan_with_means(step, state, indices)


def evaluate_state(
    problem: Problem, state: TrainState, examples: Batch, batch_size: int
) -> dict[str, Scalar]:
    """Judges a state on a part of the data, every example once.

    Args:
      problem: What is trained.
      state: The state.
      examples: The part, examples along the first axis.
      batch_size: Examples a batch; the last, smaller batch counts as what it is.

    Returns:
      What the problem reports of it.
    """
    count = len(jax.tree.leaves(examples)[0])
    num_batches = count // batch_size
    whole = num_batches * batch_size

    def sums_of(batch: Batch) -> dict[str, Scalar]:
        measures = problem.measure(state.params, state.model_state, batch)
        return {name: jnp.sum(each) for name, each in measures.items()}

    sums = []
    if num_batches:
        batches = jax.tree.map(
            lambda leaf: leaf[:whole].reshape(num_batches, batch_size, *leaf.shape[1:]),
            examples,
        )
        each = jax.lax.map(sums_of, batches)
        sums.append(jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), each))
    if whole < count:
        sums.append(sums_of(jax.tree.map(lambda leaf: leaf[whole:], examples)))
    means = {name: sum(part[name] for part in sums) / count for name in sums[0]}
    return problem.summarise(means)


def state_sha256(state: PyTree) -> str:
    """The fingerprint of a state: path, shape, dtype and bytes of every leaf.

    Args:
      state: Any pytree of arrays.

    Returns:
      A SHA-256 digest, 64 hexadecimal digits.

    Example:
      >>> import jax.numpy as jnp
      >>> one, other = {"w": jnp.zeros(2)}, {"w": jnp.zeros(2).at[1].set(1e-45)}
      >>> state_sha256(one) == state_sha256({"w": jnp.zeros(2)})
      True
      >>> state_sha256(one) == state_sha256(other)
      False
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path)
        digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class _Totals(NamedTuple):
    """Sums over steps, leaf by leaf, and over how many steps each was finite."""

    sums: PyTree
    counts: PyTree
    nonfinite_losses: Int[Array, ""]
    last_value: Scalar


def _scan_with_means(
    step: Callable[[TrainState, StepIndices], tuple[TrainState, StepInfo]],
    state: TrainState,
    indices: StepIndices,
) -> tuple[TrainState, EpochMetrics]:
    """Scans the steps, with running sums in place of a thousand stacked records."""
    first = jax.tree.map(lambda leaf: leaf[0], indices)
    shapes = jax.eval_shape(step, state, first)[1]
    totals = _Totals(
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.int32), shapes),
        jnp.zeros((), jnp.int32),
        jnp.zeros(shapes.value.shape, shapes.value.dtype),
    )

    def counted_step(
        carry: tuple[TrainState, _Totals], indices: StepIndices
    ) -> tuple[tuple[TrainState, _Totals], None]:
        state, totals = carry
        state, info = step(state, indices)
        return (state, _add(totals, info)), None

    (state, totals), _ = jax.lax.scan(counted_step, (state, totals), indices)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state.params)]
    return state, EpochMetrics(
        info=jax.tree.map(_mean, totals.sums, totals.counts),
        nonfinite_losses=totals.nonfinite_losses,
        is_finite=jnp.all(jnp.array([*finite, jnp.isfinite(totals.last_value)])),
    )


def _add(totals: _Totals, info: StepInfo) -> _Totals:
    def add(total: Array, leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        return total + jnp.where(jnp.isfinite(leaf), leaf, 0)

    return _Totals(
        jax.tree.map(add, totals.sums, info),
        jax.tree.map(lambda n, leaf: n + jnp.isfinite(leaf), totals.counts, info),
        totals.nonfinite_losses + ~jnp.isfinite(info.value),
        info.value,
    )


def _mean(total: Array, count: Array) -> Array:
    if not jnp.issubdtype(total.dtype, jnp.inexact):
        return total
    # NaN where no step had a finite value: 0 / 0.
    return (total / count).astype(total.dtype)
