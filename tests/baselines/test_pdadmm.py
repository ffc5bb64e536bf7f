"""pdADMM: every line lowers the augmented Lagrangian, whatever the order in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax.baselines import SOFTMAX, SQUARED_ERROR, pdadmm
from samt_jax.baselines.activations import activate
from samt_jax.baselines.layerwise import DenseLayer, affine
from samt_jax.baselines.pdadmm import (
    Subproblem,
    Variables,
    augmented_lagrangian,
    sweep,
)

pytestmark = pytest.mark.usefixtures("x64")

WIDTHS, NUM_EXAMPLES = (4, 5, 3, 2), 30


def lagrangian_of(problem, variables):
    """From the variables alone, without the products that a sweep keeps up."""
    inputs = (problem.data, *variables.inputs)
    products = tuple(map(affine, variables.layers, inputs))
    return augmented_lagrangian(problem, variables._replace(products=products))


@functools.cache
def trail(penalty, constraint_penalty, slope, output=SOFTMAX):
    """The problem, and names, variables, AL and gradients of two sweeps."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        draw = lambda *shape: jnp.array(rng.normal(size=shape))  # noqa: E731
        net, params = network(WIDTHS, output, slope)
        layers = tuple(DenseLayer(**params[f"layer_{i}"]) for i in range(3))
        z = tuple(draw(NUM_EXAMPLES, width) for width in WIDTHS[1:])
        p, q, u = (tuple(draw(*each.shape) for each in z[:-1]) for _ in range(3))
        data = draw(NUM_EXAMPLES, 4)
        targets = jnp.arange(NUM_EXAMPLES) % 2 if output is SOFTMAX else draw(30, 2)
        numbers = map(jnp.array, (penalty, constraint_penalty, 0.01))
        problem = Subproblem(net, output.minimise, data, targets, *numbers)
        products = tuple(map(affine, layers, (data, *p)))
        start, names = Variables(layers, z, p, q, u, products), []

        @functools.partial(jax.jit, static_argnums=1)
        def sweep_once(start, reverse):
            names[:], found = zip(*sweep(problem, start, reverse), strict=True)
            return found

        variables = [start, *sweep_once(start, False)]
        variables += sweep_once(variables[-1], False)
        value_and_grad = jax.jit(
            jax.value_and_grad(lambda v: lagrangian_of(problem, v))
        )
        pairs = [value_and_grad(v) for v in variables]
        return (
            problem,
            ["start", *names, *names],
            variables,
            pairs,
            sweep_once(start, True)[-1],
        )


CASES = [(1e-4, 1e-4, 0.0, SOFTMAX), (5.0, 1.0, 0.1, SOFTMAX),
         (0.3, 2.0, 1.0, SQUARED_ERROR)]  # fmt: skip
of_cases = pytest.mark.parametrize("case", CASES, ids=["small", "leaky", "linear"])


@of_cases
def test_no_line_but_the_multipliers_raises_the_lagrangian(case):
    _, names, _, pairs, _ = trail(*case)
    values = [float(value) for value, _ in pairs]
    slack = 1e-13 * max(map(abs, values))
    for i, name in enumerate(names[1:]):
        if name != "u":
            assert values[i + 1] <= values[i] + slack, name
    assert values[5] < values[0] - 1e-3


MOVED = {
    "p": lambda v: v.inputs,
    "W": lambda v: [layer.kernel for layer in v.layers],
    "b": lambda v: [layer.bias for layer in v.layers],
    "z": lambda v: v.preactivations,
    "q": lambda v: v.outputs,
    "u": lambda v: v.multipliers,
}


@of_cases
def test_a_line_moves_every_layer_of_what_it_is_named_after_and_nothing_else(case):
    _, names, variables, _, _ = trail(*case)
    for i, name in enumerate(names[1:7], start=1):
        for other, parts in MOVED.items():
            pairs = zip(parts(variables[i]), parts(variables[i - 1]), strict=True)
            stays = [np.array_equal(now, before) for now, before in pairs]
            assert not any(stays) if other == name else all(stays), (name, other)


@of_cases
def test_biases_outputs_and_each_layers_outputs_are_optimal(case):
    _, names, _, pairs, _ = trail(*case)
    for name, (_, gradient) in zip(names, pairs, strict=True):
        if name == "b":
            for layer in gradient.layers:
                assert np.max(np.abs(layer.bias)) < 1e-11
        if name == "z":
            assert np.max(np.abs(gradient.preactivations[-1])) < 1e-6
        if name == "q":
            for of_layer in gradient.outputs:
                assert np.max(np.abs(of_layer)) < 1e-12


@of_cases
def test_hidden_preactivations_are_no_worse_than_any_other(case):
    problem, names, variables, _, _ = trail(*case)
    slope = problem.network.negative_slope
    i = names.index("z")
    for layer in (0, 1):
        m = np.ravel(variables[i - 1].products[layer])
        old = np.ravel(variables[i - 1].preactivations[layer])
        q = np.ravel(variables[i - 1].outputs[layer])
        z = np.ravel(variables[i].preactivations[layer])
        reach = 2 * max(np.max(np.abs(x)) for x in (m, old, q))
        grid, spacing = np.linspace(-reach, reach, 12_001, retstep=True)
        activated = np.maximum(grid, 0) + slope * np.minimum(grid, 0)

        def cost(z, activated, m=m, old=old, q=q):
            return (z - m) ** 2 + (q - activated) ** 2 + (z - old) ** 2

        best = cost(grid[:, None], activated[:, None]).min(axis=0)
        found = cost(z, np.maximum(z, 0) + slope * np.minimum(z, 0))
        assert (found <= best + 1e-12).all()
        # Near a minimum the cost grows by at most three times the distance squared.
        assert (best <= found + 3 * spacing**2).all()


@of_cases
def test_multiplier_is_the_penaltys_pull_on_a_layers_outputs(case):
    problem, names, variables, _, _ = trail(*case)
    slope = problem.network.negative_slope
    for name, v in zip(names, variables, strict=True):
        if name == "u":
            for u, q, z in zip(
                v.multipliers, v.outputs, v.preactivations[:-1], strict=True
            ):
                pull = problem.penalty * (q - activate(z, slope))
                np.testing.assert_allclose(u, pull, atol=1e-12)


@of_cases
def test_layers_of_a_line_may_be_taken_in_any_order(case):
    _, names, variables, _, reversed_once = trail(*case)
    once = variables[names.index("u")]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), once, reversed_once
    )


@of_cases
def test_products_are_kept_up_with_what_they_are_of(case):
    problem, _, variables, _, _ = trail(*case)
    with jax.enable_x64(True):
        for v in variables:
            products = map(affine, v.layers, (problem.data, *v.inputs))
            for product, expected in zip(v.products, products, strict=True):
                np.testing.assert_allclose(product, expected, atol=1e-10)


def test_at_penalty_one_the_lagrangian_falls_and_the_constraints_close():
    net, params = network((2, 6, 5, 2), SOFTMAX, 0.0)
    _, _, infos = run(pdadmm(net, penalty=1.0), params, two_moons(40), 200)
    detail = infos.detail
    assert np.all(np.diff(detail.objective) <= 1e-9)
    for residual in detail.constraint_residual.values():
        assert residual[-1] < 0.1 * np.max(residual)
    assert detail.network["accuracy"][-1] > 0.8


@pytest.mark.parametrize("name", ["penalty", "constraint_penalty", "curvature"])
def test_bad_settings_are_refused(name):
    net = network(WIDTHS, SOFTMAX, 0.0)[0]
    with pytest.raises(ValueError, match=f"{name} is 0; it must be greater"):
        pdadmm(net, **{name: 0})
