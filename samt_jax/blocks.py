"""The parameter tree as an ordered list of named blocks.

SAMT minimises over one block of parameters at a time, in the network's forward order
(Algorithm 1 of the paper: layers 1 to L). A block is by default one layer, kernel and
bias together. All of this is decided once, from the tree's structure: a
:class:`BlockTable` is static; its blocks are cut out of a tree and put back by path.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from samt_jax.base import Params, ValueFn
from samt_jax.block_rules import BlockRules, block_name, check_members, matches
from samt_jax.first_use import first_uses

BlockValues = dict[str, Array]
Order = Literal["forward", "backward", "random"] | Sequence[str]


class Block(NamedTuple):
    """Parameters that are updated together.

    Attributes:
      name: What the block is called in states, metrics and messages.
      paths: Its leaves, as ``/``-joined key paths.

    Example:
      >>> Block("Dense_0", ("Dense_0/bias", "Dense_0/kernel")).name
      'Dense_0'
    """

    name: str
    paths: tuple[str, ...]


class BlockTable(NamedTuple):
    """The blocks of a network in forward order.

    Attributes:
      blocks: The blocks, first layer first.
      frozen: Paths of the leaves that belong to no block and are never changed.
      ordered_by: How the order was found: ``"natural key order"`` or ``"first use in
        the loss"``.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"first": {"kernel": jnp.ones((2, 2))}, "scale": jnp.ones(2)}
      >>> partition_blocks(params, frozen="scale")  # doctest: +NORMALIZE_WHITESPACE
      BlockTable(blocks=(Block(name='first', paths=('first/kernel',)),),
                 frozen=('scale',), ordered_by='natural key order')
    """

    blocks: tuple[Block, ...]
    frozen: tuple[str, ...]
    ordered_by: str

    @property
    def names(self) -> tuple[str, ...]:
        """The block names, in order."""
        return tuple(block.name for block in self.blocks)


def partition_blocks(
    params: Params,
    rules: BlockRules | BlockTable | None = None,
    *,
    frozen: str | Sequence[str] = (),
    value_fn: ValueFn | None = None,
) -> BlockTable:
    """Orders a parameter tree into named blocks.

    Without rules every layer is a block: the leaves that share a parent in the tree (a
    leaf at the top of the tree is a block of its own). The order is the network's
    forward order: the order in which the loss first brings each block together with
    data, where the loss is given; otherwise the natural order of the keys, in which
    ``Dense_2`` comes before ``Dense_10``.

    Args:
      params: Any pytree of floating-point arrays (or of their shapes): dicts, Flax
        Linen parameters, a Flax NNX state, an Equinox model's arrays.
      rules: What makes a block. A whole number n: the layers whose paths share their
        first n parts (1 keeps a residual block together); or a mapping from block name
        to one or more regular expressions, each matching a leaf's whole path or a
        folder above it; or a function from a leaf's path to its block's name (`None`
        freezes the leaf); or a table made before, which is returned as it is.
      frozen: Regular expressions, matched likewise, of leaves to leave out; empty ones
        always are.
      value_fn: ``value_fn(params) -> scalar``. It is traced once and never run.

    Returns:
      The table of blocks.

    Raises:
      ValueError: A leaf matches no rule or two, a rule or a pattern matches no leaf or
        is no regular expression, a leaf is not of floating point, two leaves read
        alike, no block is left, or a table is of other parameters. The message names
        the paths.

    Example:
      >>> import jax.numpy as jnp
      >>> layer = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> params = {"Dense_10": layer, "Dense_2": layer, "Dense_1": layer}
      >>> partition_blocks(params).names
      ('Dense_1', 'Dense_2', 'Dense_10')
      >>> rules = {"trunk": ["Dense_1", "Dense_2"], "head": "Dense_10/.*"}
      >>> partition_blocks(params, rules).blocks[0].paths
      ('Dense_1/bias', 'Dense_1/kernel', 'Dense_2/bias', 'Dense_2/kernel')

    Reference:
      Yan et al., arXiv 2508.04193, Algorithm 1 (order), §7 (grouping layers).
    """
    paths = sorted(leaf_paths(params), key=_natural_key)
    _check_paths(paths)
    leaves = dict(_leaves_by_path(params))
    patterns = [frozen] if isinstance(frozen, str) else list(frozen)
    if isinstance(rules, str):
        raise ValueError(
            f"blocks is {rules!r}; give a depth in the tree, names to regular "
            "expressions, a function of a leaf's path, or a table."
        )
    if isinstance(rules, int) and rules < 1:
        raise ValueError(f"blocks is {rules}; a depth in the tree is at least 1.")
    if isinstance(rules, BlockTable):
        _check_table(rules, patterns, paths)
        return rules
    frozen_paths = [p for p in paths if any(matches(r, p) for r in patterns)]
    members: dict[str, list[str]] = {}
    for path in paths:
        # Nothing can be learned of an empty leaf, nor for it.
        is_out = path in frozen_paths or leaves[path].size == 0
        name = None if is_out else block_name(path, rules)
        if name is None:
            frozen_paths += [path] if path not in frozen_paths else []
            continue
        if not jnp.issubdtype(leaves[path].dtype, jnp.floating):
            raise ValueError(
                f"The leaf '{path}' has dtype {leaves[path].dtype}, and a block takes "
                f"floating-point leaves; leave it out with frozen='{path}'."
            )
        members.setdefault(name, []).append(path)
    check_members(members, rules, patterns, paths)
    blocks = tuple(Block(name, tuple(paths)) for name, paths in members.items())
    table = BlockTable(blocks, tuple(frozen_paths), "natural key order")
    return table if value_fn is None else order_by_first_use(table, value_fn, params)


def order_by_first_use(
    table: BlockTable, value_fn: ValueFn, params: Params
) -> BlockTable:
    """Puts blocks into the order in which the loss first brings them to the data.

    The loss is traced to a jaxpr and followed from top to bottom. What is done to
    parameters alone (a cast, a transpose, a weight-decay term) is no use; the first
    equation in which a block meets something that depends on data is. Blocks that never
    meet data follow in the order of their first equation, ties in natural order.

    Args:
      table: The blocks, in any order.
      value_fn: ``value_fn(params) -> scalar``; traced, never run.
      params: The parameters or their shapes.

    Returns:
      The same blocks, ordered.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"a": jnp.ones((3, 1)), "z": jnp.ones((2, 3))}
      >>> x = jnp.ones((4, 2))
      >>> value_fn = lambda p: jnp.mean(x @ p["z"] @ p["a"])
      >>> table = partition_blocks(params)
      >>> order_by_first_use(table, value_fn, params).names
      ('z', 'a')
    """
    owner = {p: block.name for block in table.blocks for p in block.paths}
    owners = [owner.get(path) for path in leaf_paths(params)]
    uses = first_uses(value_fn, params, owners)
    blocks = tuple(sorted(table.blocks, key=lambda block: uses[block.name]))
    return table._replace(blocks=blocks, ordered_by="first use in the loss")


def visiting_order(table: BlockTable, order: Order) -> tuple[int, ...] | None:
    """The block indices of one sweep, or `None` where every sweep draws its own.

    Args:
      table: The blocks.
      order: ``"forward"``, ``"backward"``, ``"random"`` (a fresh permutation a sweep),
        or every block's name once.

    Returns:
      Indices into `table.blocks`; `None` for a random order.

    Raises:
      ValueError: An unknown order, or names that are not every block's once.

    Example:
      >>> table = BlockTable((Block("a", ("a",)), Block("b", ("b",))), (), "")
      >>> visiting_order(table, "backward")
      (1, 0)
    """
    names = table.names
    if isinstance(order, str):
        if order == "random":
            return None
        forward = tuple(range(len(names)))
        if order in ("forward", "backward"):
            return forward if order == "forward" else forward[::-1]
        raise ValueError(
            f"The order '{order}' is unknown; it is 'forward', 'backward', 'random' or "
            "a sequence that names every block once."
        )
    if sorted(order) != sorted(names):
        raise ValueError(
            f"The order {list(order)} does not name every block once; the blocks are "
            f"{list(names)}: give each of these names one place."
        )
    return tuple(names.index(name) for name in order)


def get_block(params: Params, block: Block) -> BlockValues:
    """Cuts a block out of a parameter tree.

    Args:
      params: The whole tree.
      block: The block.

    Returns:
      The block's leaves by path.

    Example:
      >>> get_block({"a": 1.0, "b": 2.0}, Block("first", ("a",)))
      {'a': 1.0}
    """
    leaves = dict(_leaves_by_path(params))
    return {path: leaves[path] for path in block.paths}


def replace_block(params: Params, values: Mapping[str, Any]) -> Params:
    """Puts a block's leaves back into a parameter tree.

    Args:
      params: The whole tree.
      values: New leaves by path.

    Returns:
      A tree of the same structure in which only these leaves are changed.

    Example:
      >>> replace_block({"a": 1.0, "b": 2.0}, {"b": 3.0})
      {'a': 1.0, 'b': 3.0}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: values.get(_path_name(path), leaf), params
    )


def leaf_paths(params: Params) -> list[str]:
    """The paths of a tree's leaves, as blocks name them.

    Args:
      params: Any pytree.

    Returns:
      One ``/``-joined path a leaf, in the tree's order.

    Example:
      >>> leaf_paths({"Dense_0": {"bias": 0.0, "kernel": 1.0}})
      ['Dense_0/bias', 'Dense_0/kernel']
    """
    return [path for path, _ in _leaves_by_path(params)]


def _leaves_by_path(params: Params) -> list[tuple[str, Any]]:
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    return [(_path_name(path), leaf) for path, leaf in flat]


def _path_name(path: tuple) -> str:
    """Joins a key path, less the `.value` by which an NNX variable holds its array."""
    is_variable = len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value")
    path = path[:-1] if is_variable else path
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _natural_key(path: str) -> tuple:
    parts = re.split(r"(\d+)", path)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


def _check_paths(paths: Sequence[str]) -> None:
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(
            f"Two leaves of the parameters have each of the paths {twice}, and a block "
            "knows its leaves by path; give them names that do not read alike."
        )


def _check_table(table: BlockTable, frozen: list[str], paths: list[str]) -> None:
    unknown = [p for block in table.blocks for p in block.paths if p not in paths]
    if unknown:
        raise ValueError(
            f"The table's paths {unknown} are no leaves of the parameters, which are "
            f"{paths}; make the table from these parameters."
        )
    if frozen:
        raise ValueError(
            f"A table says itself what is frozen, and frozen={frozen} was given beside "
            "it; leave these leaves out of the table's blocks."
        )
