"""One visit of the chain engine: `visit_block` in terms of pre-activations.

How the examples run again after the visited layer has moved is left to the caller:
layer by layer, or under a scan where many layers are alike.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from samt_jax.blocks import Block, BlockValues
from samt_jax.chain import Layer, LayerValues, layer_values
from samt_jax.chain_run import Rows, Run
from samt_jax.layer_step import (
    Average,
    LayerStep,
    candidate_evidence,
    layer_gradient,
    measure_step,
    push,
    shift,
)
from samt_jax.meta import block_updates, keep_if
from samt_jax.rule import (
    GRADIENT,
    MOMENTUM,
    MOMENTUM_DECAY,
    SamtRule,
    meta_name,
    rule_layout,
)
from samt_jax.step_size import spread_step_sizes
from samt_jax.visit import Proposed, SamtState, Visited, commit_visit, propose


class Rerun(NamedTuple):
    """The examples run again from a layer whose pre-activations have moved.

    Attributes:
      run: The run.
      meta_losses: Each loss of the meta-batch.
      meta_cotangent: The derivatives of their mean by the layer's pre-activations.
    """

    run: Run
    meta_losses: Float[Array, "m"]
    meta_cotangent: Array


class LayerVisit(NamedTuple):
    """What a visit is to, and what it finds there.

    Attributes:
      rule: The settings.
      layer: The layer.
      block: Its block.
      rows: Which examples are whose.
      own: The layer's parameters.
      train_hidden: What enters it of the training examples; final, since the layers
        before it are.
      hidden: What enters it of all examples, in one array or in those of `Run.inputs`.
      push: What its momentum does to the pre-activations of the training examples,
        where that is known.
      cotangent: The derivatives of the training loss by its pre-activations.
    """

    rule: SamtRule
    layer: Layer
    block: Block
    rows: Rows
    own: LayerValues
    train_hidden: Array
    hidden: tuple[Array, ...]
    cotangent: Array
    push: Array | None = None


def visit_layer(
    visit: LayerVisit, run: Run, samt: SamtState, rerun: Callable[[Array], Rerun]
) -> tuple[LayerValues, Run, SamtState]:
    """One visit, to one layer.

    Args:
      visit: What it is to.
      run: The examples at the current parameters.
      samt: The state.
      rerun: ``rerun(moved_by)``: the examples after the layer's pre-activations were
        lowered by `moved_by`.

    Returns:
      The layer's parameters, the run and the state after the visit.
    """
    rule, block, own = visit.rule, visit.block, visit.own
    grads = layer_gradient(visit.layer, own, visit.train_hidden, visit.cotangent)
    directed = _direct(visit, by_path(block, grads), samt.direction[block.name])
    layout, average = rule_layout(rule, by_path(block, own)), directed.average
    step = LayerStep(
        visit.layer, layout, visit.train_hidden, visit.cotangent, grads,
        layer_values(directed.values), rule.direction is GRADIENT, average,
    )  # fmt: skip
    measured = measure_step(step, rule.features)
    pushed = push(step, visit.hidden)
    meta_pushed = pushed.of_meta_batch(visit.rows)

    def shift_of(meta_params: PyTree) -> tuple[Array, Proposed]:
        proposed = propose(rule, layout, meta_params, measured, samt.count)
        moved_by = shift(step, proposed.heads, meta_pushed)
        return moved_by.astype(visit.cotangent.dtype), proposed

    meta_params = samt.meta[meta_name(rule, block)].params
    _, pull, proposed = jax.vjp(shift_of, meta_params, has_aux=True)
    moved = rerun(shift(step, proposed.heads, pushed))
    steps = spread_step_sizes(proposed.heads, layout)
    if average is not None:
        steps = {path: average.correction * size for path, size in steps.items()}
    updates = block_updates(by_path(block, own), directed.values, steps)
    candidate = optax.apply_updates(by_path(block, own), updates)
    visited = Visited(
        jnp.mean(run.losses),
        measured,
        directed.state,
        directed.evidence,
        proposed,
        candidate_evidence(step, rule.features, measured, proposed.heads, candidate),
        jnp.mean(moved.meta_losses),
        pull(-moved.meta_cotangent)[0],
    )
    ok, samt = commit_visit(rule, block, samt, visited, run.sound)
    run = moved.run._replace(sound=ok)
    if visit.push is not None and average is not None and pushed.push is not None:
        new = pushed.push[visit.rows.meta] / average.correction
        run = run._replace(push=new.astype(visit.push.dtype))
    return keep_if(ok, layer_values(candidate), own), run, samt


class _Directed(NamedTuple):
    """A direction, its state, what is finite only if that is, and more if known."""

    values: BlockValues
    state: optax.OptState
    evidence: PyTree
    average: Average | None


def _direct(visit: LayerVisit, grads: BlockValues, state: Any) -> _Directed:
    """The direction; momentum as `optax.ema` has it, in fewer passes."""
    rule = visit.rule
    if rule.direction is not MOMENTUM:
        own = by_path(visit.block, visit.own)
        values, state = rule.direction.update(grads, state, own)
        return _Directed(values, state, state, None)
    values = optax.tree.update_moment(grads, state.ema, MOMENTUM_DECAY, 1)
    count = optax.safe_increment(state.count)
    ends = [jnp.max(jnp.abs(leaf)).astype(jnp.float32) for leaf in values.values()]
    largest = jnp.max(jnp.stack(ends))
    correction = 1 / (1 - MOMENTUM_DECAY**count)
    average = Average(MOMENTUM_DECAY, correction, largest, visit.push)
    state = optax.EmaState(count, values)
    return _Directed(values, state, largest, average)


def by_path(block: Block, values: LayerValues) -> BlockValues:
    """A layer's leaves by their paths, as the stages of a visit take them."""
    return {path: values[path.rpartition("/")[2]] for path in block.paths}
