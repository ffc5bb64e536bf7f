"""TIAM: triple-inertial alternating minimisation of mDLAM's problem.

The problem, its variables and the order of a sweep are those of
:mod:`~samt_jax.baselines.mdlam`. Each block u, with F the objective in it while the
others are fixed, takes a step with three inertias,

    ũ = u + p1 (u - u_before),    û = u + p2 (u - u_before),
    u⁺ = prox(ũ - ∇F(û)/θ),       u_next = u⁺ + p3 (u⁺ - u):

p1 moves the point that the step starts from, p2 the point of its gradient, and p3 goes
beyond the step. With p1 = p2 = ω and p3 = 0 it is mDLAM with its acceleration, with all
three zero mDLAM without. b and z are minimised over exactly, so that p3 alone means
something for them. What p3 takes out of the box is projected back.

Reference: Yan, Xu, Wang, Peng, "Triple-inertial accelerated alternating optimization
method for deep learning training", arXiv 2503.08489. Neither its body nor its code was
at hand: the recursion is from summaries, and the defaults of p1, p2, p3 are not the
authors'.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samt_jax.base import Algorithm, Batches, Key, Params, Scalar, StepInfo
from samt_jax.baselines.activations import activate, clip_preactivations
from samt_jax.baselines.layerwise import (
    FULL_BATCH,
    Network,
    pass_forward,
    put,
    with_fitted_bias,
    with_layer,
    write_layers,
)
from samt_jax.baselines.mdlam import Trial, terms_of_kernel
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

Inertia: TypeAlias = float | Callable[[Int[Array, ""]], Scalar]


class TiamState(NamedTuple):
    """State of TIAM.

    Attributes:
      mdlam: The variables of mDLAM, with W and a as they were before; its momentum is
        not used.
      count: Iterations so far.
    """

    mdlam: MdlamState
    count: Int[Array, ""]  # type: ignore[assignment]  # Hides `tuple.count`.


class Inertias(NamedTuple):
    """The inertias of an iteration, and whether F may rise.

    Attributes:
      start: p1.
      gradient: p2.
      beyond: p3.
      monotone: Whether a step that raises F is replaced by one without inertias.
    """

    start: Scalar
    gradient: Scalar
    beyond: Scalar
    monotone: bool


def tiam(
    network: Network,
    *,
    start_inertia: Inertia = 0.3,
    gradient_inertia: Inertia = 0.3,
    beyond_inertia: Inertia = 0.1,
    monotone: bool = True,
    penalty: float = 1e-3,
    weight_decay: float = 0.05,
    tolerance: float = 100.0,
    min_tolerance: float = 1e-3,
    max_doublings: int | None = None,
    output_solver: Literal["newton", "fista"] = "newton",
) -> Algorithm:
    """TIAM as an :class:`Algorithm`; a step is one iteration on all examples.

    It starts as :func:`~samt_jax.baselines.mdlam.mdlam` does, and what is said there of
    the other settings holds here. θ is found by backtracking along the gradient.

    Args:
      network: What is trained.
      start_inertia: p1 from 0 to 1, a number or a schedule over iterations.
      gradient_inertia: p2, likewise.
      beyond_inertia: p3, likewise.
      monotone: Whether a step on a block that raises the objective is replaced by the
        step without inertias, which never does.
      penalty: ρ > 0.
      weight_decay: μ >= 0.
      tolerance: ε of the first iteration; it is halved after each.
      min_tolerance: Where that ends.
      max_doublings: After how many doublings of θ, from 1, a block stays as it is.
      output_solver: ``"newton"`` for exact outputs, or ``"fista"``.

    Returns:
      The algorithm, which needs full batches; see :class:`TiamState` and
      :class:`~samt_jax.baselines.layerwise.LayerwiseInfo`.

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, tiam
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> network = Network(chain, SQUARED_ERROR, 1.0)
      >>> algorithm = tiam(network, penalty=1.0, weight_decay=0.0)
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> batches, key = Batches((jnp.ones((4, 1)),) * 2), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(3):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.1
      True

    Reference:
      Yan et al., arXiv 2503.08489.
    """
    given = (start_inertia, gradient_inertia, beyond_inertia)
    _check_inertias(given)
    rule = make_rule(
        network,
        penalty=penalty,
        weight_decay=weight_decay,
        tolerance=tolerance,
        min_tolerance=min_tolerance,
        accelerate=True,
        max_doublings=max_doublings,
        output_solver=output_solver,
    )

    def init_fn(params: Params, batches: Batches, key: Key) -> TiamState:
        del key
        passed = pass_forward(network, params, batches)
        return TiamState(start_state(rule, passed), jnp.zeros((), jnp.int32))

    def step_fn(
        params: Params, state: TiamState, batches: Batches, key: Key
    ) -> tuple[Params, TiamState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        problem, before = begin(rule, state.mdlam, passed)
        numbers = (p(state.count) if callable(p) else p for p in given)
        p1, p2, p3 = (jnp.asarray(p, passed.inputs.dtype) for p in numbers)
        *_, (_, after) = sweep(problem, Inertias(p1, p2, p3, monotone), before)
        following = end(problem, state.mdlam, before, after)
        info = StepInfo(passed.value, describe(problem, after, passed))
        params = write_layers(params, passed.blocks, list(after.layers))
        return params, TiamState(following, state.count + 1), info

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def sweep(
    problem: Subproblem, inertias: Inertias, variables: Variables
) -> Iterator[tuple[str, Variables]]:
    """One iteration: the name of a block, and the variables after its update.

    Args:
      problem: What is fixed.
      inertias: Of this iteration.
      variables: Where to start.

    Yields:
      ``"W1"``, ``"b1"``, ``"z1"``, ``"a1"``, …
    """
    last = len(variables.layers) - 1
    for i in range(last + 1):
        yield f"W{i + 1}", (variables := _move_kernel(problem, inertias, variables, i))
        # Up to p3 = 1, where it ends as far beyond the minimum as it began before it,
        # the objective does not rise.
        residual = variables.products[i] - variables.preactivations[i]
        beyond = (1 + inertias.beyond) * residual
        yield f"b{i + 1}", (variables := with_fitted_bias(variables, i, beyond))
        fit = _fit_outputs if i == last else _fit_preactivations
        yield f"z{i + 1}", (variables := fit(problem, inertias, variables, i))
        if i < last:
            variables = _move_activations(problem, inertias, variables, i)
            yield f"a{i + 1}", variables


def _without_rise(
    step: Callable[[Inertias], Trial], value: Scalar, inertias: Inertias
) -> Trial:
    """The step with its inertias, or without where they would raise a value."""
    trial = step(inertias)
    if not inertias.monotone:
        return trial
    zero = jnp.zeros_like(inertias.start)
    return jax.lax.cond(
        trial.value <= value,
        lambda: trial,
        lambda: step(Inertias(zero, zero, zero, True)),
    )


def _move_kernel(
    problem: Subproblem, inertias: Inertias, variables: Variables, i: int
) -> Variables:
    layer, terms = variables.layers[i], terms_of_kernel(problem, variables, i)
    kernel, change = layer.kernel, layer.kernel - variables.last_kernels[i]
    push = terms.image_of(change)

    def step(p: Inertias) -> Trial:
        move = terms.move(kernel + p.gradient * change, terms.image + p.gradient * push)
        moved = jnp.where(move.found, p.start * change + move.change, 0)
        pushed = jnp.where(move.found, p.start * push + move.product_change, 0)
        new = kernel + (1 + p.beyond) * moved
        image = terms.image + (1 + p.beyond) * pushed
        return Trial(new, image, terms.value(new, image))

    trial = _without_rise(step, terms.value(kernel, terms.image), inertias)
    layer = layer._replace(kernel=trial.block)
    return with_layer(variables, i, layer, terms.product(trial.block, trial.image))


def _fit_preactivations(
    problem: Subproblem, inertias: Inertias, variables: Variables, i: int
) -> Variables:
    activations, old = variables.activations[i], variables.preactivations[i]

    def clip(z: Array) -> Array:
        return clip_preactivations(
            z,
            activations - problem.tolerance,
            activations + problem.tolerance,
            problem.rule.network.negative_slope,
        )

    fitted = clip(variables.products[i])
    fitted = clip(fitted + inertias.beyond * (fitted - old))
    return variables._replace(preactivations=put(variables.preactivations, i, fitted))


def _fit_outputs(
    problem: Subproblem, inertias: Inertias, variables: Variables, i: int
) -> Variables:
    rule, old, center = problem.rule, variables.preactivations[i], variables.products[i]
    fitted = rule.minimise_outputs(
        center,
        jnp.asarray(rule.penalty, center.dtype),
        jnp.zeros_like(center),
        problem.targets,
        old,
    )
    beyond = fitted + inertias.beyond * (fitted - old)
    if inertias.monotone:

        def values(z: Array) -> Float[Array, "n"]:
            losses = rule.network.output.values(z, problem.targets)
            return losses + rule.penalty / 2 * jnp.sum((z - center) ** 2, axis=1)

        falls = values(beyond) <= values(old)
        beyond = jnp.where(falls[:, None], beyond, fitted)
    return variables._replace(preactivations=put(variables.preactivations, i, beyond))


def _move_activations(
    problem: Subproblem, inertias: Inertias, variables: Variables, i: int
) -> Variables:
    rule, kernel = problem.rule, variables.layers[i + 1].kernel
    z, product = variables.preactivations[i + 1], variables.products[i + 1]
    old = variables.activations[i]
    change = old - variables.last_activations[i]
    push = change @ kernel
    middle = activate(variables.preactivations[i], rule.network.negative_slope)
    lower, upper = middle - problem.tolerance, middle + problem.tolerance

    def step(p: Inertias) -> Trial:
        residual = product + p.gradient * push - z
        move = projected_move(
            kernel,
            old + p.gradient * change,
            residual,
            rule.penalty,
            lower,
            upper,
            jnp.ones((), z.dtype),
            max_doublings=rule.max_doublings,
        )
        gradient = rule.penalty * (residual @ kernel.T)
        moved = jnp.clip(
            old + p.start * change - gradient / move.curvature, lower, upper
        )
        new = jnp.clip(moved + p.beyond * (moved - old), lower, upper)
        new = jnp.where(move.found, new, old)
        new_product = product + (new - old) @ kernel
        value = rule.penalty / 2 * jnp.sum((new_product - z) ** 2)
        return Trial(new, new_product, value)

    value = rule.penalty / 2 * jnp.sum((product - z) ** 2)
    trial = _without_rise(step, value, inertias)
    return variables._replace(
        activations=put(variables.activations, i, trial.block),
        products=put(variables.products, i + 1, trial.image),
    )


def _check_inertias(inertias: tuple[Inertia, ...]) -> None:
    names = ("start_inertia", "gradient_inertia", "beyond_inertia")
    for name, number in zip(names, inertias, strict=True):
        if callable(number) or isinstance(number, jax.core.Tracer):
            continue
        if not 0 <= number <= 1:
            raise ValueError(
                f"{name} is {number}; it must be from 0 to 1, or a schedule."
            )
