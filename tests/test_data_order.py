import numpy as np
import pytest

from samt_jax.base import BatchSpec
from samt_jax.data_order import data_order, epoch_batches, gather_batches, step_indices


def test_order_depends_on_seed_and_epoch_alone():
    order = data_order(20, 3, BatchSpec())
    first = epoch_batches(order, 0, 0)
    assert (first == epoch_batches(order, 0, 0)).all()
    assert (first != epoch_batches(order, 1, 0)).any()
    assert (first != epoch_batches(order, 0, 1)).any()


def test_order_is_the_same_for_ever():
    """These numbers are a promise: a saved run goes on with the data it stopped at."""
    order = data_order(7, 3, BatchSpec())
    np.testing.assert_array_equal(epoch_batches(order, 0, 0), [[0, 2, 1], [5, 4, 3]])
    np.testing.assert_array_equal(epoch_batches(order, 5, 9), [[0, 1, 3], [6, 2, 5]])


def test_epoch_uses_every_example_once_and_drops_the_partial_batch():
    order = data_order(20, 3, BatchSpec())
    batches = epoch_batches(order, 4, 2)
    assert batches.shape == (6, 3)
    assert len(np.unique(batches)) == 18


def test_permutations_are_uniform():
    order = data_order(4, 4, BatchSpec())
    seen = [tuple(epoch_batches(order, seed, 0)[0]) for seed in range(2400)]
    counts = np.unique(np.array(seen), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    # 100 each expected; the chi-square statistic has 23 degrees of freedom.
    assert ((counts - 100) ** 2 / 100).sum() < 49.7  # the 0.1 % point


@pytest.mark.parametrize("meta", [None, "same", "strided", "next", "held_out"])
@pytest.mark.parametrize("num_train", [1, 2, 3])
def test_steps_taken_up_anywhere_see_what_an_unbroken_run_sees(meta, num_train):
    order = data_order(29, 4, BatchSpec(num_train, meta))
    whole = step_indices(order, 3, 0, 12)
    for first in range(12):
        part = step_indices(order, 3, first, 12 - first)
        np.testing.assert_array_equal(part.train, whole.train[first:])
        if meta is not None:
            np.testing.assert_array_equal(part.meta, whole.meta[first:])


def test_step_with_several_batches_takes_consecutive_ones_of_the_stream():
    one = step_indices(data_order(29, 4, BatchSpec(1)), 3, 0, 12).train
    three = step_indices(data_order(29, 4, BatchSpec(3)), 3, 0, 4).train
    np.testing.assert_array_equal(three.reshape(12, 1, 4), one)


@pytest.mark.parametrize("num_train", [1, 2])
def test_next_is_the_training_batch_of_the_next_step(num_train):
    order = data_order(29, 4, BatchSpec(num_train, "next"))
    # 7 batches an epoch: 20 steps cross its border several times.
    indices = step_indices(order, 0, 0, 20)
    np.testing.assert_array_equal(indices.meta[:-1], indices.train[1:])


def test_strided_is_every_second_example_of_the_batch():
    indices = step_indices(data_order(29, 5, BatchSpec(1, "strided")), 0, 0, 4)
    assert indices.meta.shape == (4, 1, 3)
    np.testing.assert_array_equal(indices.meta[..., 1], indices.train[..., 2])


def test_same_is_the_batch_itself():
    indices = step_indices(data_order(29, 5, BatchSpec(1, "same")), 0, 0, 4)
    np.testing.assert_array_equal(indices.meta, indices.train)


def test_held_out_halves_never_meet_and_are_the_same_for_every_seed():
    order = data_order(41, 4, BatchSpec(1, "held_out"))
    train, meta = set(), set()
    for seed in range(3):
        indices = step_indices(order, seed, 0, 50)
        train |= set(indices.train.ravel().tolist())
        meta |= set(indices.meta.ravel().tolist())
    assert len(train) == len(meta) == 20
    assert not train & meta


def test_gather_fetches_inputs_with_their_targets():
    inputs = np.arange(20).reshape(10, 2)
    order = data_order(10, 3, BatchSpec(2, "next"))
    indices = step_indices(order, 0, 0, 1)
    step = type(indices)(indices.train[0], indices.meta[0])
    batches = gather_batches((inputs, np.arange(10)), step)
    assert batches.train[0].shape == (2, 3, 2)
    np.testing.assert_array_equal(batches.train[0][..., 0], 2 * batches.train[1])
    np.testing.assert_array_equal(batches.meta[1], step.meta)


def test_whole_training_set_is_one_batch():
    order = data_order(10, None, BatchSpec())
    assert (order.batch_size, order.steps_per_epoch) == (10, 1)
    assert sorted(epoch_batches(order, 0, 0)[0]) == list(range(10))


@pytest.mark.parametrize(
    ("size", "meta", "sentence"),
    [
        (11, None, "take a size from 1 to 10"),
        (0, None, "take a size from 1 to 10"),
        (6, "held_out", r"5 examples \(half of the training set\)"),
        (1, "strided", "take a size from 2 to 10"),
    ],
)
def test_batch_size_out_of_range_is_refused(size, meta, sentence):
    with pytest.raises(ValueError, match=sentence):
        data_order(10, size, BatchSpec(1, meta))


def test_a_full_batch_is_the_whole_set_in_its_own_order_at_every_step():
    order = data_order(7, None, BatchSpec(full_batch=True))
    assert order.steps_per_epoch == 1
    indices = step_indices(order, 3, 5, 2)
    np.testing.assert_array_equal(indices.train, [[[0, 1, 2, 3, 4, 5, 6]]] * 2)
    with pytest.raises(ValueError, match="keeps variables for each of the 7 examples"):
        data_order(7, 3, order.spec)
