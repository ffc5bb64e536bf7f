"""One visit of the chain engine: `visit_block` in terms of pre-activations.

How the examples run again after the visited layer has moved is left to the caller:
layer by layer, or under a scan where many layers are alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from samt_jax.blocks import Block, BlockValues
from samt_jax.chain import Layer, LayerValues, layer_values
from samt_jax.chain_run import Rows, Run, take
from samt_jax.layer_step import (
    LayerStep,
    candidate_is_finite,
    layer_gradient,
    measure_step,
    push,
    shift,
)
from samt_jax.meta import block_updates, keep_if
from samt_jax.step_size import spread_step_sizes
from samt_jax.visit import (
    GRADIENT,
    Proposed,
    SamtRule,
    SamtState,
    Visited,
    commit_visit,
    meta_name,
    propose,
    rule_layout,
)


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
      hidden: What enters it of all examples.
      cotangent: The derivatives of the training loss by its pre-activations.
    """

    rule: SamtRule
    layer: Layer
    block: Block
    rows: Rows
    own: LayerValues
    train_hidden: Array
    hidden: Array
    cotangent: Array


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
    directions, direction_state = rule.direction.update(
        by_path(block, grads), samt.direction[block.name], by_path(block, own)
    )
    layout = rule_layout(rule, by_path(block, own))
    step = LayerStep(
        visit.layer, layout, visit.train_hidden, visit.cotangent, grads,
        layer_values(directions), rule.direction is GRADIENT,
    )  # fmt: skip
    measured = measure_step(step, rule.features)
    pushed = push(step, visit.hidden)

    def shift_of(meta_params: PyTree) -> tuple[Array, Proposed]:
        proposed = propose(rule, layout, meta_params, measured, samt.count)
        moved_by = shift(step, proposed.heads, take(visit.rows.meta, pushed))
        return moved_by.astype(visit.cotangent.dtype), proposed

    meta_params = samt.meta[meta_name(rule, block)].params
    _, pull, proposed = jax.vjp(shift_of, meta_params, has_aux=True)
    moved = rerun(shift(step, proposed.heads, pushed))
    steps = spread_step_sizes(proposed.heads, layout)
    updates = block_updates(by_path(block, own), directions, steps)
    candidate = optax.apply_updates(by_path(block, own), updates)
    visited = Visited(
        jnp.mean(run.losses),
        measured,
        direction_state,
        proposed,
        candidate_is_finite(step, rule.features, measured, proposed.heads, candidate),
        jnp.mean(moved.meta_losses),
        pull(-moved.meta_cotangent)[0],
    )
    ok, samt = commit_visit(rule, block, samt, visited)
    return keep_if(ok, layer_values(candidate), own), keep_if(ok, moved.run, run), samt


def by_path(block: Block, values: LayerValues) -> BlockValues:
    """A layer's leaves by their paths, as the stages of a visit take them."""
    return {path: values[path.rpartition("/")[2]] for path in block.paths}
