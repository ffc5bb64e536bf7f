"""SAMT as an algorithm, run by the engine that suits the network.

The general engine, `samt_sweep`, serves any parameter tree and any loss. The chain
engine gives the same iterates, to rounding, for less; it needs a :class:`Chain`, blocks
that are its layers, visited once each in forward order, and one batch a sweep.
"""

import inspect
from typing import Any, Literal, NamedTuple, get_args

import jax
from jax.sharding import AxisType

from samt_jax.base import Algorithm, BatchSpec, LossFn, MetaBatch, from_optax
from samt_jax.chain import Chain
from samt_jax.chain_sweep import samt_chain
from samt_jax.rule import SamtRule, complete_rule
from samt_jax.samt import samt_sweep

Engine = Literal["auto", "chain", "general"]


class EngineChoice(NamedTuple):
    """Which engine runs, and why.

    Attributes:
      engine: ``"chain"`` or ``"general"``.
      reason: One sentence.

    Example:
      >>> choose_engine(lambda params, batch: 0.0, engine="general")
      EngineChoice(engine='general', reason='it was asked for')
    """

    engine: Literal["chain", "general"]
    reason: str


def samt_algorithm(
    loss: LossFn,
    *settings: Any,
    meta_batch: MetaBatch = "next",
    num_train: int = 1,
    engine: Engine = "auto",
    activation_dtype: Any = None,
    **keywords: Any,
) -> Algorithm:
    """SAMT as an :class:`Algorithm`, one sweep a step.

    Parameters may be changed between two steps, but not so that the first entries of
    every leaf stay: with `next` the chain engine has run the coming batch already, and
    by these it sees that it has to do so again.

    Args:
      loss: ``loss_fn(params, batch)``, a mean over the batch; or a :class:`Chain`,
        whose batches are ``(inputs, targets)``.
      *settings: As of :func:`samt_sweep`.
      meta_batch: Where the meta-batch comes from, see :class:`BatchSpec`.
      num_train: Batches a sweep takes: 1, or one for every visit.
      engine: ``"general"``, ``"chain"``, or ``"auto"``: the chain engine where it can
        serve; :func:`choose_engine` says which and why.
      activation_dtype: Dtype of activations in the chain engine (``jnp.bfloat16``);
        that of the inputs by default. Step sizes and losses stay in float32.
      **keywords: As of :func:`samt_sweep`.

    Returns:
      The algorithm.

    Raises:
      ValueError: The chain engine was asked for and cannot serve, or there is no such
        meta-batch; the message says why.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense, samt_algorithm
      >>> layers = (dense("a", jax.nn.leaky_relu), dense("b"))
      >>> chain = Chain(layers, lambda out, y: (out[:, 0] - y) ** 2)
      >>> params = {"a": {"kernel": jnp.eye(2)}, "b": {"kernel": jnp.ones((2, 1))}}
      >>> algorithm = samt_algorithm(chain, 0.1, meta_batch="same")
      >>> batch = (jnp.ones((4, 2)), jnp.zeros(4))
      >>> batches, key = Batches(batch, batch), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value)
      4.0

    Reference:
      Yan et al., arXiv 2508.04193; the cost is the open question of its §7.
    """
    choice = choose_engine(
        loss, *settings, meta_batch=meta_batch, num_train=num_train, engine=engine,
        **keywords,
    )  # fmt: skip
    if meta_batch not in get_args(MetaBatch):
        raise ValueError(
            f"meta_batch is {meta_batch!r}; it must be one of "
            f"{', '.join(map(repr, get_args(MetaBatch)))}."
        )
    spec = BatchSpec(num_train, meta_batch)
    if choice.engine == "general":
        return from_optax(samt_sweep(*settings, **keywords), loss, spec)
    rule = _rule(*settings, **keywords)
    assert isinstance(loss, Chain)  # What the choice rests on.
    return samt_chain(loss, rule, spec, activation_dtype)


def choose_engine(
    loss: LossFn,
    *settings: Any,
    meta_batch: MetaBatch = "next",
    num_train: int = 1,
    engine: Engine = "auto",
    **keywords: Any,
) -> EngineChoice:
    """Which engine :func:`samt_algorithm` would run with these arguments, and why.

    Args:
      loss: As of :func:`samt_algorithm`, and so are all others.
      *settings: As there.
      meta_batch: As there.
      num_train: As there.
      engine: As there.
      **keywords: As there.

    Returns:
      The choice.

    Raises:
      ValueError: An unknown engine, or one that was asked for and cannot serve.

    Example:
      >>> choose_engine(lambda params, batch: 0.0).reason
      'the loss is a function, and only a Chain shows its layers'
    """
    if engine not in ("auto", "chain", "general"):
        raise ValueError(
            f"engine is {engine!r}; it must be 'auto', 'chain' or 'general'."
        )
    if engine == "general":
        return EngineChoice("general", "it was asked for")
    obstacle = _obstacle(loss, _rule(*settings, **keywords), num_train)
    if obstacle is None:
        return EngineChoice("chain", "the network is a chain, swept on one batch")
    if engine == "chain":
        raise ValueError(
            f"The chain engine cannot serve here: {obstacle}; take engine='general' or "
            "'auto'."
        )
    return EngineChoice("general", obstacle)


def _obstacle(loss: LossFn, rule: SamtRule, num_train: int) -> str | None:
    if not isinstance(loss, Chain):
        return "the loss is a function, and only a Chain shows its layers"
    if len({layer.name for layer in loss.layers}) < len(loss.layers):
        return "layers share their parameters, so that no activation is final"
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        return "the mesh is explicit, and parameters may be sharded by their type"
    if num_train != 1:
        return "every visit has a batch of its own, so no pass serves two"
    if rule.order != "forward":
        return f"the order is {rule.order!r}, and activations are final going forward"
    if rule.inner_steps != 1:
        return f"a block is visited {rule.inner_steps} times in a row"
    if rule.ball_radius is not None:
        return "the blocks are projected on balls, which changes whole layers"
    if rule.blocks is not None or rule.frozen:
        return "the blocks are not the chain's layers, one each"
    return None


def _rule(*settings: Any, **keywords: Any) -> SamtRule:
    """The rule behind `samt_sweep`'s arguments."""
    bound = inspect.signature(samt_sweep).bind(*settings, **keywords)
    bound.apply_defaults()
    return complete_rule(dict(bound.arguments))
