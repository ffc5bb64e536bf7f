"""How step sizes move from one visit of a block to the next.

A line has the mean step size of each epoch, in which an oscillation from step to step
cannot be seen. An algorithm that is watched reports beside each step size its *swing*,
``|ln(step_size / step_size a step before)|``: 0.01 is a change by 1 %.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from samt_jax import Algorithm, Batches, StepInfo
from samt_jax.loop import MakeAlgorithm


class Watched(NamedTuple):
    """What a visit reported, and the swing of its step size.

    Attributes:
      visit: As the algorithm reports it.
      swing: NaN at the first step, infinite or NaN where a visit was skipped.
    """

    visit: Any
    swing: Array


class _State(NamedTuple):
    inner: PyTree
    step_sizes: dict[str, Array]


def watch(make_algorithm: MakeAlgorithm) -> MakeAlgorithm:
    """Has an algorithm of SAMT report the swings of its step sizes.

    Args:
      make_algorithm: As of `make_optimizer`.

    Returns:
      The same, whose `info.detail` is one :class:`Watched` a block.
    """

    def make(*args: Any) -> Algorithm:
        algorithm = make_algorithm(*args)

        def init_fn(params: PyTree, batches: Batches, key: Array) -> _State:
            inner = algorithm.init(params, batches, key)
            info = jax.eval_shape(algorithm.step, params, inner, batches, key)[2]
            unknown = jax.tree.map(
                lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype),
                _step_sizes(info),
            )
            return _State(inner, unknown)

        def step_fn(
            params: PyTree, state: _State, batches: Batches, key: Array
        ) -> tuple[PyTree, _State, StepInfo]:
            params, inner, info = algorithm.step(params, state.inner, batches, key)
            now = _step_sizes(info)
            detail = {
                name: Watched(visit, _swing(now[name], state.step_sizes[name]))
                for name, visit in info.detail.items()
            }
            return params, _State(inner, now), info._replace(detail=detail)

        return Algorithm(init_fn, step_fn, algorithm.batch_spec)

    return make


def _step_sizes(info: StepInfo) -> dict[str, Array]:
    return {name: visit.step_size for name, visit in info.detail.items()}


def _swing(now: Array, before: Array) -> Array:
    return jnp.abs(jnp.log(now / before))
