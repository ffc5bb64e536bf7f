"""The open questions of the field as lists of runs, and as claims to be decided.

Each is made by `python -m benchmarks.reproduce NAME`, of three seeds on Fashion-MNIST
where nothing else is said. SAMT has the settings of the studies (`GRADIENT`), chosen
on the validation split, and one thing about it is varied; where their η0 does not
serve, in deep networks, it is tuned here. A problem's epochs are the budget of all
methods on it (`problems.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.claims import Claim, all_pairs
from benchmarks.experiments import (
    CONSTANT,
    PLAIN,
    STUDIES,
    TUNED_CONSTANT,
    Experiment,
    fixed,
    from_step,
    tuned,
)
from benchmarks.problems import DEPTHS
from benchmarks.trials import Method
from samt_jax import FEATURE_NAMES

# What all variations are compared with: five features, a block a layer, fresh eta
# models that learn.
_PLAIN, _ELEMENT = PLAIN["S"], PLAIN["E"]
_AS_IT_IS = _PLAIN.name
# From four layers on their η0 is too large; so it is for the CNN on CIFAR-10, where of
# the trials of figure 5 this was chosen, for SAMT-S and E alike.
_TUNED, _TUNED_ELEMENT = tuned(_PLAIN), tuned(_ELEMENT)
_STEP_OF_CNN = 0.06


def _scalar(words: str, **settings: Any) -> Method:
    return fixed(f"SAMT-S, {words}", "samt-s", **settings)


def feature_masks() -> tuple[Method, ...]:
    """All five features, none, constant ones, each left out, and each alone.

    Without any an eta model learns by the biases of its last layer alone, and slowly.
    One whose features are as good as constant learns like any, and sees nothing: on a
    scale this small magnitudes are all but 1, and the mean, whose sign would tell, is
    left out.
    """
    without = [
        _scalar(f"without {name}", features=[n for n in FEATURE_NAMES if n != name])
        for name in FEATURE_NAMES
    ]
    alone = [_scalar(f"{name} alone", features=[name]) for name in FEATURE_NAMES]
    signless = [name for name in FEATURE_NAMES if name != "mean"]
    blind = _scalar("constant features", features=signless, feature_scale=1e-300)
    return (_PLAIN, _scalar("no features", features=[]), blind, *without, *alone)


def raw_gradients() -> tuple[Method, ...]:
    """Five features, the same unscaled, the gradient itself: step sizes are watched."""
    inputs: dict[str, dict[str, Any]] = {
        "five features": {},
        "five unscaled features": {"feature_scale": 0.0},
        "raw gradient": {"features": "raw_gradient"},
    }
    return tuple(
        _scalar(f"{words}, watched", **settings)._replace(is_watched=True)
        for words, settings in inputs.items()
    )


def grouped(words: str, *groups: Iterable[str]) -> Method:
    """Layers grouped into blocks, in forward order."""
    names = [list(group) for group in groups]
    return _scalar(
        words, blocks={f"block {i}": group for i, group in enumerate(names, 1)}
    )


def _dense(first: int, last: int) -> list[str]:
    return [f"Dense_{index}" for index in range(first, last)]


def block_sizes(num_layers: int, sizes: Sequence[int]) -> tuple[Method, ...]:
    """Blocks of so many consecutive layers of an MLP; of one layer, they are as is."""
    return tuple(
        tuned(
            grouped(
                f"blocks of {size}",
                *(
                    _dense(start, min(start + size, num_layers))
                    for start in range(0, num_layers, size)
                ),
            )
        )
        for size in sizes
    )


def transfers(source: str) -> tuple[Method, ...]:
    """Eta models of another problem, as they are and learning on; and what they meet.

    Against fresh ones that learn; fresh ones that do not, which give the constant step
    ¼ (2 η0 + the end of the proposal's range).
    """
    frozen = {"meta_learning_rate": 0.0}
    return (
        _PLAIN,
        _scalar("fresh and frozen", **frozen),
        _scalar(f"from {source}, frozen", **frozen)._replace(eta_from=source),
        _scalar(f"from {source}, learning on")._replace(eta_from=source),
    )


def _on_cnn(*methods: Method) -> tuple[Method, ...]:
    return tuple(from_step(method, _STEP_OF_CNN) for method in methods)


_CNN_GROUPS = {
    "{convolutions} {dense}": (["Conv_0", "Conv_1"], _dense(0, 2)),
    "one block": (["Conv_0", "Conv_1", *_dense(0, 2)],),
}
_ON_CNN = _on_cnn(
    _PLAIN, *(grouped(f"CNN {words}", *of) for words, of in _CNN_GROUPS.items())
)
_GROUPS = (
    grouped("{W1, W2} {W3}", _dense(0, 2), _dense(2, 3)),
    grouped("{W1} {W2, W3}", _dense(0, 1), _dense(1, 3)),
    grouped("{W1, W2, W3}", _dense(0, 3)),
)
_SIZES = (3, 9)

_FMNIST = "fashion_mnist 100"
_GROUPED, _DEEPEST = "fashion_mnist 100-100", f"fashion_mnist 64x{DEPTHS[-1]}"
_DEEP = tuple(f"fashion_mnist 64x{depth}" for depth in DEPTHS)
_NARROW, _CNN = "fashion_mnist 16", "cifar10 cnn, short"
_SOURCE, _CNN_TARGET = "mnist 100", "cifar100 cnn, short"
_BLOCKS = (_TUNED, *block_sizes(DEPTHS[-1] + 1, _SIZES))
_TRANSFERS, _CNN_TRANSFERS = transfers(_SOURCE), _on_cnn(*transfers(_CNN))
# Eta models that have seen this very problem: as good as a transfer can be.
_OWN = transfers(_FMNIST)[2]

QUESTIONS = {
    "features": Experiment(
        "Which features matter", "O1", (_FMNIST, "fashion_mnist 400"), feature_masks(),
        50, STUDIES, "Each is left out, and each is alone. Without any, "
        "an eta model learns slowly, by its last biases; with constant ones it learns "
        "like any, and sees nothing.",
    ),
    "raw-gradient": Experiment(
        "The raw gradient as input", "O2", (_NARROW,), raw_gradients(), 10, STUDIES,
        "A network of 16 hidden units: the eta model has 64 weights for each entry of "
        "the gradient.", ("swing",),
    ),
    "grouping": Experiment(
        "Grouped blocks", "E17", (_GROUPED,), (_PLAIN, *_GROUPS), 15, STUDIES,
        "784-100-100-10, with layers W1, W2 and W3.",
    ),
    "block-size": Experiment(
        "Block sizes of a deep MLP", "O3", (_DEEPEST,), _BLOCKS, 30, STUDIES,
        "Eight hidden layers of 64 units; five epochs.",
    ),
    "block-size-cnn": Experiment(
        "Block sizes of a CNN", "O3", (_CNN,), _ON_CNN, 60, STUDIES,
        "The CNN at a quarter of its width, two convolutions and two dense layers; "
        "three epochs. η0 is what was chosen for single layers.",
    ),
    "depth": Experiment(
        "Scalar and element-wise steps by depth", "O4", _DEEP,
        (_PLAIN, _ELEMENT, CONSTANT, _TUNED, _TUNED_ELEMENT, TUNED_CONSTANT), 80,
        STUDIES, "Hidden layers of 64 units, one to eight of them; five epochs. η0 is "
        "0.2, or tuned at each depth.",
    ),
    "transfer": Experiment(
        "Eta models of MNIST on Fashion-MNIST", "O5", (_FMNIST,),
        (*_TRANSFERS, _OWN), 20, STUDIES,
        "They were trained for ten epochs with the same seed; the last row has eta "
        "models of Fashion-MNIST itself.", ("early",),
    ),
    "transfer-cnn": Experiment(
        "Eta models of CIFAR-10 on CIFAR-100", "O6", (_CNN_TARGET,), _CNN_TRANSFERS,
        60, STUDIES, "The CNN at a quarter of its width; three epochs on either, from "
        "the η0 that was chosen for the former.",
        ("early",),
    ),
}  # fmt: skip


def _names(methods: Sequence[Method]) -> list[str]:
    return [method.name for method in methods]


def _of_transfer(
    number: str, source: str, problem: str, methods: Sequence[Method]
) -> tuple[Claim, ...]:
    fresh, still, frozen, learning = _names(methods)
    return (
        Claim(number, f"Eta models of {source}, learning on, start faster than fresh",
              all_pairs("early", [problem], [learning], [fresh])),
        Claim(number, f"Eta models of {source}, frozen, start faster than fresh",
              all_pairs("early", [problem], [frozen], [fresh, still])),
        Claim(number, f"Eta models of {source}, learning on, end higher than fresh",
              all_pairs("final", [problem], [learning], [fresh])),
        Claim(number, f"Eta models of {source}, frozen, end higher than fresh",
              all_pairs("final", [problem], [frozen], [fresh, still])),
    )  # fmt: skip


_BLIND = _names(feature_masks())[1:3]
_MASKED = QUESTIONS["features"].problems
_FIVE, _UNSCALED, _RAW = _names(raw_gradients())

ANSWERS: tuple[Claim, ...] = (
    Claim("O1", "All five features are ahead of none",
          all_pairs("final", _MASKED, [_AS_IT_IS], _BLIND[:1])),
    Claim("O1", "What they tell is of use: all five are ahead of constants",
          all_pairs("final", _MASKED, [_AS_IT_IS], _BLIND[1:])),
    *(
        Claim("O1", f"The {name} matters: without it less is reached",
              all_pairs("final", _MASKED, [_AS_IT_IS], [f"SAMT-S, without {name}"]))
        for name in FEATURE_NAMES
    ),
    *(
        Claim("O1", f"The {name} is enough to be ahead of constant features",
              all_pairs("final", _MASKED, [f"SAMT-S, {name} alone"], _BLIND[1:]))
        for name in FEATURE_NAMES
    ),
    Claim("O2", "With the raw gradient step sizes swing more",
          all_pairs("swing", [_NARROW], [_RAW], [_FIVE, _UNSCALED])),
    Claim("O2", "With the raw gradient less is reached",
          all_pairs("final", [_NARROW], [_FIVE, _UNSCALED], [_RAW])),
    Claim("E17", "Grouped blocks reach more than single layers",
          all_pairs("final", [_GROUPED], _names(_GROUPS), [_AS_IT_IS])),
    Claim("E17", "Single layers reach more than grouped blocks",
          all_pairs("final", [_GROUPED], [_AS_IT_IS], _names(_GROUPS))),
    *(
        Claim("O3", f"Single layers reach more than blocks of {size}, nine layers",
              all_pairs("final", [_DEEPEST], [_TUNED.name], [method.name]))
        for size, method in zip(_SIZES, _BLOCKS[1:], strict=True)
    ),
    *(
        Claim("O3", f"CNN: single layers reach more than {words}",
              all_pairs("final", [_CNN], [_ON_CNN[0].name], [method.name]))
        for words, method in zip(_CNN_GROUPS, _ON_CNN[1:], strict=True)
    ),
    *(
        Claim("O4", f"{depth} hidden layers: element-wise reaches more than scalar",
              all_pairs("final", [problem], [_TUNED_ELEMENT.name], [_TUNED.name]))
        for depth, problem in zip(DEPTHS, _DEEP, strict=True)
    ),
    Claim("O4", "At every depth a learned scalar step reaches more than η0",
          all_pairs("final", _DEEP, [_AS_IT_IS], [CONSTANT.name])),
    Claim("O4", "At every depth, both tuned, it reaches more than a constant one",
          all_pairs("final", _DEEP, [_TUNED.name], [TUNED_CONSTANT.name])),
    *_of_transfer("O5", _SOURCE, _FMNIST, _TRANSFERS),
    Claim("O5", "Eta models of Fashion-MNIST itself, frozen, end higher than MNIST's",
          all_pairs("final", [_FMNIST], [_OWN.name],
                    [f"SAMT-S, from {_SOURCE}, frozen"])),
    *_of_transfer("O6", _CNN, _CNN_TARGET, _CNN_TRANSFERS),
)  # fmt: skip
