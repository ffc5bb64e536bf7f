"""What makes a block: rules from the paths of leaves to the names of blocks."""

import re
from collections.abc import Callable, Mapping, Sequence

BlockRules = int | Mapping[str, str | Sequence[str]] | Callable[[str], str | None]


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path or a folder above it.

    Args:
      pattern: A regular expression; that of `Dense_1` does not match `Dense_10`.
      path: Path of a leaf.

    Returns:
      Whether it does.

    Raises:
      ValueError: It is no regular expression.
    """
    parts = path.split("/")
    folders = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
    try:
        return any(re.fullmatch(pattern, folder) for folder in folders)
    except re.error as error:
        raise ValueError(
            f"The pattern {pattern!r} is no regular expression ({error}); give one for "
            "a leaf's whole path or a folder above it."
        ) from error


def block_name(path: str, rules: BlockRules | None) -> str | None:
    """The block that a leaf belongs to.

    Args:
      path: Path of the leaf.
      rules: What makes a block, see :func:`~samt_jax.blocks.partition_blocks`.

    Returns:
      The block's name; `None` freezes the leaf.

    Raises:
      ValueError: No rule of several matches, or two do.
    """
    *folders, _ = path.split("/")
    if rules is None or isinstance(rules, int):
        return "/".join(folders[:rules]) or path
    if callable(rules):
        return rules(path)
    found = [
        name
        for name, patterns in rules.items()
        if any(
            matches(pattern, path)
            for pattern in ([patterns] if isinstance(patterns, str) else patterns)
        )
    ]
    if len(found) == 1:
        return found[0]
    problem = f"the blocks {found} all match" if found else "no block's rule matches"
    raise ValueError(
        f"For the leaf '{path}' {problem}; give every leaf exactly one block, or leave "
        f"it out with frozen='{path}'."
    )


def check_members(
    members: Mapping[str, list[str]],
    rules: BlockRules | None,
    frozen: list[str],
    paths: list[str],
) -> None:
    """Refuses rules and patterns that match nothing, and a network wholly frozen.

    Args:
      members: Paths by block.
      rules: What made the blocks.
      frozen: Patterns of leaves to leave out.
      paths: Paths of all leaves.

    Raises:
      ValueError: One matches nothing, or no block is left.
    """
    idle = [r for r in frozen if not any(matches(r, path) for path in paths)]
    if idle:
        raise ValueError(
            f"The frozen patterns {idle} match none of the leaves {paths}; a pattern "
            "is a regular expression for a leaf's whole path or a folder above it."
        )
    empty = [n for n in rules if n not in members] if isinstance(rules, Mapping) else []
    if empty:
        raise ValueError(
            f"The rules of the blocks {empty} match none of the leaves {paths}; a rule "
            "is a regular expression for a leaf's whole path or a folder above it."
        )
    if not members:
        raise ValueError(
            f"No block is left: the leaves are {paths} and all are frozen; leave at "
            "least one out of `frozen`."
        )
