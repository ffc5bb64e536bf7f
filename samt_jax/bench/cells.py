"""The table of what is measured: networks, methods and engines.

All cells of a network are measured in turns, and their times given in units of an
epoch of `optax.adam` on the same network, measured among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from samt_jax.base import MetaBatch

Engine = Literal["chain", "general"]

BASELINE = "adam"
GRANULARITIES = {"S": "scalar", "R": "row", "C": "column", "E": "element"}
READINGS: tuple[MetaBatch, ...] = ("strided", "next", "same", "held_out")
DEPTHS = (2, 4, 8, 16, 32)
# The general engine's compilation grows with the square of depth: beyond it is a matter
# of minutes.
DEEPEST_GENERAL = 8


class Network(NamedTuple):
    """A network to measure on.

    Attributes:
      name: What it is called in the lines.
      model: A name of `MODELS`.
      hidden: Widths of the hidden layers of `"mlp"`.
      steps: Most steps of a measured epoch.
    """

    name: str
    model: str
    hidden: tuple[int, ...] | None
    steps: int


class Method(NamedTuple):
    """A method to measure.

    Attributes:
      name: `"adam"`, `"sgd"`, or a granularity, `"SAMT-S"` to `"SAMT-E"`.
      reading: SAMT: where the meta-batch comes from.
      engine: SAMT: which engine.
      option: SAMT: `""`, `"momentum"` (as direction) or `"bfloat16"` (activations).
      framework: `"jax"` or `"torch"`.
    """

    name: str
    reading: MetaBatch | None = None
    engine: Engine | None = None
    option: Literal["", "momentum", "bfloat16"] = ""
    framework: Literal["jax", "torch"] = "jax"


def networks(quick: bool) -> dict[Network, tuple[Method, ...]]:
    """What is measured.

    Args:
      quick: The headline alone, in fewer steps.

    Returns:
      The methods of each network, the baseline first.

    Example:
      >>> table = networks(quick=True)
      >>> [network.name for network in table]
      ['784-100-10', '784-400-10', '784-800-10']
    """
    adam, torch = Method(BASELINE), _torch_methods()
    if quick:
        methods = (
            adam,
            *_chain_methods("S")[:2],
            _general("S", "strided"),
            *torch,
        )
        return {_mlp(width, steps=90): methods for width in (100, 400, 800)}
    wide = (
        adam,
        Method("sgd"),
        *(m for g in GRANULARITIES for m in _chain_methods(g)),
        *(_general(g, r) for g in GRANULARITIES for r in READINGS[:2]),
        *(
            Method("SAMT-S", "next", "chain", option)
            for option in ("momentum", "bfloat16")
        ),
        *torch,
    )
    deeper = (adam, *_chain_methods("S"), _general("S", "strided"), *torch)
    return {
        **{_mlp(width, steps=43_000 // width): wide for width in (100, 400, 800)},
        _mlp(400, 400, steps=107): deeper,
        Network("CNN", "cnn", None, 24): deeper[:6],
        **{_deep(depth): _deep_methods(depth) for depth in DEPTHS},
    }


def _mlp(*hidden: int, steps: int) -> Network:
    name = "-".join(map(str, (784, *hidden, 10)))
    return Network(name, "mlp", hidden, steps)


def _deep(num_layers: int) -> Network:
    hidden = (100,) * (num_layers - 1)
    return Network(f"{num_layers}-layers", "mlp", hidden, 60)


def _deep_methods(num_layers: int) -> tuple[Method, ...]:
    chain = _chain_methods("S")[:2]
    general = (_general("S", "strided"),) if num_layers <= DEEPEST_GENERAL else ()
    return Method(BASELINE), *chain, *general


def _chain_methods(granularity: str) -> tuple[Method, ...]:
    return tuple(Method(f"SAMT-{granularity}", r, "chain") for r in READINGS)


def _general(granularity: str, reading: MetaBatch) -> Method:
    return Method(f"SAMT-{granularity}", reading, "general")


def _torch_methods() -> tuple[Method, ...]:
    return (
        Method(BASELINE, framework="torch"),
        Method("SAMT-S", "strided", framework="torch"),
    )
