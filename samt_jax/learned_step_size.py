"""Step sizes that eta models learn without a second pass through the network.

SAMT asks of a step what the loss became, and pays for the answer with a gradient at the
candidate. Where all blocks move at once the answer comes by itself: the next gradient
is taken where the step led. With d_t the direction and η_t the step size of step t, the
next loss changes with the step size by

    d loss_{t+1} / d η_t = -(g_{t+1} * d_t),

summed over the axes that η_t is broadcast along, and what the eta model learns from it
is that, pulled back through the features of step t (the chain rule in `meta.py`). With
all layers in one block, where nothing alternates, these are the iterates of
:func:`~samt_jax.samt.samt_sweep` whose meta-batch is the next training batch, for one
gradient a step in the place of two. Hypergradient descent is the case of one step size
for all, with a free number in the place of the eta model.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from samt_jax.arguments import settings_but, takes
from samt_jax.base import Params, Scalar
from samt_jax.blocks import Block, BlockValues, get_block, replace_block
from samt_jax.granularity import StepLayout
from samt_jax.meta import (
    MetaState,
    block_updates,
    first_failure,
    keep_if,
    step_evidence,
    step_meta_params,
)
from samt_jax.records import VisitInfo, describe_visit
from samt_jax.rule import SamtRule, block_table, meta_name, rule_layout
from samt_jax.step_size import spread_step_sizes
from samt_jax.visit import init_state, no_update, propose, settle


class LastStep(NamedTuple):
    """A block's last step, of which the next gradient will tell what came.

    Attributes:
      is_awaited: Whether there was one. After a skipped step there was not, and what
        stands here is of no use.
      directions: What the step size multiplied.
      measured: What was known of the gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import scale_by_learned_step_size
      >>> state = scale_by_learned_step_size().init({"w": jnp.ones(2)})
      >>> bool(state.last["w"].is_awaited)
      False
    """

    is_awaited: Bool[Array, ""]
    directions: BlockValues
    measured: Float[Array, "k"]


class LearnedStepSizeState(NamedTuple):
    """State of learned step sizes. Every dict has one entry a block, by its name.

    Attributes:
      count: Updates so far.
      meta: Each block's eta model and its optimizer; one entry `"shared"` where all
        blocks share one.
      direction: State of the direction's transformation.
      last: The last step.
      skipped: Steps of the block that were skipped, by cause, shape
        ``(len(CAUSES),)``.
      info: What the last step saw and did.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import scale_by_learned_step_size
      >>> list(scale_by_learned_step_size().init({"w": jnp.ones(2)}).meta)
      ['w']
    """

    # optax's own name for it; that tuples have a method `count` is no matter.
    count: Int[Array, ""]  # type: ignore[assignment]
    meta: dict[str, MetaState]
    direction: dict[str, optax.OptState]
    last: dict[str, LastStep]
    skipped: dict[str, Int[Array, "c"]]
    info: dict[str, VisitInfo]


@takes(settings_but("order", "inner_steps", "ball_radius"))
def scale_by_learned_step_size(
    rule: SamtRule,
) -> optax.GradientTransformationExtraArgs:
    """SAMT's learned step sizes for the price of one gradient, all blocks at once.

    Like `optax.scale_by_learning_rate` it turns the sign, so that what comes out is to
    be added. What arrives must be the gradient itself, for the eta models learn from
    its product with the direction before it: momentum or Adam are the argument
    `direction`, and do not stand before it in a chain. Clipping may stand before it,
    weight decay or a schedule after it.

    A block of which something is not finite does not move, keeps its eta model and its
    optimizers bit for bit, and is counted in `LearnedStepSizeState.skipped`; of the
    step before that one its eta model learns nothing. Unlike SAMT it finds out only
    when the next gradient comes that a step led to where the loss is not finite, and
    cannot take that step back.

    Args are those of :func:`~samt_jax.samt.samt_sweep`, with the same defaults, but for
    `order`, `inner_steps` and `ball_radius`, which are of blocks visited in turn.
    Schedules count updates. (A rate that is injected at every update, as by
    `optax.inject_hyperparams`, is taken for the last step's too.)

    Returns:
      An optax transformation with a :class:`LearnedStepSizeState`. It needs no extra
      arguments; `value`, the loss, is taken note of where it is given.

    Raises:
      ValueError: A setting out of its range, with what is allowed.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from samt_jax import scale_by_learned_step_size
      >>> params = {"first": {"w": jnp.float32(2.0)}, "last": {"w": jnp.float32(1.0)}}
      >>> loss_fn = lambda p: (p["first"]["w"] * p["last"]["w"] - 1.0) ** 2 / 2
      >>> tx = optax.chain(
      ...     optax.clip_by_global_norm(1.0), scale_by_learned_step_size(0.1)
      ... )
      >>> state = tx.init(params)
      >>> for _ in range(20):
      ...     updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(loss_fn(params) < 0.01)
      True

    Reference:
      Yan et al., arXiv 2508.04193, (9) and (10); Baydin et al., arXiv 1703.04782, for
      the next gradient in the place of a second one.
    """

    def init_fn(params: Params) -> LearnedStepSizeState:
        start = init_state(rule, params)
        last = {}
        for block in block_table(rule, params).blocks:
            last[block.name] = _no_step(rule, get_block(params, block))
        return LearnedStepSizeState(
            start.count, start.meta, start.direction, last, start.skipped, start.info
        )

    def update_fn(
        updates: PyTree,
        state: LearnedStepSizeState,
        params: Params | None = None,
        *,
        value: Scalar | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, LearnedStepSizeState]:
        del extra_args
        steps = no_update(updates)
        for block in block_table(rule, updates).blocks:
            grads = get_block(updates, block)
            values = None if params is None else get_block(params, block)
            step, state = _step_block(rule, block, grads, values, value, state)
            steps = replace_block(steps, step)
        return steps, state._replace(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _no_step(rule: SamtRule, values: BlockValues) -> LastStep:
    """What stands before the first step, like one along some gradient."""

    def first_step(values: BlockValues) -> tuple[BlockValues, Array]:
        start = rule.direction.init(values)
        directions, _ = rule.direction.update(values, start, values)
        return directions, rule.features.measure(values)

    directions, measured = jax.eval_shape(first_step, values)
    return LastStep(
        is_awaited=jnp.array(False),
        # Sharded as the parameters are.
        directions=jax.tree.map(
            lambda leaf, like: jnp.zeros_like(like, leaf.dtype), directions, values
        ),
        measured=jnp.zeros(measured.shape, measured.dtype),
    )


def _step_block(
    rule: SamtRule,
    block: Block,
    grads: BlockValues,
    values: BlockValues | None,
    value: Scalar | None,
    state: LearnedStepSizeState,
) -> tuple[BlockValues, LearnedStepSizeState]:
    """Learns from where the last step of a block led, and takes the next."""
    name, owner = block.name, meta_name(rule, block)
    layout, last, before = rule_layout(rule, grads), state.last[name], state.meta[owner]
    meta_grads = _meta_gradient(rule, layout, before.params, last, state.count, grads)
    learned = step_meta_params(before, meta_grads, rule.meta_optimizer)
    meta = keep_if(last.is_awaited, learned, before)
    evidence = step_evidence(meta, meta_grads, rule.meta_optimizer)

    measured = rule.features.measure(grads)
    directions, direction_state = rule.direction.update(
        grads, state.direction[name], values
    )
    proposed = propose(rule, layout, meta.params, measured, state.count)
    step = block_updates(grads, directions, spread_step_sizes(proposed.heads, layout))

    candidate = step if values is None else optax.apply_updates(values, step)
    made = {
        "loss": value,
        "gradient": measured,
        "meta_gradient": evidence.grads,
        "meta_update": evidence.state,
        "eta_output": proposed.raw,
        "candidate": (candidate, direction_state),
    }
    cause = first_failure(made)
    ok = cause < 0
    # The loss where this step leads is not known yet.
    info = describe_visit(measured, proposed.heads, value, None, cause)
    state = settle(state, name, owner, cause, meta, direction_state, info)
    # With a skipped step the verdict on the one before it is lost.
    state = state._replace(last=state.last | {name: LastStep(ok, directions, measured)})
    return keep_if(ok, step, no_update(step)), state


def _meta_gradient(
    rule: SamtRule,
    layout: StepLayout,
    meta_params: PyTree,
    last: LastStep,
    count: Int[Array, ""],
    grads: BlockValues,
) -> PyTree:
    """The derivative of the loss by the eta model, at where the last step led.

    ``-grads * directions``, pulled back through the step sizes; zero where there was no
    step.
    """
    # A step counts from where it was taken.
    then = jnp.maximum(count - 1, 0)

    def change(meta_params: PyTree) -> Scalar:
        heads = propose(rule, layout, meta_params, last.measured, then).heads
        step = block_updates(grads, last.directions, spread_step_sizes(heads, layout))
        # Not `vdot`, which would reshape what an explicit mesh shards.
        return optax.tree.sum(jax.tree.map(jnp.multiply, grads, step))

    meta_grads = jax.grad(change)(meta_params)
    return keep_if(last.is_awaited, meta_grads, optax.tree.zeros_like(meta_grads))
