"""Schedule-free AdamW, judged where it should be: at its averaged iterate.

Reference: Defazio et al., arXiv 2405.15682.
"""

import optax
from optax import contrib

from samt_jax.base import (
    Algorithm,
    Batches,
    Key,
    LossFn,
    Params,
    State,
    StepInfo,
    from_optax,
)


def schedule_free(learning_rate: optax.ScalarOrSchedule, loss_fn: LossFn) -> Algorithm:
    """Schedule-free AdamW whose parameters, to a loop, are the averaged ones.

    The gradients are taken elsewhere, at what optax calls the parameters. Here they are
    kept in the state, so that the parameters that a loop sees are the ones to judge.

    Args:
      learning_rate: As of `optax.contrib.schedule_free_adamw`.
      loss_fn: ``loss_fn(params, batch)``, a mean over the batch.

    Returns:
      The algorithm.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches
      >>> algorithm = schedule_free(0.1, lambda params, batch: (params - batch) ** 2)
      >>> batches, key = Batches(train=jnp.float32(1.0)), jax.random.key(0)
      >>> params = jnp.float32(0.0)
      >>> state = algorithm.init(params, batches, key)
      >>> params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value), bool(0 < params < 1)
      (1.0, True)
    """
    inner = from_optax(contrib.schedule_free_adamw(learning_rate), loss_fn)

    def init_fn(params: Params, batches: Batches, key: Key) -> State:
        return params, inner.init(params, batches, key)

    def step_fn(
        params: Params, state: State, batches: Batches, key: Key
    ) -> tuple[Params, State, StepInfo]:
        del params
        at, inner_state = state
        at, inner_state, info = inner.step(at, inner_state, batches, key)
        averaged = contrib.schedule_free_eval_params(inner_state, at)
        return averaged, (at, inner_state), info

    return Algorithm(init_fn, step_fn)
