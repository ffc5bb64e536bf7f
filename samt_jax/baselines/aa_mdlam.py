"""AA-mDLAM: mDLAM without Nesterov's extrapolation, Anderson-accelerated.

One iteration of :mod:`~samt_jax.baselines.mdlam` is a map G of its variables, and
:mod:`~samt_jax.baselines.anderson` extrapolates its iterates x: the weights and biases,
z and a being those of G(x), or all variables. The extrapolated point, with a projected
on its box, is taken where it is finite and its objective F is no larger than that of x,
or than that of G(x); else G(x) is, and the history is cleared. So F falls at every
iteration for which ε has not shrunk. While it shrinks G is another map each time, and
the history is cleared too.

The first of these lets points in that are worse than G(x), and where few are better,
as on images, the whole is then slower than mDLAM without acceleration; by the second
every iteration is as good as one of that.

Reference: Ebrahimi, Batista, Deghat, "AA-mDLAM", Neurocomputing 2025; predecessor
"AA-DLADMM", arXiv 2401.03619. Only abstracts were at hand: which variables are
accelerated, how many points are kept and the safeguard are settings or readings.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from samt_jax.base import Algorithm, Batches, Key, Params, StepInfo
from samt_jax.baselines.activations import activate
from samt_jax.baselines.anderson import (
    AndersonHistory,
    clear,
    propose,
    start_history,
)
from samt_jax.baselines.layerwise import (
    FULL_BATCH,
    Network,
    affine,
    pass_forward,
    write_layers,
)
from samt_jax.baselines.mdlam import sweep
from samt_jax.baselines.mdlam_problem import (
    MdlamState,
    Subproblem,
    Variables,
    begin,
    describe,
    end,
    make_rule,
    objective,
    start_state,
)

ACCELERATED = ("weights", "all")
BOUNDS = ("last", "image")


class AaMdlamState(NamedTuple):
    """State of AA-mDLAM.

    Attributes:
      mdlam: That of mDLAM.
      history: The last iterates.
    """

    mdlam: MdlamState
    history: AndersonHistory


def aa_mdlam(
    network: Network,
    *,
    memory: int = 5,
    accelerated: Literal["weights", "all"] = "weights",
    accept_below: Literal["last", "image"] = "last",
    penalty: float = 1e-3,
    weight_decay: float = 0.05,
    tolerance: float = 100.0,
    min_tolerance: float = 1e-3,
    max_doublings: int | None = None,
    output_solver: Literal["newton", "fista"] = "newton",
) -> Algorithm:
    """AA-mDLAM as an :class:`Algorithm`; a step is one iteration on all examples.

    It keeps ``2 memory + 2`` copies of what is accelerated.

    Args:
      network: What is trained.
      memory: m >= 0, how many changes are kept; with 0 it is mDLAM without
        acceleration.
      accelerated: ``"weights"`` for weights and biases, ``"all"`` for z and a too.
      accept_below: What F of an extrapolated point must not exceed: ``"last"``, that of
        the last point x, or ``"image"``, that of G(x).
      penalty: ρ, as all others of :func:`~samt_jax.baselines.mdlam.mdlam`.
      weight_decay: μ.
      tolerance: ε of the first iteration.
      min_tolerance: The last ε.
      max_doublings: Of a step's curvature.
      output_solver: For z_L.

    Returns:
      The algorithm, which needs full batches; see :class:`AaMdlamState` and
      :class:`LayerwiseInfo`.

    Raises:
      ValueError: A setting out of its range; from `init`, a network that is no chain.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from samt_jax import Batches, Chain, dense
      >>> from samt_jax.baselines import SQUARED_ERROR, Network, aa_mdlam
      >>> chain = Chain((dense("a"),), lambda z, y: jnp.sum((z - y) ** 2, axis=1))
      >>> network = Network(chain, SQUARED_ERROR, 1.0)
      >>> algorithm = aa_mdlam(network, penalty=1.0, weight_decay=0.0, memory=2)
      >>> params = {"a": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
      >>> batches, key = Batches((jnp.ones((4, 1)),) * 2), jax.random.key(0)
      >>> state = algorithm.init(params, batches, key)
      >>> for _ in range(3):
      ...     params, state, info = algorithm.step(params, state, batches, key)
      >>> float(info.value) < 0.1
      True

    Reference:
      Ebrahimi, Batista, Deghat, Neurocomputing 2025; arXiv 2401.03619.
    """
    _check(memory, accelerated, accept_below)
    rule = make_rule(
        network,
        penalty=penalty,
        weight_decay=weight_decay,
        tolerance=tolerance,
        min_tolerance=min_tolerance,
        accelerate=False,
        max_doublings=max_doublings,
        output_solver=output_solver,
    )

    def init_fn(params: Params, batches: Batches, key: Key) -> AaMdlamState:
        del key
        passed = pass_forward(network, params, batches)
        state = start_state(rule, passed)
        _, variables = begin(rule, state, passed)
        x, _ = ravel_pytree(_accelerated(variables, accelerated))
        return AaMdlamState(state, start_history(x, memory))

    def step_fn(
        params: Params, state: AaMdlamState, batches: Batches, key: Key
    ) -> tuple[Params, AaMdlamState, StepInfo]:
        del key
        passed = pass_forward(network, params, batches)
        problem, before = begin(rule, state.mdlam, passed)
        *_, (_, image) = sweep(problem, before)
        proposal, history = _propose(problem, state.history, before, image, accelerated)
        # Of NaN nothing is true, so that such a proposal is refused.
        value = objective(problem, proposal)
        bound = objective(problem, before if accept_below == "last" else image)
        is_accepted = (value <= bound) & (history.count > 1)
        after = _choose(is_accepted, proposal, image)
        # A first point is no failure, and no step of another map belongs in a history.
        is_settled = state.mdlam.tolerance <= min_tolerance
        keeps = is_settled & (is_accepted | (history.count <= 1))
        detail = describe(problem, after, passed)._replace(
            is_accepted=is_accepted.astype(value.dtype)
        )
        state = AaMdlamState(
            end(problem, state.mdlam, before, after),
            _choose(keeps, history, clear(history)),
        )
        params = write_layers(params, passed.blocks, list(after.layers))
        return params, state, StepInfo(passed.value, detail)

    return Algorithm(init_fn, step_fn, FULL_BATCH)


def _accelerated(variables: Variables, accelerated: str) -> Any:
    if accelerated == "weights":
        return variables.layers
    return variables.layers, variables.preactivations, variables.activations


def _propose(
    problem: Subproblem,
    history: AndersonHistory,
    before: Variables,
    image: Variables,
    accelerated: str,
) -> tuple[Variables, AndersonHistory]:
    """The extrapolated variables, feasible and with products that belong to them."""
    x, _ = ravel_pytree(_accelerated(before, accelerated))
    flat_image, unravel = ravel_pytree(_accelerated(image, accelerated))
    flat, history = propose(history, x, flat_image)
    proposal = image
    if accelerated == "weights":
        proposal = proposal._replace(layers=unravel(flat))
    else:
        layers, preactivations, activations = unravel(flat)
        boxed = tuple(
            _into_box(problem, z, a)
            for z, a in zip(preactivations[:-1], activations, strict=True)
        )
        proposal = proposal._replace(
            layers=layers, preactivations=preactivations, activations=boxed
        )
    inputs = (problem.inputs, *proposal.activations)
    pairs = zip(proposal.layers, inputs, strict=True)
    return proposal._replace(products=tuple(affine(*pair) for pair in pairs)), history


def _into_box(problem: Subproblem, z: Array, a: Array) -> Array:
    middle = activate(z, problem.rule.network.negative_slope)
    return jnp.clip(a, middle - problem.tolerance, middle + problem.tolerance)


def _choose(condition: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _check(memory: int, accelerated: str, accept_below: str) -> None:
    if memory != int(memory) or memory < 0:
        raise ValueError(f"memory is {memory}; it must be a whole number, 0 or more.")
    for name, value, allowed in (
        ("accelerated", accelerated, ACCELERATED),
        ("accept_below", accept_below, BOUNDS),
    ):
        if value not in allowed:
            raise ValueError(
                f"{name} is {value!r}; it must be one of "
                f"{', '.join(map(repr, allowed))}."
            )
