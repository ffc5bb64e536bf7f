"""The theory in numbers: its problem is what it says, its slopes can be told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import theory_real, theory_runs
from benchmarks.theory_arms import ARMS, RATIO
from benchmarks.theory_bounds import (
    contraction,
    error_bound,
    safe_ratio,
    weakest_pull,
)
from benchmarks.theory_problem import (
    BALL_RADIUS,
    COUPLING,
    NOISE,
    NUM_BLOCKS,
    SIZE,
    WIDTH,
    Course,
    LeastSquares,
    curvatures,
    draw,
    largest_step,
    make_loss,
    mean_loss,
    optimum,
    start,
    terms_of,
    theory_step,
)
from benchmarks.theory_runs import Track, program, summarise, track
from benchmarks.theory_section import section, verdict
from samt_jax.runs import append_line


def block(matrix, i, j):
    return matrix[WIDTH * i : WIDTH * (i + 1), WIDTH * j : WIDTH * (j + 1)]


def test_the_constants_of_the_problem_are_those_of_its_curvature():
    features, whole = curvatures(LeastSquares())
    np.testing.assert_array_equal(features, whole)
    for i in range(NUM_BLOCKS):
        ends = np.linalg.eigvalsh(block(whole, i, i))[[0, -1]]
        np.testing.assert_allclose(ends, [1, 4], rtol=1e-9)
        for j in range(i):
            assert np.linalg.norm(block(whole, i, j), 2) == pytest.approx(COUPLING)


@pytest.mark.parametrize(
    ("problem", "least"),
    [
        (LeastSquares(curvature=0.0), 0.0),
        (LeastSquares(curvature=-0.5), -0.5),
        (LeastSquares(saddle=3.0), -1.5),
        (LeastSquares(coupling=0.5), 0.54),
    ],
)
def test_what_is_broken_shows_in_the_curvature_of_the_mean_loss(problem, least):
    features, whole = curvatures(problem)
    assert np.linalg.eigvalsh(whole)[0] == pytest.approx(least, abs=0.02)
    # What is drawn stays least squares.
    assert np.linalg.eigvalsh(features)[0] > 0.5


def test_gradients_of_samples_are_unbiased_unless_they_are_told_not_to_be(key):
    point = jax.tree.map(lambda leaf: leaf + 0.3, optimum())

    def mean_gradient(problem):
        terms = terms_of(problem)
        batch = draw(terms, "uniform", key, (40_000,))
        return jax.grad(make_loss(terms))(point, batch)

    exact = jax.grad(mean_loss(LeastSquares()))(point, ())
    for bias in (0.0, 0.5):
        found = mean_gradient(LeastSquares(bias=bias))
        for name, leaf in exact.items():
            np.testing.assert_allclose(found[name], leaf + bias, atol=0.12)


def test_noise_is_bounded_with_the_deviation_it_says(key):
    x, y = draw(terms_of(LeastSquares()), "uniform", key, (20_000,))
    noise = y - x @ jnp.concatenate(list(optimum().values()))
    assert float(jnp.std(noise)) == pytest.approx(NOISE, rel=0.03)
    assert float(jnp.max(jnp.abs(noise))) <= NOISE * 3**0.5 * 1.001


def test_the_step_makes_the_recursion_that_of_one_over_t():
    counts = np.array([5, 50, 500])
    q = contraction(np.asarray(theory_step(counts)))
    np.testing.assert_allclose(1 - q, 1.5 / (counts + 2), rtol=1e-4)
    assert theory_step(0) == pytest.approx(largest_step())
    assert Course(0.2, 0.5)(3) == pytest.approx(0.1)


def test_element_wise_steps_pull_the_right_way_up_to_a_known_ratio():
    assert weakest_pull(1.0) == pytest.approx(1.0)
    assert safe_ratio() == pytest.approx(9.0)
    assert weakest_pull(8.9) > 0 > weakest_pull(16.0)


# The scheme.


@pytest.fixture(scope="module")
def tracked():
    """A few arms of one program, shorter and with fewer seeds."""
    names = (
        "scalar, 1/t", "scalar, constant 0.02", "scalar, constant 0.01",
        "W* outside the ball", "constant 1, no projection", "steps 0.4/t²",
    )  # fmt: skip
    arms = [ARMS[name] for name in names]
    assert len(set(map(program, arms))) == 1
    found = track(arms, 16, 1200)
    return {
        name: jax.tree.map(lambda each, i=i: each[i], found)
        for i, name in enumerate(names)
    }


def late(found, first, last):
    return found.error[:, first:last].mean()


def test_decaying_steps_go_on_like_one_over_t_and_constant_ones_stand(tracked):
    decaying = tracked["scalar, 1/t"]
    # Four times as late, a quarter of the error.
    assert 2.5 < late(decaying, 200, 300) / late(decaying, 800, 1200) < 6.5
    plateaus = []
    for name in ("scalar, constant 0.02", "scalar, constant 0.01"):
        constant = tracked[name]
        early, later = late(constant, 500, 700), late(constant, 900, 1200)
        assert 0.8 < early / later < 1.25
        plateaus.append(later)
    assert 1.6 < plateaus[0] / plateaus[1] < 3.2
    assert late(decaying, 900, 1200) < 0.3 * plateaus[1]


def test_the_recursion_bounds_what_is_measured(tracked):
    measured = tracked["scalar, 1/t"].error.mean(axis=0)
    assert np.all(measured < error_bound(1200, theory_step, theory_step))


def test_the_settings_of_the_scheme_are_kept(tracked):
    analysed = tracked["scalar, 1/t"]
    assert analysed.distance.max() <= BALL_RADIUS * (1 + 1e-6)
    assert analysed.distance.max() > 0.99 * BALL_RADIUS
    assert analysed.low.min() > 1 - 1e-5 and analysed.high.max() < 1 + 1e-5
    np.testing.assert_allclose(
        analysed.step[0], theory_step(np.arange(1200)), rtol=1e-5
    )


def test_what_is_broken_shows(tracked):
    # Balls that end half way to W*.
    assert 0.25 < late(tracked["W* outside the ball"], 900, 1200) / NUM_BLOCKS < 0.4
    assert late(tracked["constant 1, no projection"], 900, 1200) > 1e6
    # Steps whose sum is finite stop on the way.
    stopped = tracked["steps 0.4/t²"]
    assert late(stopped, 200, 300) < 1.3 * late(stopped, 900, 1200)


def test_the_matrix_of_a_sweep_is_that_of_gauss_and_seidel():
    step, whole = 0.1, curvatures(LeastSquares())[1]
    expected = np.eye(SIZE)
    for i in range(NUM_BLOCKS):
        visit = np.eye(SIZE)
        visit[WIDTH * i : WIDTH * (i + 1)] -= step * whole[WIDTH * i : WIDTH * (i + 1)]
        expected = visit @ expected
    (found,) = theory_runs.sweep_matrices("scalar", [step])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The slip of the paper's constant.
    worst = np.linalg.norm(found, 2) ** 2
    assert contraction(step, rate=1.6) < worst < contraction(step)


# Lines, and what is said of them.


@pytest.mark.parametrize(
    ("power", "says"),
    [(1.0, "decays like 1/t"), (0.5, "decays more slowly"), (0.0, "stands still")],
)
def test_a_power_of_t_is_found_and_named(power, says):
    sweeps, rng = np.arange(1, 8001), np.random.default_rng(0)
    error = np.exp(0.3 * rng.normal(size=(20, 1))) / sweeps**power
    line = summarise(Track(error, *[np.ones_like(error)] * 4))
    assert line["slope"] == pytest.approx(-power, abs=0.01)
    low, high = line["slope_interval"]
    # Seeds that differ by a factor alone have one slope, to rounding.
    assert low - 1e-3 <= line["slope"] <= high + 1e-3
    lows, highs = line["error_interval"]
    assert lows[-1] < line["error"][-1] < highs[-1]
    assert verdict(line) == says
    far = verdict(line | {"error": [3.0, 4.0]})
    assert ("comes back" if power == 1 else "farther") in far


def test_arms_have_names_of_their_own_and_share_few_programs():
    assert len({program(arm) for arm in ARMS.values()}) <= 8
    assert all(name == arm.name for name, arm in ARMS.items())
    for arm in ARMS.values():
        assert arm.broken or arm.group != "broken"


def test_the_section_says_what_was_measured_and_what_is_missing(tmp_path):
    path = tmp_path / "theory.jsonl"
    assert "Not run yet" in section(path, None)
    arm = ARMS["a saddle, coupling 3"]
    line = {
        "kind": "arm", "arm": arm.name, "group": arm.group, "broken": arm.broken,
        "settings": theory_runs._described(arm), "seeds": 2, "sweeps": [1, 10],
        "error": [3.0, 12.5], "error_interval": [[2.0, 12.0], [4.0, 13.0]],
        "slope": 0.62, "slope_interval": [0.6, 0.64], "step": [0.1, 0.01],
        "device": "cpu",
    }  # fmt: skip
    append_line(path, line)
    text = section(path, tmp_path)
    assert (
        "| A3 | a saddle, coupling 3 | 0.62 [0.60, 0.64] | 12.5 [12, 13] | ends "
        "farther away than it began |"
    ) in text
    assert "Not run yet: scalar, 1/t;" in text
    assert (tmp_path / "theory.png").stat().st_size > 10_000


# The network.


def test_the_ends_of_a_block_s_spectrum_are_found():
    scales = {"a": jnp.array([3.0, 1.0, 0.5]), "b": jnp.array([7.0, 2.0])}

    def loss_fn(params, batch):
        squares = [jnp.sum(scales[n] * leaf**2) / 2 for n, leaf in params.items()]
        return sum(squares) + params["a"][0] * params["b"][0]

    params = jax.tree.map(jnp.ones_like, scales)
    found = theory_real.curvatures(loss_fn, params, ())
    np.testing.assert_allclose(found["a"], (0.5, 3.0), atol=0.02)
    np.testing.assert_allclose(found["b"], (2.0, 7.0), atol=0.02)


def test_the_best_envelope_is_looked_for():
    times = np.array([1.0, 1.5, 3.9, 40.0])
    assert theory_real.best_envelope(times, times) == 0.75
    wide = theory_real.best_envelope(times, 2 * RATIO * times)
    assert wide == 0


def test_the_start_is_at_the_distance_that_the_section_says():
    gaps = [jnp.sum((optimum()[n] - leaf) ** 2) for n, leaf in start().items()]
    np.testing.assert_allclose(gaps, 1.0, rtol=1e-6)
