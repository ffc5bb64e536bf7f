"""Runs any algorithm on any problem, epoch by epoch.

The training set lives on the device; an epoch is one compiled loop over its steps,
which gathers each batch by index and can be left after any step. Everything that a run
changes is one pytree, :class:`~samt_jax.trainer.Progress`, so that a run can be saved
and taken up again at any step, with the bits that it would have had unbroken.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from samt_jax.loop import EpochMetrics, MakeAlgorithm, TrainState
from samt_jax.problem import Problem
from samt_jax.trainer import Evaluation, Progress, Trainer, prepare

Status = Literal["running", "finished", "diverged"]

# Between two looks at whether to stop, where a step does not take longer.
LOOK_EVERY_SECONDS = 0.2


class Keeping(NamedTuple):
    """How a run is kept from being lost.

    Attributes:
      save: ``save(progress, is_finite)``; an error that it raises ends the run.
        `is_finite` says whether the last loss and all parameters are, of every seed.
      every: Steps between two saves; there is one at the end too. `None`: only when the
        run is told to stop.
      should_stop: Asked after every step, or five times a second where steps are
        faster. The state is saved and the run left when it says yes.
    """

    save: Callable[[Progress, bool], None]
    every: int | None = None
    should_stop: Callable[[], bool] = lambda: False


class Stopped(Exception):
    """A run was told to stop, and has saved where it stands."""


class EpochRecord(NamedTuple):
    """One epoch of a run.

    Attributes:
      epoch: Epochs done, from 1.
      step: Steps done.
      progress: Where the run stands then.
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
    progress: Progress
    metrics: EpochMetrics
    evaluation: Evaluation
    status: tuple[Status, ...]
    train_seconds: float
    evaluate_seconds: float
    compile_seconds: float

    @property
    def state(self) -> TrainState:
        """The state after the epoch."""
        return self.progress.state


def fit(
    problem: Problem,
    make_algorithm: MakeAlgorithm,
    *,
    epochs: int,
    batch_size: int | None = 64,
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
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
      progress: Where to go on from, `progress` of a record of the same run or what was
        saved of it; from the start by default.
      eval_batch_size: Examples a batch in evaluation; what is reported does not depend
        on it, memory does.
      seeds_at_once: How many seeds are vectorised, the others waiting their turn in the
        same compiled program. By default one on a processor, where that is faster and
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
    yield from run(trainer, progress)


def run(
    trainer: Trainer, progress: Progress | None = None, keeping: Keeping | None = None
) -> Iterator[EpochRecord]:
    """Runs a prepared trainer to its end; :func:`fit` in two parts.

    Args:
      trainer: From :func:`prepare`.
      progress: Where to go on from; from the start by default.
      keeping: How to keep it from being lost; not at all by default. What is saved at
        the end of an epoch is saved before that epoch is judged, so that a run that is
        taken up there gives its record again.

    Yields:
      One :class:`EpochRecord` an epoch.

    Raises:
      Stopped: `keeping` said to stop; the state is saved.
    """
    progress, pace = trainer.init() if progress is None else progress, 1
    while int(progress.epoch) < trainer.epochs:
        end = (int(progress.epoch) + 1) * trainer.order.steps_per_epoch
        if keeping is None:
            progress, metrics = trainer.advance(progress, end)
        else:
            progress, metrics, pace = _advance_kept(
                trainer, progress, end, keeping, pace
            )
        record = _judge(trainer, progress, metrics)
        yield record
        progress = record.progress
        if progress.diverged.all():
            return


def _advance_kept(
    trainer: Trainer, progress: Progress, end: int, keeping: Keeping, pace: int
) -> tuple[Progress, EpochMetrics, int]:
    """Takes the steps to an epoch's end, and saves where it has to.

    `pace` is how many steps fit between two looks at whether to stop.
    """
    is_last = int(progress.epoch) + 1 == trainer.epochs
    while True:
        step = progress.step
        due = end if is_last and keeping.every else sys.maxsize
        if keeping.every:
            due = min(due, (step // keeping.every + 1) * keeping.every)
        stop, started = min(end, due, step + pace), time.perf_counter()
        progress, metrics = trainer.advance(progress, stop)
        if stop > step:
            seconds = time.perf_counter() - started
            pace = max(1, int((stop - step) * LOOK_EVERY_SECONDS / seconds))
        should_stop = keeping.should_stop()
        # A run that is taken up at the end of an epoch has this step on the disk, and
        # putting another in its place would leave a moment without any.
        if (should_stop or stop == due) and stop > step:
            keeping.save(progress, bool(metrics.is_finite.all()))
        if should_stop:
            raise Stopped
        if stop == end:
            return progress, metrics, pace


def _judge(trainer: Trainer, progress: Progress, metrics: EpochMetrics) -> EpochRecord:
    """Evaluates the state at the end of an epoch, and says how the run is doing."""
    started = time.perf_counter()
    evaluation = trainer.evaluate(progress.state)
    evaluate_seconds = time.perf_counter() - started
    diverged = progress.diverged | ~metrics.is_finite | _has_nonfinite_loss(evaluation)
    epoch = int(progress.epoch) + 1
    good: Status = "finished" if epoch == trainer.epochs else "running"
    return EpochRecord(
        epoch,
        progress.step,
        progress._replace(
            epoch=np.int32(epoch), diverged=diverged, train_seconds=np.float64(0)
        ),
        metrics,
        evaluation,
        tuple("diverged" if bad else good for bad in diverged),
        train_seconds=float(progress.train_seconds),
        evaluate_seconds=evaluate_seconds,
        compile_seconds=trainer.compile_seconds,
    )


def _has_nonfinite_loss(evaluation: Evaluation) -> Any:
    losses = [measures["loss"] for measures in evaluation.values()]
    return ~np.isfinite(losses).all(axis=0) if losses else False
