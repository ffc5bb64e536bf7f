"""The candidate block, the meta-objective (9), and the step of the eta model.

The eta model learns from the loss of the temporarily updated block,

    meta_value = meta_value_fn(params with block - step_size(meta_params) * direction),

differentiated with respect to `meta_params` alone. Writing g' for the gradient of the
meta-objective at the candidate and d for the direction, the chain rule that `jax.grad`
performs is ``d meta_value / d step_size = -(g' * d)``, summed over the axes that the
step size is broadcast along: for a single number, minus the inner product of g' and d.

A worked example with two scalar blocks, loss ``f(a, b) = (a b - 1)^2 / 2``, at a = 2,
b = 1, visiting a with the fixed step size 0.25: the gradient is ``(a b - 1) b = 1``,
the candidate 2 - 0.25 = 1.75, the gradient there ``(1.75 - 1) * 1 = 0.75``, and so the
derivative by the step size is -0.75: a larger step would have lowered the loss. The
visit to b then starts from a = 1.75.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

BlockValues = dict[str, Array]
# Why a visit was skipped: one before it in its sweep was, or what of it is not finite.
CAUSES = (
    "earlier_visit",
    "loss",
    "gradient",
    "eta_output",
    "candidate",
    "meta_loss",
    "meta_gradient",
    "meta_update",
)


# Up to this many entries a kernel a leaf costs more than joining leaves; beyond it,
# joining does.
_SMALL = 2**14
# What a number of single precision may be, and one of half precision not.
_WIDE = 1e30


class MetaState(NamedTuple):
    """What an eta model has learned; changes at every visit that uses it.

    Attributes:
      params: The eta model's weights, `meta_params`.
      opt_state: State of its optimizer.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> meta_params, optimizer = {"w": jnp.ones(2)}, optax.sgd(0.1)
      >>> MetaState(meta_params, optimizer.init(meta_params)).params
      {'w': Array([1., 1.], dtype=float32)}
    """

    params: PyTree
    opt_state: optax.OptState


def block_updates(
    values: BlockValues, directions: BlockValues, step_sizes: dict[str, Array]
) -> BlockValues:
    """What is to be added to a block: ``-step_size * direction``, in its own dtype.

    Args:
      values: The block's leaves.
      directions: What the step sizes multiply, same shapes.
      step_sizes: Step sizes that broadcast to the leaves.

    Returns:
      The updates by path.

    Example:
      >>> import jax.numpy as jnp
      >>> w = {"w": jnp.ones(2)}
      >>> block_updates(w, {"w": jnp.array([1.0, -2.0])}, {"w": jnp.float32(0.5)})
      {'w': Array([-0.5,  1. ], dtype=float32)}
    """
    return {
        path: (-step_sizes[path] * directions[path]).astype(leaf.dtype)
        for path, leaf in values.items()
    }


def meta_value_and_grad(
    objective: Callable[[PyTree], tuple[Float[Array, ""], Any]], meta_params: PyTree
) -> tuple[Float[Array, ""], Any, PyTree]:
    """The meta-objective and its gradient with respect to the eta model's weights.

    Args:
      objective: ``objective(meta_params) -> (meta_value, aux)``.
      meta_params: The eta model's weights.

    Returns:
      Meta-value, shape ``()``; `aux`; the meta-gradient, structured as `meta_params`.

    Example:
      >>> meta_value_and_grad(lambda t: (t**2, "aux"), 3.0)
      (Array(9., dtype=float32, weak_type=True), 'aux', Array(6., dtype=float32, weak_type=True))

    Reference:
      Yan et al., arXiv 2508.04193, (9).
    """  # noqa: E501 - the output of the example is one line.
    (value, aux), grads = jax.value_and_grad(objective, has_aux=True)(meta_params)
    return value, aux, grads


def step_meta_params(
    state: MetaState, grads: PyTree, optimizer: optax.GradientTransformation
) -> MetaState:
    """One step of the meta-optimizer.

    Args:
      state: The eta model's weights and optimizer state.
      grads: The meta-gradient.
      optimizer: Any optax transformation.

    Returns:
      The next state.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> sgd = optax.sgd(0.5)
      >>> state = MetaState(jnp.float32(1.0), sgd.init(jnp.float32(1.0)))
      >>> float(step_meta_params(state, jnp.float32(1.0), sgd).params)
      0.5
    """
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return MetaState(optax.apply_updates(state.params, updates), opt_state)


class _Adam(optax.GradientTransformation):
    """Adam at a rate of at most 1, whose gradient tells whether its step is finite."""


def adam(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Adam, on one vector where an eta model is small, and leaf by leaf where not.

    Args:
      learning_rate: As of `optax.adam`.

    Returns:
      A transformation with `optax.adam`'s updates.

    Example:
      >>> import jax.numpy as jnp
      >>> few, many = {"w": jnp.ones((2, 2))}, {"w": jnp.ones((200, 200))}
      >>> adam(1e-3).init(few)[0].mu.shape, adam(1e-3).init(many)[0].mu["w"].shape
      ((4,), (200, 200))
    """
    leaf_by_leaf = optax.adam(learning_rate)
    joined = optax.flatten(leaf_by_leaf)

    def chosen(tree: PyTree) -> optax.GradientTransformation:
        return joined if optax.tree.size(tree) <= _SMALL else leaf_by_leaf

    known = isinstance(learning_rate, float) and learning_rate <= 1
    return (_Adam if known else optax.GradientTransformation)(
        lambda params: chosen(params).init(params),
        lambda updates, state, params=None: chosen(updates).update(
            updates, state, params
        ),
    )


class StepEvidence(NamedTuple):
    """What shows that a step of the meta-optimizer left everything finite.

    Attributes:
      grads: Finite only if the meta-gradient is.
      state: Finite only if all that the step changed is, where the gradient is finite.

    Example:
      >>> StepEvidence(jnp.ones(()), ()).state
      ()
    """

    grads: PyTree
    state: PyTree


def step_evidence(
    state: MetaState, grads: PyTree, optimizer: optax.GradientTransformation
) -> StepEvidence:
    """What to look at after a step of the meta-optimizer, from a finite state.

    Of :func:`adam` the squared norm of the gradient: where that is finite, no entry is
    above 2e19 in single precision, the averages are finite, and the step is below 2e28.
    What Adam makes then depends on no check of its averages and weights, which would
    take passes over them. (That a larger gradient is refused is no loss.)

    Args:
      state: The state after the step.
      grads: The meta-gradient.
      optimizer: The meta-optimizer.

    Returns:
      The evidence.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> state = MetaState(jnp.ones(2), optax.sgd(0.1).init(jnp.ones(2)))
      >>> step_evidence(state, jnp.ones(2), optax.sgd(0.1)).grads
      Array([1., 1.], dtype=float32)
    """
    if not (isinstance(optimizer, _Adam) and is_wide(grads)):
        return StepEvidence(grads, state)
    squares = [jnp.vdot(part, part) for part in _joined(jax.tree.leaves(grads))]
    return StepEvidence(squares, ())


def is_wide(tree: PyTree) -> bool:
    """Whether all leaves have the range of single precision, as bfloat16's have."""
    leaves = jax.tree.leaves(tree)
    return all(float(jnp.finfo(leaf.dtype).max) > _WIDE for leaf in leaves)


def _joined(leaves: list[Array]) -> list[Array]:
    """Leaves as vectors, small ones joined: a kernel for each costs more.

    Those that an explicit mesh shards stay as they are: JAX does not reshape them.
    """
    alone, small = [], []
    for leaf in leaves:
        if any(jax.typeof(leaf).sharding.spec):
            alone.append(leaf)
        elif leaf.size > _SMALL:
            alone.append(jnp.ravel(leaf))
        else:
            small.append(jnp.ravel(leaf))
    return [*alone, jnp.concatenate(small)] if small else alone


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every floating-point entry of a tree is a finite number.

    Args:
      tree: Any pytree of arrays.

    Returns:
      One boolean.

    Example:
      >>> import jax.numpy as jnp
      >>> bool(all_finite({"a": jnp.array([1.0, jnp.inf])}))
      False
    """
    # A number less itself is 0, and NaN for an infinity: one short sum instead of a
    # chain of boolean reductions for every leaf.
    zeros: dict[tuple, Array] = {}
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            kind = jnp.shape(leaf), jnp.result_type(leaf), jax.typeof(leaf).sharding
            zeros[kind] = zeros.get(kind, 0) + jnp.asarray(leaf - leaf)
    single = [jnp.reshape(zero, ()) for zero in zeros.values() if zero.size == 1]
    several = _joined([zero for zero in zeros.values() if zero.size > 1])
    sums = [jnp.sum(zero) for zero in several]
    return jnp.isfinite(sum([*single, *sums], start=jnp.zeros(())))


def first_failure(made: dict[str, PyTree]) -> Int[Array, ""]:
    """Names the first stage of a visit that made something not finite.

    Args:
      made: What each stage made, in their order; the keys are of `CAUSES`.

    Returns:
      Index into `CAUSES`, or -1 where all is finite.

    Example:
      >>> import jax.numpy as jnp
      >>> made = {"gradient": jnp.ones(2), "candidate": jnp.array(jnp.inf)}
      >>> CAUSES[int(first_failure(made))]
      'candidate'
    """
    index = jnp.full((), -1, jnp.int32)
    for cause in reversed(made):
        index = jnp.where(all_finite(made[cause]), index, CAUSES.index(cause))
    return index


def keep_if(ok: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """Takes the new tree if a visit was finite, the old one bit for bit if not.

    Args:
      ok: Whether to take the new tree.
      new: One tree.
      old: Another of the same structure.

    Returns:
      One of the two.

    Example:
      >>> import jax.numpy as jnp
      >>> float(keep_if(jnp.array(False), jnp.nan * jnp.ones(()), jnp.ones(())))
      1.0
    """
    return jax.tree.map(lambda n, o: jnp.where(ok, n, o), new, old)
