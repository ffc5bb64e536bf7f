"""The methods feature by feature, as the paper's Table 1 has its own: the registry's.

    python -m benchmarks.method_features

All but one column is read off the library. Whether a method takes mini-batches, goes
block by block, propagates gradients back through the network and learns its step sizes,
the registry says, by what each row is and takes; what a method keeps from step to step
is the size of its state on 784-100-10 with 55,000 training images, worked out from
shapes. What a step solves on a block is mathematics, and stands here.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from samt_jax import OPTIMIZERS, Batches, Chain, build_model, make_optimizer
from samt_jax.layerwise_rivals import LAYERWISE
from samt_jax.optimizers import Optimizer
from samt_jax.problem import cross_entropy

NUM_EXAMPLES, BATCH_SIZE, HIDDEN = 55_000, 64, (100,)

# What is done to a block (or, where there are none, to everything) in a step.
_CONVEX = "convex, or entry by entry"
_NON_CONVEX = "a gradient step, not convex"
_SUB_PROBLEMS = {
    **dict.fromkeys(LAYERWISE, _CONVEX),
    **dict.fromkeys(("samt-s", "samt-r", "samt-c", "samt-e", "dante"), _NON_CONVEX),
    "badm": "convex, the loss made linear",
}
_ESTIMATED = frozenset({"prodigy"})


def table() -> str:
    """A row a method of the registry.

    Returns:
      The table in Markdown.
    """
    head = (
        "`python -m benchmarks.method_features`. Kept: numbers that a method keeps "
        "from step to step, in units of the network's, on 784-100-10 with "
        f"{NUM_EXAMPLES:,} training images, batches of {BATCH_SIZE} where it takes "
        "them.\n\n"
        "| method | mini-batches | block by block | no back-propagation "
        "| learned step size | sub-problems | kept |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    return head + "\n".join(_row(name) for name in OPTIMIZERS) + "\n"


def _row(name: str) -> str:
    row = OPTIMIZERS[name]
    cells = (
        f"`{name}`: {row.summary}",
        _yes(not row.full_batch),
        _yes(is_alternating(name)),
        _yes(name in LAYERWISE),
        step_size_words(name, row),
        _SUB_PROBLEMS.get(name, ""),
        f"{kept(name):.2f}",
    )
    return f"| {' | '.join(cells)} |"


def _yes(holds: bool) -> str:
    return "yes" if holds else ""


def is_alternating(name: str) -> bool:
    """Whether a method updates one block, or layer, with the others as they stand."""
    return "order" in OPTIMIZERS[name].takes or name in LAYERWISE


def step_size_words(name: str, row: Optimizer) -> str:
    """How a method comes by its step size; nothing where it is given."""
    if "meta_learning_rate" in row.takes:
        return "by an eta model, a block"
    if "hyper_learning_rate" in row.takes:
        return "one, from successive gradients"
    if row.takes & {"curvature", "max_doublings"}:
        return "by backtracking"
    return "one, estimated" if name in _ESTIMATED else ""


def kept(name: str) -> float:
    """Numbers in a method's state, in units of those of the network that it trains."""
    loss, params = _network()
    full_batch = OPTIMIZERS[name].full_batch
    algorithm = make_optimizer(name)(loss, jax.random.key(0), 1000)
    spec = algorithm.batch_spec
    size = NUM_EXAMPLES if full_batch else BATCH_SIZE
    shape = (size,) if spec.num_train == 1 else (spec.num_train, size)
    batch = (
        jax.ShapeDtypeStruct((*shape, 28, 28, 1), jnp.float32),
        jax.ShapeDtypeStruct(shape, jnp.int32),
    )
    batches = Batches(batch, None if spec.meta is None else batch)
    state = jax.eval_shape(algorithm.init, params, batches, jax.random.key(0))
    return _num_bytes(state) / _num_bytes(params)


@functools.cache
def _network() -> tuple[Chain, Any]:
    model = build_model("mlp", num_outputs=10, hidden=HIDDEN)
    assert model.layers is not None
    image = jnp.ones((1, 28, 28, 1))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), image)
    return Chain(model.layers, cross_entropy, model.prepare), params


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


if __name__ == "__main__":
    print(table())
