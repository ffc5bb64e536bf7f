"""The auxiliary-variable rivals by name: rows of `OPTIMIZERS`, and what they ask for.

They train a chain of dense layers, and read from the loss what the network is: a
:class:`~samt_jax.chain.Chain` shows its layers, its activations and its output loss.
JAX is imported only when one is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samt_jax.base import Algorithm, LossFn
    from samt_jax.baselines import Network, OutputLoss
    from samt_jax.chain import Chain
    from samt_jax.optimizers import Setup

    Build = Callable[[Setup], Algorithm]

_MDLAM = frozenset(
    {
        "max_doublings",
        "min_tolerance",
        "output_solver",
        "penalty",
        "tolerance",
        "weight_decay",
    }
)
# Where an activation is compared with a leaky ReLU.
_PROBES = (-30.0, -1.0, -0.01, 0.0, 0.01, 1.0, 30.0)


def network_of(loss_fn: LossFn) -> Network:
    """What the layer-wise methods need to know of a network, read from its loss.

    Args:
      loss_fn: A :class:`~samt_jax.chain.Chain` of dense layers with one leaky ReLU (or
        ReLU, or nothing) between them and nothing after the last.

    Returns:
      The network.

    Raises:
      ValueError: It is something else; the message says what.

    Example:
      >>> import jax, optax
      >>> from samt_jax import Chain, dense
      >>> layers = (dense("a", jax.nn.relu), dense("b"))
      >>> network_of(
      ...     Chain(layers, optax.softmax_cross_entropy_with_integer_labels)
      ... ).negative_slope
      0.0
    """
    from samt_jax.baselines import Network
    from samt_jax.chain import Chain

    if not isinstance(loss_fn, Chain) or not all(
        layer.is_dense for layer in loss_fn.layers
    ):
        raise ValueError(
            "a layer-wise method keeps variables for the layers of a chain of dense "
            "ones, and this network is none; take --model mlp (or a Chain of `dense` "
            "layers)."
        )
    *hidden, last = (_negative_slope(layer.post) for layer in loss_fn.layers)
    slope = hidden[0] if hidden else 1.0
    if slope is None or len(set(hidden)) > 1 or last != 1:
        raise ValueError(
            "the entrywise minimizers of a layer-wise method are those of one leaky "
            "ReLU after every layer but the last, and nothing after the last; this "
            f"network has the slopes {[*hidden, last]} below zero (None: something "
            "else)."
        )
    # mypy does not see that a NamedTuple with `__call__` can be called.
    return Network(loss_fn, _output_loss(loss_fn), slope)  # type: ignore[arg-type]


def _negative_slope(post: Callable[[Any], Any]) -> float | None:
    """The slope below zero of an activation that is a leaky ReLU, `None` of another."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    # An algorithm is made while a run is traced, and this must be a number then.
    with jax.ensure_compile_time_eval():
        found = np.asarray(post(jnp.asarray([_PROBES])))
    if found.shape != (1, len(_PROBES)):
        return None
    probes = np.asarray(_PROBES, found.dtype)
    # By way of its digits: 0.01, and not float32's 0.00999999977.
    slope = float(str(abs(found[0, 1])))
    is_leaky = np.allclose(found[0], np.where(probes < 0, slope * probes, probes))
    return slope if is_leaky else None


def _output_loss(chain: Chain) -> OutputLoss:
    import optax

    from samt_jax.baselines import SOFTMAX, SQUARED_ERROR
    from samt_jax.problem import cross_entropy, squared_error

    known: dict[Any, OutputLoss] = {
        cross_entropy: SOFTMAX,
        optax.softmax_cross_entropy_with_integer_labels: SOFTMAX,
        squared_error: SQUARED_ERROR,
    }
    if chain.example_loss not in known:
        raise ValueError(
            f"the loss of an example is {chain.example_loss}, and what minimises over "
            "outputs is known for `cross_entropy` and `squared_error` of "
            "samt_jax.problem; take one of these, or build the method from a Network."
        )
    return known[chain.example_loss]


def _layerwise(method: str, **defaults: Any) -> Build:
    """A row's `build` of a method of `baselines` that takes a network."""

    def build(setup: Setup) -> Algorithm:
        from samt_jax import baselines

        settings = defaults | setup.settings
        return getattr(baselines, method)(network_of(setup.loss_fn), **settings)

    return build


def _with_output_loss(method: str, default: str) -> Build:
    """A row's `build` of a method that takes an output loss, by its name.

    Where the targets are values, the network's own squared error is the default.
    """

    def build(setup: Setup) -> Algorithm:
        from samt_jax import baselines

        network, settings = network_of(setup.loss_fn), dict(setup.settings)
        is_of_classes = network.output is baselines.SOFTMAX
        name = settings.pop("output_loss", default if is_of_classes else "own")
        losses = {
            "own": network.output,
            "squared": baselines.HALF_SQUARED_ERROR,
            "hinge": baselines.HINGE,
        }
        if name not in losses:
            raise ValueError(
                f"there is no output loss {name!r}; choose one of {', '.join(losses)}."
            )
        make = getattr(baselines, method)
        return make(network, output_loss=losses[name], **settings)

    return build


# Summary, no learning rate, settings, `build`, and that they need full batches.
LAYERWISE: dict[str, tuple[str, None, frozenset[str], Build, bool]] = {
    "dladmm": (
        "ADMM, one sweep backward and one forward, gradient steps on weights",
        None,
        frozenset(
            {
                "curvature",
                "output_penalty",
                "output_solver",
                "penalty",
                "penalty_schedule",
            }
        ),
        _layerwise("dladmm"),
        True,
    ),
    "mdlam": (
        "alternating minimisation in a box about the activations, accelerated",
        None,
        _MDLAM | {"accelerate", "freeze_second_bias"},
        _layerwise("mdlam"),
        True,
    ),
    "aa-mdlam": (
        "mDLAM with Anderson's acceleration",
        None,
        _MDLAM | {"accelerated", "memory", "accept_below"},
        _layerwise("aa_mdlam"),
        True,
    ),
    "tiam": (
        "alternating minimisation as mDLAM's, with three inertias",
        None,
        _MDLAM | {"beyond_inertia", "gradient_inertia", "monotone", "start_inertia"},
        _layerwise("tiam"),
        True,
    ),
    "pdadmm": (
        "ADMM in which all layers are updated at once",
        None,
        frozenset({"constraint_penalty", "curvature", "output_solver", "penalty"}),
        _layerwise("pdadmm"),
        True,
    ),
    "bcd": (
        "block coordinate descent, every variable minimised over in turn",
        None,
        frozenset(
            {
                "activation_penalty",
                "mean_loss",
                "output_loss",
                "penalty",
                "proximal_weight",
                "splitting",
            }
        ),
        _with_output_loss("bcd", "squared"),
        True,
    ),
    "scaleadmm": (
        "ADMM with one multiplier, everything minimised over exactly",
        None,
        frozenset(
            {
                "activation_penalty",
                "multiplier_step",
                "output_loss",
                "penalty",
                "ridge",
                "warm_steps",
            }
        ),
        _with_output_loss("scaleadmm", "hinge"),
        True,
    ),
}
