"""DANTE: deep alternations for training neural networks.

The outer loop is SAMT's: one layer is trained with all others fixed, then the next. The
inner solver takes T gradient steps on mini-batches S_t before it moves on. Each
layer's problem being strictly locally quasi-convex, the steps are those of stochastic
normalised gradient descent (SNGD), all of the same length whatever the gradient's,

    block <- block - η g_t / |g_t|,    g_t the block's gradient on S_t,

with the norm over the whole block; DANTE-GD takes plain steps ``η g_t`` instead. With
T = 1, plain and in forward order it is SAMT with its mixing weight fixed to 1.

Reference: Sinha, Kudugunta, Sankar, Chavali, Balasubramanian, "DANTE: Deep alternations
for training neural networks", Neural Networks 131 (2020), arXiv 1902.00491. Neither the
paper's body nor its code was at hand: what is uncertain is a setting.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from samt_jax.base import Params, Scalar, ValueFn
from samt_jax.blocks import (
    Block,
    BlockRules,
    BlockTable,
    BlockValues,
    Order,
    get_block,
    order_by_first_use,
    partition_blocks,
    replace_block,
    visiting_order,
)


class DanteInfo(NamedTuple):
    """What the last sweep did; for people, never read back. All of shape ``()``.

    Attributes:
      learning_rate: η of the sweep.
      value: By block, the loss before its first step, on that step's batch.
      last_value: By block, the loss before its last step, on that step's batch.
      grad_norm: By block, the norm of its gradient at its last step.
    """

    learning_rate: Scalar
    value: dict[str, Scalar]
    last_value: dict[str, Scalar]
    grad_norm: dict[str, Scalar]


class DanteState(NamedTuple):
    """State of DANTE, which remembers nothing but the time.

    Attributes:
      count: Sweeps so far; changes at every sweep.
      info: What the last sweep did.
    """

    # The field's name for it, though it hides the method `tuple.count`.
    count: Int[Array, ""]  # type: ignore[assignment]
    info: DanteInfo


def dante(
    learning_rate: optax.ScalarOrSchedule,
    *,
    num_updates: int = 5,
    normalize: bool = True,
    order: Order = "backward",
    keep: Literal["last", "best"] = "last",
    blocks: BlockRules | BlockTable | None = None,
    frozen: str | Sequence[str] = (),
) -> optax.GradientTransformationExtraArgs:
    """DANTE: several (normalised) gradient steps on a layer before the next; one sweep.

    The incoming updates are not read. `update` needs the keyword `value_fn`, the loss
    on a training batch as a function of the parameters: one function for a whole sweep,
    a tuple with one for each block in the order of the visits, or a tuple with one for
    each step (`num_updates` a block, the reading of SNGD). A constant η ends in a ball
    of that radius, so a schedule is worth having. Compiling takes a gradient for each
    step of a sweep.

    Args:
      learning_rate: η, the length of a normalised step (or what multiplies a plain
        gradient); a schedule counts sweeps, as in ``lambda k: 0.1 / jnp.sqrt(k + 1)``.
      num_updates: T >= 1, the steps on a block before the next. SAMT's authors took 5.
      normalize: Whether steps are normalised (DANTE-SNGD) or plain (DANTE-GD).
      order: ``"backward"`` (from the output), ``"forward"`` (as in `value_fn`), or
        every block's name once.
      keep: Which iterate of a block is kept: ``"last"`` (the practice) or ``"best"``
        (the theory), that of the smallest loss on its own batch among the T that were
        evaluated, of which the last step's result is none.
      blocks: What makes a block; see :func:`partition_blocks`.
      frozen: Regular expressions of leaves never to change.

    Returns:
      An optax transformation with a :class:`DanteState`.

    Raises:
      ValueError: A setting out of its range, or functions that are neither one nor one
        for each block or step.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from samt_jax.baselines import dante
      >>> params = {"first": {"w": jnp.float32(2.0)}, "last": {"w": jnp.float32(1.0)}}
      >>> value_fn = lambda p: (p["first"]["w"] * p["last"]["w"] - 1.0) ** 2
      >>> tx = dante(0.125, num_updates=2)
      >>> updates, state = tx.update(params, tx.init(params), params, value_fn=value_fn)
      >>> optax.apply_updates(params, updates)
      {'first': {'w': Array(1.75, dtype=float32)}, 'last': {'w': Array(0.75, dtype=float32)}}

    Reference:
      Sinha et al., arXiv 1902.00491.
    """  # noqa: E501 - the output of the example is one line.
    _check(num_updates, order, keep)

    def init_fn(params: Params) -> DanteState:
        names = partition_blocks(params, blocks, frozen=frozen).names
        zeros = [{name: _as_float(0.0) for name in names} for _ in range(3)]
        return DanteState(jnp.zeros([], jnp.int32), DanteInfo(_as_float(0.0), *zeros))

    def update_fn(
        updates: PyTree,
        state: DanteState,
        params: Params | None = None,
        *,
        value_fn: ValueFn | Sequence[ValueFn] | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, DanteState]:
        del updates, extra_args
        if params is None or value_fn is None:
            raise ValueError(
                "dante was updated without params or value_fn; call "
                "update(grads, state, params, value_fn=...)."
            )
        first = value_fn if callable(value_fn) else value_fn[0]
        table = _block_table(params, blocks, frozen, first)
        visits = [table.blocks[i] for i in visiting_order(table, order) or ()]
        value_fns = _value_fns_of_visits(value_fn, len(visits), num_updates)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        rate = _as_float(rate)
        moved, info = params, DanteInfo(rate, {}, {}, {})
        for block, fns in zip(visits, value_fns, strict=True):
            moved, *seen = _solve_block(block, moved, fns, rate, normalize, keep)
            for record, number in zip(info[1:], seen, strict=True):
                record[block.name] = number
        state = DanteState(optax.safe_increment(state.count), info)
        return jax.tree.map(_difference, moved, params), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check(num_updates: Any, order: Order, keep: str) -> None:
    if not isinstance(num_updates, int) or num_updates < 1:
        raise ValueError(
            f"num_updates is {num_updates!r}; it is the number of steps on a block "
            "before the next, a whole number of at least 1."
        )
    if keep not in ("last", "best"):
        raise ValueError(f"keep is '{keep}'; choose 'last' or 'best'.")
    if keep == "best" and num_updates == 1:
        raise ValueError(
            "With keep='best' and num_updates=1 the only iterate evaluated is the one "
            "that the step starts from, and nothing ever moves; take 2 updates or more."
        )
    if order == "random":
        raise ValueError(
            "dante draws no random order; choose 'forward', 'backward' or a sequence "
            "that names every block once."
        )


def _as_float(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.array(x, dtype=jnp.result_type(float)), tree)


def _difference(new: Array, old: Array) -> Array:
    # A frozen leaf may be of any dtype; -0.0 changes no bit of it.
    return jnp.full_like(old, -0.0) if new is old else new - old


def _block_table(
    params: Params,
    blocks: BlockRules | BlockTable | None,
    frozen: str | Sequence[str],
    value_fn: ValueFn,
) -> BlockTable:
    if isinstance(blocks, BlockTable):
        return blocks
    table = partition_blocks(params, blocks, frozen=frozen)
    return order_by_first_use(table, value_fn, params)


def _value_fns_of_visits(
    value_fn: ValueFn | Sequence[ValueFn], num_blocks: int, num_updates: int
) -> list[Sequence[ValueFn]]:
    """The losses of each visit's steps."""
    if callable(value_fn):
        return [[value_fn] * num_updates] * num_blocks
    if len(value_fn) == num_blocks:
        return [[fn] * num_updates for fn in value_fn]
    if len(value_fn) == num_blocks * num_updates:
        starts = range(0, len(value_fn), num_updates)
        return [value_fn[start : start + num_updates] for start in starts]
    raise ValueError(
        f"dante was given {len(value_fn)} functions for {num_blocks} blocks with "
        f"{num_updates} updates each; give one, or {num_blocks} (one a block), or "
        f"{num_blocks * num_updates} (one an update)."
    )


class _Inner(NamedTuple):
    """The inner solver under way: where it is, where it was best, whether it moves."""

    values: BlockValues
    best: BlockValues
    best_value: Scalar
    moves: Bool[Array, ""]


def _solve_block(
    block: Block,
    params: Params,
    value_fns: Sequence[ValueFn],
    rate: Scalar,
    normalize: bool,
    keep: str,
) -> tuple[Params, Scalar, Scalar, Scalar]:
    """The inner solver: a step on the block for each of the losses.

    Returns:
      The parameters; the first and the last loss seen; the last gradient's norm.
    """
    start = get_block(params, block)
    inner = _Inner(start, start, _as_float(jnp.inf), jnp.array(True))
    seen = []
    for value_fn in value_fns:
        value, grads = jax.value_and_grad(
            lambda values, value_fn=value_fn: value_fn(replace_block(params, values))
        )(inner.values)
        value, norm = _as_float(value), optax.tree.norm(_as_float(grads))
        inner = _step(_note_best(inner, value), grads, norm, rate, normalize)
        seen.append((value, norm))
    kept = inner.best if keep == "best" else inner.values
    return replace_block(params, kept), seen[0][0], *seen[-1]


def _note_best(inner: _Inner, value: Scalar) -> _Inner:
    better = value < inner.best_value
    return inner._replace(
        best=optax.tree.where(better, inner.values, inner.best),
        best_value=jnp.where(better, value, inner.best_value),
    )


def _step(
    inner: _Inner, grads: BlockValues, norm: Scalar, rate: Scalar, normalize: bool
) -> _Inner:
    # At a stationary point the solver stops. A norm that is NaN is none, and shows.
    moves = inner.moves & (norm != 0)
    length = rate / jnp.where(moves, norm, 1.0) if normalize else rate
    step_size = jnp.where(moves, length, 0.0)
    values = jax.tree.map(
        lambda w, g: w - (step_size * g).astype(w.dtype), inner.values, grads
    )
    return inner._replace(values=values, moves=moves)
