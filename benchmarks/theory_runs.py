"""The analysed scheme, run as it is and with one assumption broken at a time.

It is made of settings of the library: one fresh sample a visit (``num_train=3``,
batches of one), step sizes within envelopes (``step_bounds``), every visit projected on
a ball about the block's start (``ball_radius``). An arm is 64 seeds of 8,000 sweeps
from the same start; arms that differ in numbers alone share a program.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from benchmarks.theory_problem import (
    BALL_RADIUS,
    NUM_BLOCKS,
    SIZE,
    Course,
    LeastSquares,
    Terms,
    contraction,
    draw,
    harmonic,
    largest_step,
    make_loss,
    mean_loss,
    optimum,
    squared_error,
    start,
    terms_of,
    theory_course,
    theory_step,
)
from benchmarks.trials import Line, lines_of, machine
from samt_jax import Algorithm, Batches, samt_algorithm
from samt_jax.base import Key, LossFn, Params
from samt_jax.meta import adam
from samt_jax.optimizers import META_DISTANCE
from samt_jax.runs import append_line

RESULTS = Path(__file__).parent / "results" / "theory.jsonl"
NUM_SEEDS, NUM_SWEEPS = 64, 8000
# Of learned steps: a seed's eta models take a hundred times what else a seed does.
LEARNED_SEEDS = 24
# Of the envelopes: within what element-wise steps may have for this H.
RATIO = 4.0
# A ball or a step as large as none at all.
FAR = 1e6
CONSTANT_STEPS = (0.02, 0.01, 0.005, 0.0025)
CONTRACTION_STEPS = (0.4, 0.2, 0.1, 0.05, 0.02)
# Windows of sweeps, evenly in their logarithm; the slope is that of the last ones.
NUM_WINDOWS, SLOPE_WINDOWS, NUM_RESAMPLES = 36, 9, 400
Settings = dict[str, Any]


class Arm(NamedTuple):
    """A run of the scheme, with at most one thing changed.

    Attributes:
      name: What lines and tables call it.
      group: ``"decay"``, ``"constant"``, ``"learned"`` or ``"broken"``.
      broken: Which assumption is broken.
      kind: Who chooses the step, one of `KINDS`.
      course: The step over the sweeps, or what multiplies the eta model's choice.
      ball_radius: Of the balls; `FAR` is as good as none.
      is_bounded: Whether steps are cut to the envelopes.
      problem: The problem.
      is_fresh: Whether every visit has a sample of its own.
    """

    name: str
    group: str
    broken: str = ""
    kind: str = "scalar"
    course: Course = theory_step
    ball_radius: float = BALL_RADIUS
    is_bounded: bool = True
    problem: LeastSquares = LeastSquares()
    is_fresh: bool = True


class Numbers(NamedTuple):
    """By what arms differ that share a program.

    Attributes:
      terms: The problem's.
      course: As of :class:`Arm`.
      ball_radius: Likewise.
      low: What the lower envelope is multiplied by: 1, or 0 for none.
      high: What the upper one is multiplied by: 1, or `FAR` for none.
    """

    terms: Terms
    course: Course
    ball_radius: Any
    low: Any
    high: Any


class One(nn.Module):
    """An eta model that learns nothing and proposes 1."""

    num_steps: int

    @nn.compact
    def __call__(self, features: Any) -> tuple[Array, Array]:
        """The same whatever the features."""
        del features
        return jnp.zeros(self.num_steps), jnp.ones(self.num_steps)


class Spread(nn.Module):
    """An eta model that learns nothing: its proposals go evenly from 1 to `RATIO`."""

    num_steps: int

    @nn.compact
    def __call__(self, features: Any) -> tuple[Array, Array]:
        """The same whatever the features."""
        del features
        return jnp.zeros(self.num_steps), jnp.linspace(1.0, RATIO, self.num_steps)


class Listening(nn.Module):
    """An eta model with long steps where the gradient's mean is positive, else short.

    Steps within the bounds that know the very sample whose gradient they multiply.
    """

    num_steps: int

    @nn.compact
    def __call__(self, features: Any) -> tuple[Array, Array]:
        """`RATIO` or 1."""
        proposal = jnp.where(features[0] > 0, RATIO, 1.0)
        return jnp.zeros(self.num_steps), jnp.full(self.num_steps, proposal)


def numbers_of(arm: Arm) -> Numbers:
    """An arm's numbers."""
    low, high = (1.0, 1.0) if arm.is_bounded else (0.0, FAR)
    return Numbers(terms_of(arm.problem), arm.course, arm.ball_radius, low, high)


def _proposed(eta_model: Any, course: Course, granularity: str) -> Settings:
    """What the eta model says times the course, and nothing of the learning rate."""
    return {
        "learning_rate": 0.0, "mixing_weight": 0.0, "squash": lambda raw: raw,
        "proposal_max": 1.0, "schedule": course, "eta_model": eta_model,
        "meta_optimizer": optax.set_to_zero(), "granularity": granularity,
    }  # fmt: skip


def _learned(course: Course, granularity: str) -> Settings:
    """The paper's eta models; they choose from 0 to the course."""
    return {
        "learning_rate": 1.0, "proposal_max": 1.0, "schedule": course,
        "meta_optimizer": adam(META_DISTANCE / NUM_SWEEPS), "granularity": granularity,
    }  # fmt: skip


# One step for all entries, from 1 to `RATIO` of them, chosen by the sample, learned.
KINDS: dict[str, Callable[[Course], Settings]] = {
    "scalar": lambda course: _proposed(One, course, "scalar"),
    "element": lambda course: _proposed(Spread, course, "element"),
    "listening": lambda course: _proposed(Listening, course, "scalar"),
    "SAMT-S": lambda course: _learned(course, "scalar"),
    "SAMT-E": lambda course: _learned(course, "element"),
}


def make_algorithm(
    kind: str, numbers: Numbers, loss_fn: LossFn, key: Key, num_train: int
) -> Algorithm:
    """The analysed scheme, as settings of the library.

    Args:
      kind: Who chooses the step.
      numbers: The arm's.
      loss_fn: A loss of its problem.
      key: For the eta models.
      num_train: Samples a sweep.

    Returns:
      The algorithm, one sweep a step.
    """
    upper = theory_course(RATIO)
    bounds = (
        lambda count: numbers.low * theory_step(count),
        lambda count: numbers.high * upper(count),
    )
    return samt_algorithm(
        loss_fn,
        num_train=num_train,
        seed=key,
        direction="gradient",
        ball_radius=numbers.ball_radius,
        step_bounds=bounds,
        **KINDS[kind](numbers.course),
    )


def _constant_arms() -> list[Arm]:
    # Entry by entry 0.4 to 1.6 times the step.
    scale = {"scalar": 1.0, "element": 2 / (1 + RATIO)}
    return [
        Arm(f"{name}, constant {step:g}", "constant", kind=kind,
            course=Course(scale[kind] * step), is_bounded=False)
        for step in CONSTANT_STEPS
        for kind, name in (("scalar", "scalar"), ("element", "element-wise"))
    ]  # fmt: skip


def _learned_arms() -> list[Arm]:
    free = Course(0.08)
    return [
        *(Arm(f"{kind} within the envelopes", "learned", kind=kind,
              course=theory_course(RATIO))
          for kind in ("SAMT-S", "SAMT-E")),
        *(Arm(f"{kind} without bounds", "learned", "A4", kind, free, is_bounded=False)
          for kind in ("SAMT-S", "SAMT-E")),
    ]  # fmt: skip


def _broken_arms() -> list[Arm]:
    def arm(name: str, broken: str, kind: str = "scalar", *, ball_radius=BALL_RADIUS,
            **problem: Any) -> Arm:  # fmt: skip
        return Arm(name, "broken", broken, kind, ball_radius=ball_radius,
                   problem=LeastSquares(**problem))  # fmt: skip

    def step(name: str, broken: str, course: Course, **others: Any) -> Arm:
        return Arm(name, "broken", broken, course=course, is_bounded=False, **others)

    too_long = Course(2.5 * largest_step())
    return [
        arm("a flat direction", "A1", curvature=0.0),
        arm("a direction of curvature -0.5", "A1", curvature=-0.5),
        arm("a fourth power in the loss", "A2", quartic=0.02),
        arm("a fourth power, no projection", "A2, (11)", ball_radius=FAR, quartic=0.02),
        arm("coupling 0.5, beyond the condition", "A3", coupling=0.5),
        arm("a saddle, coupling 3", "A3", saddle=3.0),
        step("constant 1, beyond 2/(λ+μ)", "A4", too_long),
        step("constant 1, no projection", "A4, (11)", too_long, ball_radius=FAR),
        step("steps 0.2/√t", "A4", Course(0.2, 0.5)),
        step("steps 0.2/t", "A4", Course(0.2, 1.0)),
        step("steps 0.4/t²", "A4", Course(0.4, 2.0)),
        arm("no projection", "(11)", ball_radius=FAR),
        arm("W* outside the ball", "(11)", ball_radius=0.5),
        arm("noise without a variance", "σ²", noise="heavy"),
        arm("noise without a variance, no projection", "σ², (11)", ball_radius=FAR,
            noise="heavy"),
        arm("a biased gradient, 0.2 an entry", "unbiased", bias=0.2),
        arm("steps that know their sample", "unbiased", "listening"),
        Arm("one sample a sweep", "broken", "unbiased", is_fresh=False),
    ]  # fmt: skip


ARMS = {
    arm.name: arm
    for arm in (
        Arm("scalar, 1/t", "decay"),
        Arm("element-wise, 1/t", "decay", kind="element"),
        *_constant_arms(),
        *_learned_arms(),
        *_broken_arms(),
    )
}


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
