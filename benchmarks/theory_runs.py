"""Runs of the arms: 64 seeds of 8,000 sweeps from the same start, and one line each.

Arms that differ in numbers alone share a program.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.theory_arms import (
    ARMS,
    FAR,
    NUM_SWEEPS,
    RATIO,
    Arm,
    Numbers,
    Settings,
    make_algorithm,
    numbers_of,
)
from benchmarks.theory_bounds import contraction, harmonic
from benchmarks.theory_problem import (
    NUM_BLOCKS,
    SIZE,
    Course,
    LeastSquares,
    draw,
    make_loss,
    mean_loss,
    optimum,
    squared_error,
    start,
    theory_step,
)
from benchmarks.trials import Line, lines_of, machine
from samt_jax import Batches
from samt_jax.base import Key, Params
from samt_jax.runs import append_line

RESULTS = Path(__file__).parent / "results" / "theory.jsonl"
NUM_SEEDS = 64
# Of learned steps: a seed's eta models take a hundred times what else a seed does.
LEARNED_SEEDS = 24
CONTRACTION_STEPS = (0.4, 0.2, 0.1, 0.05, 0.02)
# Windows of sweeps, evenly in their logarithm; the slope is that of the last ones.
NUM_WINDOWS, SLOPE_WINDOWS, NUM_RESAMPLES = 36, 9, 400


class Track(NamedTuple):
    """What is kept of every sweep, of every seed.

    Attributes:
      error: Σ‖W_l - W_l*‖² after the sweep.
      step: The mean step size of the blocks.
      low: The smallest step size, in lower envelopes.
      high: The largest, in lower envelopes.
      distance: The largest distance of a block from its start.
    """

    error: Float[Array, "*shape"]
    step: Float[Array, "*shape"]
    low: Float[Array, "*shape"]
    high: Float[Array, "*shape"]
    distance: Float[Array, "*shape"]


def track(arms: Sequence[Arm], num_seeds: int, num_sweeps: int) -> Track:
    """Runs arms that share a program, all arms and seeds at once.

    Args:
      arms: Arms of one :func:`program`.
      num_seeds: How many.
      num_sweeps: Length of the run.

    Returns:
      Arrays of shape ``(num_arms, num_seeds, num_sweeps)``.
    """
    (kind, noise, is_fresh), *_ = map(program, arms)
    num_train = NUM_BLOCKS if is_fresh else 1
    shape = (num_train, 1) if is_fresh else (1,)

    def one_seed(numbers: Numbers, key: Key) -> Track:
        make_key, key = jax.random.split(key)
        loss_fn = make_loss(numbers.terms)
        algorithm = make_algorithm(kind, numbers, loss_fn, make_key, num_train)

        def sweep(carry: tuple[Params, Any], key: Key) -> tuple[Any, Track]:
            batches = Batches(
                *(draw(numbers.terms, noise, k, shape) for k in jax.random.split(key))
            )
            params, state, info = algorithm.step(*carry, batches, key)
            return (params, state), _look(params, carry[1].count, info.detail)

        batch = draw(numbers.terms, noise, key, shape)
        state = algorithm.init(start(), Batches(batch, batch), key)
        keys = jax.random.split(key, num_sweeps)
        return jax.lax.scan(sweep, (start(), state), keys)[1]

    keys = jax.random.split(jax.random.key(0), num_seeds)
    stacked = jax.tree.map(
        lambda *each: jnp.stack([jnp.asarray(x, jnp.float32) for x in each]),
        *map(numbers_of, arms),
    )
    of_arms = jax.vmap(jax.vmap(one_seed, (None, 0)), (0, None))
    return jax.tree.map(np.asarray, jax.jit(of_arms)(stacked, keys))


def program(arm: Arm) -> tuple[str, str, bool]:
    """What arms must have in common to share a compiled program."""
    return arm.kind, arm.problem.noise, arm.is_fresh


def _look(params: Params, count: Any, detail: Any) -> Track:
    steps = list(detail.values())
    low = theory_step(count)
    distances = [jnp.linalg.norm(leaf) for leaf in params.values()]
    return Track(
        squared_error(params),
        sum(info.step_size for info in steps) / NUM_BLOCKS,
        jnp.min(jnp.stack([info.step_size_min for info in steps])) / low,
        jnp.max(jnp.stack([info.step_size_max for info in steps])) / low,
        jnp.max(jnp.stack(distances)),
    )


def windows(num_sweeps: int) -> list[slice]:
    """Windows of sweeps that grow evenly in their logarithm, the first of one sweep."""
    edges = np.geomspace(1, num_sweeps + 1, NUM_WINDOWS + 1).round().astype(int) - 1
    return [slice(a, b) for a, b in itertools.pairwise(np.unique(edges))]


def summarise(found: Track) -> Line:
    """Means over seeds in windows, and the slope of their logarithms, with intervals.

    Args:
      found: What was kept.

    Returns:
      Sweeps, errors with 95 % intervals by resampling seeds, slope over the last
      `SLOPE_WINDOWS` windows, step sizes and distances.
    """
    parts = windows(found.error.shape[1])
    sweeps = np.array([(part.start + 1 + part.stop) / 2 for part in parts])
    errors = np.stack([found.error[:, p].mean(axis=1) for p in parts], axis=1)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(errors), (NUM_RESAMPLES, len(errors)))
    # Seeds drawn anew, with replacement; the first row is all of them once.
    chosen[0] = np.arange(len(errors))
    means = errors.astype(float)[chosen].mean(axis=1)
    last = slice(-SLOPE_WINDOWS, None)
    slopes = np.polyfit(np.log(sweeps[last]), np.log(means[:, last].T), 1)[0]
    ends = np.quantile(means, (0.025, 0.975), axis=0)
    return {
        "sweeps": rounded(sweeps),
        "error": rounded(means[0]),
        "error_interval": [rounded(end) for end in ends],
        "slope": rounded(slopes[0]),
        "slope_interval": rounded(np.quantile(slopes, (0.025, 0.975))),
        "step": rounded(np.array([found.step[:, p].mean() for p in parts])),
        "smallest_step": rounded(found.low.min()),
        "largest_step": rounded(found.high.max()),
        "distance": rounded(found.distance.max()),
    }


def run_arms(path: Path) -> None:
    """Runs the arms that have no line yet, program by program, and appends their lines.

    Args:
      path: File of the lines.
    """
    known = {line.get("arm") for line in lines_of(path)}
    missing = [arm for arm in ARMS.values() if arm.name not in known]
    for shared in dict.fromkeys(map(program, missing)):
        arms, started = [a for a in missing if program(a) == shared], time.monotonic()
        num_seeds = LEARNED_SEEDS if arms[0].group == "learned" else NUM_SEEDS
        found = track(arms, num_seeds, NUM_SWEEPS)
        seconds = round((time.monotonic() - started) / len(arms), 1)
        for index, arm in enumerate(arms):
            own = summarise(jax.tree.map(lambda each, i=index: each[i], found))
            append_line(path, {
                "kind": "arm", "arm": arm.name, "group": arm.group,
                "broken": arm.broken, "settings": _described(arm), "seeds": num_seeds,
                **own, "seconds": seconds, **machine(),
            })  # fmt: skip
            print(f"{arm.name}: slope {own['slope']} {own['slope_interval']}, "
                  f"error {own['error'][-1]}, {seconds} s", flush=True)  # fmt: skip


def _described(arm: Arm) -> Settings:
    fields = ("kind", "ball_radius", "is_bounded", "is_fresh")
    return {name: getattr(arm, name) for name in fields} | {
        "course": arm.course._asdict(), "problem": arm.problem._asdict(),
    }  # fmt: skip


def sweep_matrices(kind: str, steps: Any) -> np.ndarray:
    """What a sweep without noise does to W - W*: a matrix, column by column.

    Args:
      kind: Who chooses the step.
      steps: Constant steps.

    Returns:
      A matrix a step, from the library's own sweep.
    """
    batches, key = Batches((), ()), jax.random.key(0)

    def swept(step: Any, error: Float[Array, "n"]) -> Float[Array, "n"]:
        free = numbers_of(Arm("", "", ball_radius=FAR, is_bounded=False))
        algorithm = make_algorithm(
            kind, free._replace(course=Course(step)), mean_loss(LeastSquares()), key, 1
        )
        leaves = jnp.split(error, NUM_BLOCKS)
        params = {name: optimum()[name] + leaf
                  for name, leaf in zip(optimum(), leaves, strict=True)}  # fmt: skip
        state = algorithm.init(params, batches, key)
        moved, _, _ = algorithm.step(params, state, batches, key)
        return jnp.concatenate([moved[name] - optimum()[name] for name in optimum()])

    columns = jax.vmap(jax.vmap(swept, (None, 0)), (0, None))
    found = jax.jit(columns)(jnp.asarray(steps), jnp.eye(SIZE))
    return np.asarray(found, float).swapaxes(1, 2)


def run_contraction(path: Path) -> None:
    """Measures what one sweep without noise leaves of the squared error.

    Args:
      path: File of the lines; nothing is done where one stands.
    """
    if any(line["kind"] == "contraction" for line in lines_of(path)):
        return
    steps = np.array(CONTRACTION_STEPS)
    found = {
        "scalar": sweep_matrices("scalar", steps),
        # 0.4 to 1.6 times the step.
        "element": sweep_matrices("element", 2 * steps / (1 + RATIO)),
    }
    worst = {n: np.linalg.norm(each, 2, (1, 2)) ** 2 for n, each in found.items()}
    append_line(path, {
        "kind": "contraction", "step": list(CONTRACTION_STEPS),
        # Of the worst start and, of random ones, in the mean.
        **{f"{name}_worst": rounded(each) for name, each in worst.items()},
        "scalar_mean": rounded(np.sum(found["scalar"] ** 2, (1, 2)) / SIZE),
        "with_convexity": rounded(contraction(steps)),
        "with_harmonic": rounded(contraction(steps, harmonic())),
        **machine(),
    })  # fmt: skip


def rounded(values: Any) -> Any:
    """Numbers with five digits, for lines that are to be read.

    Args:
      values: A number, or nested lists or arrays of them.

    Returns:
      The same as plain Python numbers.

    Example:
      >>> rounded([1 / 3, 2.0])
      [0.33333, 2.0]
    """
    if np.ndim(values):
        return [rounded(value) for value in values]
    return float(f"{float(values):.5g}")
