"""One iteration of block coordinate descent with three-splitting.

Pre-activations U_i and activations V_i of every layer are variables of their own, tied
by penalties alone (σ is the activation, in the last layer the identity; V_0 = inputs):

    Σ loss(V_n) + Σ_i [ γ/2 ‖V_i - σ_i(U_i)‖² + ρ/2 ‖U_i - V_{i-1} W_i - b_i‖² ].

An iteration goes backward through the layers and minimises over one variable at a time,
with a proximal term α/2 ‖change‖² for V_n, U_i (i < n), W_i and b_i:

    V_n, U_n, W_n, b_n, then for i = n-1..1: V_i, U_i, W_i, b_i.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Scalar
from samt_jax.baselines.activations import activate, fit_preactivations
from samt_jax.baselines.layerwise import DenseLayer, affine, put, with_layer
from samt_jax.baselines.least_squares import (
    Factor,
    factor_gram,
    fit_inputs,
    gram,
    solve_factored,
)
from samt_jax.baselines.outputs import OutputLoss


class Weights(NamedTuple):
    """What the terms weigh.

    Attributes:
      linear: ρ, of the layers' equations.
      activation: γ, of the activations'.
      proximal: α, of the changes.
      loss: Of the loss, which is a sum over examples.
    """

    linear: float
    activation: float
    proximal: float
    loss: float


class Subproblem(NamedTuple):
    """What is fixed while the variables move.

    Attributes:
      loss: The loss of V_n.
      negative_slope: s of the activation.
      weights: Of the terms.
      inputs: V_0.
      targets: As the loss takes them.
      factor: Of the inputs' Gram matrix plus α/ρ on its diagonal.
    """

    loss: OutputLoss
    negative_slope: float
    weights: Weights
    inputs: Float[Array, "n d"]
    targets: Array
    factor: Factor


class Variables(NamedTuple):
    """What moves in a sweep.

    Attributes:
      layers: W and b of every layer.
      preactivations: U_1 to U_n.
      activations: V_1 to V_n.
      products: ``V_{i-1} W_i + b_i`` of every layer, kept up with what they are of.
    """

    layers: tuple[DenseLayer, ...]
    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    products: tuple[Float[Array, "n _"], ...]


def sweep(problem: Subproblem, variables: Variables) -> Iterator[tuple[str, Variables]]:
    """One iteration: the name of a variable, and all of them after its update.

    Args:
      problem: What is fixed.
      variables: Where to start.

    Yields:
      ``"V2"``, ``"U2"``, ``"W2"`` (with its bias), ``"V1"``, …
    """
    last = len(variables.layers) - 1
    for i in range(last, -1, -1):
        fit = _fit_outputs if i == last else _fit_activations
        yield f"V{i + 1}", (variables := fit(problem, variables, i))
        yield f"U{i + 1}", (variables := _fit_preactivations(problem, variables, i))
        yield f"W{i + 1}", (variables := _fit_layer(problem, variables, i))


def objective(problem: Subproblem, variables: Variables) -> Scalar:
    """What every update lowers.

    Args:
      problem: What is fixed.
      variables: Where.

    Returns:
      The penalised objective, a sum over examples.
    """
    weights, (*hidden, outputs) = problem.weights, variables.preactivations
    losses = problem.loss.values(variables.activations[-1], problem.targets)
    total = weights.loss * jnp.sum(losses)
    activated = [*(activate(u, problem.negative_slope) for u in hidden), outputs]
    for v, target, u, product in zip(
        variables.activations,
        activated,
        variables.preactivations,
        variables.products,
        strict=True,
    ):
        total += weights.activation / 2 * jnp.sum((v - target) ** 2)
        total += weights.linear / 2 * jnp.sum((u - product) ** 2)
    return total


def outputs_near(
    problem: Subproblem, fitted: Float[Array, "n k"], old: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """V_n: minimises the loss, γ/2 times the square to `fitted`, and α/2 to `old`.

    Args:
      problem: What is fixed.
      fitted: What V_n is drawn to by the penalty.
      old: V_n so far.

    Returns:
      The minimizer.
    """
    weights = problem.weights
    total = weights.activation + weights.proximal
    center = (weights.activation * fitted + weights.proximal * old) / total
    weight = jnp.asarray(total / weights.loss, center.dtype)
    zeros = jnp.zeros_like(center)
    return problem.loss.minimise(center, weight, zeros, problem.targets, old)


def layer_step(
    problem: Subproblem, variables: Variables, i: int, residual: Float[Array, "n o"]
) -> tuple[Float[Array, "i o"], Float[Array, "o"] | None]:
    """The kernel's change, with the bias as it was, and after it the bias's.

    Each minimises ``ρ/2 ‖residual - change of the product‖² + α/2 ‖change‖²``.

    Args:
      problem: What is fixed.
      variables: Where.
      i: The layer, from 0.
      residual: What the layer's product is to change by.

    Returns:
      The two changes; `None` for a layer without a bias.
    """
    inputs = variables.activations[i - 1] if i else problem.inputs
    damping = problem.weights.proximal / problem.weights.linear
    factor = factor_gram(gram(inputs), damping) if i else problem.factor
    kernel = solve_factored(factor, inputs.T @ residual)
    if variables.layers[i].bias is None:
        return kernel, None
    # The sums over examples of what is left, without the product itself.
    left = jnp.sum(residual, axis=0) - jnp.sum(inputs, axis=0) @ kernel
    return kernel, left / (len(inputs) + damping)


def change_layer(layer: DenseLayer, kernel: Array, bias: Array | None) -> DenseLayer:
    """A layer with these changes added."""
    old = layer.bias
    return DenseLayer(
        layer.kernel + kernel, None if bias is None or old is None else old + bias
    )


def _fit_outputs(problem: Subproblem, variables: Variables, i: int) -> Variables:
    u, v = variables.preactivations[i], variables.activations[i]
    outputs = outputs_near(problem, u, v)
    return variables._replace(activations=put(variables.activations, i, outputs))


def _fit_activations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    layer, weights = variables.layers[i + 1], problem.weights
    fitted = fit_inputs(
        layer,
        variables.preactivations[i + 1],
        activate(variables.preactivations[i], problem.negative_slope),
        weights.linear,
        weights.activation,
    )
    return variables._replace(
        activations=put(variables.activations, i, fitted),
        products=put(variables.products, i + 1, affine(layer, fitted)),
    )


def _fit_preactivations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    weights, product = problem.weights, variables.products[i]
    activations = variables.activations[i]
    if i == len(variables.layers) - 1:
        weight = weights.activation + weights.linear
        fitted = (weights.activation * activations + weights.linear * product) / weight
    else:
        old, weight = variables.preactivations[i], weights.linear + weights.proximal
        fitted = fit_preactivations(
            (weights.linear * product + weights.proximal * old) / weight,
            activations,
            weight,
            weights.activation,
            problem.negative_slope,
        )
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _fit_layer(problem: Subproblem, variables: Variables, i: int) -> Variables:
    product = variables.products[i]
    kernel, bias = layer_step(
        problem, variables, i, variables.preactivations[i] - product
    )
    layer = change_layer(variables.layers[i], kernel, bias)
    # Above the first layer nobody reads this product, as its inputs move next.
    inputs = variables.activations[i - 1] if i else problem.inputs
    return with_layer(variables, i, layer, affine(layer, inputs))
