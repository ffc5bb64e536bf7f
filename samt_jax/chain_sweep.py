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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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
from samt_jax.blocks import Block, BlockValues, get_block, replace_block
from samt_jax.chain import Chain, Layer, LayerValues, chain_blocks, layer_values
from samt_jax.layer_step import (
    LayerStep,
    candidate_is_finite,
    layer_gradient,
    measure_step,
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
    init_state,
    meta_name,
    propose,
    rule_layout,
)

# Meta-batches that are a slice of the training batch: every how many-th example.
SLICES = {"same": 1, "strided": 2}


class Lookahead(NamedTuple):
    """The next batch, already run forward at the current parameters.

    Attributes:
      fingerprint: Weighted sums of its inputs, by which it is recognised when it comes.
      pre_activations: One array a layer.
    """

    fingerprint: Array
    pre_activations: tuple[Array, ...]


class ChainState(NamedTuple):
    """State of the chain engine.

    Attributes:
      samt: As in the general engine.
      ahead: With the meta-batch `"next"`, the next batch; else `None`.
    """

    samt: SamtState
    ahead: Lookahead | None


class _Run(NamedTuple):
    """A batch on its way through the chain, at the current parameters.

    Attributes:
      inputs: Inputs of the first layer.
      targets: Its targets.
      pre_activations: One array a layer.
      cotangents: The mean loss's derivatives by each of them; those of layers that were
        visited already are out of date, and no longer needed.
      losses: Each example's loss.
    """

    inputs: Array
    targets: Array
    pre_activations: tuple[Array, ...]
    cotangents: tuple[Array, ...]
    losses: Float[Array, "n"]


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
        state = init_state(rule, params)
        if batch_spec.meta != "next":
            return ChainState(state, None)
        inputs, _ = prepare(batches.train)
        zs = _forward(chain, _all_values(chain, params), inputs, (), 0)
        # Nothing is equal to NaN: the first sweep runs its batch forward itself.
        unknown = jnp.full_like(_fingerprint(inputs), jnp.nan)
        return ChainState(state, Lookahead(unknown, zs))

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
    train_batch: Batch,
    meta_batch: Batch | None,
) -> tuple[Params, ChainState, StepInfo]:
    values = _all_values(chain, params)
    train = _start(chain, values, train_batch, state.ahead)
    meta = None
    if meta_batch is not None:
        meta = _start(chain, values, meta_batch, None)
    samt, value = state.samt, jnp.mean(train.losses)
    for index, block in enumerate(chain_blocks(chain, params)):
        visit = _Visit(chain, rule, block, index, SLICES.get(str(reading), 1))
        block_values, train, meta, samt = _visit(visit, values, train, meta, samt)
        values = (*values[:index], block_values, *values[index + 1 :])
        params = replace_block(params, _by_path(block, block_values))
    samt = samt._replace(count=optax.safe_increment(samt.count))
    ahead = None
    if meta is not None and reading == "next":
        ahead = Lookahead(_fingerprint(meta.inputs), meta.pre_activations)
    return params, ChainState(samt, ahead), StepInfo(value, samt.info)


class _Visit(NamedTuple):
    """What a visit is to: static."""

    chain: Chain
    rule: SamtRule
    block: Block
    position: int
    stride: int

    @property
    def layer(self) -> Layer:
        return self.chain.layers[self.position]


def _visit(
    visit: _Visit,
    values: tuple[LayerValues, ...],
    train: _Run,
    meta: _Run | None,
    samt: SamtState,
) -> tuple[LayerValues, _Run, _Run | None, SamtState]:
    """One visit, `visit_block` in terms of pre-activations."""
    rule, block, index = visit.rule, visit.block, visit.position
    own = values[index]
    hidden, cotangent = _hidden(visit, train), train.cotangents[index]
    grads = layer_gradient(visit.layer, own, hidden, cotangent)
    directions, direction_state = rule.direction.update(
        _by_path(block, grads), samt.direction[block.name], _by_path(block, own)
    )
    is_gradient = rule.direction is GRADIENT
    layout = rule_layout(rule, _by_path(block, own))
    step = LayerStep(
        visit.layer, layout, hidden, cotangent, grads, layer_values(directions),
        is_gradient,
    )  # fmt: skip
    measured = measure_step(step, rule.features)

    def shift_of(meta_params: PyTree) -> tuple[Array, Proposed]:
        proposed = propose(rule, layout, meta_params, measured, samt.count)
        looked_at = hidden if meta is None else _hidden(visit, meta)
        moved_by = shift(step, proposed.heads, looked_at)
        return moved_by.astype(cotangent.dtype), proposed

    meta_params = samt.meta[meta_name(rule, block)].params
    meta_shift, pull, proposed = jax.vjp(shift_of, meta_params, has_aux=True)
    if meta is None:
        train_moved = meta_moved = _rerun(visit, values, train, meta_shift)
    else:
        train_shift = shift(step, proposed.heads, hidden)
        train_moved = _rerun(visit, values, train, train_shift)
        meta_moved = _rerun(visit, values, meta, meta_shift)
    # The meta-loss is a mean over every `stride`-th example: a slice of the cotangents,
    # each mean having its own divisor.
    meta_losses = meta_moved.losses[:: visit.stride]
    meta_cotangent = _slice_examples(meta_moved.cotangents[index], visit.stride)
    steps = spread_step_sizes(proposed.heads, layout)
    updates = block_updates(_by_path(block, own), directions, steps)
    candidate = optax.apply_updates(_by_path(block, own), updates)
    visited = Visited(
        jnp.mean(train.losses),
        measured,
        direction_state,
        proposed,
        candidate_is_finite(step, rule.features, measured, proposed.heads, candidate),
        jnp.mean(meta_losses),
        pull(-meta_cotangent)[0],
    )
    ok, samt = commit_visit(rule, block, samt, visited)
    own = keep_if(ok, layer_values(candidate), own)
    train = keep_if(ok, train_moved, train)
    meta = None if meta is None else keep_if(ok, meta_moved, meta)
    return own, train, meta, samt


def _start(
    chain: Chain,
    values: tuple[LayerValues, ...],
    batch: Batch,
    ahead: Lookahead | None,
) -> _Run:
    """Runs a batch through the chain, or takes it up where the last sweep left it."""
    inputs, targets = batch

    def afresh() -> tuple[Array, ...]:
        return _forward(chain, values, inputs, (), 0)

    if ahead is None:
        zs = afresh()
    else:
        known = jnp.array_equal(_fingerprint(inputs), ahead.fingerprint)
        zs = jax.lax.cond(known, lambda: ahead.pre_activations, afresh)
    return _backward(chain, values, inputs, targets, zs)


def _rerun(
    visit: _Visit, values: tuple[LayerValues, ...], run: _Run, moved_by: Array
) -> _Run:
    """Runs a batch again from the visited layer, whose pre-activations have moved."""
    zs = run.pre_activations
    start = zs[visit.position] - moved_by.astype(zs[visit.position].dtype)
    zs = _forward(
        visit.chain,
        values,
        run.inputs,
        (*zs[: visit.position], start),
        visit.position + 1,
    )
    return _backward(visit.chain, values, run.inputs, run.targets, zs, visit.position)


def _forward(
    chain: Chain,
    values: tuple[LayerValues, ...],
    inputs: Array,
    pre_activations: tuple[Array, ...],
    start: int,
) -> tuple[Array, ...]:
    """Appends the pre-activations of the layers from `start` on."""
    zs = pre_activations
    for index in range(start, len(chain.layers)):
        hidden = inputs if index == 0 else chain.layers[index - 1].post(zs[-1])
        zs = (*zs, chain.layers[index].apply(values[index], hidden))
    return zs


def _backward(
    chain: Chain,
    values: tuple[LayerValues, ...],
    inputs: Array,
    targets: Array,
    zs: tuple[Array, ...],
    stop: int = 0,
) -> _Run:
    """Carries the mean loss's cotangents back to the layer `stop`."""
    layers, cotangents = chain.layers, [jnp.zeros_like(z) for z in zs]
    outputs, pull = jax.vjp(layers[-1].post, zs[-1])
    losses, pull_loss = jax.vjp(
        lambda outputs: chain.example_loss(_widen(outputs), targets), outputs
    )
    (cotangent,) = pull_loss(jnp.full_like(losses, 1 / losses.size))
    for index in reversed(range(stop, len(layers))):
        (cotangents[index],) = pull(cotangent)
        if index == stop:
            break
        hidden, pull = jax.vjp(layers[index - 1].post, zs[index - 1])
        _, pull_affine = jax.vjp(
            lambda h, i=index: layers[i].apply(values[i], h), hidden
        )
        (cotangent,) = pull_affine(cotangents[index])
    return _Run(inputs, targets, zs, tuple(cotangents), losses)


def _hidden(visit: _Visit, run: _Run) -> Array:
    """What enters the visited layer; final, since the layers before it are."""
    if visit.position == 0:
        return run.inputs
    before = visit.position - 1
    return visit.chain.layers[before].post(run.pre_activations[before])


def _fingerprint(inputs: Array) -> Float[Array, "n"]:
    """Sums over the examples, each with a weight of its own: their order matters."""
    num_examples = inputs.shape[0]
    weights = 1 + jnp.arange(num_examples, dtype=jnp.float32) / num_examples
    return weights @ inputs.reshape(num_examples, -1).astype(jnp.float32)


def _slice_examples(cotangents: Array, stride: int) -> Array:
    """Cotangents of the mean over every `stride`-th example; zero for the others."""
    num_examples = cotangents.shape[0]
    taken = jnp.arange(num_examples) % stride == 0
    weights = jnp.where(taken, num_examples / -(-num_examples // stride), 0.0)
    shape = (-1,) + (1,) * (cotangents.ndim - 1)
    return cotangents * weights.reshape(shape).astype(cotangents.dtype)


def _all_values(chain: Chain, params: Params) -> tuple[LayerValues, ...]:
    blocks = chain_blocks(chain, params)
    return tuple(layer_values(get_block(params, block)) for block in blocks)


def _by_path(block: Block, values: LayerValues) -> BlockValues:
    return {path: values[path.rpartition("/")[2]] for path in block.paths}


def _widen(outputs: Array) -> Array:
    return outputs.astype(jnp.promote_types(jnp.float32, outputs.dtype))
