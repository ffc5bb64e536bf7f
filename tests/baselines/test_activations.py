"""The entrywise minimizers against a fine grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from samt_jax.baselines.activations import (
    activate,
    check_slope,
    clip_preactivations,
    fit_preactivations,
)

SLOPES = (0.0, 0.01, 0.3, 1.0)
GRID = np.linspace(-20, 20, 40_001)


@pytest.fixture
def entries(rng, x64):
    """Centres and activations, of either sign."""
    return rng.normal(size=(2, 150)) * 1.5


@pytest.mark.parametrize("slope", SLOPES)
def test_activation_is_a_leaky_relu(slope, x64):
    np.testing.assert_allclose(activate(jnp.array([-2.0, 0.0, 3.0]), slope),
                               [-2 * slope, 0, 3])  # fmt: skip


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize(("c", "d"), [(1.0, 1.0), (2.0, 1.0), (0.3, 4.0), (1.0, 0.0)])
def test_fit_is_no_worse_than_a_fine_grid(entries, slope, c, d):
    center, activations = entries

    def cost(z, center, activations):
        activated = np.maximum(z, 0) + slope * np.minimum(z, 0)
        return c * (z - center) ** 2 + d * (activations - activated) ** 2

    fitted = np.asarray(fit_preactivations(*map(jnp.array, entries), c, d, slope))
    best = cost(GRID[:, None], center[None], activations[None]).min(axis=0)
    found = cost(fitted, center, activations)
    assert (found <= best + 1e-12).all()
    # And no better than the grid can be, so that the costs are the same function.
    assert (found >= best - 1e-4).all()


@pytest.mark.parametrize("slope", SLOPES)
def test_clip_is_the_nearest_point_with_its_activation_in_the_interval(entries, slope):
    center, middle = entries
    middle = np.abs(middle) if slope == 0 else middle
    lower, upper = middle - 0.25, middle + 0.25
    activated = np.maximum(GRID, 0) + slope * np.minimum(GRID, 0)
    allowed = (activated[:, None] >= lower - 1e-9) & (activated[:, None] <= upper)
    distance = np.where(allowed, np.abs(GRID[:, None] - center), np.inf).min(axis=0)
    # A small slope puts what an interval allows beyond the grid.
    within = np.isfinite(distance)
    assert within.sum() > 70
    clipped = clip_preactivations(*map(jnp.array, (center, lower, upper)), slope)
    values = activate(clipped, slope)
    assert ((values >= lower - 1e-9) & (values <= upper + 1e-9)).all()
    np.testing.assert_allclose(
        np.abs(clipped - center)[within], distance[within], atol=1e-3
    )


@pytest.mark.parametrize("slope", [-0.1, 1.5, float("nan")])
def test_a_slope_of_another_activation_is_refused(slope):
    with pytest.raises(ValueError, match="give a slope from 0"):
        check_slope(slope)
