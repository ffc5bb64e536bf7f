"""The contract that every algorithm of this library keeps, and its shared types.

A gradient method is an optax transformation. A method whose memory depends on the data
(the ADMM kind), and any loop that runs several methods side by side, speaks
:class:`Algorithm`: `init` makes a state, `step` takes one step. :func:`from_optax`
turns the first kind into the second; nothing goes the other way.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Params: TypeAlias = PyTree
Batch: TypeAlias = PyTree
State: TypeAlias = PyTree
Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]
LossFn: TypeAlias = Callable[[Params, Batch], Scalar]
ValueFn: TypeAlias = Callable[[Params], Scalar]
MetaBatch: TypeAlias = Literal["same", "strided", "next", "held_out"]


class BatchSpec(NamedTuple):
    """What one step of an algorithm may see of the data; the driver prepares it.

    Attributes:
      num_train: Training batches a step takes. With more than one, every leaf of
        `Batches.train` carries them along a new leading axis, and an epoch of the same
        data has that many times fewer steps.
      meta: Where the meta-batch comes from: `None` (none), `"same"` (the training
        batch), `"strided"` (every second example of it), `"next"` (the batch of the
        next step), `"held_out"` (drawn from a fixed half of the training set that the
        training batches never come from).
      full_batch: Whether the training batch has to be the whole training set, in the
        same order at every step: for methods that remember something of each example.

    Example:
      >>> BatchSpec(meta="next")
      BatchSpec(num_train=1, meta='next', full_batch=False)
    """

    num_train: int = 1
    meta: MetaBatch | None = None
    full_batch: bool = False


ONE_BATCH = BatchSpec()


class Batches(NamedTuple):
    """The data of one step: the training batch and, where asked for, the meta-batch.

    Both are pytrees whose leaves have examples along their first axis; with
    `BatchSpec.num_train > 1` a leading axis counts the batches.

    Attributes:
      train: The training batch, or several along a leading axis.
      meta: The meta-batch of each; `None` where none was asked for.

    Example:
      >>> import jax.numpy as jnp
      >>> Batches(train=(jnp.ones((4, 2)), jnp.zeros(4))).meta is None
      True
    """

    train: Batch
    meta: Batch | None = None


class StepInfo(NamedTuple):
    """What a step reports.

    Attributes:
      value: Training loss before the step, shape ``()``.
      detail: The algorithm's own record (a pytree of arrays, same structure every
        step), `()` where there is none. SAMT's is one `VisitInfo` a block.

    Example:
      >>> import jax.numpy as jnp
      >>> StepInfo(jnp.float32(0.5)).detail
      ()
    """

    value: Scalar
    detail: PyTree = ()


class Algorithm(NamedTuple):
    """A training method as two pure functions.

    Attributes:
      init: ``init(params, batches, key) -> state``; `batches` shows shapes and, for
        methods that start from the data, values.
      step: ``step(params, state, batches, key) -> (params, state, info)``. State keeps
        its structure, shapes and dtypes.
      batch_spec: What `batches` must hold.

    Example:
      >>> import jax
      >>> def step(params, state, batches, key):
      ...     return 0.9 * params, state, StepInfo(batches.train.mean())
      >>> decay = Algorithm(lambda params, batches, key: (), step)
      >>> batches, key = Batches(train=jax.numpy.ones(4)), jax.random.key(0)
      >>> params, state, info = decay.step(1.0, (), batches, key)
      >>> params, float(info.value)
      (0.9, 1.0)
    """

    init: Callable[[Params, Batches, Key], State]
    step: Callable[[Params, State, Batches, Key], tuple[Params, State, StepInfo]]
    batch_spec: BatchSpec = ONE_BATCH


def from_optax(
    tx: optax.GradientTransformation,
    loss_fn: LossFn,
    batch_spec: BatchSpec = ONE_BATCH,
) -> Algorithm:
    """Makes an :class:`Algorithm` of an optax transformation and a loss.

    Each step hands the transformation the gradient on the training batch and, as extra
    arguments that it may ignore, `value`, `grad`, `value_fn` and (where the
    specification asks for a meta-batch) `meta_value_fn`. With several training batches
    a step, `value_fn` and `meta_value_fn` are tuples with one function a batch, and the
    gradient is taken on the first.

    Args:
      tx: Any optax transformation. What it keeps in a state field called `info` is
        reported as `StepInfo.detail`.
      loss_fn: ``loss_fn(params, batch) -> scalar``, a mean over the batch.
      batch_spec: What the transformation needs to see.

    Returns:
      The algorithm; its state is the transformation's own.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from samt_jax import Batches, from_optax
      >>> loss_fn = lambda params, batch: jnp.mean((params["w"] - batch) ** 2)
      >>> algorithm = from_optax(optax.sgd(0.5), loss_fn)
      >>> params, key = {"w": jnp.zeros(())}, jax.random.key(0)
      >>> batches = Batches(train=jnp.ones(4))
      >>> state = algorithm.init(params, batches, key)
      >>> params, state, info = algorithm.step(params, state, batches, key)
      >>> float(params["w"]), float(info.value)
      (1.0, 1.0)
    """
    tx = optax.with_extra_args_support(tx)

    def init_fn(params: Params, batches: Batches, key: Key) -> State:
        del batches, key
        return tx.init(params)

    def step_fn(
        params: Params, state: State, batches: Batches, key: Key
    ) -> tuple[Params, State, StepInfo]:
        del key
        value_fn = _close_over(loss_fn, batches.train, batch_spec.num_train)
        extra_args: dict[str, Any] = {"value_fn": value_fn}
        if batch_spec.meta is not None:
            extra_args["meta_value_fn"] = _close_over(
                loss_fn, batches.meta, batch_spec.num_train
            )
        first = value_fn if batch_spec.num_train == 1 else value_fn[0]
        value, grads = jax.value_and_grad(first)(params)
        updates, state = tx.update(
            grads, state, params, value=value, grad=grads, **extra_args
        )
        params = optax.apply_updates(params, updates)
        found = state_fields(state, "info")
        return params, state, StepInfo(value, found[0] if found else ())

    return Algorithm(init_fn, step_fn, batch_spec)


def state_fields(state: State, name: str) -> list[Any]:
    """What the named tuples of a state keep under a name.

    Args:
      state: A state, or its shapes.
      name: The field; parameters of that name are something else.

    Returns:
      The values found.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> state = optax.adam(0.1).init({"nu": jnp.ones(2)})
      >>> state_fields(state, "nu")
      [{'nu': Array([0., 0.], dtype=float32)}]
    """
    found = optax.tree.get_all_with_path(
        state,
        name,
        lambda path, _: isinstance(path[-1], optax.tree_utils.NamedTupleKey),
    )
    return [value for _, value in found]


def _close_over(loss_fn: LossFn, batch: Batch, num_batches: int) -> Any:
    """Closes the loss over its batch, or over each of several, in a tuple."""
    if num_batches == 1:
        return lambda params: loss_fn(params, batch)
    batches = [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(num_batches)]
    return tuple(lambda params, b=b: loss_fn(params, b) for b in batches)
