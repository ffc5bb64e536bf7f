"""`samt explain`: what SAMT makes of a network, before anything is trained."""

from typing import Any

import jax
from rich.table import Table

from samt_jax.blocks import Block, get_block, partition_blocks, visiting_order
from samt_jax.cli.display import result_console
from samt_jax.cli.memory import eta_model_sizes, in_units
from samt_jax.cli.options import Explain
from samt_jax.cli.training import Setting, set_up, with_meta_params
from samt_jax.cli.values import UsageError
from samt_jax.engine import choose_engine
from samt_jax.granularity import Granularity, step_layout
from samt_jax.optimizers import make_optimizer
from samt_jax.runs import to_json

GRANULARITIES: dict[str, Granularity] = {
    "samt-s": "scalar",
    "samt-r": "row",
    "samt-c": "column",
    "samt-e": "element",
}
ENGINE_SETTINGS = (
    "blocks", "order", "inner_steps", "num_train", "engine", "frozen", "ball_radius",
)  # fmt: skip


def run(options: Explain) -> int:
    """Prints the blocks of a network in the order of their visits.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code.

    Raises:
      UsageError: What only data and network could show to be wrong.
    """
    setting = set_up(options.data, options.network, options.settings.blocks)
    try:
        explained = explain(options, setting)
    except ValueError as error:
        raise UsageError(" ".join(str(error).split())) from error
    if options.json:
        print(to_json(explained))
    else:
        _print(explained)
    return 0


def explain(options: Explain, setting: Setting) -> dict[str, Any]:
    """Describes the blocks from shapes alone: nothing of their size is allocated.

    Args:
      options: What was asked for.
      setting: Data and network.

    Returns:
      The blocks in the order of their visits, the order and how it was found, frozen
      parameters, engine.

    Raises:
      ValueError: A setting that the network shows to be wrong.
    """
    given = setting.complete(options.optimizer, options.settings.given())
    problem, key = setting.problem, jax.random.key(0)
    params, _ = jax.eval_shape(problem.init, key)
    batch = jax.tree.map(lambda leaf: leaf[:2], problem.train)
    table = partition_blocks(
        params,
        setting.block_depth,
        frozen=given.get("frozen", ()),
        value_fn=lambda params: problem.loss_fn(params, batch),
    )
    order = given.get("order", "forward")
    visits = visiting_order(table, order) or range(len(table.blocks))
    make_algorithm = make_optimizer(options.optimizer, **with_meta_params(given))
    sizes = eta_model_sizes(problem, make_algorithm)
    wanted = {name: given[name] for name in ENGINE_SETTINGS if name in given}
    choice = choose_engine(problem.loss_fn, **wanted)
    return {
        "blocks": [
            _describe_block(options, table.blocks[i], params, sizes) for i in visits
        ],
        "order": order,
        "ordered_by": table.ordered_by,
        "frozen": table.frozen,
        "engine": choice.engine,
        "engine_reason": choice.reason,
        "eta_model_bytes": sum(sizes.values()),
    }


def _describe_block(
    options: Explain, block: Block, params: Any, sizes: dict[str, int]
) -> dict[str, Any]:
    leaves = get_block(params, block)
    layout = step_layout(
        leaves,
        GRANULARITIES[options.optimizer],
        element_head=options.settings.element_head or "factored",  # type: ignore[arg-type]
    )
    return {
        "block": block.name,
        "leaves": {path: leaf.shape for path, leaf in leaves.items()},
        "parameters": sum(leaf.size for leaf in leaves.values()),
        "step_sizes": [head.factors for head in layout.heads],
        # With the state of its optimizer; one that all share is counted at each.
        "eta_model_bytes": sizes.get(block.name, sizes.get("shared")),
    }


def _print(explained: dict[str, Any]) -> None:
    table = Table(
        "visit", "block", "parameters", "step sizes", "eta model", show_lines=True
    )
    for number, row in enumerate(explained["blocks"], 1):
        leaves = "\n".join(f"{p}  {tuple(s)}" for p, s in row["leaves"].items())
        heads = "\n".join(
            " x ".join(str(tuple(factor)) for factor in factors)
            for factors in row["step_sizes"]
        )
        size = in_units(row["eta_model_bytes"])
        table.add_row(str(number), row["block"], leaves, heads, size)
    console = result_console()
    console.print(table)
    order = explained["order"]
    order = order if isinstance(order, str) else "as given"
    console.print(f"order: {order}; forward order by {explained['ordered_by']}")
    total = in_units(explained["eta_model_bytes"])
    console.print(f"eta models with their optimizers: {total} in all")
    if explained["frozen"]:
        console.print(f"frozen: {', '.join(explained['frozen'])}")
    console.print(f"engine: {explained['engine']}: {explained['engine_reason']}")
