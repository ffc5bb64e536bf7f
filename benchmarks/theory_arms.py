"""The analysed scheme as settings of the library, and its arms.

One fresh sample a visit (``num_train=3``, batches of one), step sizes within envelopes
(``step_bounds``), every visit projected on a ball about the block's start
(``ball_radius``). An arm is a run of it with at most one assumption broken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array

from benchmarks.theory_problem import (
    BALL_RADIUS,
    Course,
    LeastSquares,
    Terms,
    largest_step,
    terms_of,
    theory_course,
    theory_step,
)
from samt_jax import Algorithm, samt_algorithm
from samt_jax.base import Key, LossFn
from samt_jax.meta import adam
from samt_jax.samt_rows import META_DISTANCE

NUM_SWEEPS = 8000
# Of the envelopes: within what element-wise steps may have for this H.
RATIO = 4.0
# A ball or a step as large as none at all.
FAR = 1e6
CONSTANT_STEPS = (0.02, 0.01, 0.005, 0.0025)
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
    def arm(name: str, broken: str, kind: str = "scalar", *,
            ball_radius: float = BALL_RADIUS, **problem: Any) -> Arm:  # fmt: skip
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
