"""One iteration of block coordinate descent with two-splitting.

Only the activations V_i are variables of their own (σ is the activation, of the last
layer the identity; V_0 the inputs):

    Σ loss(V_n) + γ/2 Σ_i ‖V_i - σ_i(V_{i-1} W_i + b_i)‖².

An iteration goes backward: V_n, W_n, b_n, then V_i, W_i, b_i for i = n-1..1. Below the
last layer both V_i and W_i meet an activation, a non-linear least-squares problem that
one prox-linear step is taken on. As no slope of σ exceeds 1, at the pre-activations m

    ‖V - σ(m + d)‖² <= ‖r - d‖² + constant,    r = σ'(m) (V - σ(m)),

with equality at d = 0, wherever V is not below zero. The right side is the ordinary
least-squares problem of three-splitting, with r in place of its residual. Where the
bound fails, the step is halved until the objective (with α/2 ‖change‖², for weights)
does not rise.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from samt_jax.base import Scalar
from samt_jax.baselines.activations import activate
from samt_jax.baselines.layerwise import DenseLayer, affine, put, with_layer
from samt_jax.baselines.least_squares import fit_inputs
from samt_jax.baselines.three_splitting import (
    Subproblem,
    Variables,
    change_layer,
    layer_step,
    outputs_near,
)

# After so many halvings a step is none.
MAX_HALVINGS = 30


def sweep(problem: Subproblem, variables: Variables) -> Iterator[tuple[str, Variables]]:
    """One iteration: the name of a variable, and all of them after its update.

    Args:
      problem: What is fixed; ρ has to be γ.
      variables: Where to start; there are no U.

    Yields:
      ``"V2"``, ``"W2"`` (with its bias), ``"V1"``, …
    """
    last = len(variables.layers) - 1
    for i in range(last, -1, -1):
        fit = _fit_outputs if i == last else _move_activations
        yield f"V{i + 1}", (variables := fit(problem, variables, i))
        yield f"W{i + 1}", (variables := _move_layer(problem, variables, i))


def objective(problem: Subproblem, variables: Variables) -> Scalar:
    """What every update lowers.

    Args:
      problem: What is fixed.
      variables: Where.

    Returns:
      The penalised objective, a sum over examples.
    """
    losses = problem.loss.values(variables.activations[-1], problem.targets)
    total = problem.weights.loss * jnp.sum(losses)
    for i in range(len(variables.layers)):
        total += jnp.sum(
            _mismatch(problem, variables, i)(
                variables.activations[i], variables.products[i]
            )
        )
    return total


def halve_until_lower(
    value: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    zeros: Float[Array, "..."],
) -> Float[Array, "..."]:
    """The largest of the steps 1, 1/2, 1/4, … at which a value has not risen.

    Args:
      value: From step sizes to as many values: each step has a value of its own.
      zeros: The step sizes at which the values are not to be exceeded.

    Returns:
      The step sizes; 0 where `MAX_HALVINGS` were not enough.

    Example:
      >>> lengths = jnp.array([1.0, 3.0, 9.0])  # The minima are at 1.
      >>> halve_until_lower(lambda t: (t * lengths - 1) ** 2, jnp.zeros(3))
      Array([1.   , 0.5  , 0.125], dtype=float32)
    """
    before = value(zeros)
    # What rounding alone may make of a step that changes nothing.
    most = before + 4 * jnp.finfo(before.dtype).eps * jnp.abs(before)

    def goes_on(carry: tuple) -> Bool[Array, ""]:
        _, is_higher, count = carry
        return jnp.any(is_higher) & (count <= MAX_HALVINGS)

    def halve(carry: tuple) -> tuple:
        step_size, is_higher, count = carry
        step_size = jnp.where(is_higher, step_size / 2, step_size)
        # Not the negation of <=: a value that is not a number has to be halved, too.
        return step_size, ~(value(step_size) <= most), count + 1

    ones = jnp.ones_like(zeros)
    carry = (2 * ones, jnp.ones(zeros.shape, bool), 0)
    step_size, is_higher, _ = jax.lax.while_loop(goes_on, halve, carry)
    return jnp.where(is_higher, 0, step_size)


def tangent_residual(
    activations: Float[Array, "n o"],
    products: Float[Array, "n o"],
    negative_slope: float,
) -> Float[Array, "n o"]:
    """``r = σ'(m) (V - σ(m))``, what the bound of the module wants m to change by.

    Args:
      activations: V.
      products: m.
      negative_slope: s of σ; 1 for the last layer.

    Returns:
      The residual.

    Example:
      >>> m = jnp.array([[1.0, -1.0]])
      >>> tangent_residual(jnp.array([[3.0, 3.0]]), m, 0.5)
      Array([[2.  , 1.75]], dtype=float32)
    """
    slopes = jnp.where(products > 0, 1.0, negative_slope).astype(products.dtype)
    return slopes * (activations - activate(products, negative_slope))


def _slope(problem: Subproblem, variables: Variables, i: int) -> float:
    return 1.0 if i == len(variables.layers) - 1 else problem.negative_slope


def _mismatch(
    problem: Subproblem, variables: Variables, i: int
) -> Callable[[Array, Array], Float[Array, "n"]]:
    """``γ/2 ‖V_i - σ_i(m_i)‖²`` of each example, as a function of V_i and m_i."""
    slope = _slope(problem, variables, i)

    def mismatch(activations: Array, products: Array) -> Float[Array, "n"]:
        residual = activations - activate(products, slope)
        return problem.weights.activation / 2 * jnp.sum(residual**2, axis=1)

    return mismatch


def _fit_outputs(problem: Subproblem, variables: Variables, i: int) -> Variables:
    outputs = outputs_near(problem, variables.products[i], variables.activations[i])
    return variables._replace(activations=put(variables.activations, i, outputs))


def _move_activations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    """Each example's V_i, with a step size of its own."""
    layer, weights = variables.layers[i + 1], problem.weights
    above, product = variables.activations[i + 1], variables.products[i + 1]
    old = variables.activations[i]
    wanted = tangent_residual(above, product, _slope(problem, variables, i + 1))
    fitted = fit_inputs(
        layer,
        product + wanted,
        activate(variables.products[i], problem.negative_slope),
        weights.linear,
        weights.activation,
    )
    change = fitted - old
    product_change = affine(layer, fitted) - product
    below = _mismatch(problem, variables, i)
    beyond = _mismatch(problem, variables, i + 1)

    def value(step_size: Float[Array, "n"]) -> Float[Array, "n"]:
        moved = old + step_size[:, None] * change
        moved_product = product + step_size[:, None] * product_change
        return below(moved, variables.products[i]) + beyond(above, moved_product)

    step_size = halve_until_lower(value, jnp.zeros(len(old), old.dtype))
    return variables._replace(
        activations=put(variables.activations, i, old + step_size[:, None] * change),
        products=put(
            variables.products, i + 1, product + step_size[:, None] * product_change
        ),
    )


def _move_layer(problem: Subproblem, variables: Variables, i: int) -> Variables:
    activations, product = variables.activations[i], variables.products[i]
    wanted = tangent_residual(activations, product, _slope(problem, variables, i))
    kernel, bias = layer_step(problem, variables, i, wanted)
    inputs = variables.activations[i - 1] if i else problem.inputs
    product_change = affine(DenseLayer(kernel, bias), inputs)
    squares = sum(jnp.sum(change**2) for change in (kernel, bias) if change is not None)
    mismatch = _mismatch(problem, variables, i)

    def value(step_size: Scalar) -> Scalar:
        moved = mismatch(activations, product + step_size * product_change)
        return jnp.sum(moved) + problem.weights.proximal / 2 * step_size**2 * squares

    step_size = halve_until_lower(value, jnp.zeros((), product.dtype))
    layer = change_layer(
        variables.layers[i],
        step_size * kernel,
        None if bias is None else step_size * bias,
    )
    return with_layer(variables, i, layer, product + step_size * product_change)
