"""The exact fast sweep: the iterates of `samt_sweep` for a chain, at Adam's price.

`samt_sweep` runs the whole network forward and backward twice a visit. Where the blocks
of a sweep share one mini-batch and the network is a chain, most of that is the same
work again:

- Visiting blocks in forward order, the activations that enter a block are final.
- The pass at a block's candidate, which the meta-objective wants, is also the pass that
  the next block's gradient wants: the meta-batch is a slice of the batch (`"same"`,
  `"strided"`), or the batch of the next sweep (`"next"`).
- With inputs h and cotangents δ of the pre-activations z, a dense layer's gradient is
  hᵀδ, and so the candidate's pre-activations are z - η (h hᵀ + 1) δ: products of batch
  by batch matrices take the place of one with the weights, and differentiating them
  by η never forms a second gradient of the weights' shape.
- The next batch's pre-activations, needed at the current weights for its meta-loss, are
  moved along with each block that is committed, and at the end of the sweep are those
  that the next sweep starts from.

The stages (features, eta model, step sizes, meta-optimizer, guards) are those of
`visit.py`; a test holds both engines together in float64.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from samt_jax.base import (
    Algorithm,
    Batch,
    Batches,
    BatchSpec,
    Key,
    MetaBatch,
    Params,
    StepInfo,
)
from samt_jax.blocks import Block, get_block, replace_block
from samt_jax.chain import Chain, LayerValues, chain_blocks, layer_values
from samt_jax.chain_run import Rows, Run, backward, forward, pull_back, take
from samt_jax.chain_visit import LayerVisit, Rerun, by_path, visit_layer
from samt_jax.equal_layers import equal_stretch, visit_stretch
from samt_jax.layer_step import is_per_output, prefers_gram
from samt_jax.rule import MOMENTUM, SamtRule, rule_layout
from samt_jax.visit import SamtState, init_state

# Meta-batches that are a slice of the training batch: every how many-th example.
SLICES = {"same": 1, "strided": 2}
# Entries of each leaf that the next batch's fingerprint holds.
_FEW = 16


class Lookahead(NamedTuple):
    """The next batch, already run forward at the current parameters.

    Attributes:
      fingerprint: Weighted sums of its inputs, by which it is recognised when it comes,
        and a few of the parameters, which must still be those that it was run at.
      pre_activations: One array a layer.
      push: What the first layer's momentum does to its pre-activations; `None` where
        there is no use for it.
    """

    fingerprint: Array
    pre_activations: tuple[Array, ...]
    push: Array | None


class ChainState(NamedTuple):
    """State of the chain engine.

    Attributes:
      samt: As in the general engine, without its `info`: that is in the step's record.
      ahead: With the meta-batch `"next"`, the next batch; else `None`.
    """

    samt: SamtState
    ahead: Lookahead | None


def samt_chain(
    chain: Chain, rule: SamtRule, batch_spec: BatchSpec, activation_dtype: Any = None
) -> Algorithm:
    """The chain engine as an algorithm; `samt_algorithm` is the door to it."""

    def prepare(batch: Batch) -> Batch:
        inputs, targets = batch
        inputs = chain.prepare(inputs)
        return inputs.astype(activation_dtype or inputs.dtype), targets

    def init_fn(params: Params, batches: Batches, key: Key) -> ChainState:
        del key
        state = init_state(rule, params)._replace(info={})
        if batch_spec.meta != "next":
            return ChainState(state, None)
        inputs, _ = prepare(batches.train)
        values, blocks = _all_values(chain, params), chain_blocks(chain, params)
        zs = forward(chain, values, inputs, (), 0)
        # Nothing is equal to NaN: the first sweep runs its batch forward itself.
        unknown = jnp.full_like(_fingerprint(inputs, values), jnp.nan)
        carries = _carries_push(chain, rule, blocks[0], values[0], len(inputs))
        push = jnp.zeros_like(zs[0]) if carries else None
        return ChainState(state, Lookahead(unknown, zs, push))

    def step_fn(
        params: Params, state: ChainState, batches: Batches, key: Key
    ) -> tuple[Params, ChainState, StepInfo]:
        del key
        meta = None if batch_spec.meta in SLICES else prepare(batches.meta)
        train = prepare(batches.train)
        return _sweep(chain, rule, batch_spec.meta, params, state, train, meta)

    return Algorithm(init_fn, step_fn, batch_spec)


def _sweep(
    chain: Chain,
    rule: SamtRule,
    reading: MetaBatch | None,
    params: Params,
    state: ChainState,
    train: Batch,
    meta: Batch | None,
) -> tuple[Params, ChainState, StepInfo]:
    values, blocks = _all_values(chain, params), chain_blocks(chain, params)
    rows = _rows(reading, train, meta)
    samt = state.samt
    momentum = samt.direction[blocks[0].name]
    run = _start(chain, values, rows, train, meta, state.ahead, momentum)
    value = jnp.mean(run.losses)
    stretch, index = equal_stretch(chain, rule, values, run), 0
    while index < len(blocks):
        if stretch is not None and index == stretch.start:
            values, run, samt = visit_stretch(
                stretch, chain, rule, blocks, rows, values, run, samt
            )
            index = stretch.stop - 1
        visit = LayerVisit(
            rule, chain.layers[index], blocks[index], rows, values[index],
            *_hidden(chain, rows, run, index), run.cotangents[index],
            run.push if index == 0 else None,
        )  # fmt: skip
        rerun = functools.partial(_rerun, chain, rows, values, run, index)
        own, run, samt = visit_layer(visit, run, samt, rerun)
        values = (*values[:index], own, *values[index + 1 :])
        index += 1
    for block, own in zip(blocks, values, strict=True):
        params = replace_block(params, by_path(block, own))
    info = StepInfo(value, samt.info)
    samt = samt._replace(count=optax.safe_increment(samt.count), info={})
    ahead = None
    if reading == "next":
        zs = take(rows.meta, run.pre_activations)
        # After a skipped visit nothing is known of the next batch.
        found = _fingerprint(run.inputs[1], values)
        fingerprint = jnp.where(run.sound, found, jnp.nan)
        ahead = Lookahead(fingerprint, zs, run.push)
    return params, ChainState(samt, ahead), info


def _rows(reading: MetaBatch | None, train: Batch, meta: Batch | None) -> Rows:
    num_train = len(train[0])
    if meta is None:
        rows = slice(0, num_train, SLICES[str(reading)])
    else:
        rows = slice(num_train, num_train + len(meta[0]))
    num_meta = len(range(rows.start, rows.stop, rows.step or 1))
    return Rows(slice(0, num_train), rows, num_train, num_meta)


def _start(
    chain: Chain,
    values: tuple[LayerValues, ...],
    rows: Rows,
    train: Batch,
    meta: Batch | None,
    ahead: Lookahead | None,
    momentum: Any,
) -> Run:
    """Runs the batches through the chain, one where the last sweep left it."""
    batches = [train] if meta is None else [train, meta]
    inputs, targets = zip(*batches, strict=True)
    push = None
    if ahead is None:
        zs = [forward(chain, values, each, (), 0) for each in inputs]
    else:
        known = jnp.array_equal(_fingerprint(train[0], values), ahead.fingerprint)

        def run_train() -> tuple[tuple[Array, ...], Array | None]:
            zs = forward(chain, values, train[0], (), 0)
            if ahead.push is None:
                return zs, None
            pushed = chain.layers[0].apply(layer_values(momentum.ema), train[0])
            return zs, pushed.astype(ahead.push.dtype)

        train_zs, push = jax.lax.cond(
            known, lambda: (ahead.pre_activations, ahead.push), run_train
        )
        zs = [train_zs, forward(chain, values, inputs[1], (), 0)]
    targets, zs = _joined(targets), _joined(zs)
    targets_now, zs_now = take(rows.train, (targets, zs))
    losses, cotangents = backward(chain, values, targets_now, zs_now, rows.num_train)
    sound = jnp.array(True)
    return Run(inputs, targets, zs, cotangents, losses, push, sound)


def _carries_push(
    chain: Chain, rule: SamtRule, block: Block, values: LayerValues, num_examples: int
) -> bool:
    """Whether the push of the first layer's momentum on the next batch is of use."""
    layout = rule_layout(rule, by_path(block, values))
    return (
        rule.direction is MOMENTUM
        and chain.layers[0].is_dense
        and is_per_output(layout)
        and prefers_gram(values["kernel"].shape, num_examples, 1)
    )


def _rerun(
    chain: Chain,
    rows: Rows,
    values: tuple[LayerValues, ...],
    run: Run,
    here: int,
    moved_by: Array,
) -> Rerun:
    """Runs the examples again from a layer whose pre-activations have moved."""
    zs, above = run.pre_activations, here + 1
    start = zs[here] - moved_by.astype(zs[here].dtype)
    zs = forward(chain, values, run.inputs[0], (*zs[:here], start), above)
    run = run._replace(pre_activations=zs)
    if above == len(chain.layers):
        # No visit follows, and what it would want of the training batch is left out.
        targets, zs = take(rows.meta, (run.targets, zs))
        losses, (cotangent,) = backward(chain, values, targets, zs, rows.num_meta, here)
        return Rerun(run, losses, cotangent)
    losses, cotangents = backward(chain, values, run.targets, zs, rows.num_train, above)
    # The training batch's mean and the meta-batch's have divisors of their own.
    meta = rows.num_train / rows.num_meta * cotangents[0][rows.meta]
    meta_cotangent = pull_back(
        chain.layers[here], chain.layers[above], values[above], zs[here][rows.meta],
        meta,
    )  # fmt: skip
    run = run._replace(
        cotangents=(*run.cotangents[:above], *take(rows.train, cotangents)),
        losses=losses[rows.train],
    )
    return Rerun(run, losses[rows.meta], meta_cotangent)


def _hidden(
    chain: Chain, rows: Rows, run: Run, position: int
) -> tuple[Array, tuple[Array, ...]]:
    """What enters a layer of the training examples, and of all."""
    if position == 0:
        return run.inputs[0], run.inputs
    hidden = chain.layers[position - 1].post(run.pre_activations[position - 1])
    return hidden[rows.train], (hidden,)


def _joined(trees: Sequence[PyTree]) -> PyTree:
    """Trees of several batches as those of one, examples along the first axis."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def _fingerprint(inputs: Array, values: tuple[LayerValues, ...]) -> Float[Array, "n"]:
    """Sums over the examples, with weights of no pattern: no two batches share them.

    And the first entries of every leaf, for what changes parameters between steps
    (decay, another run's) changes some of them; all would take a pass over the weights.
    """
    num_examples = inputs.shape[0]
    weights = np.random.default_rng(0).uniform(1.0, 2.0, num_examples)
    flat = inputs.reshape(num_examples, -1).astype(jnp.float32)
    sums = weights.astype(np.float32) @ flat
    leaves = jax.tree.leaves(values)
    few = [leaf.reshape(-1)[:_FEW] for leaf in leaves]
    return jnp.concatenate([each.astype(jnp.float32) for each in (sums, *few)])


def _all_values(chain: Chain, params: Params) -> tuple[LayerValues, ...]:
    blocks = chain_blocks(chain, params)
    return tuple(layer_values(get_block(params, block)) for block in blocks)
