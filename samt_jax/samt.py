"""SAMT: stochastic alternating minimisation with trainable step sizes.

Blocks are visited in turn, each with all others fixed (Algorithm 1 of the paper); what
a visit is stands in `visit.py`. :func:`samt` is an optax transformation that visits one
block an update, :func:`samt_sweep` one that visits them all.

Reference: Yan et al., arXiv 2508.04193.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from samt_jax.arguments import ValueFns, needed, one_a_visit, settings, takes
from samt_jax.base import Params, Scalar, ValueFn
from samt_jax.blocks import (
    Block,
    BlockTable,
    BlockValues,
    get_block,
    replace_block,
    visiting_order,
)
from samt_jax.rule import SamtRule, block_table
from samt_jax.visit import SamtState, init_state, no_update, visit_block


@takes(settings)
def samt_sweep(  # noqa: D417 - it takes the arguments of `settings`.
    rule: SamtRule,
) -> optax.GradientTransformationExtraArgs:
    """SAMT, one whole alternating sweep an update.

    Every block wants its own gradient, at the blocks before it already updated. The
    incoming updates are therefore not read; `update` needs the keywords `value_fn`
    (loss on the training batch) and `meta_value_fn` (loss on the meta-batch), functions
    of the whole parameter tree. Either may be a sequence with one function a visit.

    A visit in which something is not finite changes nothing and ends the sweep: it and
    those after it are counted in `SamtState.skipped`.

    Args:
      learning_rate: η0, or a schedule over sweeps.
      granularity: Shape of the step sizes, see :func:`step_layout`.
      blocks: What makes a block, see :func:`partition_blocks`.
      frozen: Regular expressions of leaves never to change.
      order: ``"forward"`` (the order in which `value_fn` uses the blocks, unless
        `blocks` is a table, whose order is taken as it is), ``"backward"``,
        ``"random"`` or every block's name once.
      inner_steps: Consecutive visits to a block before the next, at least 1.
      eta_model: Makes the eta model of a number of step sizes; `EtaMLP` by default.
      shared_eta_model: One eta model for all blocks, whose step sizes must then have
        the same shapes.
      element_head: See :func:`step_layout`.
      kernel_layout: See :func:`step_layout`.
      features: What the eta model is told; `scaled_features()` by default.
      squash: See :func:`step_sizes`.
      proposal_max: End of the range of the proposal η̂.
      mixing_weight: Fixes β; 1 gives a constant step of `learning_rate`.
      terms: ``"both"``, ``"left"`` or ``"right"``, see :func:`step_sizes`.
      direction: What the step size multiplies: ``"momentum"`` (``optax.ema(0.9)``),
        ``"gradient"`` (the paper's), ``"adam"`` (``optax.scale_by_adam()``; wants a
        `learning_rate` near 1e-3 and a `proposal_max` near 2e-3), or any optax
        transformation of a block's gradient. Deviation: momentum is the default. The
        loss one step ahead favours steps so small that noise does no harm
        (short-horizon bias); a direction averaged over ten batches has less noise, and
        its steps stay of use.
      meta_optimizer: Trains the eta models. By default Adam at 3e-5, which suits runs
        of about 20,000 sweeps: the rate times the sweeps should be near 0.6, along the
        paper's direction near 0.2.
      meta_params: Weights that the eta models start from, by block, as
        :func:`trained_meta_params` takes them out of another run; fresh ones by
        default. With ``meta_optimizer=optax.set_to_zero()`` they stay as they are.
      schedule: A factor over sweeps for the whole step size.
      step_bounds: The interval ``(low, high)`` that step sizes are cut to, each a
        number or a schedule over sweeps: Assumption 4 of the paper's theory.
      ball_radius: Every visit ends in the ball of this radius about its block's start,
        in the Euclidean norm, as the paper's (11) has it (its ``r/2``); one number, or
        one a block by its name. The candidate that the meta-loss sees is the projected
        one. Keeps a copy of the parameters.
      seed: An integer or a key, for the eta models' weights and random orders.

    Returns:
      An optax transformation with a :class:`SamtState`.

    Raises:
      ValueError: A setting out of its range, with what is allowed.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from samt_jax import samt_sweep
      >>> params = {"first": {"w": jnp.ones((2, 2))}, "last": {"w": jnp.ones((2, 1))}}
      >>> x, y = jnp.eye(2), jnp.array([[1.0], [-1.0]])
      >>> def loss_fn(params, x, y):
      ...     hidden = x @ params["first"]["w"]
      ...     return jnp.mean((hidden @ params["last"]["w"] - y) ** 2)
      >>> tx = samt_sweep(0.1)
      >>> state = tx.init(params)
      >>> value_fn = lambda params: loss_fn(params, x, y)
      >>> for _ in range(20):
      ...     updates, state = tx.update(
      ...         params, state, params, value_fn=value_fn, meta_value_fn=value_fn
      ...     )
      ...     params = optax.apply_updates(params, updates)
      >>> bool(value_fn(params) < 1.1)
      True

    Reference:
      Yan et al., arXiv 2508.04193, Algorithms 1 to 3.
    """

    def update_fn(
        updates: PyTree,
        state: SamtState,
        params: Params | None = None,
        *,
        value_fn: ValueFns | None = None,
        meta_value_fn: ValueFns | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, SamtState]:
        del updates, extra_args
        value_fn, meta_value_fn = needed(
            "samt_sweep", params, value_fn=value_fn, meta_value_fn=meta_value_fn
        )
        num_visits = len(block_table(rule, params).blocks) * rule.inner_steps
        values = one_a_visit("value_fn", value_fn, num_visits)
        meta_values = one_a_visit("meta_value_fn", meta_value_fn, num_visits)
        table = block_table(rule, params, values[0])
        sweep = _Sweep(params, no_update(params), state, jnp.array(True))
        for index, value_now, meta_now in zip(
            _visits_of_sweep(rule, table, state), values, meta_values, strict=True
        ):
            visit_now = functools.partial(
                _visit_with_own_gradient,
                rule=rule, value_fn=value_now, meta_value_fn=meta_now,
            )  # fmt: skip
            sweep = _on_block(table, index, visit_now, sweep)
        count = optax.safe_increment(state.count)
        return sweep.updates, sweep.state._replace(count=count)

    return optax.GradientTransformationExtraArgs(
        lambda params: init_state(rule, params), update_fn
    )


@takes(settings)
def samt(rule: SamtRule) -> optax.GradientTransformationExtraArgs:
    """SAMT, one visit an update: as many updates as blocks make a sweep.

    The incoming updates are the gradient on the training batch; those of the visited
    block are used, and the other blocks' updates are zero. `update` needs the keyword
    `meta_value_fn`, the loss on the meta-batch as a function of the parameters;
    `value`, the loss on the training batch, is taken note of where it is given.

    Args are those of :func:`samt_sweep`, with the same defaults. Schedules count sweeps
    here too; forward order is that in which `meta_value_fn` uses the blocks.

    Returns:
      An optax transformation with a :class:`SamtState`.

    Raises:
      ValueError: A setting out of its range, with what is allowed.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from samt_jax import samt
      >>> params = {"first": {"w": jnp.float32(2.0)}, "last": {"w": jnp.float32(1.0)}}
      >>> loss_fn = lambda p: (p["first"]["w"] * p["last"]["w"] - 1.0) ** 2 / 2
      >>> tx = samt(0.25, mixing_weight=1.0)
      >>> updates, state = tx.update(
      ...     jax.grad(loss_fn)(params), tx.init(params), params, meta_value_fn=loss_fn
      ... )
      >>> optax.apply_updates(params, updates)["first"]["w"]
      Array(1.75, dtype=float32)

    Reference:
      Yan et al., arXiv 2508.04193, Algorithms 2 and 3.
    """

    def update_fn(
        updates: PyTree,
        state: SamtState,
        params: Params | None = None,
        *,
        meta_value_fn: ValueFn | None = None,
        value: Scalar | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree, SamtState]:
        del extra_args
        (meta_value_fn,) = needed("samt", params, meta_value_fn=meta_value_fn)
        table = block_table(rule, params, meta_value_fn)
        visits = len(table.blocks) * rule.inner_steps
        num_sweeps, position = jnp.divmod(state.count, visits)
        index = _order_of_sweep(rule, table, state, num_sweeps)[
            position // rule.inner_steps
        ]
        in_sweeps = state._replace(count=num_sweeps)

        def visit(block: Block, operand: tuple) -> tuple[PyTree, SamtState]:
            params, updates, state = operand
            visited = visit_block(
                rule, block, params, value, get_block(updates, block), meta_value_fn,
                state,
            )  # fmt: skip
            return replace_block(no_update(params), visited.updates), visited.state

        updates, visited = _on_block(table, index, visit, (params, updates, in_sweeps))
        return updates, visited._replace(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(
        lambda params: init_state(rule, params), update_fn
    )


class _Sweep(NamedTuple):
    """A sweep under way.

    The parameters so far, what was added to them, the state, and whether no visit was
    skipped.
    """

    params: Params
    updates: PyTree
    state: SamtState
    sound: Bool[Array, ""]


def _visit_with_own_gradient(
    block: Block,
    sweep: _Sweep,
    rule: SamtRule,
    value_fn: ValueFn,
    meta_value_fn: ValueFn,
) -> _Sweep:
    def value_of_block(values: BlockValues) -> Scalar:
        return value_fn(replace_block(sweep.params, values))

    values = get_block(sweep.params, block)
    value, grads = jax.value_and_grad(value_of_block)(values)
    visit = visit_block(
        rule, block, sweep.params, value, grads, meta_value_fn, sweep.state, sweep.sound
    )
    so_far = optax.tree.add(get_block(sweep.updates, block), visit.updates)
    moved = optax.apply_updates(values, visit.updates)
    return _Sweep(
        replace_block(sweep.params, moved),
        replace_block(sweep.updates, so_far),
        visit.state,
        visit.ok,
    )


def _on_block(
    table: BlockTable,
    index: int | Int[Array, ""],
    visit: Callable[[Block, Any], Any],
    operand: Any,
) -> Any:
    """Visits the block of this index, which only a random order leaves to run time."""
    if isinstance(index, int):
        return visit(table.blocks[index], operand)
    branches = [functools.partial(visit, block) for block in table.blocks]
    return jax.lax.switch(index, branches, operand)


def _order_of_sweep(
    rule: SamtRule, table: BlockTable, state: SamtState, num_sweeps: Int[Array, ""]
) -> Int[Array, "num_blocks"]:
    order = visiting_order(table, rule.order)
    if order is not None:
        return jnp.array(order)
    key = jax.random.wrap_key_data(state.key)
    key = jax.random.fold_in(key, num_sweeps)
    return jax.random.permutation(key, len(table.blocks))


def _visits_of_sweep(rule: SamtRule, table: BlockTable, state: SamtState) -> list[Any]:
    known = visiting_order(table, rule.order)
    order = _order_of_sweep(rule, table, state, state.count) if known is None else known
    return [index for index in order for _ in range(rule.inner_steps)]
