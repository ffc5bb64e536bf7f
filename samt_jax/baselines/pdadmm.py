"""pdADMM: ADMM in which all layers are updated at once.

A layer's input p_l is split from the output q_{l-1} of the layer before it (p_1 being
the data), so that layers meet only in the constraints:

    min  R(z_L) + ν/2 Σ_l ‖z_l - p_l W_l - b_l‖² + ν/2 Σ_{l<L} ‖q_l - f(z_l)‖²
    s.t. p_{l+1} = q_l                           with a multiplier u_l and weight ρ,

R being the sum of the examples' losses. An iteration is

    all p_l (l > 1) → all W_l → all b_l → all z_l → all q_l → all u_l,

each "all" in parallel over the layers. p and W take a backtracked gradient step, b and
q are minimised over exactly, and so is z, with the proximal term ``ν/2 ‖z - z_old‖²``
for hidden layers. From q's optimality follows ``u_l = ν (q_l - f(z_l))`` after a step.

Reference: Wang, Chai, Cheng, Zhao, "Toward model parallelism for deep neural network
based on gradient-free ADMM framework", ICDM 2020, arXiv 2009.02868; and its authors'
code, which leaves the proximal term out where it compares the two candidates for z.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

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
    rms,
    start_variables,
    with_fitted_bias,
    with_layer,
    write_layers,
)
from samt_jax.baselines.moves import inputs_move, kernel_move
from samt_jax.baselines.outputs import output_minimiser


class PdadmmState(NamedTuple):
    """State of pdADMM: the variables of every example.

    Attributes:
      preactivations: z_1 to z_L, each of shape ``(n, width)``.
      inputs: p_2 to p_L.
      outputs: q_1 to q_{L-1}.
      multipliers: u_1 to u_{L-1}.
    """

    preactivations: tuple[Float[Array, "n _"], ...]
    inputs: tuple[Float[Array, "n _"], ...]
    outputs: tuple[Float[Array, "n _"], ...]
    multipliers: tuple[Float[Array, "n _"], ...]


class Subproblem(NamedTuple):
    """What is fixed while the variables move: data, ν, ρ and where backtracking starts.

    `data` is p_1.
    """

    network: Network
    minimise_outputs: Callable[..., Array]
    data: Float[Array, "n d"]
    targets: Array
    penalty: Scalar
    constraint_penalty: Scalar
    curvature: Scalar


class Variables(NamedTuple):
    """What moves in a sweep: the weights, and all of :class:`PdadmmState`.

    Attributes:
      layers: W and b of every layer.
      preactivations: z.
      inputs: p.
      outputs: q.
      multipliers: u.
      products: ``p_l W_l + b_l`` of every layer, kept up with what they are of.
    """

    layers: tuple[DenseLayer, ...]
    preactivations: tuple[Float[Array, "n _"], ...]
    inputs: tuple[Float[Array, "n _"], ...]
    outputs: tuple[Float[Array, "n _"], ...]
    multipliers: tuple[Float[Array, "n _"], ...]
    products: tuple[Float[Array, "n _"], ...]


def pdadmm(
    network: Network,
    *,
    penalty: float = 1e-4,
    constraint_penalty: float | None = None,
    curvature: float = 10.0,
    output_solver: Literal["newton", "fista"] = "newton",
) -> Algorithm:
    """PdADMM as an :class:`Algorithm`; a step is one iteration on all examples.

    It starts from the parameters that it is given (the authors draw them from a normal
    distribution of standard deviation 0.1), from a forward pass, and from outputs that
    are 1 for the right class and -1 for the others. For deep networks the authors train
    a shallower one first and insert layers.

    Args:
      network: What is trained.
      penalty: ν > 0.
      constraint_penalty: ρ > 0; ν by default.
      curvature: From which backtracking starts, greater than 0.
      output_solver: ``"newton"`` for exact outputs, ``"fista"`` for the authors' way.

    Returns:
      The algorithm, which needs full batches; see :class:`PdadmmState` and
      :class:`LayerwiseInfo`.

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, pdadmm
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> algorithm = pdadmm(Network(chain, SQUARED_ERROR, 1.0), penalty=1.0)
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> batches, key = Batches((jnp.ones((4, 1)),) * 2), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(6):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.1
      True

    Reference:
      Wang et al., arXiv 2009.02868.
    """
    constraint_penalty = penalty if constraint_penalty is None else constraint_penalty
    check_positive(
        penalty=penalty, constraint_penalty=constraint_penalty, curvature=curvature
    )
    minimise_outputs = output_minimiser(network.output, output_solver)

    def init_fn(params: Params, batches: Batches, key: Key) -> PdadmmState:
        del key
        passed = pass_forward(network, params, batches)
        preactivations, activations = start_variables(network, passed)
        zeros = tuple(jnp.zeros_like(a) for a in activations)
        # A donated state holds no array twice.
        inputs = tuple(map(jnp.array, activations))
        return PdadmmState(preactivations, inputs, activations, zeros)

    def step_fn(
        params: Params, state: PdadmmState, batches: Batches, key: Key
    ) -> tuple[Params, PdadmmState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        numbers = (penalty, constraint_penalty, curvature)
        problem = Subproblem(
            network,
            minimise_outputs,
            passed.inputs,
            passed.targets,
            *(jnp.asarray(number, passed.inputs.dtype) for number in numbers),
        )
        *_, (_, variables) = sweep(problem, begin(state, passed))
        info = StepInfo(passed.value, _info(problem, variables, passed))
        params = write_layers(params, passed.blocks, list(variables.layers))
        return params, PdadmmState(*variables[1:5]), info

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def begin(state: PdadmmState, passed: Pass) -> Variables:
    """What an iteration starts from."""
    return Variables(passed.layers, *state, products_of(passed, state.inputs))


def sweep(
    problem: Subproblem, variables: Variables, reverse: bool = False
) -> Iterator[tuple[str, Variables]]:
    """One iteration, line by line: a name and the variables after each line.

    Args:
      problem: What is fixed.
      variables: What moves.
      reverse: Whether a line takes its layers from the last to the first, which changes
        nothing.

    Yields:
      The line's name, and the variables after it.
    """
    last = len(variables.layers) - 1
    lines = {
        "p": (_move_inputs, range(1, last + 1)),
        "W": (_move_kernel, range(last + 1)),
        "b": (_fit_bias, range(last + 1)),
        "z": (_fit_preactivations, range(last + 1)),
        "q": (_fit_outputs, range(last)),
        "u": (_raise_multiplier, range(last)),
    }
    for name, (update, layers) in lines.items():
        for i in reversed(layers) if reverse else layers:
            variables = update(problem, variables, i)
        yield name, variables


def augmented_lagrangian(problem: Subproblem, variables: Variables) -> Scalar:
    """The augmented Lagrangian, which every line but that of u lowers."""
    network, z = problem.network, variables.preactivations
    total = jnp.sum(network.output.values(z[-1], problem.targets))
    for preactivations, product in zip(z, variables.products, strict=True):
        total += problem.penalty / 2 * jnp.sum((preactivations - product) ** 2)
    for p, q, u, preactivations in zip(
        variables.inputs, variables.outputs, variables.multipliers, z[:-1], strict=True
    ):
        activated = activate(preactivations, network.negative_slope)
        total += problem.penalty / 2 * jnp.sum((q - activated) ** 2)
        total += jnp.sum(u * (p - q))
        total += problem.constraint_penalty / 2 * jnp.sum((p - q) ** 2)
    return total


def _residual(variables: Variables, i: int) -> Array:
    return variables.products[i] - variables.preactivations[i]


def _move_inputs(problem: Subproblem, variables: Variables, i: int) -> Variables:
    """P of layer i, the second of all or a later one."""
    p, q = variables.inputs[i - 1], variables.outputs[i - 1]
    move = inputs_move(
        variables.layers[i].kernel,
        _residual(variables, i),
        problem.penalty,
        variables.multipliers[i - 1] + problem.constraint_penalty * (p - q),
        problem.constraint_penalty,
        problem.curvature,
    )
    product = variables.products[i] + move.product_change
    return variables._replace(
        inputs=put(variables.inputs, i - 1, p + move.change),
        products=put(variables.products, i, product),
    )


def _move_kernel(problem: Subproblem, variables: Variables, i: int) -> Variables:
    layer = variables.layers[i]
    move = kernel_move(
        layer.kernel,
        variables.inputs[i - 1] if i else problem.data,
        _residual(variables, i),
        problem.penalty,
        problem.curvature,
    )
    layer = layer._replace(kernel=layer.kernel + move.change)
    return with_layer(variables, i, layer, variables.products[i] + move.product_change)


def _fit_bias(problem: Subproblem, variables: Variables, i: int) -> Variables:
    del problem
    return with_fitted_bias(variables, i, _residual(variables, i))


def _fit_preactivations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    center, old = variables.products[i], variables.preactivations[i]
    if i == len(variables.layers) - 1:
        fitted = problem.minimise_outputs(
            center, problem.penalty, jnp.zeros_like(old), problem.targets, old
        )
    else:
        # (z - m)² + (z - z_old)² is twice the square about the middle of m and z_old.
        fitted = fit_preactivations(
            (center + old) / 2,
            variables.outputs[i],
            2.0,
            1.0,
            problem.network.negative_slope,
        )
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _fit_outputs(problem: Subproblem, variables: Variables, i: int) -> Variables:
    nu, rho = problem.penalty, problem.constraint_penalty
    activated = activate(variables.preactivations[i], problem.network.negative_slope)
    pull = rho * variables.inputs[i] + variables.multipliers[i] + nu * activated
    return variables._replace(outputs=put(variables.outputs, i, pull / (rho + nu)))


def _raise_multiplier(problem: Subproblem, variables: Variables, i: int) -> Variables:
    constraint = variables.inputs[i] - variables.outputs[i]
    raised = variables.multipliers[i] + problem.constraint_penalty * constraint
    return variables._replace(multipliers=put(variables.multipliers, i, raised))


def _info(problem: Subproblem, variables: Variables, passed: Pass) -> LayerwiseInfo:
    network, z = problem.network, variables.preactivations
    pairs = zip(variables.inputs, variables.outputs, strict=True)
    names = [block.name for block in passed.blocks[:-1]]
    gaps = [p - q for p, q in pairs]
    terms = [jnp.sum(u * g) for u, g in zip(variables.multipliers, gaps, strict=True)]
    return LayerwiseInfo(
        augmented_lagrangian(problem, variables),
        jnp.sum(network.output.values(z[-1], problem.targets)),
        *residuals(network, passed.blocks, z, variables.outputs, variables.products),
        network.output.measure(passed.preactivations[-1], problem.targets),
        dict(zip(names, map(rms, gaps), strict=True)),
        multiplier_term=sum(terms, jnp.zeros(())),
    )
