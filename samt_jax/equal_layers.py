"""Visits to equal consecutive layers under one scan, so that deep nets compile fast.

Unrolled, a sweep of L layers has about L² / 2 layer evaluations in its program, one by
one. Where layers are alike in everything but their numbers, the visits become a scan,
and the layers above the visited one a loop that starts where the visit stands. The work
is the same; the program no longer grows with depth.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from samt_jax.blocks import Block
from samt_jax.chain import Chain, Layer, LayerValues
from samt_jax.chain_run import Rows, Run, backward, forward, pull_back, take
from samt_jax.chain_visit import LayerVisit, Rerun, visit_layer
from samt_jax.rule import GRADIENT, SamtRule
from samt_jax.visit import SamtState

# Fewer equal layers compile in a moment, and run faster unrolled.
FEWEST_EQUAL = 6
_NAME = "layer"


class Stretch(NamedTuple):
    """Equal consecutive layers, `start` to `stop` - 1.

    The last of them is not visited under the scan: so every visited one has a layer of
    the stretch above it.
    """

    start: int
    stop: int

    @property
    def visited(self) -> range:
        """The layers that the scan visits."""
        return range(self.start, self.stop - 1)


def equal_stretch(
    chain: Chain, rule: SamtRule, values: tuple[LayerValues, ...], run: Run
) -> Stretch | None:
    """The longest stretch of equal layers, if it is long enough to be scanned.

    Args:
      chain: The chain.
      rule: The settings. A direction or a granularity of the user's own may depend on a
        layer's name, and one eta model for all is changed by every visit: then there is
        none.
      values: Every layer's parameters.
      run: The examples.

    Returns:
      The stretch or `None`.
    """
    by_name = callable(rule.granularity) or rule.direction is not GRADIENT
    if by_name or rule.shared_eta_model:
        return None
    kinds = [
        (layer._replace(name=_NAME), layer.post, z.shape, z.dtype, _shapes(own))
        for layer, z, own in zip(chain.layers, run.pre_activations, values, strict=True)
    ]
    longest = Stretch(0, 0)
    start = 1
    for index in range(1, len(kinds)):
        # What enters a layer must be like what leaves it, so the map before it counts.
        same_input = kinds[index - 1][1:4] == kinds[index][1:4]
        if index > start and kinds[index] != kinds[start]:
            start = index
        if not same_input:
            start = index + 1
            continue
        if index + 1 - start > longest.stop - longest.start:
            longest = Stretch(start, index + 1)
    return longest if longest.stop - longest.start >= FEWEST_EQUAL else None


def visit_stretch(
    stretch: Stretch,
    chain: Chain,
    rule: SamtRule,
    blocks: tuple[Block, ...],
    rows: Rows,
    values: tuple[LayerValues, ...],
    run: Run,
    samt: SamtState,
) -> tuple[tuple[LayerValues, ...], Run, SamtState]:
    """Visits all layers of a stretch but the last.

    Args:
      stretch: The stretch.
      chain: The chain.
      rule: The settings.
      blocks: The chain's blocks.
      rows: Which examples are whose.
      values: Every layer's parameters.
      run: The examples.
      samt: The state.

    Returns:
      Every layer's parameters, the run and the state after the visits.
    """
    start, stop = stretch
    layer, names = chain.layers[start], [blocks[i].name for i in stretch.visited]
    block = Block(_NAME, tuple(f"{_NAME}/{leaf}" for leaf in values[start]))
    stacked = _stack(values[start:stop])
    rerun = functools.partial(_rerun, stretch, chain, values, stacked, rows)

    def visit(carry: tuple[Array, Run], now: tuple) -> tuple[tuple[Array, Run], tuple]:
        hidden, run = carry
        offset, own, entry = now
        found = LayerVisit(
            rule, layer, block, rows, own, hidden[rows.train], (hidden,),
            run.cotangents[0][offset],
        )  # fmt: skip
        state = samt._replace(**entry, info={})
        own, run, state = visit_layer(
            found, run, state, lambda moved_by: rerun(run, offset, moved_by)
        )
        hidden = layer.post(run.pre_activations[0][offset])
        return (hidden, run), (own, {field: getattr(state, field) for field in _FIELDS})

    hidden = chain.layers[start - 1].post(run.pre_activations[start - 1])
    entries = [
        {field: {_NAME: getattr(samt, field)[name]} for field in _STATE_FIELDS}
        for name in names
    ]
    offsets = jnp.arange(len(names))
    xs = offsets, _stack(values[start : stop - 1]), _stack(entries)
    (_, run_after), (own, after) = jax.lax.scan(
        visit, (hidden, _fold(stretch, run)), xs
    )
    visited = tuple(_at(own, i) for i in range(len(names)))
    values = (*values[:start], *visited, *values[stop - 1 :])
    for field in _FIELDS:
        new = {name: _at(after[field][_NAME], i) for i, name in enumerate(names)}
        samt = samt._replace(**{field: getattr(samt, field) | new})
    return values, _unfold(stretch, run, run_after), samt


# What a state has of each block; of these, all but the record are read by a visit.
_STATE_FIELDS = ("meta", "direction", "skipped")
_FIELDS = (*_STATE_FIELDS, "info")


def _rerun(
    stretch: Stretch,
    chain: Chain,
    values: tuple[LayerValues, ...],
    stacked: LayerValues,
    rows: Rows,
    run: Run,
    offset: Int[Array, ""],
    moved_by: Array,
) -> Rerun:
    """Runs the examples again from a layer of the stretch, wherever that is."""
    last, layer = stretch.stop - 1, chain.layers[stretch.start]
    top = last - stretch.start
    zs, *_ = run.pre_activations
    zs = zs.at[offset].add(-moved_by.astype(zs.dtype))

    def run_up(i: Int[Array, ""], zs: Array) -> Array:
        return zs.at[i].set(layer.apply(_at(stacked, i), layer.post(zs[i - 1])))

    zs = jax.lax.fori_loop(offset + 1, top + 1, run_up, zs)
    tail = forward(chain, values, run.inputs[0], (zs[top],), stretch.stop)
    losses, (cotangent, *above) = backward(
        chain, values, run.targets, (*[zs[top]] * last, *tail), rows.num_train, last
    )
    cotangents = jnp.zeros(zs.shape, cotangent.dtype).at[top].set(cotangent)

    def run_down(k: Int[Array, ""], cotangents: Array) -> Array:
        i = top - 1 - k
        pulled = _pull(layer, stacked, i, zs[i], cotangents[i + 1])
        return cotangents.at[i].set(pulled)

    cotangents = jax.lax.fori_loop(0, top - 1 - offset, run_down, cotangents)
    # The training batch's mean and the meta-batch's have divisors of their own.
    meta = rows.num_train / rows.num_meta * cotangents[offset + 1][rows.meta]
    meta_cotangent = _pull(layer, stacked, offset, zs[offset][rows.meta], meta)
    moved = run._replace(
        pre_activations=(zs, *tail[1:]),
        cotangents=(cotangents[:, rows.train], *take(rows.train, above)),
        losses=losses[rows.train],
    )
    return Rerun(moved, losses[rows.meta], meta_cotangent)


def _pull(
    layer: Layer, stacked: LayerValues, i: Int[Array, ""], z: Array, cotangent: Array
) -> Array:
    return pull_back(layer, layer, _at(stacked, i + 1), z, cotangent)


def _fold(stretch: Stretch, run: Run) -> Run:
    """The run with the stretch's arrays stacked, then those of the layers above it."""
    start, stop = stretch
    zs, cotangents = run.pre_activations, run.cotangents
    return run._replace(
        pre_activations=(jnp.stack(zs[start:stop]), *zs[stop:]),
        cotangents=(jnp.stack(cotangents[start:stop]), *cotangents[stop:]),
    )


def _unfold(stretch: Stretch, run: Run, folded: Run) -> Run:
    """The run as it was before it was folded, with what the visits made of it."""
    start = stretch.start
    zs, *zs_above = folded.pre_activations
    cotangents, *above = folded.cotangents
    return folded._replace(
        pre_activations=(*run.pre_activations[:start], *zs, *zs_above),
        cotangents=(*run.cotangents[:start], *cotangents, *above),
    )


def _shapes(own: LayerValues) -> dict[str, Any]:
    return {leaf: (value.shape, value.dtype) for leaf, value in own.items()}


def _stack(trees: Any) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _at(tree: PyTree, i: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)
