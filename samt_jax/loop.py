"""One seed's run as pure functions: the first state, consecutive steps, a judgement.

`training.py` compiles them, maps them over seeds and calls them from stop to stop.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt32

from samt_jax.base import (
    Algorithm,
    Batch,
    Batches,
    Key,
    LossFn,
    Params,
    Scalar,
    State,
    StepInfo,
)
from samt_jax.data_order import StepIndices, gather_batches
from samt_jax.problem import ModelState, Problem

# ``make_algorithm(loss_fn, key, num_steps)``: an algorithm for a loss and a run's
# length. It is called while tracing, so the key may differ from seed to seed.
MakeAlgorithm = Callable[[LossFn, Key, int], Algorithm]

# What a problem starts from, and what is judged.
Weights: TypeAlias = tuple[Params, ModelState]

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


class Totals(NamedTuple):
    """What the steps of an epoch reported so far, as running sums.

    A thousand stacked records would be the alternative.

    Attributes:
      sums: Leaf by leaf of their `StepInfo`, over the steps at which it was finite; the
        last value of leaves that are not floating-point numbers.
      counts: Over how many steps each was finite.
      nonfinite_losses: Steps whose training loss was not finite.
      last_value: The training loss of the last step.
    """

    sums: StepInfo
    counts: PyTree
    nonfinite_losses: Int[Array, "*seeds"]
    last_value: Float[Array, "*seeds"]


class EpochMetrics(NamedTuple):
    """What the steps of an epoch reported.

    Attributes:
      info: Mean over the steps of every floating-point leaf of their
        `StepInfo`, over the steps at which it was finite; the last value of the others.
      nonfinite_losses: Steps whose training loss was not finite.
      is_finite: Whether the last step's loss and all parameters after it are finite.
    """

    info: StepInfo
    nonfinite_losses: Int[Array, "*seeds"]
    is_finite: Bool[Array, "*seeds"]


def init_weights(problem: Problem, seed: Int[Array, ""]) -> Weights:
    """What a run of this seed starts from, whatever trains it.

    Args:
      problem: What is trained.
      seed: The run's seed.

    Returns:
      The parameters and the model's state.
    """
    return problem.init(jax.random.fold_in(jax.random.key(seed), _INIT))


def init_state(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    num_steps: int,
    seed: Int[Array, ""],
    weights: Weights,
    indices: StepIndices,
    train: Batch,
) -> tuple[TrainState, Totals]:
    """The state before the first step.

    Args:
      problem: What is trained.
      make_algorithm: Makes the algorithm.
      num_steps: Length of the run.
      seed: The run's seed.
      weights: The parameters and the model's state.
      indices: The examples of the first step.
      train: The training set.

    Returns:
      The state, and the sums over no steps.
    """
    key = jax.random.key(seed)
    params, model_state = weights
    algorithm = make_algorithm(
        problem.loss_fn, jax.random.fold_in(key, _MAKE), num_steps
    )
    algorithm_state = algorithm.init(
        params,
        _batches_of(algorithm, train, indices),
        jax.random.fold_in(key, _ALGORITHM),
    )
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        algorithm_state=algorithm_state,
        model_state=model_state,
        key=jax.random.key_data(key),
    )
    step = _make_step(problem, algorithm, key, train)
    return state, _no_steps(jax.eval_shape(step, state, indices)[1])


def train_steps(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    num_steps: int,
    progress: tuple[TrainState, Totals],
    indices: StepIndices,
    train: Batch,
    bounds: tuple[Int[Array, ""], Int[Array, ""]],
) -> tuple[TrainState, Totals, EpochMetrics]:
    """Takes consecutive steps of an epoch.

    How many is decided when it is called, not when it is compiled: one program stops
    wherever a run has to, and gives the same numbers wherever it stops.

    Args:
      problem: What is trained.
      make_algorithm: Makes the algorithm.
      num_steps: Length of the whole run.
      progress: The state before, and the sums over the steps of this epoch.
      indices: The examples of each step of the epoch, along a leading axis.
      train: The training set.
      bounds: The first step to take, counted from the epoch's start, and the one before
        which to stop.

    Returns:
      The state after, the sums, and what the epoch's steps reported up to now.
    """
    state, totals = progress
    key = jax.random.wrap_key_data(state.key)
    algorithm = make_algorithm(
        problem.loss_fn, jax.random.fold_in(key, _MAKE), num_steps
    )
    step = _make_step(problem, algorithm, key, train)
    first, stop = bounds
    # An epoch's sums start from zero.
    totals = jax.tree.map(
        lambda leaf: jnp.where(first == 0, jnp.zeros_like(leaf), leaf), totals
    )

    def counted_step(
        number: Int[Array, ""], carry: tuple[TrainState, Totals]
    ) -> tuple[TrainState, Totals]:
        state, totals = carry
        state, info = step(state, jax.tree.map(lambda leaf: leaf[number], indices))
        return state, _add(totals, info)

    state, totals = jax.lax.fori_loop(first, stop, counted_step, (state, totals))
    return state, totals, _metrics_of(state, totals)


def evaluate_weights(
    problem: Problem,
    params: Params,
    model_state: ModelState,
    examples: Batch,
    batch_size: int,
) -> dict[str, Scalar]:
    """Judges a network on a part of the data, every example once.

    Args:
      problem: What is trained.
      params: The parameters.
      model_state: The model's state.
      examples: The part, examples along the first axis.
      batch_size: Examples a batch; the last, smaller batch counts as what it is.

    Returns:
      What the problem reports of it.
    """
    count = len(jax.tree.leaves(examples)[0])
    num_batches = count // batch_size
    whole = num_batches * batch_size

    def sums_of(batch: Batch) -> dict[str, Scalar]:
        measures = problem.measure(params, model_state, batch)
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


def _make_step(
    problem: Problem, algorithm: Algorithm, key: Key, train: Batch
) -> Callable[[TrainState, StepIndices], tuple[TrainState, StepInfo]]:
    """One step of a run, a function of the state and of which examples it sees."""
    step_key = jax.random.fold_in(key, _STEPS)

    def step(state: TrainState, indices: StepIndices) -> tuple[TrainState, StepInfo]:
        batches = _batches_of(algorithm, train, indices)
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

    return step


def _batches_of(algorithm: Algorithm, train: Batch, indices: StepIndices) -> Batches:
    """What a step is given."""
    if algorithm.batch_spec.full_batch:
        # The whole set in its own order: no copy, and the same array for every seed.
        return Batches(train, None)
    return gather_batches(train, indices)


def _no_steps(info: StepInfo) -> Totals:
    def zeros(leaf: Array) -> Array:
        # In half precision a sum stops growing after a few hundred steps.
        is_number = jnp.issubdtype(leaf.dtype, jnp.inexact)
        dtype = jnp.promote_types(leaf.dtype, jnp.float32) if is_number else leaf.dtype
        return jnp.zeros(leaf.shape, dtype)

    return Totals(
        jax.tree.map(zeros, info),
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.int32), info),
        jnp.zeros((), jnp.int32),
        jnp.zeros(info.value.shape, info.value.dtype),
    )


def _metrics_of(state: TrainState, totals: Totals) -> EpochMetrics:
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state.params)]
    return EpochMetrics(
        info=jax.tree.map(_mean, totals.sums, totals.counts),
        nonfinite_losses=totals.nonfinite_losses,
        is_finite=jnp.all(jnp.array([*finite, jnp.isfinite(totals.last_value)])),
    )


def _add(totals: Totals, info: StepInfo) -> Totals:
    def add(total: Array, leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        return total + jnp.where(jnp.isfinite(leaf), leaf, 0)

    return Totals(
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
