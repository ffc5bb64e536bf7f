"""Runs any algorithm on any problem in one compiled loop.

The training set lives on the device; an epoch is one `lax.scan` over its steps, which
gathers each batch by index. Everything that a run changes is one pytree,
:class:`TrainState`, so that a run can be hashed, saved and taken up again. Several
seeds share one compilation. This is the only file of the library that calls `jit`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from samt_jax.base import Batch
from samt_jax.data_order import DataOrder, StepIndices, data_order, step_indices
from samt_jax.loop import (
    EpochMetrics,
    MakeAlgorithm,
    TrainState,
    evaluate_state,
    init_state,
    train_steps,
)
from samt_jax.problem import Problem

Status = Literal["running", "finished", "diverged"]
Evaluation = dict[str, dict[str, Float[np.ndarray, " seeds"]]]

_INIT_KEY, _MAKE_KEY, _ALGORITHM_KEY, _STEP_KEY = range(4)


class EpochRecord(NamedTuple):
    """One epoch of a run.

    Attributes:
      epoch: Epochs done, from 1.
      step: Steps done.
      state: The state after them.
      metrics: What the steps reported.
      evaluation: For each part (`"validation"`, `"test"`) each measure, shape
        ``(seeds,)``.
      status: One word a seed. `"diverged"` is for good: the last training loss, a
        parameter or an evaluation's loss was not finite after some epoch.
      train_seconds: Wall time of this epoch's steps.
      evaluate_seconds: Wall time of its evaluation.
      compile_seconds: Wall time that tracing and compiling the whole run took.
    """

    epoch: int
    step: int
    state: TrainState
    metrics: EpochMetrics
    evaluation: Evaluation
    status: tuple[Status, ...]
    train_seconds: float
    evaluate_seconds: float
    compile_seconds: float


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
      init: Makes the first state.
      run_epoch: ``run_epoch(state) -> (state, metrics)``, from an epoch's start.
      evaluate: Judges a state on every evaluation part.
      order: How the data are cut into batches.
      epochs: Length of the run.
      compile_seconds: Wall time that tracing and compiling took.
      memory: What an epoch takes.
    """

    init: Callable[[], TrainState]
    run_epoch: Callable[[TrainState], tuple[TrainState, EpochMetrics]]
    evaluate: Callable[[TrainState], Evaluation]
    order: DataOrder
    epochs: int
    compile_seconds: float
    memory: Memory


def fit(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    *,
    epochs: int,
    batch_size: int | None = 64,
    seeds: Sequence[int] = (0,),
    state: TrainState | None = None,
    eval_batch_size: int = 1_000,
    seeds_at_once: int | None = None,
) -> Iterator[EpochRecord]:
    """Trains, and gives a record after every epoch.

    An epoch is as many steps as use the training set up once; examples that do not fill
    its last batch are left out of it. The run ends after its epochs, or earlier when
    every seed has diverged.

    Args:
      problem: What is trained, see :func:`~samt_jax.problem.supervised`.
      make_algorithm: ``make_algorithm(loss_fn, key, num_steps) -> Algorithm``, see
        :func:`~samt_jax.optimizers.make_optimizer`.
      epochs: Length of the run, at least 1.
      batch_size: Examples a batch; `None` takes the whole training set.
      seeds: One run a seed, each from 0 to 2**32 - 1. Together they give what they give
        alone, to rounding.
      state: Where to go on from, a state after whole epochs of the same run; from the
        start by default.
      eval_batch_size: Examples a batch in evaluation; what is reported does not depend
        on it, memory does.
      seeds_at_once: How many seeds are vectorised, the others waiting their turn in the
        same compiled program. By default one on a processor, where that is as fast and
        takes less memory, and all on an accelerator.

    Yields:
      One :class:`EpochRecord` an epoch.

    Raises:
      ValueError: A number is out of its range.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from samt_jax import from_optax
      >>> from samt_jax.problem import Problem
      >>> from samt_jax.training import fit
      >>> data = jnp.arange(8.0)
      >>> problem = Problem(
      ...     init=lambda key: (jnp.zeros(()), ()),
      ...     loss_fn=lambda params, batch: jnp.mean((params - batch) ** 2),
      ...     train=data,
      ...     evaluation={"test": data},
      ...     measure=lambda params, _, batch: {"loss": (params - batch) ** 2},
      ... )
      >>> sgd = lambda loss_fn, key, num_steps: from_optax(optax.sgd(0.1), loss_fn)
      >>> records = list(fit(problem, sgd, epochs=20, batch_size=4))
      >>> len(records), records[-1].status, round(float(records[-1].state.params[0]))
      (20, ('finished',), 3)
    """
    trainer = prepare(
        problem,
        make_algorithm,
        epochs=epochs,
        batch_size=batch_size,
        seeds=seeds,
        eval_batch_size=eval_batch_size,
        seeds_at_once=seeds_at_once,
    )
    yield from run(trainer, state)


def run(trainer: Trainer, state: TrainState | None = None) -> Iterator[EpochRecord]:
    """Runs a prepared trainer to its end; :func:`fit` in two parts.

    Args:
      trainer: From :func:`prepare`.
      state: Where to go on from; from the start by default.

    Yields:
      One :class:`EpochRecord` an epoch.

    Raises:
      ValueError: The state does not stand at the end of an epoch.
    """
    state = trainer.init() if state is None else state
    first, rest = divmod(int(state.step[0]), trainer.order.steps_per_epoch)
    if rest:
        raise ValueError(
            f"The state stands {rest} steps into an epoch of "
            f"{trainer.order.steps_per_epoch}; give a state from the end of one."
        )
    diverged = np.zeros(state.step.shape, bool)
    for epoch in range(first + 1, trainer.epochs + 1):
        started = time.perf_counter()
        state, metrics = trainer.run_epoch(state)
        trained = time.perf_counter()
        evaluation = trainer.evaluate(state)
        evaluated = time.perf_counter()
        diverged |= ~metrics.is_finite | _has_nonfinite_loss(evaluation)
        is_last = epoch == trainer.epochs
        good: Status = "finished" if is_last else "running"
        yield EpochRecord(
            epoch,
            epoch * trainer.order.steps_per_epoch,
            state,
            metrics,
            evaluation,
            tuple("diverged" if bad else good for bad in diverged),
            train_seconds=trained - started,
            evaluate_seconds=evaluated - trained,
            compile_seconds=trainer.compile_seconds,
        )
        if diverged.all():
            return


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
      problem: As all others, see :func:`fit`.
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
    order = _order_of(problem, make_algorithm, batch_size)
    num_steps = epochs * order.steps_per_epoch
    if seeds_at_once is None:
        seeds_at_once = 1 if jax.default_backend() == "cpu" else len(seeds)
    started = time.perf_counter()

    def init_seed(seed: Array, indices: StepIndices, train: Batch) -> TrainState:
        return init_state(problem, make_algorithm, num_steps, seed, indices, train)

    def train_seed(
        state: TrainState, indices: StepIndices, train: Batch
    ) -> tuple[TrainState, EpochMetrics]:
        return train_steps(problem, make_algorithm, num_steps, state, indices, train)

    def evaluate_seed(state: TrainState, parts: dict[str, Batch]) -> PyTree:
        return {
            name: evaluate_state(problem, state, part, eval_batch_size)
            for name, part in parts.items()
        }

    def indices_from(first_step: int, num_steps: int) -> StepIndices:
        each = [step_indices(order, seed, first_step, num_steps) for seed in seeds]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *each)

    seed_array = jnp.asarray(seeds, jnp.uint32)
    first = jax.tree.map(lambda x: x[:, 0], indices_from(0, 1))
    init = _compile(init_seed, seeds_at_once, (seed_array, first), problem.train)
    state = init.shape
    train = _compile(
        train_seed,
        seeds_at_once,
        (state, indices_from(0, order.steps_per_epoch)),
        problem.train,
    )
    parts = dict(problem.evaluation)
    evaluate = _compile(evaluate_seed, seeds_at_once, (state,), parts)
    compile_seconds = time.perf_counter() - started

    def run_epoch(state: TrainState) -> tuple[TrainState, EpochMetrics]:
        indices = indices_from(int(state.step[0]), order.steps_per_epoch)
        state, metrics = train.call((state, indices), problem.train)
        return jax.block_until_ready(state), jax.device_get(metrics)

    return Trainer(
        init=lambda: init.call((seed_array, first), problem.train),
        run_epoch=run_epoch,
        evaluate=lambda state: jax.device_get(evaluate.call((state,), parts)),
        order=order,
        epochs=epochs,
        compile_seconds=compile_seconds,
        memory=_memory(train, state),
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


class _Compiled(NamedTuple):
    """A compiled function over seeds, and the shapes that it returns."""

    call: jax.stages.Compiled
    shape: PyTree


def _compile(
    function: Callable[..., Any], seeds_at_once: int, mapped: tuple, data: Batch
) -> _Compiled:
    """Compiles ``function(*mapped, data)``, mapped over the first axis of `mapped`."""

    def over_seeds(mapped: tuple, data: Batch) -> PyTree:
        return jax.lax.map(
            lambda args: function(*args, data), mapped, batch_size=seeds_at_once
        )

    lowered = jax.jit(over_seeds).lower(mapped, data)
    shape = jax.tree.map(
        lambda info: jax.ShapeDtypeStruct(info.shape, info.dtype), lowered.out_info
    )
    return _Compiled(lowered.compile(), shape)


def _order_of(
    problem: Problem, make_algorithm: MakeAlgorithm, batch_size: int | None
) -> DataOrder:
    # What a step sees decides how many steps there are, and the algorithm is asked for
    # the first before it can be told the second.
    spec = make_algorithm(problem.loss_fn, jax.random.key(0), 1).batch_spec
    num_examples = len(jax.tree.leaves(problem.train)[0])
    return data_order(num_examples, batch_size, spec)


def _has_nonfinite_loss(evaluation: Evaluation) -> Any:
    losses = [measures["loss"] for measures in evaluation.values()]
    return ~np.isfinite(losses).all(axis=0) if losses else False


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
