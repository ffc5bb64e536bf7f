"""scaleADMM: training without gradients, by ADMM with one Bregman multiplier.

With the variables of :mod:`~samt_jax.baselines.layerwise` every equation is a penalty
(without a half), and a multiplier λ belongs to the outputs z_L alone:

    Σ loss(z_L) + ⟨z_L, λ⟩ + β ‖z_L - a_{L-1} W_L - b_L‖²
        + Σ_{l<L} [ γ ‖a_l - h(z_l)‖² + β ‖z_l - a_{l-1} W_l - b_l‖² ].

An iteration goes forward once, and every update is the exact minimizer of this:

    for l = 1..L-1:   W_l (and b_l) by least squares, a_l, z_l
    W_L by least squares, z_L
    λ ← λ + κ β (z_L - a_{L-1} W_L - b_L),      but for the warm-up's iterations

with κ = 1 in the paper. (The penalty having no half, the method of multipliers' own
step is κ = 2: then -λ is a slope of the loss at z_L.)

Reference: Taylor, Burmeister, Xu, Singh, Patel, Goldstein, "Training neural networks
without gradients: a scalable ADMM approach", ICML 2016, arXiv 1605.02026.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from samt_jax.base import Algorithm, Batches, Key, Params, Scalar, StepInfo
from samt_jax.baselines.activations import activate, fit_preactivations
from samt_jax.baselines.layerwise import (
    FULL_BATCH,
    DenseLayer,
    LayerwiseInfo,
    Network,
    Pass,
    affine,
    check_not_negative,
    check_positive,
    pass_forward,
    put,
    residuals,
    write_layers,
)
from samt_jax.baselines.least_squares import (
    Factor,
    factor_gram,
    fit_inputs,
    fit_layer,
    gram,
)
from samt_jax.baselines.outputs import OutputLoss


class ScaleadmmState(NamedTuple):
    """State of scaleADMM: the variables of every example.

    Attributes:
      preactivations: z_1 to z_L, each of shape ``(n, width)``.
      activations: a_1 to a_{L-1}.
      multiplier: λ, of the shape of z_L.
      factor: Cholesky factor of the inputs' Gram matrix; never changes.
      count: Iterations so far.
    """

    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    multiplier: Float[Array, "n k"]
    factor: Factor
    count: Int[Array, ""]  # type: ignore[assignment]  # Hides `tuple.count`.


class Subproblem(NamedTuple):
    """What is fixed while the variables move.

    Attributes:
      loss: The loss of z_L.
      negative_slope: s of h.
      penalty: β.
      activation_penalty: γ.
      multiplier_step: κ, or 0 while warming up.
      ridge: Of the least squares.
      inputs: a_0.
      targets: As the loss takes them.
      factor: Of the inputs' Gram matrix.
      is_first: Whether no weights were fitted yet.
    """

    loss: OutputLoss
    negative_slope: float
    penalty: Scalar | float
    activation_penalty: Scalar | float
    multiplier_step: Scalar
    ridge: float
    inputs: Float[Array, "n d"]
    targets: Array
    factor: Factor
    is_first: Bool[Array, ""]


class Variables(NamedTuple):
    """What moves in a sweep.

    Attributes:
      layers: W and b of every layer.
      preactivations: z.
      activations: a.
      multiplier: λ.
      products: ``a_{l-1} W_l + b_l`` of every layer that the sweep has passed.
    """

    layers: tuple[DenseLayer, ...]
    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    multiplier: Float[Array, "n k"]
    products: tuple[Float[Array, "n _"], ...]


def scaleadmm(
    network: Network,
    *,
    penalty: float = 1.0,
    activation_penalty: float = 10.0,
    warm_steps: int = 10,
    multiplier_step: float = 1.0,
    ridge: float = 1e-4,
    output_loss: OutputLoss | None = None,
) -> Algorithm:
    """ADMM with one multiplier, for the outputs; a step is one pass over the layers.

    All variables of the examples start as normal random numbers, and the first
    iteration fits the weights to them: of the parameters that it is given only the
    shapes matter. The paper's networks have no biases; where this one has them, they
    are fitted together with the kernels.

    Args:
      network: What is trained.
      penalty: β > 0, of the layers' equations.
      activation_penalty: γ > 0, of the activations'.
      warm_steps: Iterations before the multiplier moves. The authors take about ten,
        for two classes; on images of ten classes learning all but ends where it starts
        to move, and most iterations have to come before.
      multiplier_step: κ > 0: 1 in the paper, 2 for the method of multipliers.
      ridge: Damping of the least squares, as a share of the mean of the Gram matrix's
        diagonal; units that are never active make that matrix singular.
      output_loss: The loss of z_L, the network's own by default. The authors' is
        :data:`~samt_jax.baselines.codes.HINGE`.

    Returns:
      The algorithm, which needs full batches; see :class:`ScaleadmmState` and
      :class:`~samt_jax.baselines.layerwise.LayerwiseInfo`, whose objective has the
      multiplier's term.

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, scaleadmm
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> algorithm = scaleadmm(Network(chain, SQUARED_ERROR, 1.0))
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> inputs = jnp.arange(4.0)[:, None]
      >>> batches, key = Batches((inputs, 2 * inputs + 1)), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(20):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.01
      True

    Reference:
      Taylor et al., arXiv 1605.02026.
    """
    check_positive(
        penalty=penalty,
        activation_penalty=activation_penalty,
        multiplier_step=multiplier_step,
    )
    check_not_negative(warm_steps=warm_steps, ridge=ridge)
    loss = network.output if output_loss is None else output_loss

    def init_fn(params: Params, batches: Batches, key: Key) -> ScaleadmmState:
        passed = pass_forward(network, params, batches)
        inputs, layers = passed.inputs, passed.layers
        loss.check(passed.targets, passed.preactivations[-1].shape)
        keys = jax.random.split(key, (len(layers), 2))
        shapes = [(len(inputs), layer.kernel.shape[1]) for layer in layers]
        draws = [
            [jax.random.normal(k, shape, inputs.dtype) for k in pair]
            for pair, shape in zip(keys, shapes, strict=True)
        ]
        return ScaleadmmState(
            tuple(z for z, _ in draws),
            tuple(a for _, a in draws[:-1]),
            jnp.zeros(shapes[-1], inputs.dtype),
            _factor(inputs, layers[0].bias is not None, ridge),
            jnp.zeros((), jnp.int32),
        )

    def step_fn(
        params: Params, state: ScaleadmmState, batches: Batches, key: Key
    ) -> tuple[Params, ScaleadmmState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        problem = Subproblem(
            loss,
            network.negative_slope,
            penalty,
            activation_penalty,
            jnp.where(state.count < warm_steps, 0, multiplier_step),
            ridge,
            passed.inputs,
            passed.targets,
            state.factor,
            state.count == 0,
        )
        variables = Variables(passed.layers, *state[:3], ())
        *_, (_, variables) = sweep(problem, variables)
        info = StepInfo(passed.value, _describe(network, problem, variables, passed))
        params = write_layers(params, passed.blocks, list(variables.layers))
        state = ScaleadmmState(*variables[1:4], state.factor, state.count + 1)
        return params, state, info

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def sweep(problem: Subproblem, variables: Variables) -> Iterator[tuple[str, Variables]]:
    """One iteration: the name of a variable, and all of them after its update.

    Args:
      problem: What is fixed.
      variables: Where to start; products are those that it finds itself.

    Yields:
      ``"W1"`` (with its bias), ``"a1"``, ``"z1"``, …, ``"u"`` for the multiplier.
    """
    variables = variables._replace(products=())
    last = len(variables.layers) - 1
    for i in range(last + 1):
        yield f"W{i + 1}", (variables := _fit_layer(problem, variables, i))
        if i < last:
            yield f"a{i + 1}", (variables := _fit_activations(problem, variables, i))
        fit = _fit_outputs if i == last else _fit_preactivations
        yield f"z{i + 1}", (variables := fit(problem, variables, i))
    constraint = variables.preactivations[-1] - variables.products[-1]
    step = problem.multiplier_step * problem.penalty * constraint
    step = step.astype(constraint.dtype)
    yield "u", variables._replace(multiplier=variables.multiplier + step)


def augmented_lagrangian(problem: Subproblem, variables: Variables) -> Scalar:
    """What every update but the multiplier's lowers, at the end of a sweep.

    Args:
      problem: What is fixed.
      variables: Where.

    Returns:
      The value, a sum over examples.
    """
    *hidden, outputs = variables.preactivations
    total = jnp.sum(problem.loss.values(outputs, problem.targets))
    total += jnp.sum(outputs * variables.multiplier)
    for z, a in zip(hidden, variables.activations, strict=True):
        mismatch = a - activate(z, problem.negative_slope)
        total += problem.activation_penalty * jnp.sum(mismatch**2)
    for z, product in zip(variables.preactivations, variables.products, strict=True):
        total += problem.penalty * jnp.sum((z - product) ** 2)
    return total


def _inputs_of(problem: Subproblem, variables: Variables, i: int) -> Array:
    return variables.activations[i - 1] if i else problem.inputs


def _fit_layer(problem: Subproblem, variables: Variables, i: int) -> Variables:
    inputs = _inputs_of(problem, variables, i)
    has_bias = variables.layers[i].bias is not None
    factor = _factor(inputs, has_bias, problem.ridge) if i else problem.factor
    layer = fit_layer(factor, inputs, variables.preactivations[i], has_bias)
    return variables._replace(
        layers=put(variables.layers, i, layer),
        products=(*variables.products, affine(layer, inputs)),
    )


def _fit_activations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    # Before any weights were fitted the next layer's do not exist yet: they are zero.
    above: DenseLayer = jax.tree.map(
        lambda x: jnp.where(problem.is_first, 0, x), variables.layers[i + 1]
    )
    fitted = fit_inputs(
        above,
        variables.preactivations[i + 1],
        activate(variables.preactivations[i], problem.negative_slope),
        problem.penalty,
        problem.activation_penalty,
    )
    return variables._replace(activations=put(variables.activations, i, fitted))


def _fit_preactivations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    fitted = fit_preactivations(
        variables.products[i],
        variables.activations[i],
        problem.penalty,
        problem.activation_penalty,
        problem.negative_slope,
    )
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _fit_outputs(problem: Subproblem, variables: Variables, i: int) -> Variables:
    product = variables.products[i]
    fitted = problem.loss.minimise(
        product,
        jnp.asarray(2 * problem.penalty, product.dtype),
        variables.multiplier,
        problem.targets,
        variables.preactivations[i],
    )
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _factor(inputs: Array, has_bias: bool, ridge: float) -> Factor:
    matrix = gram(inputs, has_bias)
    return factor_gram(matrix, ridge * jnp.trace(matrix) / len(matrix))


def _describe(
    network: Network, problem: Subproblem, variables: Variables, passed: Pass
) -> LayerwiseInfo:
    """What a step reports of its last variables and of the pass before it."""
    z = variables.preactivations
    return LayerwiseInfo(
        augmented_lagrangian(problem, variables),
        jnp.sum(problem.loss.values(z[-1], problem.targets)),
        *residuals(
            network, passed.blocks, z, variables.activations, variables.products
        ),
        network.output.measure(passed.preactivations[-1], passed.targets),
        multiplier_term=jnp.sum(z[-1] * variables.multiplier),
    )
