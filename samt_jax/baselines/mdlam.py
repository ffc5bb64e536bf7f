"""mDLAM: monotonous deep-learning alternating minimisation, Nesterov-accelerated.

With the variables of :mod:`~samt_jax.baselines.layerwise` the layers' linear equations
are penalties, and the activations are tied to f(z) by a box of half-width ε:

    min  F = R(z_L) + Σ_l μ/2 ‖W_l‖² + ρ/2 Σ_l ‖z_l - a_{l-1} W_l - b_l‖²
    s.t. f(z_l) - ε <= a_l <= f(z_l) + ε        entry by entry, l < L,

R being the sum of the examples' losses. There are no multipliers, and each block is a
convex problem. An iteration goes forward, ``for l = 1..L: W_l, b_l, z_l, a_l (l < L)``.
W and a take a backtracked (for a: projected) gradient step from the extrapolated point
``x + ω_k (x - x_before)``, ω_k being Nesterov's; where that raises F, from x itself. b
and z are minimised over exactly, so that extrapolating them would change nothing. Then
ε is halved, down to a floor. F falls at every update while ε stays what it is; just
after it shrinks, the next projection may raise F.

Reference: Wang, Li, Zhao, "Accelerated gradient-free neural network training by
multi-convex alternating optimization", Neurocomputing 487 (2022), arXiv 1811.04187; and
its authors' code, which differs: see :func:`mdlam`.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from samt_jax.base import Algorithm, Batches, Key, Params, Scalar, StepInfo
from samt_jax.baselines.activations import activate, clip_preactivations
from samt_jax.baselines.kernel_terms import KernelTerms, kernel_terms
from samt_jax.baselines.layerwise import (
    FULL_BATCH,
    Network,
    pass_forward,
    put,
    with_fitted_bias,
    with_layer,
    write_layers,
)
from samt_jax.baselines.mdlam_problem import (
    MdlamState,
    Subproblem,
    Variables,
    begin,
    describe,
    end,
    make_rule,
    start_state,
)
from samt_jax.baselines.moves import projected_move


def mdlam(
    network: Network,
    *,
    penalty: float = 1e-3,
    weight_decay: float = 0.05,
    tolerance: float = 100.0,
    min_tolerance: float = 1e-3,
    accelerate: bool = True,
    max_doublings: int | None = None,
    freeze_second_bias: bool = False,
    output_solver: Literal["newton", "fista"] = "newton",
) -> Algorithm:
    """MDLAM as an :class:`Algorithm`; a step is one iteration on all examples.

    It starts from the parameters that it is given (the authors draw them from a normal
    distribution of standard deviation 0.1), from a forward pass, and from outputs that
    are 1 for the right class and -1 for the others.

    Its authors' code never accelerates (``accelerate=False``), keeps a block as it is
    after ten doublings (``max_doublings=10``), never moves the second hidden layer's
    bias (``freeze_second_bias=True``) and takes ``output_solver="fista"``.

    Args:
      network: What is trained.
      penalty: ρ > 0.
      weight_decay: μ >= 0.
      tolerance: ε of the first iteration; it is halved after each.
      min_tolerance: Where that ends.
      accelerate: Whether W and a are extrapolated.
      max_doublings: After how many doublings of a step's curvature, from 1, a block is
        left as it is; by default never.
      freeze_second_bias: Whether b_2 stays, where layer 2 is hidden.
      output_solver: ``"newton"`` for exact outputs, ``"fista"`` for the authors' way.

    Returns:
      The algorithm, which needs full batches; see :class:`MdlamState` and
      :class:`~samt_jax.baselines.layerwise.LayerwiseInfo`.

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, mdlam
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> network = Network(chain, SQUARED_ERROR, 1.0)
      >>> algorithm = mdlam(network, penalty=1.0, weight_decay=0.0)
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> batches, key = Batches((jnp.ones((4, 1)),) * 2), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(3):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.1
      True

    Reference:
      Wang, Li, Zhao, arXiv 1811.04187.
    """
    rule = make_rule(
        network,
        penalty=penalty,
        weight_decay=weight_decay,
        tolerance=tolerance,
        min_tolerance=min_tolerance,
        accelerate=accelerate,
        max_doublings=max_doublings,
        freeze_second_bias=freeze_second_bias,
        output_solver=output_solver,
    )

    def init_fn(params: Params, batches: Batches, key: Key) -> MdlamState:
        del key
        return start_state(rule, pass_forward(network, params, batches))

    def step_fn(
        params: Params, state: MdlamState, batches: Batches, key: Key
    ) -> tuple[Params, MdlamState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        problem, before = begin(rule, state, passed)
        *_, (_, after) = sweep(problem, before)
        state = end(problem, state, before, after)
        info = StepInfo(passed.value, describe(problem, after, passed))
        return write_layers(params, passed.blocks, list(after.layers)), state, info

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def sweep(problem: Subproblem, variables: Variables) -> Iterator[tuple[str, Variables]]:
    """One iteration, block by block: a name and the variables after each update."""
    last = len(variables.layers) - 1
    for i in range(last + 1):
        yield f"W{i + 1}", (variables := _move_kernel(problem, variables, i))
        if not (problem.rule.freeze_second_bias and 1 == i < last):
            residual = variables.products[i] - variables.preactivations[i]
            variables = with_fitted_bias(variables, i, residual)
            yield f"b{i + 1}", variables
        yield f"z{i + 1}", (variables := _fit_preactivations(problem, variables, i))
        if i < last:
            yield f"a{i + 1}", (variables := _move_activations(problem, variables, i))


class Trial(NamedTuple):
    """A block after a step on it, its image under a linear map, and its terms of F."""

    block: Array
    image: Array
    value: Scalar


def terms_of_kernel(problem: Subproblem, variables: Variables, i: int) -> KernelTerms:
    """F as a function of the kernel of layer i, from 0."""
    rule = problem.rule
    return kernel_terms(
        variables.layers[i].kernel,
        variables.activations[i - 1] if i else problem.inputs,
        variables.products[i],
        variables.preactivations[i],
        rule.penalty,
        decay=rule.weight_decay,
        max_doublings=rule.max_doublings,
        gram=None if i else problem.gram,
    )


def _safeguarded(
    step: Callable[[Array, Array], Trial],
    value: Callable[[Array, Array], Scalar],
    block: Array,
    image: Array,
    image_of: Callable[[Array], Array],
    problem: Subproblem,
    last_blocks: tuple[Array, ...],
    i: int,
) -> Trial:
    """A step on a block from the extrapolated point, or from here.

    The second is taken where the first would raise F.
    """
    if not problem.rule.accelerate:
        return step(block, image)
    change = block - last_blocks[i]
    extrapolation = problem.extrapolation
    ahead = step(
        block + extrapolation * change, image + extrapolation * image_of(change)
    )
    return jax.lax.cond(
        ahead.value <= value(block, image),
        lambda: ahead,
        lambda: step(block, image),
    )


def _move_kernel(problem: Subproblem, variables: Variables, i: int) -> Variables:
    layer, terms = variables.layers[i], terms_of_kernel(problem, variables, i)

    def step(kernel: Array, image: Array) -> Trial:
        move = terms.move(kernel, image)
        # Given up, it is the block before that stays, not the point ahead of it.
        moved = jnp.where(move.found, kernel + move.change, layer.kernel)
        image = jnp.where(move.found, image + move.product_change, terms.image)
        return Trial(moved, image, terms.value(moved, image))

    kernel, image, _ = _safeguarded(
        step,
        terms.value,
        layer.kernel,
        terms.image,
        terms.image_of,
        problem,
        variables.last_kernels,
        i,
    )
    layer = layer._replace(kernel=kernel)
    return with_layer(variables, i, layer, terms.product(kernel, image))


def _fit_preactivations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    center = variables.products[i]
    if i == len(variables.layers) - 1:
        fitted = problem.rule.minimise_outputs(
            center,
            jnp.asarray(problem.rule.penalty, center.dtype),
            jnp.zeros_like(center),
            problem.targets,
            variables.preactivations[i],
        )
    else:
        activations, tolerance = variables.activations[i], problem.tolerance
        fitted = clip_preactivations(
            center,
            activations - tolerance,
            activations + tolerance,
            problem.rule.network.negative_slope,
        )
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _move_activations(problem: Subproblem, variables: Variables, i: int) -> Variables:
    rule, kernel = problem.rule, variables.layers[i + 1].kernel
    z, activations = variables.preactivations[i + 1], variables.activations[i]
    middle = activate(variables.preactivations[i], rule.network.negative_slope)

    def value(activations: Array, product: Array) -> Scalar:
        del activations
        return rule.penalty / 2 * jnp.sum((product - z) ** 2)

    def step(start: Array, product: Array) -> Trial:
        move = projected_move(
            kernel,
            start,
            product - z,
            rule.penalty,
            middle - problem.tolerance,
            middle + problem.tolerance,
            jnp.ones((), z.dtype),
            max_doublings=rule.max_doublings,
        )
        moved = jnp.where(move.found, start + move.change, activations)
        product = jnp.where(
            move.found, product + move.product_change, variables.products[i + 1]
        )
        return Trial(moved, product, value(moved, product))

    moved, product, _ = _safeguarded(
        step,
        value,
        activations,
        variables.products[i + 1],
        lambda change: change @ kernel,
        problem,
        variables.last_activations,
        i,
    )
    return variables._replace(
        activations=put(variables.activations, i, moved),
        products=put(variables.products, i + 1, product),
    )
