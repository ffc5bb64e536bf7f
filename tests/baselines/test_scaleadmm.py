"""scaleADMM: every update against its own minimisation, and the multiplier."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax import Batches
from samt_jax.baselines import HINGE, SOFTMAX, SQUARED_ERROR, scaleadmm
from samt_jax.baselines.layerwise import DenseLayer
from samt_jax.baselines.least_squares import factor_gram, gram
from samt_jax.baselines.scaleadmm import (
    Subproblem,
    Variables,
    augmented_lagrangian,
    sweep,
)

WIDTHS, NUM_EXAMPLES = (4, 5, 3, 2), 30
BETA, GAMMA = 0.8, 1.7


class Trail(NamedTuple):
    """Two sweeps, update by update."""

    problem: Subproblem
    names: list
    variables: list
    ends: list

    def updates(self, kind):
        """The layer, from 0, and the variables before and after, of each update."""
        for i, name in enumerate(self.names):
            if name[0] == kind:
                yield int(name[1:]) - 1, self.variables[i], self.variables[i + 1]


@functools.cache
def trail(loss, slope, has_bias):
    """From random variables and a random multiplier, which does not move."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        draw = lambda *shape: jnp.array(rng.normal(size=shape))  # noqa: E731
        _, params = network(WIDTHS, loss, slope, has_bias)
        layers = tuple(
            DenseLayer(params[f"layer_{i}"]["kernel"], params[f"layer_{i}"].get("bias"))
            for i in range(3)
        )
        hidden = tuple(draw(NUM_EXAMPLES, width) for width in WIDTHS[1:])
        inputs = draw(NUM_EXAMPLES, WIDTHS[0])
        variables = Variables(
            layers,
            hidden,
            tuple(draw(*z.shape) for z in hidden[:-1]),
            draw(NUM_EXAMPLES, 2),
            (),
        )
        problem = Subproblem(
            loss,
            slope,
            BETA,
            GAMMA,
            jnp.zeros(()),
            1e-13,
            inputs,
            jnp.array(rng.integers(0, 2, NUM_EXAMPLES)),
            factor_gram(gram(inputs, has_bias), 0.0),
            jnp.array(False),
        )
        names = []

        def follow(variables):
            seen, ends = [variables], []
            for _ in range(2):
                for name, moved in sweep(problem, seen[-1]):
                    names.append(name)
                    seen.append(moved)
                ends.append(augmented_lagrangian(problem, seen[-1]))
            return seen, ends

        seen, ends = jax.jit(follow)(variables)
        return Trail(problem, names, seen, ends)


@pytest.fixture(
    params=[(HINGE, 0.0, True), (SOFTMAX, 0.2, False)],
    ids=["hinge-relu", "softmax-leaky-without-biases"],
)
def path(request, x64):
    return trail(*request.param)


def activate(z, slope):
    return np.where(np.asarray(z) > 0, z, slope * np.asarray(z))


def affine(layer, inputs):
    return inputs @ layer.kernel + (0 if layer.bias is None else layer.bias[None])


def inputs_of(path, variables, i):
    return np.asarray(variables.activations[i - 1] if i else path.problem.inputs)


def lagrangian(path, variables):
    """The augmented Lagrangian from its formula; products are formed anew, here."""
    problem, outputs = path.problem, variables.preactivations[-1]
    total = float(jnp.sum(problem.loss.values(outputs, problem.targets)))
    total += float(np.sum(outputs * variables.multiplier))
    for i, (layer, z) in enumerate(
        zip(variables.layers, variables.preactivations, strict=True)
    ):
        product = affine(layer, inputs_of(path, variables, i))
        total += BETA * np.sum((z - product) ** 2)
        if i < 2:
            own = variables.activations[i] - activate(z, problem.negative_slope)
            total += GAMMA * np.sum(own**2)
    return total


def test_the_order_is_forward(path):
    assert path.names[:9] == ["W1", "a1", "z1", "W2", "a2", "z2", "W3", "z3", "u"]


def test_every_update_lowers_the_lagrangian_while_the_multiplier_stands(path):
    values = [lagrangian(path, each) for each in path.variables]
    np.testing.assert_allclose(path.ends, [values[9], values[18]], rtol=1e-12)
    falls = -np.diff(values)
    stands = np.array([name == "u" for name in path.names])
    np.testing.assert_array_equal(falls[stands], 0)
    assert np.all(falls[~stands] > 0)


def test_weights_leave_a_residual_orthogonal_to_the_inputs(path):
    for i, before, after in path.updates("W"):
        inputs = inputs_of(path, before, i)
        residual = before.preactivations[i] - affine(after.layers[i], inputs)
        np.testing.assert_allclose(inputs.T @ residual, 0, atol=1e-8)
        if after.layers[i].bias is not None:
            np.testing.assert_allclose(np.sum(residual, axis=0), 0, atol=1e-8)


def test_activations_have_no_gradient_left(path):
    slope = path.problem.negative_slope
    for i, before, after in path.updates("a"):
        layer, a = before.layers[i + 1], after.activations[i]
        beyond = affine(layer, a) - before.preactivations[i + 1]
        own = a - activate(before.preactivations[i], slope)
        np.testing.assert_allclose(
            BETA * beyond @ layer.kernel.T + GAMMA * own, 0, atol=1e-12
        )


def test_preactivations_are_the_best_of_a_fine_grid(path):
    grid, slope = np.linspace(-8, 8, 32_001), path.problem.negative_slope
    for i, _, after in path.updates("z"):
        if i == 2:
            continue
        a, z = np.asarray(after.activations[i]), np.asarray(after.preactivations[i])
        m = affine(after.layers[i], inputs_of(path, after, i))
        for row in range(0, NUM_EXAMPLES, 5):

            def cost(z, a=a[row, 0], m=m[row, 0]):
                return GAMMA * (a - activate(z, slope)) ** 2 + BETA * (z - m) ** 2

            assert cost(z[row, 0]) <= cost(grid).min() + 1e-12
            assert abs(z[row, 0] - grid[cost(grid).argmin()]) < 1e-3


def test_outputs_are_better_than_all_around_them(path):
    """Convex: better than every point of a small ring is best."""
    problem, rng = path.problem, np.random.default_rng(5)
    for i, _, after in path.updates("z"):
        if i < 2:
            continue
        z, u = after.preactivations[2], after.multiplier
        m = affine(after.layers[2], inputs_of(path, after, 2))

        def cost(z, u=u, m=m):
            each = problem.loss.values(jnp.asarray(z), problem.targets)
            return each + np.sum(u * z + BETA * (z - m) ** 2, axis=1)

        best = cost(z)
        for _ in range(20):
            ring = rng.normal(size=z.shape)
            ring *= 1e-3 / np.linalg.norm(ring, axis=1, keepdims=True)
            assert np.all(best < cost(z + ring))


def test_the_multiplier_takes_the_step_asked_for_after_the_warm_up(x64):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    algorithm = scaleadmm(net, penalty=0.5, warm_steps=2, multiplier_step=1.0)
    batches, key = two_moons(20), jax.random.key(0)
    state, step = algorithm.init(params, batches, key), jax.jit(algorithm.step)
    for _ in range(2):
        params, state, _ = step(params, state, batches, key)
        np.testing.assert_array_equal(state.multiplier, 0)
    params, state, _ = step(params, state, batches, key)
    layer = params["layer_1"]
    product = state.activations[0] @ layer["kernel"] + layer["bias"][None]
    residual = state.preactivations[1] - product
    np.testing.assert_allclose(state.multiplier, 0.5 * residual)
    assert np.abs(residual).max() > 0.01


def test_the_whole_step_makes_minus_the_multiplier_a_slope_of_the_loss(x64):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    batches = two_moons(20)
    algorithm = scaleadmm(net, warm_steps=3, multiplier_step=2.0)
    _, state, _ = run(algorithm, params, batches, 10)
    slopes = jax.nn.softmax(state.preactivations[1]) - jax.nn.one_hot(
        batches.train[1], 2
    )
    np.testing.assert_allclose(state.multiplier, -slopes, atol=1e-10)


def test_hinge_multipliers_stay_within_their_slopes_and_the_residual_falls():
    net, params = network((2, 10, 2), SOFTMAX, 0.0)
    batches = two_moons(60)
    algorithm = scaleadmm(net, multiplier_step=2.0, output_loss=HINGE)
    params, state, early = run(algorithm, params, batches, 40)
    _, state, late = run(algorithm, params, batches, 160, state)
    is_one = np.eye(2)[np.asarray(batches.train[1])] == 1
    slopes = -np.asarray(state.multiplier)
    assert np.all(slopes[is_one] >= -1.001) and np.all(slopes[is_one] <= 0.001)
    assert np.all(slopes[~is_one] >= -0.001) and np.all(slopes[~is_one] <= 1.001)
    residuals = [
        float(infos.detail.linear_residual["layer_1"][-1]) for infos in (early, late)
    ]
    assert residuals[1] < 0.5 * residuals[0]


def test_the_objective_falls_while_warming_up_and_two_moons_are_learnt():
    net, params = network((2, 20, 2), SOFTMAX, 0.0)
    algorithm = scaleadmm(net, warm_steps=300, output_loss=HINGE)
    _, _, infos = run(algorithm, params, two_moons(80), 300)
    objective = infos.detail.objective
    assert np.all(np.diff(objective) < 1e-4 * objective[:-1])
    assert infos.detail.network["accuracy"][-1] > 0.85


def test_it_starts_from_random_variables_and_not_from_the_parameters(x64, rng):
    net, params = network((2, 30, 2), SOFTMAX, 0.0)
    other = jax.tree.map(lambda w: w + 1, params)
    batches = two_moons(40)
    ends = [run(scaleadmm(net), each, batches, 3)[0] for each in (params, other)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    state = scaleadmm(net).init(params, batches, jax.random.key(3))
    for x in (state.preactivations[0], state.activations[0]):
        assert abs(x.mean()) < 0.1 and abs(x.std() - 1) < 0.1
    assert abs(np.mean(state.preactivations[0] * state.activations[0])) < 0.1


def test_fits_values_and_reports_the_networks_error(x64, rng):
    net, teacher = network((3, 6, 1), SQUARED_ERROR, 0.5)
    x = jnp.array(rng.normal(size=(60, 3)))

    def outputs(p):
        hidden = jax.nn.leaky_relu(affine(DenseLayer(**p["layer_0"]), x), 0.5)
        return affine(DenseLayer(**p["layer_1"]), hidden)

    batches = Batches((x, outputs(teacher)))
    params, _, infos = run(scaleadmm(net), teacher, batches, 200)
    np.testing.assert_allclose(infos.value[0], 0, atol=1e-20)
    last = np.sqrt(np.mean((outputs(params) - outputs(teacher)) ** 2))
    assert infos.detail.network["rmse"][-1] < 0.3 * np.std(outputs(teacher))
    assert abs(last - infos.detail.network["rmse"][-1]) < 0.1 * last


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"penalty": 0.0}, "penalty is 0.0; it must be greater than 0"),
        ({"activation_penalty": -1.0}, "activation_penalty is -1.0"),
        ({"multiplier_step": 0.0}, "multiplier_step is 0.0"),
        ({"warm_steps": -1}, "warm_steps is -1; it must be 0 or greater"),
        ({"ridge": -1e-3}, "ridge is -0.001"),
    ],
)
def test_refuses_settings_out_of_range(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        scaleadmm(network((2, 3, 2), SOFTMAX, 0.0)[0], **settings)
