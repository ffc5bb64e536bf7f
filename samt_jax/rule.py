"""The settings of SAMT: one value that both engines read.

:func:`complete_rule` checks what was set and fills in what was left to the library.
What a rule makes of a network (its blocks, the shapes of step sizes, the names of eta
models) follows from the structure of the parameters alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import optax
from jaxtyping import Array, Float, PyTree

from samt_jax.base import Key, Params, ValueFn
from samt_jax.blocks import (
    Block,
    BlockRules,
    BlockTable,
    BlockValues,
    Order,
    order_by_first_use,
    partition_blocks,
)
from samt_jax.constraints import BallRadius, StepBounds, check_constraints
from samt_jax.eta import EtaMLP, EtaModel
from samt_jax.features import Features, scaled_features
from samt_jax.granularity import (
    CHOICES,
    Granularity,
    StepLayout,
    check_choice,
    step_layout,
)
from samt_jax.meta import adam
from samt_jax.step_size import Squash, Terms

Direction = Literal["gradient", "momentum", "adam"]
# The paper's direction, the gradient as it is; engines know it by its identity.
GRADIENT = optax.identity()
# Likewise, for the chain engine knows what an average of gradients is.
MOMENTUM_DECAY = 0.9
MOMENTUM = optax.ema(MOMENTUM_DECAY)
DIRECTIONS: dict[str, optax.GradientTransformation] = {
    "gradient": GRADIENT,
    "momentum": MOMENTUM,
    "adam": optax.scale_by_adam(),
}


class SamtRule(NamedTuple):
    """The settings of :func:`samt_sweep`, whose arguments these are, made complete."""

    learning_rate: optax.ScalarOrSchedule
    granularity: Granularity
    blocks: BlockRules | BlockTable | None
    frozen: str | Sequence[str]
    order: Order
    inner_steps: int
    eta_model: EtaModel
    shared_eta_model: bool
    element_head: Literal["factored", "dense"]
    kernel_layout: Literal["auto", "in_out", "out_in"]
    features: Features
    squash: Squash
    proposal_max: Float[Array, ""] | float
    mixing_weight: Float[Array, ""] | float | None
    terms: Terms
    direction: optax.GradientTransformation
    meta_optimizer: optax.GradientTransformation
    meta_params: Mapping[str, PyTree] | None
    schedule: optax.Schedule | None
    step_bounds: StepBounds | None
    ball_radius: BallRadius | None
    seed: int | Key


def block_table(
    rule: SamtRule, params: Params, value_fn: ValueFn | None = None
) -> BlockTable:
    """The blocks in forward order: a table as it was given, else by use in the loss."""
    table = partition_blocks(params, rule.blocks, frozen=rule.frozen)
    if isinstance(rule.blocks, BlockTable) or value_fn is None:
        return table
    return order_by_first_use(table, value_fn, params)


def rule_layout(rule: SamtRule, values: BlockValues) -> StepLayout:
    """How the rule shapes this block's step sizes."""
    return step_layout(
        values,
        rule.granularity,
        element_head=rule.element_head,
        kernel_layout=rule.kernel_layout,
    )


def meta_name(rule: SamtRule, block: Block) -> str:
    """Under which name a block's eta model is kept."""
    return "shared" if rule.shared_eta_model else block.name


def complete_rule(settings: dict[str, Any]) -> SamtRule:
    """Checks settings and fills in those that were left to the library."""
    rule = SamtRule(**settings)
    inner_steps = 1 if rule.inner_steps is None else rule.inner_steps
    if isinstance(inner_steps, int) and inner_steps < 1:
        raise ValueError(f"inner_steps is {inner_steps}; it must be at least 1.")
    for setting in CHOICES:
        check_choice(setting, getattr(rule, setting))
    for setting, largest in _LARGEST.items():
        _check_number(setting, getattr(rule, setting), largest)
    for setting, (method, instead) in _PARTS.items():
        given = getattr(rule, setting)
        if given is not None and not hasattr(given, method):
            raise ValueError(f"{setting} is {given!r}; give {instead}.")
    check_constraints(rule.step_bounds, rule.ball_radius)
    return rule._replace(
        inner_steps=inner_steps,
        direction=_direction(rule.direction),
        eta_model=EtaMLP if rule.eta_model is None else rule.eta_model,
        features=rule.features or scaled_features(),
        meta_optimizer=rule.meta_optimizer or adam(3e-5),
    )


# The largest that a number may be; none may be negative.
_LARGEST = {"learning_rate": math.inf, "proposal_max": math.inf, "mixing_weight": 1.0}
# What other settings must have, and what has it.
_PARTS = {
    "meta_optimizer": ("update", "an optax transformation, such as optax.adam(1e-4)"),
    "features": ("measure", "what scaled_features(names) makes"),
}


def _check_number(setting: str, given: Any, largest: float) -> None:
    """Refuses a number out of its range; what is traced or scheduled is let be."""
    is_number = isinstance(given, int | float)
    if isinstance(given, str) or (is_number and not 0 <= given <= largest):
        allowed = "at least 0" if math.isinf(largest) else f"from 0 to {largest:g}"
        raise ValueError(f"{setting} is {given!r}; it must be a number {allowed}.")


def _direction(
    direction: Direction | optax.GradientTransformation,
) -> optax.GradientTransformation:
    if not isinstance(direction, str):
        return direction
    if direction not in DIRECTIONS:
        raise ValueError(
            f"there is no direction {direction!r}; choose one of "
            f"{', '.join(DIRECTIONS)}, or give an optax transformation."
        )
    return DIRECTIONS[direction]
