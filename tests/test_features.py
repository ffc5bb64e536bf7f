import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import BAD

from samt_jax import (
    FEATURE_NAMES,
    gradient_features,
    raw_gradient_features,
    scaled_features,
)
from samt_jax.features import RAW_GRADIENT_LIMIT, features_from_sums, largest_entry

LARGEST = np.finfo(np.float32).max
# One length: every other one would compile anew.
entries = st.lists(
    st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=6, max_size=6
)


# For the tests of many examples.
compiled_features = jax.jit(gradient_features)


def by_numpy(values):
    values = np.asarray(values, np.float64)
    variance = values.var(ddof=1) if values.size > 1 else 0.0
    return np.array(
        [values.mean(), variance, values.max(), values.min(), np.linalg.norm(values)]
    )


def test_features_are_in_the_order_of_the_paper():
    assert FEATURE_NAMES == ("mean", "variance", "max", "min", "norm")


def test_known_numbers_over_several_leaves():
    # 3, -4, 1, 0: mean 0; variance (9 + 16 + 1 + 0) / 3; norm sqrt(26).
    grads = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([1.0, 0.0])}
    features = gradient_features(grads)
    np.testing.assert_allclose(features, [0, 26 / 3, 3, -4, 26**0.5], rtol=1e-6)
    assert features.dtype == jnp.float32


@given(entries)
def test_features_are_those_of_numpy(values):
    largest = np.abs(values).max()
    expected = by_numpy(values)
    scale = [largest, largest**2, largest, largest, largest]
    # A mean or a variance that cancels is right within rounding of what it sums.
    difference = np.abs(compiled_features(jnp.array(values)) - expected)
    assert np.all(difference <= 3e-6 * np.array(scale) + 1e-30)


@given(entries, st.sampled_from([2.0**-40, 2.0**30]))
def test_features_scale_with_the_gradient(values, factor):
    once = compiled_features(jnp.array(values, jnp.float32))
    scaled = compiled_features(jnp.array(values, jnp.float32) * factor)
    powers = np.float32(factor) ** np.array([1, 2, 1, 1, 1], np.float32)
    np.testing.assert_allclose(scaled, once * powers, rtol=1e-5, atol=1e-37)


def test_zero_gradient_has_zero_features():
    features = gradient_features({"w": jnp.zeros((2, 3)), "b": jnp.zeros(2)})
    np.testing.assert_array_equal(features, np.zeros(5))


def test_an_empty_leaf_is_no_matter():
    values = jnp.array([3.0, -4.0])
    with_empty = gradient_features({"w": values, "none": jnp.zeros((0, 2))})
    np.testing.assert_array_equal(with_empty, gradient_features({"w": values}))


def test_an_entry_far_out_does_not_spoil_the_variance():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1e-3, 100_000).astype(np.float32)
    values[0] = 1.0
    features = gradient_features(jnp.array(values))
    np.testing.assert_allclose(features[1:], by_numpy(values)[1:], rtol=1e-5)


def test_one_entry_has_no_variance():
    features = gradient_features(jnp.array([-3.0]))
    np.testing.assert_array_equal(features, [-3, 0, -3, -3, 3])


def test_entries_of_1e19_have_right_features():
    # 1e19 and -1e19: the variance is 2e38, within the range of float32.
    features = gradient_features(jnp.array([1e19, -1e19]))
    expected = [0, 2e38, 1e19, -1e19, 2**0.5 * 1e19]
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_entries_of_1e19_have_a_right_variance_beside_a_mean():
    values = np.full(4, 1e19, np.float32)
    values[0] = 0.9e19
    features = gradient_features(jnp.array(values))
    np.testing.assert_allclose(features, by_numpy(values), rtol=1e-5)


@pytest.mark.parametrize("log_scale", [1e-8, 1e-3, None])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-30, 1e19, 3e38])
def test_features_of_any_finite_gradient_are_finite(size, log_scale):
    features = scaled_features(log_scale=log_scale)
    measured = features.measure(jnp.array([size, -size, size]))
    assert np.all(np.isfinite(measured))
    assert np.all(np.isfinite(features.present(measured)))


def test_a_statistic_beyond_the_range_is_the_largest_number():
    features = gradient_features(jnp.array([3e38, -3e38]))
    assert features[1] == LARGEST and features[4] == LARGEST
    assert features[2] == jnp.float32(3e38) and features[3] == -jnp.float32(3e38)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_measured_in_float32(dtype):
    # The squares of 300 and their sum are beyond float16.
    features = gradient_features(jnp.full((4, 4), 300, dtype).at[0, 0].set(-300))
    assert features.dtype == jnp.float32
    exact = float(jnp.array(300, dtype))
    expected = by_numpy([exact] * 15 + [-exact])
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_float64_is_measured_in_float64(x64):
    values = np.array([1.0, 1.0 + 1e-9, 1.0 - 3e-9])
    features = gradient_features(jnp.array(values))
    assert features.dtype == jnp.float64
    np.testing.assert_allclose(features, by_numpy(values), rtol=1e-6)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [("w", (1, 2)), ("w", (0, 0)), ("b", (1,))])
def test_a_gradient_that_is_not_finite_shows_in_max_or_min(bad, place):
    grads = {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}
    leaf, index = place
    grads[leaf] = grads[leaf].at[index].set(bad)
    ends = jax.jit(gradient_features)(grads)[2:4]
    assert not np.all(np.isfinite(ends))


@jax.jit
def features_by_sums(g):
    unit = largest_entry(g.max(), g.min())
    scaled = g / unit
    return unit, features_from_sums(
        g.max(), g.min(), unit, scaled.mean(), jnp.sum(scaled**2), g.size
    )


@given(entries)
def test_features_from_sums_are_the_features(values):
    g = jnp.array(values, jnp.float32)
    unit, from_sums = features_by_sums(g)
    largest = float(unit)
    atol = 1e-5 * np.array([largest, largest**2, 0, 0, largest]) + 1e-30
    difference = np.abs(from_sums - compiled_features(g))
    assert np.all(difference <= atol)


def test_unit_is_the_largest_magnitude_and_never_zero():
    assert largest_entry(jnp.float32(2.0), jnp.float32(-7.0)) == 7
    assert largest_entry(jnp.float32(0.0), jnp.float32(0.0)) == 1


def test_masked_features_are_zero_and_the_shape_stays():
    features = scaled_features(keep=("variance", "norm"), log_scale=None)
    presented = features.present(features.measure(jnp.array([3.0, -4.0])))
    np.testing.assert_allclose(presented, [0, 24.5, 0, 0, 5], rtol=1e-6)


def test_log_scaling_by_hand():
    presented = scaled_features(log_scale=1e-3).present(
        jnp.array([0.0, 1e-3, 1.0, -1.0, 100.0])
    )
    full = np.log(1 + 1e3)
    expected = [0, np.log(2) / full, 1, -1, np.log(1 + 1e5) / full]
    np.testing.assert_allclose(presented, expected, rtol=1e-6)


def test_log_scaling_tells_small_magnitudes_apart():
    present = scaled_features().present
    low, high = (present(jnp.full(5, x))[0] for x in (1e-6, 1e-5))
    assert high - low > 0.1


def test_raw_gradient_is_the_gradient_in_the_order_of_the_tree():
    grads = {"b": jnp.array([5.0]), "a": jnp.array([[1.0, 2.0]], jnp.bfloat16)}
    raw = raw_gradient_features().measure(grads)
    np.testing.assert_array_equal(raw, [1, 2, 5])
    assert raw.dtype == jnp.float32


def test_stages_do_not_change_dtypes_silently(strict_promotion):
    features = scaled_features()
    grads = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
    assert features.present(features.measure(grads)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: scaled_features(keep=("mean", "median")), "'median'.*choose among"),
        (lambda: scaled_features(log_scale=0.0), "log_scale is 0.0; .*positive"),
        (lambda: scaled_features(log_scale=-1.0), "log_scale is -1.0; .*or None"),
        (
            lambda: raw_gradient_features().measure(jnp.zeros(RAW_GRADIENT_LIMIT + 1)),
            "262,145 entries.*at most 262,144; take scaled_features",
        ),
    ],
)
def test_bad_settings_are_told_what_is_allowed(make, said):
    with pytest.raises(ValueError, match=said):
        make()
