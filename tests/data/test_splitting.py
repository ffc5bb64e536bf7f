import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samt_jax.data import DataError
from samt_jax.data.splitting import (
    channel_scale,
    column_scale,
    divide,
    standardise_images,
)


def test_every_class_keeps_its_share():
    labels = np.repeat([0, 1, 2], [100, 200, 300])
    rest, part = divide(np.arange(600), 60, labels)
    assert np.bincount(labels[part]).tolist() == [10, 20, 30]
    np.testing.assert_array_equal(np.sort(np.r_[rest, part]), np.arange(600))


def test_parts_keep_their_order_and_name_the_given_indices():
    indices = np.array([11, 5, 7, 3, 2, 13])
    rest, part = divide(indices, 2)
    assert len(rest) == 4 and len(part) == 2
    for chosen in (rest, part):
        places = [indices.tolist().index(i) for i in chosen]
        assert places == sorted(places)
    assert set(rest) | set(part) == set(indices)


def test_the_rule_is_fixed():
    # Written down once: another rule would make old figures incomparable.
    assert divide(np.arange(10), 3)[1].tolist() == [2, 4, 8]


def test_a_class_with_one_example_cannot_be_stratified():
    with pytest.raises(DataError, match="3 examples are too few for a part of 1"):
        divide(np.arange(3), 1, np.array([0, 0, 1]))


@given(
    hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 3))),
)
def test_channel_scale_is_mean_and_deviation(images):
    mean, deviation = channel_scale(images)
    expected = images.astype(float).std(axis=(0, 1, 2))
    np.testing.assert_allclose(mean, images.astype(float).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(deviation, np.where(expected > 1e-9, expected, 1.0))


def test_images_are_centred_and_scaled_by_the_given_statistics():
    images = np.array([[[[0, 10]], [[4, 30]]]], np.uint8)
    # Channel 0: (0 − 2)/2, (4 − 2)/2; channel 1: (10 − 20)/5, (30 − 20)/5.
    result = standardise_images(images, np.array([2.0, 20.0]), np.array([2.0, 5.0]))
    assert result.dtype == np.float32
    assert result.ravel().tolist() == [-1.0, -2.0, 1.0, 2.0]


def test_a_constant_column_is_not_divided_by_zero():
    mean, deviation = column_scale(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2.0, 5.0] and deviation.tolist() == [1.0, 1.0]
