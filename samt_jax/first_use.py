"""When a loss first brings its parameters together with data.

A network's forward order (Algorithm 1 of the paper: layers 1 to L) is not told by the
names of its parameters, but the loss shows it: traced to a jaxpr and followed from top
to bottom, it uses the first layer first.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex_core

from samt_jax.base import Params, ValueFn


def first_uses(
    value_fn: ValueFn, params: Params, owners: Sequence[str | None]
) -> dict[str, tuple[float, float]]:
    """Ranks the owners of parameters by their first use in a loss.

    What is done to parameters alone (a cast, a transpose, a weight-decay term) is no
    use; the first equation in which an owner's parameters meet something that depends
    on data is.

    Args:
      value_fn: ``value_fn(params) -> scalar``; traced, never run.
      params: The parameters or their shapes.
      owners: Whose each leaf is, in the tree's order; `None` for nobody's.

    Returns:
      For every owner two numbers to sort by: the equation in which it meets data (last
      if never), and the first equation that reads it at all.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"a": jnp.ones((3, 1)), "z": jnp.ones((2, 3))}
      >>> x = jnp.ones((4, 2))
      >>> uses = first_uses(lambda p: jnp.mean(x @ p["z"] @ p["a"]), params, ["A", "Z"])
      >>> uses["Z"] < uses["A"]
      True
    """
    marks = [
        _NOTHING if owner is None else _Mark(frozenset({owner}), False)
        for owner in owners
    ]
    uses = _Uses(itertools.count(), {}, {})
    _follow(jax.make_jaxpr(value_fn)(params).jaxpr, marks, uses)
    never = math.inf
    return {
        owner: (uses.with_data.get(owner, never), uses.at_all.get(owner, never))
        for owner in owners
        if owner is not None
    }


class _Mark(NamedTuple):
    """What a value in the loss's jaxpr is made of: these owners alone, or data."""

    owners: frozenset[str]
    is_data: bool


class _Uses(NamedTuple):
    """When each owner was first used, in equations from the top of the jaxpr."""

    clock: Iterator[int]
    with_data: dict[str, int]
    at_all: dict[str, int]


_NOTHING = _Mark(frozenset(), False)
_DATA = _Mark(frozenset(), True)


def _follow(jaxpr: Any, marks: Sequence[_Mark], uses: _Uses) -> list[_Mark]:
    """Carries marks from a jaxpr's inputs to its outputs, noting uses on the way."""
    known = dict(zip(jaxpr.invars, marks, strict=True))
    known |= {var: _mark_of_constant(var.aval) for var in jaxpr.constvars}

    def mark_of(atom: Any) -> _Mark:
        if isinstance(atom, jex_core.Literal):
            return _mark_of_constant(atom.val)
        return known[atom]

    for equation in jaxpr.eqns:
        inputs = [mark_of(atom) for atom in equation.invars]
        outputs = _follow_equation(equation, inputs, uses)
        known |= dict(zip(equation.outvars, outputs, strict=True))
    return [mark_of(atom) for atom in jaxpr.outvars]


def _mark_of_constant(constant: Any) -> _Mark:
    # A number is a setting (a weight-decay rate), which scales parameters as a cast
    # casts them; data come in arrays.
    return _DATA if getattr(constant, "ndim", 0) else _NOTHING


def _follow_equation(
    equation: Any, inputs: list[_Mark], uses: _Uses
) -> Sequence[_Mark]:
    is_call = equation.primitive.name != "while"
    for inner in _inner_jaxprs(equation) if is_call else ():
        # A call, a checkpoint, a scan or a branch: the arguments pass one to one.
        if len(inner.invars) <= len(inputs):
            outputs = _follow(inner, inputs[-len(inner.invars) :], uses)
            if len(outputs) == len(equation.outvars):
                return outputs
    now, meets_data = next(uses.clock), any(mark.is_data for mark in inputs)
    owners = frozenset[str]().union(*(mark.owners for mark in inputs))
    for owner in owners:
        uses.at_all.setdefault(owner, now)
        if meets_data:
            uses.with_data.setdefault(owner, now)
    return [_DATA if meets_data else _Mark(owners, False)] * len(equation.outvars)


def _inner_jaxprs(equation: Any) -> Iterator[Any]:
    """The jaxprs that an equation calls, innermost form."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, jex_core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, jex_core.Jaxpr):
                yield part
