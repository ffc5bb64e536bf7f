"""TIAM: mDLAM as its special cases, its steps by their formulas, descent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax import Batches
from samt_jax.baselines import SOFTMAX, SQUARED_ERROR, mdlam, tiam
from samt_jax.baselines.layerwise import pass_forward
from samt_jax.baselines.mdlam_problem import (
    begin,
    end,
    make_rule,
    objective,
    start_state,
)
from samt_jax.baselines.tiam import Inertias, sweep

SLOPE, PENALTY, DECAY, TOLERANCE = 0.1, 4.0, 0.05, 0.3
P1, P2, P3 = 0.6, 0.4, 0.2
SETTINGS = {"penalty": PENALTY, "tolerance": 4.0, "min_tolerance": 0.1}


@functools.cache
def trail(monotone, p1, p2, p3):
    """Four iterations at a fixed tolerance: problems, names, variables, objectives."""
    with jax.enable_x64(True):
        net, params = network((2, 5, 2), SOFTMAX, SLOPE)
        rule = make_rule(
            net,
            penalty=PENALTY,
            weight_decay=DECAY,
            tolerance=TOLERANCE,
            min_tolerance=TOLERANCE,
            accelerate=True,
            max_doublings=None,
            output_solver="newton",
        )
        batches, names = two_moons(30), []
        inertias = Inertias(*map(jnp.float64, (p1, p2, p3)), monotone)

        def record(params):
            passed = pass_forward(net, params, batches)
            state = start_state(rule, passed)
            found, values = [], []
            for _ in range(4):
                problem, before = begin(rule, state, passed)
                steps = [("start", before), *sweep(problem, inertias, before)]
                found += steps
                values += [objective(problem, variables) for _, variables in steps]
                after = found[-1][1]
                state = end(problem, state, before, after)
                passed = passed._replace(
                    layers=after.layers,
                    preactivations=(after.products[0], *passed.preactivations[1:]),
                )
            names[:] = [name for name, _ in found]
            return [v for _, v in found], values

        variables, values = jax.jit(record)(params)
        return batches.train, names, variables, values


@pytest.fixture
def path(x64):
    return trail(True, P1, P2, P3)


def activate(z):
    return np.where(np.asarray(z) > 0, z, SLOPE * np.asarray(z))


def updates(path, name):
    """The variables before and after each update of this name."""
    _, names, variables, _ = path
    return [
        (variables[k - 1], variables[k])
        for k, found in enumerate(names)
        if found == name
    ]


def doubled(quotient):
    """The first power of two, from 1, that is no smaller."""
    return 2.0 ** max(0, int(np.ceil(np.log2(quotient))))


def test_without_inertias_it_is_mdlam_without_acceleration(x64):
    net, params = network((2, 5, 2), SOFTMAX, SLOPE)
    zeros = {f"{name}_inertia": 0.0 for name in ("start", "gradient", "beyond")}
    ours = run(tiam(net, **zeros, **SETTINGS), params, two_moons(30), 6)
    theirs = run(mdlam(net, accelerate=False, **SETTINGS), params, two_moons(30), 6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b), ours[0], theirs[0])
    np.testing.assert_allclose(ours[2].detail.objective, theirs[2].detail.objective)


def test_with_nesterovs_inertias_it_is_mdlam_with_acceleration(x64):
    net, params = network((2, 5, 2), SOFTMAX, SLOPE)
    s = [1.0]
    for _ in range(12):
        s.append((1 + np.sqrt(1 + 4 * s[-1] ** 2)) / 2)
    table = (np.array(s[:-1]) - 1) / np.array(s[1:])
    nesterov = lambda count: jnp.asarray(table)[count]  # noqa: E731
    algorithm = tiam(
        net,
        start_inertia=nesterov,
        gradient_inertia=nesterov,
        beyond_inertia=0.0,
        **SETTINGS,
    )
    ours = run(algorithm, params, two_moons(30), 12)
    theirs = run(mdlam(net, **SETTINGS), params, two_moons(30), 12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b), ours[0], theirs[0])
    np.testing.assert_allclose(ours[2].detail.objective, theirs[2].detail.objective)


def test_a_kernel_takes_the_step_of_the_formula(path):
    seen = 0
    for layer in (0, 1):
        for before, after in updates(path, f"W{layer + 1}"):
            below = (path[0][0], *before.activations)[layer]
            x, z = np.asarray(below), np.asarray(before.preactivations[layer])
            w, b = map(np.asarray, before.layers[layer])
            change = w - np.asarray(before.last_kernels[layer])

            def step(p1, p2, p3, x=x, z=z, w=w, b=b, change=change):
                at = w + p2 * change
                gradient = PENALTY * x.T @ (x @ at + b - z) + DECAY * at
                curved = PENALTY * np.sum((x @ gradient) ** 2)
                curved += DECAY * np.sum(gradient**2)
                theta = doubled(curved / np.sum(gradient**2))
                moved = w + p1 * change - gradient / theta
                return moved + p3 * (moved - w)

            def value(w, x=x, z=z, b=b):
                squares = PENALTY / 2 * np.sum((x @ w + b - z) ** 2)
                return squares + DECAY / 2 * np.sum(w**2)

            expected = step(P1, P2, P3)
            if value(expected) > value(w):
                expected = step(0, 0, 0)
            np.testing.assert_allclose(after.layers[layer].kernel, expected, atol=1e-10)
            seen += np.abs(change).max() > 1e-3
    assert seen >= 6


@pytest.mark.parametrize("p2", [P2, 3.0])
def test_activations_take_the_step_of_the_formula(x64, p2):
    for before, after in updates(trail(True, P1, p2, P3), "a1"):
        a, z = (
            np.asarray(x) for x in (before.activations[0], before.preactivations[1])
        )
        w, b = map(np.asarray, before.layers[1])
        change = a - np.asarray(before.last_activations[0])
        middle = activate(before.preactivations[0])
        box = lambda a, m=middle: np.clip(a, m - TOLERANCE, m + TOLERANCE)  # noqa: E731

        def step(p1, p2, p3, a=a, z=z, w=w, b=b, change=change, box=box):
            at, tau = a + p2 * change, 1.0
            gradient = PENALTY * (at @ w + b - z) @ w.T
            while True:
                moved = box(at - gradient / tau) - at
                if PENALTY * np.sum((moved @ w) ** 2) <= tau * np.sum(moved**2):
                    break
                tau *= 2
            moved = box(a + p1 * change - gradient / tau)
            return box(moved + p3 * (moved - a))

        value = lambda a, w=w, b=b, z=z: np.sum((a @ w + b - z) ** 2)  # noqa: E731
        expected = step(P1, p2, P3)
        if value(expected) > value(a):
            expected = step(0, 0, 0)
        np.testing.assert_allclose(after.activations[0], expected, atol=1e-10)


def test_exact_blocks_go_beyond_their_minimum_by_the_third_inertia(path):
    for before, after in updates(path, "b1"):
        old, new = before.layers[0].bias, after.layers[0].bias
        best = old + np.mean(before.preactivations[0] - before.products[0], axis=0)
        np.testing.assert_allclose(new, best + P3 * (best - old), atol=1e-12)
    for before, after in updates(path, "z1"):
        a = np.asarray(before.activations[0])
        inverse = lambda v: np.where(v > 0, v, v / SLOPE)  # noqa: E731
        low, high = inverse(a - TOLERANCE), inverse(a + TOLERANCE)
        old, m = np.asarray(before.preactivations[0]), np.asarray(before.products[0])
        best = np.clip(m, low, high)
        expected = np.clip(best + P3 * (best - old), low, high)
        np.testing.assert_allclose(after.preactivations[0], expected, atol=1e-12)
    for before, after in updates(path, "z2"):
        old, z = (np.asarray(v.preactivations[1]) for v in (before, after))
        best = (z + P3 * old) / (1 + P3)
        beyond = np.abs(z - best).max(axis=1) > 1e-9
        labels = np.eye(2)[np.asarray(path[0][1])]
        best = np.where(beyond[:, None], best, z)
        p = np.exp(best) / np.exp(best).sum(axis=1, keepdims=True)
        gradient = p - labels + PENALTY * (best - before.products[1])
        # Where going beyond was refused, z itself is the minimum.
        at_z = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        refused = at_z - labels + PENALTY * (z - before.products[1])
        found = np.minimum(np.abs(gradient).max(axis=1), np.abs(refused).max(axis=1))
        np.testing.assert_allclose(found, 0, atol=1e-8)


def test_outputs_go_beyond_their_minimum_where_their_terms_do_not_rise(x64):
    path, refused = trail(True, P1, P2, 1.0), []
    labels = jnp.asarray(path[0][1])
    for before, after in updates(path, "z2"):
        old, center = before.preactivations[1], before.products[1]
        zeros = jnp.zeros_like(old)
        best = SOFTMAX.minimise(center, jnp.float64(PENALTY), zeros, labels, old)
        beyond = best + 1.0 * (best - old)

        def values(z, center=center):
            squares = PENALTY / 2 * jnp.sum((z - center) ** 2, axis=1)
            return SOFTMAX.values(z, labels) + squares

        rises = np.asarray(values(beyond) > values(old))
        expected = np.where(rises[:, None], best, beyond)
        np.testing.assert_allclose(after.preactivations[1], expected, atol=1e-10)
        refused += rises.tolist()
    assert 0 < np.sum(refused) < len(refused)


def test_no_update_raises_the_objective_or_leaves_the_box(path):
    _, names, variables, values = path
    rises = np.diff(values)
    assert np.all(rises <= 1e-9 * np.abs(values[:-1]))
    assert values[-1] < 0.9 * values[0]
    for name, each in zip(names, variables, strict=True):
        if name[0] == "a":
            i = int(name[1:]) - 1
            gap = np.abs(each.activations[i] - activate(each.preactivations[i]))
            assert gap.max() <= TOLERANCE + 1e-12


def test_without_the_safeguard_large_inertias_raise_it(x64):
    *_, values = trail(False, 1.0, 0.0, 0.9)
    assert np.max(np.diff(values)) > 1e-3


def test_least_squares_is_reached_at_a_steady_rate(x64, rng):
    net, params = network((3, 2), SQUARED_ERROR, 0.0)
    x, y = jnp.array(rng.normal(size=(40, 3))), jnp.array(rng.normal(size=(40, 2)))
    _, _, infos = run(
        tiam(net, penalty=1.0, monotone=False), params, Batches((x, y)), 40
    )
    left = infos.detail.objective - infos.detail.objective[-1]
    # Later ones are lost in rounding.
    assert np.all(left[3:15:3] < 0.05 * left[0:12:3])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"start_inertia": -0.1}, "start_inertia is -0.1; it must be from 0 to 1"),
        ({"beyond_inertia": 1.5}, "beyond_inertia is 1.5"),
        ({"penalty": 0.0}, "penalty is 0.0"),
        ({"output_solver": "gd"}, "output_solver is 'gd'"),
    ],
)
def test_refuses_settings_out_of_range(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiam(network((2, 3, 2), SOFTMAX, 0.0)[0], **settings)
