"""One visit of SAMT: the stages joined, and the state that they work on.

A visit takes one gradient step on one block, of a size that the block's eta model
chooses, and one step of that eta model on the loss of the block so updated (Algorithms
2 and 3 of the paper):

    grads       = gradient of value_fn with respect to the block
    features    = mean, variance, max, min, norm of grads
    β, η̂        = squash(eta_model(features))
    step_size   = β * learning_rate + (1 - β) * η̂
    candidate   = block - step_size * direction(grads)
    meta_params = meta_optimizer step on meta_value_fn(params with candidate)
    params      = params with candidate

The scheme that the paper analyses (§4) has step sizes in an interval and projects the
candidate on a ball about the block's start: the settings `step_bounds`, `ball_radius`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt32

from samt_jax.base import Params, Scalar, ValueFn
from samt_jax.blocks import (
    Block,
    BlockValues,
    get_block,
    replace_block,
    visiting_order,
)
from samt_jax.constraints import (
    ball_centers,
    bound_step_sizes,
    bounds_now,
    project_on_ball,
    radius_of,
)
from samt_jax.granularity import StepLayout
from samt_jax.meta import (
    CAUSES,
    MetaState,
    block_updates,
    first_failure,
    keep_if,
    meta_value_and_grad,
    step_evidence,
    step_meta_params,
)
from samt_jax.meta_params import start_from
from samt_jax.records import VisitInfo, describe_visit, no_visit
from samt_jax.rule import SamtRule, block_table, meta_name, rule_layout
from samt_jax.step_size import HeadSteps, spread_step_sizes, step_sizes


class SamtState(NamedTuple):
    """State of SAMT. Every dict has one entry a block, by its name.

    Attributes:
      count: Updates so far: visits of :func:`samt`, sweeps of :func:`samt_sweep`.
      meta: Each block's eta model and its optimizer, changed at each of its visits; one
        entry `"shared"` where all blocks share one.
      direction: State of the direction's transformation, changed at each visit.
      skipped: Visits that were skipped, by cause, shape ``(len(CAUSES),)``: of
        :func:`samt_sweep`, all after the first of a sweep that was.
      info: What the last visit saw and did.
      key: Key data for random orders; never changes.
      start: The blocks before the first visit, the centers of their balls; `None`
        where there is no `ball_radius`. Never changes.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import samt
      >>> state = samt().init({"w": jnp.ones(2)})
      >>> int(state.count), list(state.meta)
      (0, ['w'])
    """

    # optax's own name for it; that tuples have a method `count` is no matter.
    count: Int[Array, ""]  # type: ignore[assignment]
    meta: dict[str, MetaState]
    direction: dict[str, optax.OptState]
    skipped: dict[str, Int[Array, "c"]]
    info: dict[str, VisitInfo]
    key: UInt32[Array, "2"]
    start: dict[str, BlockValues] | None = None


class Visit(NamedTuple):
    """What came of a visit: the block's updates, the next state, whether it counts."""

    updates: BlockValues
    state: SamtState
    ok: Bool[Array, ""]


def visit_block(
    rule: SamtRule,
    block: Block,
    params: Params,
    value: Scalar | None,
    grads: BlockValues,
    meta_value_fn: ValueFn,
    state: SamtState,
    sound: Bool[Array, ""] | bool = True,
) -> Visit:
    """One visit: one gradient step on one block, and one step of its eta model.

    Anything that is not finite (the losses, the gradient, the raw outputs of the eta
    model, the candidate, the meta-gradient) leaves the block, its eta model and its
    optimizers bit for bit as they were, and is counted by cause.

    Args:
      rule: The settings.
      block: The block to visit.
      params: All parameters, this block's and the fixed ones.
      value: Loss on the training batch, if known.
      grads: Its gradient with respect to the block.
      meta_value_fn: Loss on the meta-batch as a function of all parameters.
      state: The state, whose count is that of the sweeps completed.
      sound: Whether no visit before it in its sweep was skipped; if one was, so is
        this.

    Returns:
      What came of it.
    """
    values = get_block(params, block)
    layout = rule_layout(rule, values)
    measured = rule.features.measure(grads)
    directions, direction_state = rule.direction.update(
        grads, state.direction[block.name], values
    )

    def objective(meta_params: PyTree) -> tuple[Scalar, tuple]:
        # The meta-gradient flows through the step size only: gradient, features and
        # direction are data here.
        proposed = propose(rule, layout, meta_params, measured, state.count)
        updates = block_updates(
            values, directions, spread_step_sizes(proposed.heads, layout)
        )
        candidate = optax.apply_updates(values, updates)
        if rule.ball_radius is not None and state.start is not None:
            radius = radius_of(rule.ball_radius, block.name)
            candidate = project_on_ball(candidate, state.start[block.name], radius)
            updates = optax.tree.sub(candidate, values)
        meta_value = meta_value_fn(replace_block(params, candidate))
        return meta_value, (proposed, updates, candidate)

    meta = state.meta[meta_name(rule, block)]
    meta_value, (proposed, updates, candidate), meta_grads = meta_value_and_grad(
        objective, meta.params
    )
    visited = Visited(
        value, measured, direction_state, direction_state, proposed, candidate,
        meta_value, meta_grads,
    )  # fmt: skip
    ok, state = commit_visit(rule, block, state, visited, sound)
    return Visit(keep_if(ok, updates, no_update(updates)), state, ok)


class Proposed(NamedTuple):
    """What an eta model proposes for a block: squashed and composed, and raw."""

    heads: tuple[HeadSteps, ...]
    raw: tuple[Array, Array]


class Visited(NamedTuple):
    """All that a visit worked out before it is decided whether to keep it.

    Of the direction and the candidate there is what is finite only if they are.
    """

    value: Scalar | None
    measured: Float[Array, "k"]
    direction_state: optax.OptState
    direction_evidence: PyTree
    proposed: Proposed
    candidate_evidence: PyTree
    meta_value: Scalar
    meta_grads: PyTree


def propose(
    rule: SamtRule,
    layout: StepLayout,
    meta_params: PyTree,
    measured: Float[Array, "k"],
    num_sweeps: Int[Array, ""],
) -> Proposed:
    """Features → eta model → step sizes, at the rates of this sweep."""
    model = rule.eta_model(layout.num_steps)
    features = rule.features.present(measured)
    outputs: Any = model.apply(meta_params, features)
    raw_mixing_weight, raw_proposal = outputs
    rate = rule.learning_rate
    learning_rate = rate(num_sweeps) if callable(rate) else rate
    factor = 1 if rule.schedule is None else rule.schedule(num_sweeps)
    heads = step_sizes(
        raw_mixing_weight,
        raw_proposal,
        layout,
        factor * learning_rate,
        squash=rule.squash,
        proposal_max=factor * rule.proposal_max,
        mixing_weight=rule.mixing_weight,
        terms=rule.terms,
    )
    if rule.step_bounds is not None:
        heads = bound_step_sizes(heads, *bounds_now(rule.step_bounds, num_sweeps))
    return Proposed(heads, (raw_mixing_weight, raw_proposal))


def commit_visit(
    rule: SamtRule,
    block: Block,
    state: SamtState,
    visited: Visited,
    sound: Bool[Array, ""] | bool,
) -> tuple[Bool[Array, ""], SamtState]:
    """Steps the eta model, and keeps the visit if all of it was finite.

    A sweep ends with the first visit that is skipped. Where examples are carried from
    visit to visit, the next then need not wait for the verdict on this one.

    Returns:
      Whether the visit counts, and the next state.
    """
    name, owner = block.name, meta_name(rule, block)
    before = state.meta[owner]
    meta = step_meta_params(before, visited.meta_grads, rule.meta_optimizer)
    evidence = step_evidence(meta, visited.meta_grads, rule.meta_optimizer)
    made = {
        "earlier_visit": jnp.where(sound, 0.0, jnp.nan),
        "loss": visited.value,
        "gradient": (visited.measured, visited.direction_evidence),
        "eta_output": visited.proposed.raw,
        "candidate": visited.candidate_evidence,
        "meta_loss": visited.meta_value,
        "meta_gradient": evidence.grads,
        "meta_update": evidence.state,
    }
    cause = first_failure(made)
    ok = cause < 0
    info = describe_visit(
        visited.measured,
        visited.proposed.heads,
        visited.value,
        visited.meta_value,
        cause,
    )
    return ok, settle(state, name, owner, cause, meta, visited.direction_state, info)


def settle(
    state: Any,
    name: str,
    owner: str,
    cause: Int[Array, ""],
    meta: MetaState,
    direction_state: optax.OptState,
    info: VisitInfo,
) -> Any:
    """The state after a visit: what it changed, or that it was skipped and why.

    Args:
      state: A :class:`SamtState`, or another with fields of these names.
      name: The block's name.
      owner: That of its eta model.
      cause: What had the visit skipped, or -1.
      meta: What the visit would have of the eta model.
      direction_state: And of the direction's state.
      info: What it saw and did.

    Returns:
      The next state.
    """
    ok, before = cause < 0, state.direction[name]
    return state._replace(
        meta=state.meta | {owner: keep_if(ok, meta, state.meta[owner])},
        direction=state.direction | {name: keep_if(ok, direction_state, before)},
        skipped=state.skipped
        | {name: state.skipped[name] + (jnp.arange(len(CAUSES)) == cause)},
        info=state.info | {name: info},
    )


def init_state(rule: SamtRule, params: Params) -> SamtState:
    """The state before the first visit: one eta model a block, at its start."""
    table = block_table(rule, params)
    visiting_order(table, rule.order)  # Refuses an unknown one at once.
    seed = jnp.asarray(rule.seed)
    is_key = jnp.issubdtype(seed.dtype, jax.dtypes.prng_key)
    key = seed if is_key else jax.random.key(seed)
    key, eta_key = jax.random.split(key)
    fresh, direction, info = {}, {}, {}
    num_steps = {}
    for index, block in enumerate(table.blocks):
        values = get_block(params, block)
        layout = rule_layout(rule, values)
        num_steps[block.name] = layout.num_steps
        zeros = jax.tree.map(jnp.zeros_like, values)
        measured = rule.features.measure(zeros)
        if meta_name(rule, block) not in fresh:
            fresh[meta_name(rule, block)] = rule.eta_model(layout.num_steps).init(
                jax.random.fold_in(eta_key, index), rule.features.present(measured)
            )
        direction[block.name] = rule.direction.init(values)
        info[block.name] = no_visit(measured)
    if rule.shared_eta_model and len(set(num_steps.values())) > 1:
        raise ValueError(
            f"One eta model cannot serve blocks with different numbers of step sizes, "
            f"{num_steps}; take granularity='scalar' or shared_eta_model=False."
        )
    meta = {
        name: MetaState(meta_params, rule.meta_optimizer.init(meta_params))
        for name, meta_params in start_from(rule.meta_params, fresh).items()
    }
    skipped = {name: jnp.zeros(len(CAUSES), jnp.int32) for name in table.names}
    return SamtState(
        jnp.zeros((), jnp.int32), meta, direction, skipped, info,
        jax.random.key_data(key),
        ball_centers(
            rule.ball_radius, {b.name: get_block(params, b) for b in table.blocks}
        ),
    )  # fmt: skip


def no_update(tree: PyTree) -> PyTree:
    """Zeros to add, negative ones: ``-0.0 + 0.0`` would turn a bit."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, -0.0), tree)
