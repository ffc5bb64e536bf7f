"""dlADMM: deep-learning ADMM, one sweep backward through the layers and one forward.

With the variables of :mod:`~samt_jax.baselines.layerwise` only the last layer's
equation is a constraint, with a multiplier u; every other one is a penalty:

    R(z_L) + ν/2 Σ_{l<L} (‖z_l - a_{l-1} W_l - b_l‖² + ‖a_l - f(z_l)‖²)
           + ⟨u, r⟩ + ρ/2 ‖r‖²,        r = z_L - a_{L-1} W_L - b_L,

R being the sum of the examples' losses. An iteration is

    for l = L..1:   a_l (l < L), z_l, b_l, W_l        information goes backward
    for l = 1..L:   W_l, b_l, z_l, a_l (l < L)        and forward
    u ← u + ρ r

where b and z are minimised over exactly and W and a take a backtracked gradient step.
Written with ``c_l = ν`` (ρ for the last layer) and ``t_l = z_l`` (``z_L + u/ρ``),
everything that holds W_l, b_l or a_{l-1} is ``c_l/2 ‖a_{l-1} W_l + b_l - t_l‖²``.

Reference: Wang, Yu, Chen, Zhao, "ADMM for efficient deep learning with global
convergence", KDD 2019, arXiv 1905.13611; and its authors' code.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samt_jax.base import Algorithm, Batches, Key, Params, Scalar, StepInfo
from samt_jax.baselines.activations import activate, fit_preactivations
from samt_jax.baselines.layerwise import (
    FULL_BATCH,
    DenseLayer,
    LayerwiseInfo,
    Network,
    Pass,
    check_positive,
    pass_forward,
    products_of,
    put,
    residuals,
    start_variables,
    with_fitted_bias,
    with_layer,
    write_layers,
)
from samt_jax.baselines.moves import inputs_move, kernel_move, kernel_moves
from samt_jax.baselines.outputs import output_minimiser

Schedule = Literal["constant", "every_100", "on_rise"]

SCHEDULES = ("constant", "every_100", "on_rise")
# The authors' code: rises in a row that it waits for, and where it stops.
_RISES, _LARGEST_PENALTY = 3, 0.1


class DladmmState(NamedTuple):
    """State of dlADMM: the variables of every example, and the weights of penalties.

    Attributes:
      preactivations: z_1 to z_L, each of shape ``(n, width)``.
      activations: a_1 to a_{L-1}.
      multiplier: u, of the shape of z_L.
      penalty: ν.
      output_penalty: ρ.
      curvature: θ_0 and τ_0, from which backtracking starts.
      last_value: The network's loss before the last step.
      num_rises: How many times in a row it has risen.
      gram: ``a_0ᵀ a_0``.
      count: Iterations so far.
    """

    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    multiplier: Float[Array, "n k"]
    penalty: Scalar
    output_penalty: Scalar
    curvature: Scalar
    last_value: Scalar
    num_rises: Int[Array, ""]
    gram: Float[Array, "d d"]
    count: Int[Array, ""]  # type: ignore[assignment]  # Hides `tuple.count`.


class Subproblem(NamedTuple):
    """What is fixed while the variables move.

    Attributes:
      network: The network.
      minimise_outputs: What minimises over z_L.
      inputs: a_0.
      gram: ``a_0ᵀ a_0``.
      targets: As the loss takes them.
      penalty: ν.
      output_penalty: ρ.
      curvature: θ_0 and τ_0.
    """

    network: Network
    minimise_outputs: Callable[..., Array]
    inputs: Float[Array, "n d"]
    gram: Float[Array, "d d"]
    targets: Array
    penalty: Scalar
    output_penalty: Scalar
    curvature: Scalar


class Variables(NamedTuple):
    """What moves in a sweep.

    Attributes:
      layers: W and b of every layer.
      preactivations: z.
      activations: a.
      multiplier: u.
      products: ``a_{l-1} W_l + b_l`` of every layer, kept up with what they are of.
    """

    layers: tuple[DenseLayer, ...]
    preactivations: tuple[Float[Array, "n _"], ...]
    activations: tuple[Float[Array, "n _"], ...]
    multiplier: Float[Array, "n k"]
    products: tuple[Float[Array, "n _"], ...]


def dladmm(
    network: Network,
    *,
    penalty: float = 1e-6,
    output_penalty: float | None = None,
    penalty_schedule: Schedule = "every_100",
    curvature: float = 1.0,
    output_solver: Literal["newton", "fista"] = "newton",
) -> Algorithm:
    """DlADMM as an :class:`Algorithm`; a step is one iteration on all examples.

    It starts from the parameters that it is given (the authors draw them from a normal
    distribution of standard deviation 0.1), from a forward pass, and from outputs that
    are 1 for the right class and -1 for the others. Weights are not penalised, as in
    the authors' code; the paper allows ℓ1 and ℓ2 terms.

    Args:
      network: What is trained.
      penalty: ν > 0, of the hidden layers' equations.
      output_penalty: ρ > 0, of the last layer's; ν by default. The objective falls at
        every iteration, by the paper's theory, above twice the Lipschitz constant of
        the loss's gradient (1 for the cross-entropy, 4 for the squared error); 1e-6 is
        practice.
      penalty_schedule: ``"every_100"``, the paper's, makes ρ and the curvatures ten
        times as large every 100 iterations; ``"on_rise"``, the authors' code's, both
        penalties (up to 0.1) and the curvatures when the network's loss has risen three
        times in a row (there the curvatures grow from 100 neurons a layer on alone);
        ``"constant"``.
      curvature: θ_0 and τ_0 > 0, from which backtracking starts.
      output_solver: ``"newton"`` for exact outputs, ``"fista"`` for the authors' way.

    Returns:
      The algorithm, which needs full batches; see :class:`DladmmState` and
      :class:`LayerwiseInfo`.

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, dladmm
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> algorithm = dladmm(Network(chain, SQUARED_ERROR, 1.0), penalty=1.0)
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> batches, key = Batches((jnp.ones((4, 1)),) * 2), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(3):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.1
      True

    Reference:
      Wang et al., arXiv 1905.13611.
    """
    output_penalty = penalty if output_penalty is None else output_penalty
    check_positive(penalty=penalty, output_penalty=output_penalty, curvature=curvature)
    _check_schedule(penalty_schedule)
    minimise_outputs = output_minimiser(network.output, output_solver)

    def init_fn(params: Params, batches: Batches, key: Key) -> DladmmState:
        del key
        passed = pass_forward(network, params, batches)
        preactivations, activations = start_variables(network, passed)
        number = functools.partial(jnp.asarray, dtype=passed.inputs.dtype)
        return DladmmState(
            preactivations=preactivations,
            activations=activations,
            multiplier=jnp.zeros_like(preactivations[-1]),
            penalty=number(penalty),
            output_penalty=number(output_penalty),
            curvature=number(curvature),
            last_value=number(jnp.inf),
            num_rises=jnp.zeros((), jnp.int32),
            gram=passed.inputs.T @ passed.inputs,
            count=jnp.zeros((), jnp.int32),
        )

    def step_fn(
        params: Params, state: DladmmState, batches: Batches, key: Key
    ) -> tuple[Params, DladmmState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        state = _schedule_penalties(state, passed.value, penalty_schedule)
        problem, variables = begin(network, minimise_outputs, state, passed)
        *_, (_, variables) = sweep(problem, variables)
        info = StepInfo(passed.value, _info(problem, variables, passed))
        state = state._replace(
            preactivations=variables.preactivations,
            activations=variables.activations,
            multiplier=variables.multiplier,
            count=state.count + 1,
        )
        params = write_layers(params, passed.blocks, list(variables.layers))
        return params, state, info

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def begin(
    network: Network,
    minimise_outputs: Callable[..., Array],
    state: DladmmState,
    passed: Pass,
) -> tuple[Subproblem, Variables]:
    """What is fixed in an iteration, and what it starts from."""
    problem = Subproblem(
        network,
        minimise_outputs,
        passed.inputs,
        state.gram,
        passed.targets,
        state.penalty,
        state.output_penalty,
        state.curvature,
    )
    return problem, Variables(
        passed.layers,
        state.preactivations,
        state.activations,
        state.multiplier,
        products_of(passed, state.activations),
    )


def sweep(problem: Subproblem, variables: Variables) -> Iterator[tuple[str, Variables]]:
    """One iteration, block by block: a name and the variables after each update."""
    last = len(variables.layers) - 1
    for i in range(last, -1, -1):
        if i < last:
            yield f"a{i + 1}", (variables := _move_activations(problem, variables, i))
        yield f"z{i + 1}", (variables := _fit_preactivations(problem, variables, i))
        yield f"b{i + 1}", (variables := _fit_bias(problem, variables, i))
        if i:
            yield f"W{i + 1}", (variables := _move_kernel(problem, variables, i))
    # Where the sweep turns, the first kernel moves twice in a row.
    for moved in _move_first_kernel_twice(problem, variables):
        yield "W1", (variables := moved)
    for i in range(last + 1):
        if i:
            yield f"W{i + 1}", (variables := _move_kernel(problem, variables, i))
        yield f"b{i + 1}", (variables := _fit_bias(problem, variables, i))
        yield f"z{i + 1}", (variables := _fit_preactivations(problem, variables, i))
        if i < last:
            yield f"a{i + 1}", (variables := _move_activations(problem, variables, i))
    constraint = variables.preactivations[-1] - variables.products[-1]
    multiplier = variables.multiplier + problem.output_penalty * constraint
    yield "u", variables._replace(multiplier=multiplier)


def augmented_lagrangian(problem: Subproblem, variables: Variables) -> Scalar:
    """The augmented Lagrangian, which every update but that of u lowers."""
    *hidden, outputs = variables.preactivations
    slope = problem.network.negative_slope
    total = jnp.sum(problem.network.output.values(outputs, problem.targets))
    for z, a, product in zip(
        hidden, variables.activations, variables.products[:-1], strict=True
    ):
        squares = jnp.sum((z - product) ** 2) + jnp.sum((a - activate(z, slope)) ** 2)
        total += problem.penalty / 2 * squares
    constraint = outputs - variables.products[-1]
    total += jnp.sum(variables.multiplier * constraint)
    return total + problem.output_penalty / 2 * jnp.sum(constraint**2)


def _residual(problem: Subproblem, variables: Variables, i: int) -> Array:
    """``a_{l-1} W_l + b_l - t_l``."""
    residual = variables.products[i] - variables.preactivations[i]
    if i < len(variables.layers) - 1:
        return residual
    return residual - variables.multiplier / problem.output_penalty


def _weight(problem: Subproblem, variables: Variables, i: int) -> Scalar:
    """c_l."""
    is_last = i == len(variables.layers) - 1
    return problem.output_penalty if is_last else problem.penalty


def _move_kernel(problem: Subproblem, variables: Variables, i: int) -> Variables:
    layer = variables.layers[i]
    move = kernel_move(
        layer.kernel,
        variables.activations[i - 1],
        _residual(problem, variables, i),
        _weight(problem, variables, i),
        problem.curvature,
    )
    layer = layer._replace(kernel=layer.kernel + move.change)
    return with_layer(variables, i, layer, variables.products[i] + move.product_change)


def _move_first_kernel_twice(
    problem: Subproblem, variables: Variables
) -> Iterator[Variables]:
    layer, product = variables.layers[0], variables.products[0]
    weight = _weight(problem, variables, 0)
    moves = kernel_moves(
        layer.kernel,
        weight * (problem.inputs.T @ _residual(problem, variables, 0)),
        problem.inputs,
        problem.gram,
        weight,
        problem.curvature,
    )
    for move in itertools.islice(moves, 2):
        moved = layer._replace(kernel=layer.kernel + move.change)
        yield with_layer(variables, 0, moved, product + move.product_change)


def _fit_bias(problem: Subproblem, variables: Variables, i: int) -> Variables:
    return with_fitted_bias(variables, i, _residual(problem, variables, i))


def _fit_preactivations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    center = variables.products[i]
    if i == len(variables.layers) - 1:
        fitted = problem.minimise_outputs(
            center,
            problem.output_penalty,
            variables.multiplier,
            problem.targets,
            variables.preactivations[i],
        )
    else:
        slope = problem.network.negative_slope
        fitted = fit_preactivations(center, variables.activations[i], 1.0, 1.0, slope)
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _move_activations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    activated = activate(variables.preactivations[i], problem.network.negative_slope)
    move = inputs_move(
        variables.layers[i + 1].kernel,
        _residual(problem, variables, i + 1),
        _weight(problem, variables, i + 1),
        problem.penalty * (variables.activations[i] - activated),
        problem.penalty,
        problem.curvature,
    )
    moved = variables.activations[i] + move.change
    product = variables.products[i + 1] + move.product_change
    return variables._replace(
        activations=put(variables.activations, i, moved),
        products=put(variables.products, i + 1, product),
    )


def _info(problem: Subproblem, variables: Variables, passed: Pass) -> LayerwiseInfo:
    network, z = problem.network, variables.preactivations
    return LayerwiseInfo(
        augmented_lagrangian(problem, variables),
        jnp.sum(network.output.values(z[-1], problem.targets)),
        *residuals(
            network, passed.blocks, z, variables.activations, variables.products
        ),
        network.output.measure(passed.preactivations[-1], problem.targets),
        multiplier_term=jnp.sum(
            variables.multiplier * (z[-1] - variables.products[-1])
        ),
    )


def _schedule_penalties(
    state: DladmmState, value: Scalar, schedule: Schedule
) -> DladmmState:
    """Penalties and curvatures of the iteration that begins."""
    rises = jnp.where(value > state.last_value, state.num_rises + 1, 0)
    state = state._replace(last_value=value, num_rises=rises)
    if schedule == "constant":
        return state
    if schedule == "every_100":
        grows = (state.count > 0) & (state.count % 100 == 0)
        factor = jnp.where(grows, 10, 1).astype(value.dtype)
        output_penalty = factor * state.output_penalty
        return state._replace(
            output_penalty=output_penalty, curvature=factor * state.curvature
        )
    grows = rises >= _RISES
    factor = jnp.where(grows, 10, 1).astype(value.dtype)

    def grown(penalty: Scalar) -> Scalar:
        largest = jnp.maximum(penalty, jnp.asarray(_LARGEST_PENALTY, penalty.dtype))
        return jnp.minimum(factor * penalty, largest)

    return state._replace(
        penalty=grown(state.penalty),
        output_penalty=grown(state.output_penalty),
        curvature=factor * state.curvature,
    )


def _check_schedule(schedule: str) -> None:
    if schedule not in SCHEDULES:
        raise ValueError(
            f"penalty_schedule is {schedule!r}; it must be one of "
            f"{', '.join(map(repr, SCHEDULES))}."
        )
