"""What mDLAM shares with its kin: settings, variables, and their objective.

:mod:`~samt_jax.baselines.mdlam`, which tells of the problem, and with it
:mod:`~samt_jax.baselines.aa_mdlam` and :mod:`~samt_jax.baselines.tiam` differ in how
they go from one point to the next.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samt_jax.base import Scalar
from samt_jax.baselines.layerwise import (
    DenseLayer,
    LayerwiseInfo,
    Network,
    Pass,
    check_not_negative,
    check_positive,
    products_of,
    residuals,
    start_variables,
)
from samt_jax.baselines.outputs import output_minimiser


class MdlamState(NamedTuple):
    """State of mDLAM: the variables of every example, and what they were before.

    Attributes:
      preactivations: z_1 to z_L, each of shape ``(n, width)``.
      activations: a_1 to a_{L-1}.
      last_kernels: W_1 to W_L before the last iteration.
      last_activations: a_1 to a_{L-1} before it; none where nothing is accelerated.
      tolerance: ε of the next iteration.
      momentum: s_k of Nesterov's sequence, from 1.
      gram: ``a_0ᵀ a_0``.
    """

    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    last_kernels: tuple[Float[Array, "i o"], ...]
    last_activations: tuple[Float[Array, "n _"], ...]
    tolerance: Scalar
    momentum: Scalar
    gram: Float[Array, "d d"]


class Rule(NamedTuple):
    """The settings of :func:`~samt_jax.baselines.mdlam.mdlam`, by their names there."""

    network: Network
    minimise_outputs: Callable[..., Array]
    penalty: float
    weight_decay: float
    tolerance: float
    min_tolerance: float
    accelerate: bool
    max_doublings: int | None
    freeze_second_bias: bool


class Subproblem(NamedTuple):
    """What is fixed while the variables move: data, their Gram matrix, ε and ω."""

    rule: Rule
    inputs: Float[Array, "n d"]
    gram: Float[Array, "d d"]
    targets: Array
    tolerance: Scalar
    extrapolation: Scalar


class Variables(NamedTuple):
    """What moves in a sweep, and where it was before the last one.

    Attributes:
      layers: W and b of every layer.
      preactivations: z.
      activations: a.
      products: ``a_{l-1} W_l + b_l`` of every layer, kept up with what they are of.
      last_kernels: W before the last iteration; not changed by a sweep.
      last_activations: a before it.
    """

    layers: tuple[DenseLayer, ...]
    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    products: tuple[Float[Array, "n _"], ...]
    last_kernels: tuple[Float[Array, "i o"], ...]
    last_activations: tuple[Float[Array, "n _"], ...]


def make_rule(
    network: Network,
    *,
    penalty: float,
    weight_decay: float,
    tolerance: float,
    min_tolerance: float,
    accelerate: bool,
    max_doublings: int | None,
    freeze_second_bias: bool = False,
    output_solver: Literal["newton", "fista"],
) -> Rule:
    """The settings of :func:`~samt_jax.baselines.mdlam.mdlam`, checked.

    Raises:
      ValueError: One is out of its range.
    """
    check_positive(penalty=penalty, tolerance=tolerance, min_tolerance=min_tolerance)
    check_not_negative(weight_decay=weight_decay)
    if max_doublings is not None:
        check_not_negative(max_doublings=max_doublings)
    tolerances = (tolerance, min_tolerance)
    is_known = not any(isinstance(each, jax.core.Tracer) for each in tolerances)
    if is_known and min_tolerance > tolerance:
        raise ValueError(
            f"tolerance is {tolerance} and min_tolerance {min_tolerance}; the first is "
            "halved until it is the second, so it must be no smaller."
        )
    return Rule(
        network,
        # The authors' FISTA, which is finer than that of dlADMM's.
        output_minimiser(network.output, output_solver, tolerance=1e-4),
        penalty,
        weight_decay,
        tolerance,
        min_tolerance,
        accelerate,
        max_doublings,
        freeze_second_bias,
    )


def start_state(rule: Rule, passed: Pass) -> MdlamState:
    """The state before the first iteration."""
    preactivations, activations = start_variables(rule.network, passed)
    dtype = passed.inputs.dtype
    # What is before is what is now, and a donated state holds no array twice.
    last_kernels = tuple(jnp.array(layer.kernel) for layer in passed.layers)
    last_activations = tuple(map(jnp.array, activations))
    return MdlamState(
        preactivations,
        activations,
        last_kernels if rule.accelerate else (),
        last_activations if rule.accelerate else (),
        jnp.asarray(rule.tolerance, dtype),
        jnp.ones((), dtype),
        passed.inputs.T @ passed.inputs,
    )


def begin(rule: Rule, state: MdlamState, passed: Pass) -> tuple[Subproblem, Variables]:
    """What is fixed in an iteration, and what it starts from."""
    extrapolation = (state.momentum - 1) / _next_momentum(state.momentum)
    problem = Subproblem(
        rule, passed.inputs, state.gram, passed.targets, state.tolerance, extrapolation
    )
    return problem, Variables(
        passed.layers,
        state.preactivations,
        state.activations,
        products_of(passed, state.activations),
        state.last_kernels,
        state.last_activations,
    )


def end(
    problem: Subproblem, state: MdlamState, before: Variables, after: Variables
) -> MdlamState:
    """The state after an iteration."""
    rule = problem.rule
    return MdlamState(
        after.preactivations,
        after.activations,
        tuple(layer.kernel for layer in before.layers) if rule.accelerate else (),
        before.activations if rule.accelerate else (),
        jnp.maximum(state.tolerance / 2, rule.min_tolerance),
        _next_momentum(state.momentum),
        state.gram,
    )


def _next_momentum(momentum: Scalar) -> Scalar:
    return (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2


def objective(problem: Subproblem, variables: Variables) -> Scalar:
    """F, which every update lowers while ε is what it was at the one before."""
    rule = problem.rule
    outputs = variables.preactivations[-1]
    total = jnp.sum(rule.network.output.values(outputs, problem.targets))
    for layer, z, product in zip(
        variables.layers, variables.preactivations, variables.products, strict=True
    ):
        total += rule.weight_decay / 2 * jnp.sum(layer.kernel**2)
        total += rule.penalty / 2 * jnp.sum((z - product) ** 2)
    return total


def describe(problem: Subproblem, variables: Variables, passed: Pass) -> LayerwiseInfo:
    """What a step reports of its last variables and of the pass before it."""
    network, z = problem.rule.network, variables.preactivations
    return LayerwiseInfo(
        objective(problem, variables),
        jnp.sum(network.output.values(z[-1], problem.targets)),
        *residuals(
            network, passed.blocks, z, variables.activations, variables.products
        ),
        network.output.measure(passed.preactivations[-1], problem.targets),
    )
