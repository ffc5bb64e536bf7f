"""The analysed scheme, run as it is and with one assumption broken at a time.

It is made of settings of the library: one fresh sample a visit (``num_train=3``,
batches of one), step sizes within envelopes (``step_bounds``), every visit projected on
a ball about the block's start (``ball_radius``). An arm is 64 seeds of 8,000 sweeps
from the same start; its budget is half a minute.
"""

import itertools
import time
from collections.abc import Callable
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
    LeastSquares,
    contraction,
    draw,
    harmonic,
    largest_step,
    make_loss,
    mean_loss,
    optimum,
    squared_error,
    start,
    theory_step,
)
from benchmarks.trials import Line, lines_of, machine
from samt_jax import Algorithm, Batches, samt_algorithm
from samt_jax.base import Key, LossFn, Params
from samt_jax.eta import EtaMLP
from samt_jax.meta import adam
from samt_jax.optimizers import META_DISTANCE
from samt_jax.runs import append_line

RESULTS = Path(__file__).parent / "results" / "theory.jsonl"
NUM_SEEDS, NUM_SWEEPS = 64, 8000
# Of the envelopes: within what element-wise steps may have for this H.
RATIO = 4.0
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
      settings: Of `samt_algorithm`, in the place of those of :func:`analysed`.
      problem: The problem.
      is_fresh: Whether every visit has a sample of its own.
    """

    name: str
    group: str
    broken: str
    settings: Settings
    problem: LeastSquares = LeastSquares()
    is_fresh: bool = True


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


def upper_envelope(count: Any) -> Any:
    """`RATIO` times the lower one, the theory's step, up to Lemma 1's end."""
    return jnp.minimum(RATIO * theory_step(count), largest_step())


def analysed() -> Settings:
    """The scheme of the theory, its step apart."""
    return {
        "direction": "gradient",
        "ball_radius": BALL_RADIUS,
        "step_bounds": (theory_step, upper_envelope),
        "eta_model": Spread,
        "meta_optimizer": optax.set_to_zero(),
    }


def scalar(step: optax.ScalarOrSchedule, **settings: Any) -> Settings:
    """One step size for all entries, not learned."""
    return {"learning_rate": step, "mixing_weight": 1.0, **settings}


def proposed(factor: optax.Schedule, **settings: Any) -> Settings:
    """What the eta model says times a factor, nothing of the learning rate."""
    return {
        "learning_rate": 0.0, "mixing_weight": 0.0, "squash": lambda raw: raw,
        "proposal_max": 1.0, "schedule": factor, **settings,
    }  # fmt: skip


def spread_about(step: Any) -> Settings:
    """Element-wise, 0.4 to 1.6 times the step."""
    return proposed(lambda count: 2 * step / (1 + RATIO), granularity="element")


def learned(granularity: str, **settings: Any) -> Settings:
    """The paper's eta models; steps from 0 to the upper envelope."""
    return {
        "granularity": granularity, "eta_model": EtaMLP,
        "meta_optimizer": adam(META_DISTANCE / NUM_SWEEPS),
        "learning_rate": 1.0, "proposal_max": 1.0, "schedule": upper_envelope,
        **settings,
    }  # fmt: skip


def _over(power: float, factor: float) -> optax.Schedule:
    return lambda count: factor / (count + 1.0) ** power


def _arms() -> tuple[Arm, ...]:
    free, element = {"step_bounds": None}, {"granularity": "element"}
    unbounded = {"learning_rate": 0.04, "proposal_max": 0.08, "schedule": None, **free}
    base = scalar(theory_step)
    decay = (
        Arm("scalar, 1/t", "decay", "", base),
        Arm("element-wise, 1/t", "decay", "", proposed(theory_step, **element)),
    )
    constant = tuple(
        Arm(f"{name}, constant {step:g}", "constant", "", settings)
        for step in CONSTANT_STEPS
        for name, settings in (
            ("scalar", scalar(step, **free)),
            ("element-wise", spread_about(step) | free),
        )
    )  # fmt: skip
    learning = (
        Arm("SAMT-S within the envelopes", "learned", "", learned("scalar")),
        Arm("SAMT-E within the envelopes", "learned", "", learned("element")),
        Arm("SAMT-S without bounds", "learned", "A4", learned("scalar", **unbounded)),
        Arm("SAMT-E without bounds", "learned", "A4", learned("element", **unbounded)),
    )
    return (*decay, *constant, *learning, *_broken(base, free))


def _broken(base: Settings, free: Settings) -> tuple[Arm, ...]:
    no_ball = {"ball_radius": None}

    def arm(name: str, broken: str, settings: Settings = base, **problem: Any) -> Arm:
        return Arm(name, "broken", broken, settings, LeastSquares(**problem))

    listening = proposed(theory_step, eta_model=Listening)
    too_long = scalar(2.5 * largest_step(), **free)
    quartic = {"quartic": 0.02}
    return (
        arm("a flat direction", "A1", curvature=0.0),
        arm("a direction of curvature -0.5", "A1", curvature=-0.5),
        arm("a fourth power in the loss", "A2", **quartic),
        arm("a fourth power, no projection", "A2, (11)", base | no_ball, **quartic),
        arm("coupling 0.5, beyond the condition", "A3", coupling=0.5),
        arm("a saddle, coupling 3", "A3", saddle=3.0),
        arm("constant 1, beyond 2/(λ+μ)", "A4", too_long),
        arm("constant 1, no projection", "A4, (11)", too_long | no_ball),
        arm("steps 0.2/√t", "A4", scalar(_over(0.5, 0.2), **free)),
        arm("steps 0.2/t", "A4", scalar(_over(1.0, 0.2), **free)),
        arm("steps 0.4/t²", "A4", scalar(_over(2.0, 0.4), **free)),
        arm("no projection", "(11)", base | no_ball),
        arm("W* outside the ball", "(11)", base | {"ball_radius": 0.5}),
        arm("noise without a variance", "σ²", noise="heavy"),
        arm("noise without a variance, no projection", "σ², (11)", base | no_ball,
            noise="heavy"),
        arm("a biased gradient, 0.2 an entry", "unbiased", bias=0.2),
        arm("steps that know their sample", "unbiased", listening),
        Arm("one sample a sweep", "broken", "unbiased", base, is_fresh=False),
    )  # fmt: skip


ARMS = {arm.name: arm for arm in _arms()}


def make_algorithm(arm: Arm, loss_fn: LossFn, key: Key) -> Algorithm:
    """The arm's scheme.

    Args:
      arm: The arm.
      loss_fn: A loss of its problem.
      key: For the eta models.

    Returns:
      The algorithm, one sweep a step.
    """
    settings = analysed() | arm.settings
    num_train = NUM_BLOCKS if arm.is_fresh else 1
    return samt_algorithm(loss_fn, num_train=num_train, seed=key, **settings)


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


def track(arm: Arm, num_seeds: int, num_sweeps: int) -> Track:
    """Runs an arm, all seeds at once.

    Args:
      arm: The arm.
      num_seeds: How many.
      num_sweeps: Length of the run.

    Returns:
      Arrays of shape ``(num_seeds, num_sweeps)``.
    """
    loss_fn = make_loss(arm.problem)
    shape = (NUM_BLOCKS, 1) if arm.is_fresh else (1,)

    def one_seed(key: Key) -> Track:
        make_key, key = jax.random.split(key)
        algorithm = make_algorithm(arm, loss_fn, make_key)

        def sweep(carry: tuple[Params, Any], key: Key) -> tuple[Any, Track]:
            keys = jax.random.split(key)
            batches = Batches(*(draw(arm.problem, each, shape) for each in keys))
            params, state, info = algorithm.step(*carry, batches, key)
            return (params, state), _look(params, carry[1].count, info.detail)

        batch = draw(arm.problem, key, shape)
        state = algorithm.init(start(), Batches(batch, batch), key)
        keys = jax.random.split(key, num_sweeps)
        return jax.lax.scan(sweep, (start(), state), keys)[1]

    keys = jax.random.split(jax.random.key(0), num_seeds)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one_seed))(keys))


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
        "sweeps": _rounded(sweeps),
        "error": _rounded(means[0]),
        "error_interval": [_rounded(end) for end in ends],
        "slope": _rounded(slopes[0]),
        "slope_interval": _rounded(np.quantile(slopes, (0.025, 0.975))),
        "step": _rounded(np.array([found.step[:, p].mean() for p in parts])),
        "smallest_step": _rounded(found.low.min()),
        "largest_step": _rounded(found.high.max()),
        "distance": _rounded(found.distance.max()),
    }


def run_arm(arm: Arm, path: Path) -> None:
    """Runs an arm that has no line yet, and appends its line.

    Args:
      arm: The arm.
      path: File of the lines.
    """
    if any(line.get("arm") == arm.name for line in lines_of(path)):
        return
    started = time.monotonic()
    found = summarise(track(arm, NUM_SEEDS, NUM_SWEEPS))
    line = {
        "kind": "arm", "arm": arm.name, "group": arm.group, "broken": arm.broken,
        "problem": arm.problem._asdict(), "seeds": NUM_SEEDS, **found,
        "seconds": round(time.monotonic() - started, 1), **machine(),
    }  # fmt: skip
    append_line(path, line)
    print(f"{arm.name}: slope {found['slope']} {found['slope_interval']}, "
          f"error {found['error'][-1]}, {line['seconds']} s", flush=True)  # fmt: skip


def sweep_matrices(settings_of: Callable[[Any], Settings], steps: Any) -> np.ndarray:
    """What a sweep without noise does to W - W*: a matrix, column by column.

    Args:
      settings_of: Of a step size.
      steps: The step sizes.

    Returns:
      A matrix a step, from the library's own sweep.
    """
    batches, key = Batches((), ()), jax.random.key(0)

    def swept(step: Any, error: Float[Array, "n"]) -> Float[Array, "n"]:
        settings = {"ball_radius": None, "step_bounds": None} | settings_of(step)
        arm = Arm("", "", "", settings, is_fresh=False)
        algorithm = make_algorithm(arm, mean_loss(arm.problem), key)
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
        "scalar": sweep_matrices(scalar, steps),
        "element": sweep_matrices(spread_about, steps),
    }
    worst = {n: np.linalg.norm(each, 2, (1, 2)) ** 2 for n, each in found.items()}
    append_line(path, {
        "kind": "contraction", "step": list(CONTRACTION_STEPS),
        # Of the worst start and, of random ones, in the mean.
        **{f"{name}_worst": _rounded(each) for name, each in worst.items()},
        "scalar_mean": _rounded(np.sum(found["scalar"] ** 2, (1, 2)) / SIZE),
        "with_convexity": _rounded(contraction(steps)),
        "with_harmonic": _rounded(contraction(steps, harmonic())),
        **machine(),
    })  # fmt: skip


def _rounded(values: Any) -> Any:
    """Five digits: a line is to be read."""
    if np.ndim(values):
        return [_rounded(value) for value in values]
    return float(f"{float(values):.5g}")
