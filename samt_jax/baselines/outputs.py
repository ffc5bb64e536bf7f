"""Losses of a network's outputs, and what is minimised over the outputs themselves.

The auxiliary-variable methods keep a copy z of the outputs of every example, and solve

    min over z of  loss(z) + ⟨multiplier, z⟩ + weight/2 ‖z - center‖²

example by example, for the loss of an example as it is: their objectives are sums over
examples, not means.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from samt_jax.base import Scalar

Outputs = Float[Array, "n k"]

MAX_NEWTON_STEPS = 100
_ARMIJO = 1e-4


class OutputLoss(NamedTuple):
    """A loss of outputs, and what is known of it.

    Attributes:
      name: What it is called.
      values: ``values(outputs, targets)``: the loss of each example, shape ``(n,)``.
      check: ``check(targets, shape)`` raises a `ValueError` for targets that do not
        belong to outputs of this shape.
      start: ``start(targets, num_outputs, dtype)``: outputs to start from.
      minimise: ``minimise(center, weight, multiplier, targets, start)``: the exact
        minimizer of the module's problem.
      measure: ``measure(outputs, targets)``: means over the examples, by name.
      fista_step: η of FISTA, `None` where the loss has no gradient everywhere: the
        inverse of the gradient's Lipschitz constant, but for the cross-entropy, whose
        constant is one half, the 4 that the authors of dlADMM take.
    """

    name: str
    values: Callable[[Outputs, Array], Float[Array, "n"]]
    check: Callable[[Array, tuple[int, ...]], None]
    start: Callable[..., Outputs]
    minimise: Callable[[Outputs, Scalar, Outputs, Array, Outputs], Outputs]
    measure: Callable[[Outputs, Array], dict[str, Scalar]]
    fista_step: float | None


def minimise_softmax(
    center: Outputs,
    weight: Scalar,
    multiplier: Outputs,
    labels: Int[Array, "n"],
    start: Outputs,
) -> Outputs:
    """The module's problem for the softmax cross-entropy, by damped Newton steps.

    With probabilities p and D = p + weight the Hessian is ``diag(D) - p pᵀ``, so that
    the Sherman-Morrison formula inverts it entry by entry. The step of an example is
    halved until its objective falls by Armijo's rule.

    Args:
      center: Shape ``(n, k)``.
      weight: Greater than 0.
      multiplier: Shape ``(n, k)``.
      labels: Classes from 0.
      start: Where to start.

    Returns:
      The minimizer; the gradient is at rounding level.

    Example:
      >>> zeros, labels = jnp.zeros((1, 2)), jnp.array([0])
      >>> z = minimise_softmax(zeros, 1.0, zeros, labels, zeros)
      >>> gradient = jax.nn.softmax(z) - jnp.array([[1.0, 0.0]]) + 1.0 * (z - zeros)
      >>> bool(jnp.allclose(gradient, 0.0, atol=1e-5))
      True
    """
    # Classes first: sums over ten classes are then sums of long vectors.
    problem = _Softmax(
        center.T,
        jnp.asarray(weight, center.dtype),
        multiplier.T,
        jax.nn.one_hot(labels, center.shape[1], dtype=center.dtype, axis=0),
    )
    newton = _start_newton(problem, start.T)
    newton = jax.lax.while_loop(
        lambda newton: (newton.count < MAX_NEWTON_STEPS) & ~jnp.all(newton.is_done),
        lambda newton: _newton_step(problem, newton),
        newton,
    )
    return newton.outputs.T


def minimise_by_fista(
    loss: OutputLoss,
    center: Outputs,
    weight: Scalar,
    multiplier: Outputs,
    targets: Array,
    start: Outputs,
    *,
    step_size: float | None = None,
    tolerance: float = 1e-3,
    max_steps: int = 500,
) -> Outputs:
    """The module's problem as the authors of dlADMM solve it: inexactly, by FISTA.

    A step is ``(weight·center - multiplier + z/η - ∇loss(z)) / (weight + 1/η)``. They
    end when the objective, summed over all examples, changes by less than the
    tolerance.

    Args:
      loss: The loss.
      center: Shape ``(n, k)``.
      weight: Greater than 0.
      multiplier: Shape ``(n, k)``.
      targets: As the loss takes them.
      start: Where to start.
      step_size: η > 0, `OutputLoss.fista_step` by default.
      tolerance: Of the objective.
      max_steps: Most steps.

    Returns:
      The last iterate.

    Raises:
      ValueError: The loss has no gradient everywhere.

    Example:
      >>> zeros, labels = jnp.zeros((1, 2)), jnp.array([0])
      >>> z = minimise_by_fista(
      ...     SOFTMAX, zeros, 1.0, zeros, labels, zeros, tolerance=1e-6
      ... )
      >>> exact = minimise_softmax(zeros, 1.0, zeros, labels, zeros)
      >>> bool(jnp.allclose(z, exact, atol=1e-3))
      True

    Reference:
      Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009.
    """
    step_size = _fista_step(loss) if step_size is None else step_size

    def total(z: Outputs) -> Scalar:
        pull = multiplier * z + weight / 2 * (z - center) ** 2
        return jnp.sum(loss.values(z, targets)) + jnp.sum(pull)

    gradient = jax.grad(lambda z: jnp.sum(loss.values(z, targets)))

    def body(carry: tuple) -> tuple:
        z, ahead, momentum, value, _, count = carry
        pulled = weight * center - multiplier + ahead / step_size - gradient(ahead)
        moved = pulled / (weight + 1 / step_size)
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / next_momentum * (moved - z)
        return moved, ahead, next_momentum, total(moved), value, count + 1

    def goes_on(carry: tuple) -> Bool[Array, ""]:
        *_, value, last_value, count = carry
        return (count < max_steps) & (jnp.abs(value - last_value) >= tolerance)

    infinite = jnp.full((), jnp.inf, start.dtype)
    one = jnp.ones((), start.dtype)
    carry = (start, start, one, total(start), infinite, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(goes_on, body, carry)[0]


def output_minimiser(
    loss: OutputLoss,
    solver: Literal["newton", "fista"],
    *,
    tolerance: float = 1e-3,
) -> Callable[..., Outputs]:
    """What minimises over outputs: a loss's own exact way, or the authors' FISTA.

    Args:
      loss: The loss.
      solver: ``"newton"`` (a closed form, for the squared error) or ``"fista"``.
      tolerance: Of FISTA; that of dlADMM's authors by default.

    Returns:
      A function with the arguments of `OutputLoss.minimise`.

    Raises:
      ValueError: No such solver, or FISTA for a loss that has no gradient everywhere.
    """
    if solver not in ("newton", "fista"):
        raise ValueError(
            f"output_solver is {solver!r}; it must be 'newton' or 'fista'."
        )
    if solver == "newton":
        return loss.minimise
    _fista_step(loss)
    return functools.partial(minimise_by_fista, loss, tolerance=tolerance)


def _fista_step(loss: OutputLoss) -> float:
    if loss.fista_step is None:
        raise ValueError(
            f"FISTA takes gradients, and the {loss.name} loss has none at its kinks; "
            "take output_solver='newton', which solves it in closed form."
        )
    return loss.fista_step


def check_labels(targets: Array, shape: tuple[int, ...]) -> None:
    """Raises a `ValueError` for targets that are no labels, one an example.

    Example:
      >>> check_labels(jnp.zeros((4, 1)), (4, 3))
      Traceback (most recent call last):
        ...
      ValueError: the targets are float32 of shape (4, 1); for outputs of shape (4, 3) \
and a loss of classes they must be integers from 0 to 2 of shape (4,).
    """
    is_integer = jnp.issubdtype(targets.dtype, jnp.integer)
    if not is_integer or targets.shape != shape[:1]:
        raise ValueError(
            f"the targets are {targets.dtype} of shape {targets.shape}; for outputs of "
            f"shape {shape} and a loss of classes they must be integers from 0 to "
            f"{max(shape[1] - 1, 1)} of shape {shape[:1]}."
        )


def check_values(targets: Array, shape: tuple[int, ...]) -> None:
    """Raises a `ValueError` for targets that are not of the outputs' shape.

    Example:
      >>> check_values(jnp.zeros(4), (4, 1))
      Traceback (most recent call last):
        ...
      ValueError: the targets are of shape (4,); for outputs of shape (4, 1) and a \
squared error they must be of that shape.
    """
    if targets.shape != shape:
        raise ValueError(
            f"the targets are of shape {targets.shape}; for outputs of shape {shape} "
            "and a squared error they must be of that shape."
        )


def _plus_minus_one(labels: Array, num_outputs: int, dtype: jnp.dtype) -> Outputs:
    return 2 * jax.nn.one_hot(labels, num_outputs, dtype=dtype) - 1


def _accuracy(outputs: Outputs, labels: Array) -> dict[str, Scalar]:
    return {"accuracy": jnp.mean(jnp.argmax(outputs, axis=1) == labels)}


def _squared_error(outputs: Outputs, targets: Array) -> Float[Array, "n"]:
    return jnp.sum((outputs - targets) ** 2, axis=1)


def _minimise_squared_error(
    center: Outputs, weight: Scalar, multiplier: Outputs, targets: Array, start: Outputs
) -> Outputs:
    del start
    return (2 * targets + weight * center - multiplier) / (2 + weight)


def _rmse(outputs: Outputs, targets: Array) -> dict[str, Scalar]:
    return {"rmse": jnp.sqrt(jnp.mean(_squared_error(outputs, targets)))}


def _as_given(targets: Array, num_outputs: int, dtype: jnp.dtype) -> Outputs:
    del num_outputs
    return targets.astype(dtype)


# Labels are integers from 0. Outputs start at 1 for the label's class, -1 for others.
SOFTMAX = OutputLoss(
    "softmax cross-entropy",
    optax.softmax_cross_entropy_with_integer_labels,
    check_labels,
    _plus_minus_one,
    minimise_softmax,
    _accuracy,
    fista_step=4.0,
)
# The square of the distance, without a half; targets are of shape (n, k).
SQUARED_ERROR = OutputLoss(
    "squared error",
    _squared_error,
    check_values,
    _as_given,
    _minimise_squared_error,
    _rmse,
    fista_step=0.5,
)


class _Softmax(NamedTuple):
    """The problem with classes along the first axis."""

    center: Float[Array, "k n"]
    weight: Scalar
    multiplier: Float[Array, "k n"]
    codes: Float[Array, "k n"]


class _Newton(NamedTuple):
    """Newton's method under way, one example a column."""

    outputs: Float[Array, "k n"]
    probabilities: Float[Array, "k n"]
    value: Float[Array, "n"]
    step_size: Float[Array, "n"]
    is_done: Bool[Array, "n"]
    count: Int[Array, ""]  # type: ignore[assignment]  # Hides `tuple.count`.


def _start_newton(problem: _Softmax, start: Array) -> _Newton:
    value, probabilities = _value_and_probabilities(problem, start)
    return _Newton(
        start,
        probabilities,
        value,
        jnp.ones_like(value),
        jnp.zeros(value.shape, bool),
        jnp.zeros((), jnp.int32),
    )


def _newton_step(problem: _Softmax, newton: _Newton) -> _Newton:
    z, p, weight = newton.outputs, newton.probabilities, problem.weight
    rounding = jnp.finfo(z.dtype).eps
    gradient = p - problem.codes + problem.multiplier + weight * (z - problem.center)
    scaled = gradient / (p + weight)
    share = p / (p + weight)
    # 1 - Σ p²/(p + weight), in the form that does not cancel.
    denominator = weight * jnp.sum(share, axis=0)
    along = jnp.sum(p * scaled, axis=0) / denominator
    direction = scaled + share * along[None]
    slope = jnp.sum(gradient * direction, axis=0)
    trial = z - newton.step_size[None] * direction
    value, probabilities = _value_and_probabilities(problem, trial)
    slack = 8 * rounding * (1 + jnp.abs(newton.value))
    decrease = newton.step_size * slope
    falls = value <= newton.value - _ARMIJO * decrease + slack
    size = 1 + weight * jnp.max(jnp.abs(z - problem.center), axis=0)
    is_done = jnp.max(jnp.abs(gradient), axis=0) <= 32 * rounding * size
    # What is not finite will not get better, nor what falls by less than rounding.
    is_done |= ~jnp.isfinite(slope) | (~falls & (decrease <= slack))
    moves = falls & ~is_done
    return _Newton(
        jnp.where(moves[None], trial, z),
        jnp.where(moves[None], probabilities, p),
        jnp.where(moves, value, newton.value),
        jnp.where(moves, jnp.minimum(2 * newton.step_size, 1), newton.step_size / 2),
        is_done,
        newton.count + 1,
    )


def _value_and_probabilities(problem: _Softmax, outputs: Array) -> tuple[Array, Array]:
    # Outputs relative to the largest, and to the center: what cancels is left out.
    relative = outputs - jnp.max(outputs, axis=0)[None]
    exponentials = jnp.exp(relative)
    total = jnp.sum(exponentials, axis=0)
    distance = outputs - problem.center
    pull = (problem.multiplier + problem.weight / 2 * distance) * distance
    value = jnp.log(total) + jnp.sum(pull - problem.codes * relative, axis=0)
    return value, exponentials / total[None]
