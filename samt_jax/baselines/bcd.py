"""BCD: block coordinate descent on a network whose layers are split by penalties.

Every variable is minimised over in turn, backward through the layers, in closed form or
with a proximal term; there are no multipliers, so that the objective falls at every
update. The two ways of splitting a layer are
:mod:`~samt_jax.baselines.three_splitting`, which the authors ran, and
:mod:`~samt_jax.baselines.two_splitting`, with one variable a layer less.

Reference: Zeng, Lau, Lin, Yao, "Global convergence of block coordinate descent in deep
learning", ICML 2019, arXiv 1803.00225; Lau, Zeng, Wu, Yao, "A proximal block coordinate
descent algorithm for deep neural network training", 2018; and their authors' code.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Algorithm, Batches, Key, Params, StepInfo
from samt_jax.baselines import three_splitting, two_splitting
from samt_jax.baselines.activations import activate
from samt_jax.baselines.layerwise import (
    FULL_BATCH,
    LayerwiseInfo,
    Network,
    Pass,
    check_positive,
    pass_forward,
    products_of,
    residuals,
    rms,
    write_layers,
)
from samt_jax.baselines.least_squares import Factor, factor_gram, gram
from samt_jax.baselines.outputs import OutputLoss
from samt_jax.baselines.three_splitting import Subproblem, Variables, Weights

Splitting = Literal["three", "two"]

_SPLITTINGS = {"three": three_splitting, "two": two_splitting}


class BcdState(NamedTuple):
    """State of BCD: the variables of every example.

    Attributes:
      preactivations: U_1 to U_n, each of shape ``(n, width)``; none with two-splitting.
      activations: V_1 to V_n.
      factor: Cholesky factor of the inputs' Gram matrix with α/ρ on its diagonal;
        never changes.
    """

    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    factor: Factor


def bcd(
    network: Network,
    *,
    splitting: Splitting = "three",
    penalty: float = 1.0,
    activation_penalty: float = 1.0,
    proximal_weight: float = 5.0,
    output_loss: OutputLoss | None = None,
    mean_loss: bool = False,
) -> Algorithm:
    """Block coordinate descent as an :class:`Algorithm`; a step is one sweep.

    It starts from a forward pass with the parameters that it is given. (The authors
    draw kernels from a normal distribution of standard deviation 0.01, and biases are
    0.1.) A step takes a Gram matrix of every hidden layer; that of the inputs is taken
    once.

    Args:
      network: What is trained.
      splitting: ``"three"``, pre-activations and activations are variables, or
        ``"two"``, activations alone.
      penalty: ρ > 0, of the layers' equations; with two-splitting it has to be γ.
      activation_penalty: γ > 0, of the activations'.
      proximal_weight: α > 0. Most of what it does is to slow the weights; the authors'
        are 5, 1 and 0.01. In 32-bit numbers a small one lets rounding into the weights.
      output_loss: The loss of V_n, the network's own by default. The authors' is
        :data:`~samt_jax.baselines.codes.HALF_SQUARED_ERROR`.
      mean_loss: Whether the loss is a mean over examples, as in the paper, or a sum,
        as in the authors' code. The penalties are sums.

    Returns:
      The algorithm, which needs full batches; see :class:`BcdState` and
      :class:`~samt_jax.baselines.layerwise.LayerwiseInfo`, whose activation residuals
      have the last layer, too (V_n - U_n).

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, bcd
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> algorithm = bcd(Network(chain, SQUARED_ERROR, 1.0), proximal_weight=0.1)
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> ones, key = jnp.ones((4, 1)), jax.random.key(0)
      >>> batches = Batches((ones, ones))
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(20):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.01
      True

    Reference:
      Zeng et al., arXiv 1803.00225.
    """
    check_positive(
        penalty=penalty,
        activation_penalty=activation_penalty,
        proximal_weight=proximal_weight,
    )
    _check(splitting, penalty, activation_penalty)
    loss = network.output if output_loss is None else output_loss
    has_preactivations = splitting == "three"

    def init_fn(params: Params, batches: Batches, key: Key) -> BcdState:
        del key
        passed = pass_forward(network, params, batches)
        *hidden, outputs = passed.preactivations
        loss.check(passed.targets, outputs.shape)
        activations = (*(activate(z, network.negative_slope) for z in hidden), outputs)
        return BcdState(
            passed.preactivations if has_preactivations else (),
            # The outputs are both, and a state that is donated holds no array twice.
            tuple(jnp.array(v) for v in activations),
            factor_gram(gram(passed.inputs), proximal_weight / penalty),
        )

    def step_fn(
        params: Params, state: BcdState, batches: Batches, key: Key
    ) -> tuple[Params, BcdState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        scale = 1 / len(passed.inputs) if mean_loss else 1.0
        problem = Subproblem(
            loss,
            network.negative_slope,
            Weights(penalty, activation_penalty, proximal_weight, scale),
            passed.inputs,
            passed.targets,
            state.factor,
        )
        products = products_of(passed, state.activations[:-1])
        variables = Variables(passed.layers, *state[:2], products)
        *_, (_, variables) = _SPLITTINGS[splitting].sweep(problem, variables)
        info = StepInfo(
            passed.value, _describe(network, splitting, problem, variables, passed)
        )
        params = write_layers(params, passed.blocks, list(variables.layers))
        state = BcdState(variables.preactivations, variables.activations, state.factor)
        return params, state, info

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def _describe(
    network: Network,
    splitting: Splitting,
    problem: Subproblem,
    variables: Variables,
    passed: Pass,
) -> LayerwiseInfo:
    """What a step reports of its last variables and of the pass before it."""
    *hidden, outputs = variables.activations
    # With two-splitting the outputs are tied to their product itself.
    own = variables.preactivations or (*variables.products[:-1], outputs)
    linear, activation = residuals(
        network, passed.blocks, own, hidden, variables.products
    )
    if splitting == "three":
        activation |= {passed.blocks[-1].name: rms(outputs - own[-1])}
    losses = problem.loss.values(outputs, problem.targets)
    return LayerwiseInfo(
        _SPLITTINGS[splitting].objective(problem, variables),
        problem.weights.loss * jnp.sum(losses),
        linear,
        activation,
        network.output.measure(passed.preactivations[-1], passed.targets),
    )


def _check(splitting: str, penalty: float, activation_penalty: float) -> None:
    if splitting not in _SPLITTINGS:
        raise ValueError(f"splitting is {splitting!r}; it must be 'three' or 'two'.")
    numbers = (penalty, activation_penalty)
    if splitting == "three" or any(isinstance(n, jax.core.Tracer) for n in numbers):
        return
    if penalty != activation_penalty:
        raise ValueError(
            f"penalty is {penalty} and activation_penalty {activation_penalty}; "
            "two-splitting has one penalty, so give both the same number."
        )
