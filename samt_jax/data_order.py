"""Which examples a step sees: a pure function of seed and step.

The training set is an endless stream of batches. Every epoch of the stream is a fresh
permutation, drawn from (seed, epoch), cut into batches; examples that do not fill a
last batch are left out of that epoch. A step that takes n training batches is given, at
step t, the batches t n to t n + n - 1. Nothing is kept between steps, so a run that is
taken up at step t sees what an unbroken one would have seen. Where a method asks for
full batches, every batch is the whole set in its own order.

The permutations are made on the host: sorting 60,000 numbers there takes 5 ms an epoch,
and `jax.random.permutation` takes 27 ms on the same processor. The compiled loop is
given the indices and gathers the batches itself.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from samt_jax.base import Batch, Batches, BatchSpec

# Each stream has random numbers of its own.
_TRAIN_STREAM, _META_STREAM, _HALVES = range(3)


class DataOrder(NamedTuple):
    """How a training set is cut into the batches of a run.

    Attributes:
      num_examples: Examples in the training set.
      batch_size: Examples in a batch.
      spec: What a step is to see.
    """

    num_examples: int
    batch_size: int
    spec: BatchSpec

    @property
    def stream_examples(self) -> int:
        """Examples that the training batches come from."""
        held_out = self.spec.meta == "held_out"
        return self.num_examples // 2 if held_out else self.num_examples

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass over those examples."""
        return self.stream_examples // self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps that use one pass up, rounded down, and at least one."""
        return max(1, self.batches_per_epoch // self.spec.num_train)


class StepIndices(NamedTuple):
    """The examples of one step or several, by index into the training set.

    Attributes:
      train: Shape ``(..., num_train, batch_size)``.
      meta: Likewise (half of the batch size where strided), or `None`.
    """

    train: Int[np.ndarray, "... batches b"]
    meta: Int[np.ndarray, "... batches m"] | None


def data_order(num_examples: int, batch_size: int | None, spec: BatchSpec) -> DataOrder:
    """Checks that the examples fill a batch, and joins the numbers.

    Args:
      num_examples: Examples in the training set.
      batch_size: Examples in a batch; `None` takes all at once.
      spec: What a step is to see.

    Returns:
      The order.

    Raises:
      ValueError: The batch is larger than what it is drawn from, or the method asks for
        full batches and is given less.

    Example:
      >>> from samt_jax import BatchSpec
      >>> order = data_order(100, 32, BatchSpec(meta="next"))
      >>> order.batches_per_epoch, order.steps_per_epoch
      (3, 3)
    """
    available = DataOrder(num_examples, 1, spec).stream_examples
    size = available if batch_size is None else batch_size
    if spec.full_batch and size != available:
        raise ValueError(
            f"The batch size is {size}, and the method keeps variables for each of the "
            f"{available:,} examples; leave the batch size out (None in the library), "
            "for the whole training set."
        )
    smallest = 2 if spec.meta == "strided" else 1
    if not smallest <= size <= available:
        half = " (half of the training set)" if spec.meta == "held_out" else ""
        raise ValueError(
            f"The batch size is {size}, and a batch is drawn from {available:,} "
            f"examples{half}; take a size from {smallest} to {available}."
        )
    return DataOrder(num_examples, size, spec)


def epoch_batches(
    order: DataOrder, seed: int, epoch: int, *, stream: int = _TRAIN_STREAM
) -> Int[np.ndarray, "batches b"]:
    """The batches of one epoch of the stream.

    Args:
      order: How the data are cut.
      seed: The run's seed, from 0 to 2**64 - 1.
      epoch: The epoch, from 0.
      stream: 0 for the training batches, 1 for the batches drawn from the held-out
        half.

    Returns:
      Indices into the training set, one batch a row, int32.

    Example:
      >>> from samt_jax import BatchSpec
      >>> order = data_order(7, 3, BatchSpec())
      >>> epoch_batches(order, seed=0, epoch=0).shape
      (2, 3)
    """
    if order.spec.full_batch:
        return np.arange(order.num_examples, dtype=np.int32)[None]
    chosen = _permutation(order.stream_examples, seed, epoch, stream)
    if order.spec.meta == "held_out":
        # The same halves for every seed, so that seeds compare.
        halves = _permutation(order.num_examples, 0, 0, _HALVES)
        chosen = halves[chosen + stream * order.stream_examples]
    whole = order.batches_per_epoch * order.batch_size
    return chosen[:whole].reshape(-1, order.batch_size)


def step_indices(
    order: DataOrder, seed: int, first_step: int, num_steps: int
) -> StepIndices:
    """The examples of consecutive steps of a run.

    Args:
      order: How the data are cut.
      seed: The run's seed.
      first_step: The first step, counted from the start of the run.
      num_steps: How many steps.

    Returns:
      Their indices, with a leading axis of steps.

    Example:
      >>> from samt_jax import BatchSpec
      >>> order = data_order(6, 2, BatchSpec(meta="next"))
      >>> indices = step_indices(order, seed=0, first_step=0, num_steps=4)
      >>> later = step_indices(order, seed=0, first_step=3, num_steps=1)
      >>> bool((indices.train[3] == later.train[0]).all())
      True
      >>> bool((indices.meta[2] == indices.train[3]).all())
      True
    """
    num_train, meta = order.spec.num_train, order.spec.meta
    steps = (num_steps, num_train, order.batch_size)
    first, count = first_step * num_train, num_steps * num_train
    ahead = num_train if meta == "next" else 0
    rows = _stream_rows(order, seed, first, count + ahead, _TRAIN_STREAM)
    train = rows[:count].reshape(steps)
    if meta == "next":
        return StepIndices(train, rows[num_train:].reshape(steps))
    if meta == "held_out":
        meta_rows = _stream_rows(order, seed, first, count, _META_STREAM)
        return StepIndices(train, meta_rows.reshape(steps))
    return StepIndices(
        train, {None: None, "same": train, "strided": train[..., ::2]}[meta]
    )


def gather_batches(data: Batch, indices: StepIndices) -> Batches:
    """Fetches the examples of one step; traceable.

    Args:
      data: The training set, examples along the first axis of every leaf.
      indices: The indices of one step.

    Returns:
      What the algorithm is given; the axis of batches is left out where there is one.

    Example:
      >>> import jax.numpy as jnp
      >>> indices = StepIndices(jnp.array([[2, 0]]), None)
      >>> gather_batches(jnp.array([5.0, 6.0, 7.0]), indices).train
      Array([7., 5.], dtype=float32)
    """

    def gather(index: Int[np.ndarray, "batches b"]) -> Batch:
        index = index[0] if len(index) == 1 else index
        return jax.tree.map(lambda leaf: leaf[index], data)

    train = gather(indices.train)
    return Batches(train, None if indices.meta is None else gather(indices.meta))


def _stream_rows(
    order: DataOrder, seed: int, first: int, count: int, stream: int
) -> Int[np.ndarray, "count b"]:
    """Batches `first` to `first + count - 1` of the endless stream."""
    per_epoch = order.batches_per_epoch
    epochs = range(first // per_epoch, (first + count - 1) // per_epoch + 1)
    rows = [epoch_batches(order, seed, e, stream=stream) for e in epochs]
    start = first % per_epoch
    return np.concatenate(rows)[start : start + count]


@functools.lru_cache(maxsize=32)
def _permutation(
    size: int, seed: int, epoch: int, stream: int
) -> Int[np.ndarray, " size"]:
    # NumPy promises the numbers of this generator for ever, and does not promise those
    # of its own `permutation`.
    numbers = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, stream])
    order = np.argsort(numbers.random_raw(size), kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order
