"""mDLAM: descent at a fixed tolerance, feasibility, and the authors' deviations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax.baselines import SOFTMAX, mdlam
from samt_jax.baselines.activations import activate
from samt_jax.baselines.layerwise import affine, pass_forward, start_variables
from samt_jax.baselines.mdlam import sweep
from samt_jax.baselines.mdlam_problem import (
    Subproblem,
    begin,
    end,
    make_rule,
    objective,
    start_state,
)
from samt_jax.baselines.outputs import minimise_by_fista

pytestmark = pytest.mark.usefixtures("x64")

WIDTHS, TOLERANCE = (2, 5, 4, 2), 0.3


def rule_of(net, penalty=0.5, accelerate=True, tolerance=TOLERANCE):
    """One whose ε stays as it is."""
    return make_rule(
        net,
        penalty=penalty,
        weight_decay=0.05,
        tolerance=tolerance,
        min_tolerance=tolerance,
        accelerate=accelerate,
        max_doublings=None,
        output_solver="newton",
    )


def objective_of(problem, variables):
    """From the variables alone, without the products that a sweep keeps up."""
    inputs = (problem.inputs, *variables.activations)
    products = tuple(map(affine, variables.layers, inputs))
    return objective(problem, variables._replace(products=products))


@functools.cache
def trail(accelerate, penalty, slope, tolerance=TOLERANCE):
    """Names, variables, F and its gradient over six iterations at a fixed ε."""
    with jax.enable_x64(True):
        net, params = network(WIDTHS, SOFTMAX, slope)
        passed = pass_forward(net, params, two_moons(30))
        rule = rule_of(net, penalty, accelerate, tolerance)
        names, blocks = [], passed.blocks

        @jax.jit
        def iterate(state, passed):
            passed = passed._replace(blocks=blocks)
            problem, before = begin(rule, state, passed)
            names[:], found = zip(
                ("start", before), *sweep(problem, before), strict=True
            )
            after = found[-1]
            # What the next iteration starts from, but for the pass's other layers.
            passed = passed._replace(
                blocks=(),
                layers=after.layers,
                preactivations=(after.products[0], *passed.preactivations[1:]),
            )
            return end(problem, state, before, after), passed, found

        @jax.jit
        @jax.value_and_grad
        def value_and_grad(variables):
            problem = Subproblem(rule, passed.inputs, None, passed.targets, 0.0, 0.0)
            return objective_of(problem, variables)

        state, at, variables = start_state(rule, passed), passed, []
        at = at._replace(blocks=())
        for _ in range(6):
            state, at, found = iterate(state, at)
            variables += found
        return 6 * names, variables, [value_and_grad(v) for v in variables]


CASES = [(True, 0.5, 0.0), (False, 0.5, 0.1), (True, 1e-3, 0.1)]
of_cases = pytest.mark.parametrize("case", CASES, ids=["relu", "plain", "leaky"])


@of_cases
def test_no_update_raises_the_objective(case):
    names, _, pairs = trail(*case)
    values = [float(value) for value, _ in pairs]
    for i, name in enumerate(names[1:]):
        assert values[i + 1] <= values[i] + 1e-12, name
    assert values[-1] < values[0] - 1e-3


@of_cases
def test_activations_stay_in_their_box(case):
    names, variables, _ = trail(*case)
    largest = 0.0
    for name, v in zip(names, variables, strict=True):
        if name[0] in "za" and name != "z3":
            i = int(name[1:]) - 1
            gap = np.abs(v.activations[i] - activate(v.preactivations[i], case[2]))
            assert np.max(gap) <= TOLERANCE + 1e-12
            largest = max(largest, np.max(gap))
    # The box is at work.
    assert largest > 0.01 * TOLERANCE


@of_cases
def test_biases_and_outputs_are_optimal(case):
    names, _, pairs = trail(*case)
    for name, (_, gradient) in zip(names, pairs, strict=True):
        if name[0] == "b":
            assert np.max(np.abs(gradient.layers[int(name[1:]) - 1].bias)) < 1e-11
        if name == "z3":
            assert np.max(np.abs(gradient.preactivations[2])) < 1e-6


@of_cases
def test_hidden_preactivations_are_nearest_to_the_layers_output(case):
    names, variables, _ = trail(*case)
    grid = np.linspace(-12, 12, 24_001)
    activated = np.maximum(grid, 0) + case[2] * np.minimum(grid, 0)
    num_clipped = num_free = 0
    for i, name in enumerate(names):
        if name in ("z1", "z2"):
            layer = int(name[1]) - 1
            old, new = variables[i - 1], variables[i]
            m, a = (np.ravel(x[layer]) for x in (old.products, old.activations))
            allowed = np.abs(activated[:, None] - a) <= TOLERANCE
            distance = np.where(allowed, np.abs(grid[:, None] - m), np.inf).min(axis=0)
            found = np.abs(np.ravel(new.preactivations[layer]) - m)
            within = np.isfinite(distance)
            assert (found[within] <= distance[within] + 1e-12).all()
            assert (found[within] >= distance[within] - 2e-3).all()
            num_clipped += np.sum(found > 1e-9)
            num_free += np.sum(found <= 1e-9)
    assert min(num_clipped, num_free) > 20


def test_without_a_box_activations_take_a_gradient_step():
    names, variables, pairs = trail(False, 0.5, 0.0, tolerance=1e9)
    # Penalties are zero at first, and that of the outputs is the first to grow.
    i = len(names) - 1 - names[::-1].index("a2")
    gradient = pairs[i - 1][1].activations[1]
    change = variables[i].activations[1] - variables[i - 1].activations[1]
    tau = np.linalg.norm(gradient) / np.linalg.norm(change)
    np.testing.assert_allclose(change, -gradient / tau, atol=1e-12)
    assert np.log2(tau) == pytest.approx(np.round(np.log2(tau)), abs=1e-9)


def train(num_steps=1, widths=WIDTHS, **settings):
    net, params = network(widths, SOFTMAX, 0.0)
    return params, *run(mdlam(net, **settings), params, two_moons(30), num_steps)


def test_first_extrapolation_is_none_and_later_ones_tend_to_one():
    _, plain, _, _ = train(accelerate=False)
    _, first, state, _ = train()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), plain, first
    )
    # s: 1, then (1 + √5)/2; what is extrapolated by in step k is (s_k - 1)/s_{k+1}.
    assert state.momentum == pytest.approx((1 + 5**0.5) / 2)
    rule = rule_of(network(WIDTHS, SOFTMAX, 0.0)[0])
    net, params = network(WIDTHS, SOFTMAX, 0.0)
    passed = pass_forward(net, params, two_moons(30))
    late = state._replace(momentum=jnp.array(1e4))
    assert begin(rule, late, passed)[0].extrapolation == pytest.approx(1, abs=2e-4)
    start = start_state(rule, passed)
    assert begin(rule, start, passed)[0].extrapolation == 0


def test_acceleration_helps_at_a_fixed_tolerance():
    settings = {"tolerance": 0.1, "min_tolerance": 0.1, "penalty": 1.0}
    fast, slow = (
        train(100, accelerate=accelerate, **settings)[3].detail.objective
        for accelerate in (True, False)
    )
    assert fast[-1] < slow[-1]
    for values in (fast, slow):
        assert np.all(np.diff(values) <= 1e-12)


def test_tolerance_is_halved_down_to_its_floor():
    state = train(tolerance=100.0)[2]
    assert state.tolerance == 50
    state = train(tolerance=1e-3, min_tolerance=8e-4)[2]
    assert state.tolerance == pytest.approx(8e-4)


def test_a_kernel_whose_step_needs_too_many_doublings_stays_as_in_the_authors_code():
    for accelerate in (True, False):
        settings = {"penalty": 1e6, "accelerate": accelerate}
        start, free, _, _ = train(2, **settings)
        _, capped, _, _ = train(2, **settings, max_doublings=10)
        kernel = lambda params: params["layer_0"]["kernel"]  # noqa: E731
        np.testing.assert_array_equal(kernel(capped), kernel(start))
        assert np.max(np.abs(kernel(free) - kernel(start))) > 0


@pytest.mark.parametrize("freeze", [False, True])
def test_second_hidden_bias_can_be_frozen_as_in_the_authors_code(freeze):
    start, params, _, _ = train(freeze_second_bias=freeze)
    moved = {name: np.any(params[name]["bias"] != start[name]["bias"])
             for name in params}  # fmt: skip
    assert moved == {"layer_0": True, "layer_1": not freeze, "layer_2": True}
    # With one hidden layer the second bias is the outputs', which moves in any case.
    start, params, _, _ = train(widths=(2, 5, 2), freeze_second_bias=freeze)
    assert np.any(params["layer_1"]["bias"] != start["layer_1"]["bias"])


def test_variables_start_from_a_forward_pass_and_outputs_from_the_labels():
    net, params = network(WIDTHS, SOFTMAX, 0.0)
    passed = pass_forward(net, params, two_moons(30))
    preactivations, activations = start_variables(net, passed)
    for z, a, own in zip(
        preactivations, activations, passed.preactivations, strict=False
    ):
        np.testing.assert_array_equal(z, own)
        np.testing.assert_array_equal(a, np.maximum(own, 0))
    assert len(activations) == 2
    labels = np.argmax(preactivations[-1], axis=1)
    np.testing.assert_array_equal(labels, passed.targets)


def test_bad_settings_are_refused():
    net = network(WIDTHS, SOFTMAX, 0.0)[0]
    for settings, message in (
        ({"penalty": 0}, "penalty is 0; it must be greater"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; it must be 0 or greater"),
        ({"max_doublings": -1}, "max_doublings is -1; it must be 0 or greater"),
        ({"tolerance": 1e-4}, "min_tolerance 0.001; .* must be no smaller"),
    ):
        with pytest.raises(ValueError, match=message):
            mdlam(net, **settings)


def test_fista_ends_at_the_tolerance_of_the_authors():
    settings = {"weight_decay": 0.05, "tolerance": 1.0, "min_tolerance": 1.0}
    rule = make_rule(
        network(WIDTHS, SOFTMAX, 0.0)[0],
        penalty=1.0,
        accelerate=False,
        max_doublings=None,
        output_solver="fista",
        **settings,
    )
    zeros, labels = jnp.zeros((8, 3)), jnp.arange(8) % 3
    arguments = (zeros, 1.0, zeros, labels, zeros - 1)
    found = rule.minimise_outputs(*arguments)
    as_given = minimise_by_fista(SOFTMAX, *arguments, tolerance=1e-4)
    np.testing.assert_array_equal(found, as_given)
    assert np.any(found != minimise_by_fista(SOFTMAX, *arguments, tolerance=1e-3))
