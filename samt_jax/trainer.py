"""A run compiled: where it starts, how it goes on to any step, how it is judged.

This is the only file of the library that calls `jit`. Several seeds share one
compilation.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from samt_jax.base import ONE_BATCH, Batch, Params
from samt_jax.data_order import DataOrder, StepIndices, data_order, step_indices
from samt_jax.loop import (
    EpochMetrics,
    MakeAlgorithm,
    Totals,
    TrainState,
    Weights,
    evaluate_weights,
    init_state,
    init_weights,
    train_steps,
)
from samt_jax.problem import ModelState, Problem

Evaluation = dict[str, dict[str, Float[np.ndarray, " seeds"]]]


class Progress(NamedTuple):
    """How far a run has come: all that is needed to go on, as one pytree.

    Attributes:
      state: What the steps have changed.
      totals: What the steps of the epoch under way have reported.
      epoch: Epochs done and judged.
      diverged: Of each seed, whether it had diverged by then.
      train_seconds: Wall time that the steps of the epoch under way have taken.
    """

    state: TrainState
    totals: Totals
    epoch: np.int32
    diverged: Bool[np.ndarray, " seeds"]
    train_seconds: np.float64

    @property
    def step(self) -> int:
        """Steps done."""
        return int(np.asarray(self.state.step)[0])


class Memory(NamedTuple):
    """The memory that a compiled epoch takes, in bytes, known before it runs.

    Attributes:
      algorithm_state: What the algorithm keeps from step to step.
      total: Training set, state before and after, and what the compiler needs between;
        `None` where it does not say.
    """

    algorithm_state: int
    total: int | None


class Trainer(NamedTuple):
    """A compiled run.

    Attributes:
      init: Where a run starts from.
      shape: Shapes and dtypes of it, as a pytree of `jax.ShapeDtypeStruct`.
      advance: ``advance(progress, stop) -> (progress, metrics)`` goes on until `stop`
        steps are done, at most to the end of the epoch after the last one judged. What
        it returns does not depend on where it stopped on the way.
      evaluate: Judges a state on every evaluation part.
      order: How the data are cut into batches.
      epochs: Length of the run.
      compile_seconds: Wall time that tracing and compiling took.
      memory: What an epoch takes.
    """

    init: Callable[[], Progress]
    shape: Progress
    advance: Callable[[Progress, int], tuple[Progress, EpochMetrics]]
    evaluate: Callable[[TrainState], Evaluation]
    order: DataOrder
    epochs: int
    compile_seconds: float
    memory: Memory


def prepare(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    *,
    epochs: int,
    batch_size: int | None = 64,
    seeds: Sequence[int] = (0,),
    eval_batch_size: int = 1_000,
    seeds_at_once: int | None = None,
) -> Trainer:
    """Traces and compiles a run, and times that.

    Args:
      problem: As all others, see :func:`~samt_jax.training.fit`.
      make_algorithm: Makes the algorithm.
      epochs: Length of the run.
      batch_size: Examples a batch.
      seeds: One run a seed.
      eval_batch_size: Examples a batch in evaluation.
      seeds_at_once: How many seeds are vectorised.

    Returns:
      The compiled run.

    Raises:
      ValueError: A number is out of its range.
    """
    _check_run(epochs, seeds, eval_batch_size, seeds_at_once)
    order = _order_of(problem, make_algorithm, epochs, batch_size)
    if seeds_at_once is None:
        seeds_at_once = 1 if jax.default_backend() == "cpu" else len(seeds)
    started = time.perf_counter()
    plan = _Plan(problem, make_algorithm, order, epochs, tuple(seeds))
    programs = _compile_programs(plan, eval_batch_size, seeds_at_once)
    compile_seconds = time.perf_counter() - started
    parts = dict(problem.evaluation)
    state, totals = programs.init.shape

    def start() -> Progress:
        seeds, first = plan.seeds_and_first_step()
        weights = programs.weights.call((seeds,), ())
        state, totals = programs.init.call((weights, seeds, first), problem.train)
        return _progress(state, totals, np.zeros(len(seeds), bool))

    return Trainer(
        init=start,
        shape=_progress(
            state, totals, jax.ShapeDtypeStruct((len(seeds),), np.dtype(bool))
        ),
        advance=lambda progress, stop: _advance(plan, programs.train, progress, stop),
        evaluate=lambda state: jax.device_get(
            programs.evaluate.call((state.params, state.model_state), parts)
        ),
        order=order,
        epochs=epochs,
        compile_seconds=compile_seconds,
        memory=_memory(programs.train, state),
    )


def _memory(train: "_Compiled", state: TrainState) -> Memory:
    kept = sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(state.algorithm_state)
    )
    sizes = train.call.memory_analysis()
    if sizes is None:
        return Memory(kept, None)
    parts = ("argument", "output", "temp", "generated_code")
    total = sum(getattr(sizes, f"{part}_size_in_bytes") for part in parts)
    return Memory(kept, total - sizes.alias_size_in_bytes)


class _Plan(NamedTuple):
    """What a run is to do."""

    problem: Problem
    make_algorithm: MakeAlgorithm
    order: DataOrder
    epochs: int
    seeds: tuple[int, ...]

    @property
    def num_steps(self) -> int:
        """Length of the run."""
        return self.epochs * self.order.steps_per_epoch

    def indices(self, first_step: int, num_steps: int) -> StepIndices:
        """The examples of consecutive steps of every seed."""
        each = [
            step_indices(self.order, seed, first_step, num_steps) for seed in self.seeds
        ]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *each)

    def seeds_and_first_step(self) -> tuple[Array, StepIndices]:
        """What the first state is made of."""
        first = jax.tree.map(lambda leaf: leaf[:, 0], self.indices(0, 1))
        return jnp.asarray(self.seeds, jnp.uint32), first


class _Compiled(NamedTuple):
    """A compiled function over seeds, and the shapes that it returns."""

    call: jax.stages.Compiled
    shape: PyTree


class _Programs(NamedTuple):
    """The compiled programs of a run."""

    weights: _Compiled
    init: _Compiled
    train: _Compiled
    evaluate: _Compiled


def _compile_programs(
    plan: _Plan, eval_batch_size: int, seeds_at_once: int
) -> _Programs:
    problem, make_algorithm, order, *_ = plan

    def init_seed(
        weights: Weights, seed: Array, indices: StepIndices, train: Batch
    ) -> tuple[TrainState, Totals]:
        start = problem, make_algorithm, plan.num_steps, seed
        return init_state(*start, weights, indices, train)

    def train_seed(
        state: TrainState, totals: Totals, indices: StepIndices, shared: Any
    ) -> tuple[TrainState, Totals, EpochMetrics]:
        progress, length = (state, totals), plan.num_steps
        return train_steps(problem, make_algorithm, length, progress, indices, *shared)

    of_problem = _ByIdentity(problem), len(plan.seeds), eval_batch_size, seeds_at_once
    weights, evaluate = _problem_programs(*of_problem)
    start = weights.shape, *plan.seeds_and_first_step()
    init = _compile(init_seed, seeds_at_once, start, problem.train)
    epoch = plan.indices(0, order.steps_per_epoch)
    shared = (problem.train, (np.int32(0), np.int32(0)))
    train = _compile(train_seed, seeds_at_once, (*init.shape, epoch), shared)
    return _Programs(weights, init, train, evaluate)


class _ByIdentity:
    """A problem as a key, which is equal to itself alone."""

    def __init__(self, problem: Problem):
        self.problem = problem

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.problem is other.problem

    def __hash__(self) -> int:
        return id(self.problem)


# What a run has of its problem alone; the methods of a comparison compile it once.
@functools.lru_cache(maxsize=1)
def _problem_programs(
    of: _ByIdentity, num_seeds: int, eval_batch_size: int, seeds_at_once: int
) -> tuple[_Compiled, _Compiled]:
    problem = of.problem

    def weights_of_seed(seed: Array, data: Any) -> Weights:
        del data
        return init_weights(problem, seed)

    def evaluate_seed(
        params: Params, model_state: ModelState, parts: dict[str, Batch]
    ) -> PyTree:
        return {
            name: evaluate_weights(problem, params, model_state, part, eval_batch_size)
            for name, part in parts.items()
        }

    seeds = jnp.zeros(num_seeds, jnp.uint32)
    weights = _compile(weights_of_seed, seeds_at_once, (seeds,), ())
    parts = dict(problem.evaluation)
    return weights, _compile(evaluate_seed, seeds_at_once, weights.shape, parts)


def _advance(
    plan: _Plan, train: _Compiled, progress: Progress, stop: int
) -> tuple[Progress, EpochMetrics]:
    started, per_epoch = time.perf_counter(), plan.order.steps_per_epoch
    first = int(progress.epoch) * per_epoch
    bounds = (np.int32(progress.step - first), np.int32(stop - first))
    mapped = (progress.state, progress.totals, plan.indices(first, per_epoch))
    state, totals, metrics = train.call(mapped, (plan.problem.train, bounds))
    # The numbers are there when the steps are done.
    metrics = jax.device_get(metrics)
    seconds = progress.train_seconds + (time.perf_counter() - started)
    progress = progress._replace(state=state, totals=totals, train_seconds=seconds)
    return progress, metrics


def _progress(state: TrainState, totals: Totals, diverged: Any) -> Progress:
    return Progress(state, totals, np.int32(0), diverged, np.float64(0))


def _compile(
    function: Callable[..., Any], seeds_at_once: int, mapped: tuple, data: Batch
) -> _Compiled:
    """Compiles ``function(*mapped, data)``, mapped over the first axis of `mapped`."""
    # One at a time without an axis of length one, under which a branch not taken is
    # computed all the same.
    batch_size = None if seeds_at_once == 1 else seeds_at_once

    def over_seeds(mapped: tuple, data: Batch) -> PyTree:
        return jax.lax.map(
            lambda args: function(*args, data), mapped, batch_size=batch_size
        )

    lowered = jax.jit(over_seeds).lower(mapped, data)
    shape = jax.tree.map(
        lambda info: jax.ShapeDtypeStruct(info.shape, info.dtype), lowered.out_info
    )
    return _Compiled(lowered.compile(), shape)


def _order_of(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    epochs: int,
    batch_size: int | None,
) -> DataOrder:
    # What a step sees decides how many steps there are, and the algorithm is asked for
    # the first before it can be told the second: until then, as many as with a batch a
    # step.
    num_examples = len(jax.tree.leaves(problem.train)[0])
    usual = data_order(num_examples, batch_size, ONE_BATCH).steps_per_epoch * epochs
    spec = make_algorithm(problem.loss_fn, jax.random.key(0), usual).batch_spec
    return data_order(num_examples, batch_size, spec)


def _check_run(
    epochs: int, seeds: Sequence[int], eval_batch_size: int, seeds_at_once: int | None
) -> None:
    counts = {"epochs": epochs, "eval_batch_size": eval_batch_size}
    if seeds_at_once is not None:
        counts["seeds_at_once"] = seeds_at_once
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1.")
    if not seeds or not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError(
            f"The seeds are {tuple(seeds)}; give one or more, each from 0 to 2**32 - 1."
        )
