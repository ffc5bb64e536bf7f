"""BCD: every update against its own minimisation, descent, and what it reports."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax import Batches
from samt_jax.baselines import SOFTMAX, SQUARED_ERROR, bcd, three_splitting
from samt_jax.baselines import two_splitting as two
from samt_jax.baselines.codes import HALF_SQUARED_ERROR
from samt_jax.baselines.layerwise import DenseLayer
from samt_jax.baselines.least_squares import factor_gram, gram
from samt_jax.baselines.three_splitting import Subproblem, Variables, Weights

WIDTHS, NUM_EXAMPLES = (4, 5, 3, 2), 30
SPLITTINGS = {"three": three_splitting, "two": two}
RHO, GAMMA, ALPHA = 1.3, 0.7, 0.4


class Trail(NamedTuple):
    """Two sweeps, update by update."""

    problem: Subproblem
    names: list
    variables: list
    objectives: list
    splitting: str

    def updates(self, kind):
        """The layer, from 0, and the variables before and after, of each update."""
        for i, name in enumerate(self.names):
            if name[0] == kind:
                yield int(name[1:]) - 1, self.variables[i], self.variables[i + 1]


@functools.cache
def trail(splitting, loss, slope):
    """From random variables that agree in nothing, so that every term is at work."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        draw = lambda *shape: jnp.array(rng.normal(size=shape))  # noqa: E731
        _, params = network(WIDTHS, loss, slope)
        layers = tuple(DenseLayer(**params[f"layer_{i}"]) for i in range(3))
        hidden = tuple(draw(NUM_EXAMPLES, width) for width in WIDTHS[1:])
        inputs = draw(NUM_EXAMPLES, WIDTHS[0])
        activations = tuple(draw(*u.shape) for u in hidden)
        below = (inputs, *activations[:-1])
        variables = Variables(
            layers,
            hidden if splitting == "three" else (),
            activations,
            tuple(
                a @ w.kernel + w.bias[None] for a, w in zip(below, layers, strict=True)
            ),
        )
        rho = RHO if splitting == "three" else GAMMA
        problem = Subproblem(
            loss,
            slope,
            Weights(rho, GAMMA, ALPHA, 1.0),
            inputs,
            jnp.array(rng.integers(0, 2, NUM_EXAMPLES)),
            factor_gram(gram(inputs), ALPHA / rho),
        )
        methods, names = SPLITTINGS[splitting], []

        def follow(variables):
            seen = [variables]
            for _ in range(2):
                for name, moved in methods.sweep(problem, seen[-1]):
                    names.append(name)
                    seen.append(moved)
            return seen, [methods.objective(problem, each) for each in seen]

        seen, objectives = jax.jit(follow)(variables)
        return Trail(problem, names, seen, objectives, splitting)


@pytest.fixture(
    params=[
        ("three", HALF_SQUARED_ERROR, 0.0),
        ("three", SOFTMAX, 0.2),
        ("two", HALF_SQUARED_ERROR, 0.2),
    ],
    ids=lambda config: f"{config[0]}-{config[1].name}",
)
def path(request, x64):
    return trail(*request.param)


@pytest.fixture(params=[0.0, 0.2], ids=["relu", "leaky"])
def three(request, x64):
    loss = HALF_SQUARED_ERROR if request.param == 0 else SOFTMAX
    return trail("three", loss, request.param)


def activate(z, slope):
    return np.where(np.asarray(z) > 0, z, slope * np.asarray(z))


def penalised(path, variables):
    """The objective from its formula: products are formed anew, here."""
    problem, rho = path.problem, path.problem.weights.linear
    total = float(
        jnp.sum(problem.loss.values(variables.activations[-1], problem.targets))
    )
    below = problem.inputs
    for i, (layer, v) in enumerate(
        zip(variables.layers, variables.activations, strict=True)
    ):
        slope = 1.0 if i == len(variables.layers) - 1 else problem.negative_slope
        product = below @ layer.kernel + layer.bias[None]
        u = product if path.splitting == "two" else variables.preactivations[i]
        total += GAMMA / 2 * np.sum((v - activate(u, slope)) ** 2)
        total += rho / 2 * np.sum((u - product) ** 2)
        below = v
    return total


def changes(before, after):
    return sum(
        float(np.sum((np.asarray(a) - np.asarray(b)) ** 2))
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True)
    )


def test_the_order_is_backward(three):
    assert three.names[:9] == ["V3", "U3", "W3", "V2", "U2", "W2", "V1", "U1", "W1"]


def test_every_update_lowers_the_objective(path):
    from_formula = [penalised(path, each) for each in path.variables]
    # An update may leave products behind it that the next one renews.
    ends = [0, len(path.names) // 2, len(path.names)]
    np.testing.assert_allclose(
        [path.objectives[i] for i in ends], [from_formula[i] for i in ends], rtol=1e-12
    )
    assert np.all(np.diff(from_formula) < 0)


def test_proximal_updates_lower_it_by_as_much_as_they_move(path):
    values = [penalised(path, each) for each in path.variables]
    last = len(WIDTHS) - 2
    for k, name in enumerate(path.names):
        is_last = int(name[1:]) - 1 == last
        if name[0] == "W" or (name[0] == "V") == is_last:
            before, after = path.variables[k], path.variables[k + 1]
            moved = changes(before[:3], after[:3])
            assert values[k] - values[k + 1] >= ALPHA / 2 * moved - 1e-10


def test_outputs_minimise_their_loss_and_two_squares(three):
    for i, before, after in three.updates("V"):
        if i == 2:
            v, u, old = (
                after.activations[2],
                before.preactivations[2],
                before.activations[2],
            )
            pull = jax.grad(
                lambda v: jnp.sum(three.problem.loss.values(v, three.problem.targets))
            )
            np.testing.assert_allclose(
                pull(v) + GAMMA * (v - u) + ALPHA * (v - old), 0, atol=1e-9
            )


def test_activations_and_last_preactivations_have_no_gradient_left(three):
    slope = three.problem.negative_slope
    for i, before, after in three.updates("V"):
        if i < 2:
            layer, v = after.layers[i + 1], after.activations[i]
            beyond = v @ layer.kernel + layer.bias[None] - before.preactivations[i + 1]
            own = v - activate(before.preactivations[i], slope)
            gradient = RHO * beyond @ layer.kernel.T + GAMMA * own
            np.testing.assert_allclose(gradient, 0, atol=1e-12)
    for i, before, after in three.updates("U"):
        if i == 2:
            u = after.preactivations[2]
            gradient = GAMMA * (u - before.activations[2]) + RHO * (
                u - before.products[2]
            )
            np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_hidden_preactivations_are_the_best_of_a_fine_grid(three):
    grid = np.linspace(-6, 6, 24_001)
    seen = 0
    for i, before, after in three.updates("U"):
        if i == 2:
            continue
        for row in range(0, NUM_EXAMPLES, 5):
            v, m, old, new = (
                float(x[row, 0])
                for x in (
                    before.activations[i], before.products[i],
                    before.preactivations[i], after.preactivations[i],
                )
            )  # fmt: skip

            def cost(u, v=v, m=m, old=old):
                own = GAMMA / 2 * (v - activate(u, three.problem.negative_slope)) ** 2
                return own + RHO / 2 * (u - m) ** 2 + ALPHA / 2 * (u - old) ** 2

            assert cost(new) <= cost(grid).min() + 1e-12
            assert abs(new - grid[cost(grid).argmin()]) < 1e-3
            seen += 1
    assert seen == 24


def test_weights_are_ridge_solutions_about_the_old_ones(three):
    for i, before, after in three.updates("W"):
        inputs = np.asarray(before.activations[i - 1] if i else three.problem.inputs)
        old, new = before.layers[i], after.layers[i]
        target = before.preactivations[i] - old.bias[None]
        damping = np.sqrt(ALPHA / RHO)
        width = inputs.shape[1]
        stacked = np.concatenate([inputs, damping * np.eye(width)])
        right = np.concatenate([target, damping * old.kernel])
        kernel = np.linalg.lstsq(stacked, right, rcond=None)[0]
        np.testing.assert_allclose(new.kernel, kernel, atol=1e-10)
        # The bias by the formula of the specification, with the new kernel.
        left = np.sum(before.preactivations[i] - inputs @ kernel, axis=0)
        bias = (ALPHA * old.bias + RHO * left) / (RHO * NUM_EXAMPLES + ALPHA)
        np.testing.assert_allclose(new.bias, bias, atol=1e-10)


def test_the_proximal_weight_goes_from_least_squares_to_standing_still(x64):
    path = trail("three", HALF_SQUARED_ERROR, 0.0)
    variables, residual = path.variables[0], path.variables[0].preactivations[1]
    inputs = np.asarray(variables.activations[0])

    def step(alpha):
        weights = path.problem.weights._replace(proximal=alpha)
        problem = path.problem._replace(weights=weights)
        return three_splitting.layer_step(problem, variables, 1, residual)

    least_squares = np.linalg.lstsq(inputs, np.asarray(residual), rcond=None)[0]
    np.testing.assert_allclose(step(1e-9)[0], least_squares, atol=1e-8)
    assert all(np.abs(change).max() < 1e-6 for change in step(1e9))


def test_two_splittings_bound_holds_and_touches(x64, rng):
    slope = 0.3
    v, m = rng.uniform(0, 2, (50, 4)), rng.normal(size=(50, 4))
    d = 3 * rng.normal(size=(50, 4))
    r = np.asarray(two.tangent_residual(jnp.array(v), jnp.array(m), slope))

    def above_the_start(d):
        start = (v - activate(m, slope)) ** 2
        return (v - activate(m + d, slope)) ** 2 - start, (r - d) ** 2 - r**2

    actual, bound = above_the_start(d)
    assert np.all(actual <= bound + 1e-12)
    actual, bound = above_the_start(1e-6 * d)
    np.testing.assert_allclose(actual, bound, atol=1e-9)


def test_two_splitting_takes_least_squares_steps_where_the_bound_holds(x64):
    """The last hidden layer's activations meet no activation beyond: exact."""
    path = trail("two", HALF_SQUARED_ERROR, 0.2)
    for i, before, after in path.updates("V"):
        if i == 1:
            v, layer = after.activations[1], after.layers[2]
            beyond = v @ layer.kernel + layer.bias[None] - before.activations[2]
            own = v - activate(before.products[1], 0.2)
            np.testing.assert_allclose(beyond @ layer.kernel.T + own, 0, atol=1e-12)


def test_halving_stops_as_soon_as_the_value_has_not_risen(x64):
    lengths = jnp.array([1.0, 2.0, 2.1, 9.0])
    steps = two.halve_until_lower(lambda t: (t * lengths - 1) ** 2, jnp.zeros(4))
    np.testing.assert_array_equal(steps, [1, 1, 0.5, 0.125])
    assert two.halve_until_lower(lambda t: t, jnp.zeros(())) == 0
    nan = two.halve_until_lower(
        lambda t: jnp.where(t > 0.3, jnp.nan, -t), jnp.zeros(())
    )
    assert nan == 0.25


@pytest.mark.parametrize("splitting", ["three", "two"])
def test_learns_two_moons_and_settles(splitting):
    net, params = network((2, 16, 8, 2), SOFTMAX, 0.0)
    algorithm = bcd(
        net, splitting=splitting, proximal_weight=0.01, output_loss=HALF_SQUARED_ERROR
    )
    _, _, infos = run(algorithm, params, two_moons(80), 400)
    accuracy, objective = infos.detail.network["accuracy"], infos.detail.objective
    assert accuracy[50] > 0.9
    assert np.all(np.diff(objective) < 1e-4 * objective[:-1])
    falls = -np.diff(objective)
    assert falls[-20:].max() < 1e-2 * falls[:20].min()


def test_a_mean_loss_is_every_penalty_times_the_number_of_examples(x64):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    batches = two_moons(20)
    weights = {"penalty": 0.1, "activation_penalty": 0.2, "proximal_weight": 0.3}
    mean, summed = (
        run(bcd(net, **kwargs), params, batches, 3)
        for kwargs in (
            weights | {"mean_loss": True},
            {name: 20 * weight for name, weight in weights.items()},
        )
    )
    jax.tree.map(np.testing.assert_allclose, mean[0], summed[0])
    objectives = [infos.detail.objective for _, _, infos in (mean, summed)]
    np.testing.assert_allclose(20 * objectives[0], objectives[1])


def test_fits_values_without_biases_and_reports_the_networks_error(x64, rng):
    net, teacher = network((3, 6, 2), SQUARED_ERROR, 0.5, has_bias=False)
    x = jnp.array(rng.normal(size=(40, 3)))
    outputs = lambda p: jax.nn.leaky_relu(  # noqa: E731
        x @ p["layer_0"]["kernel"], 0.5) @ p["layer_1"]["kernel"]  # fmt: skip
    params = jax.tree.map(
        lambda w: w + 0.3 * jnp.array(rng.normal(size=w.shape)), teacher
    )
    batches = Batches((x, outputs(teacher)))
    end, _, infos = run(bcd(net, proximal_weight=0.01), params, batches, 300)
    error = np.sqrt(np.mean(np.sum((outputs(params) - outputs(teacher)) ** 2, axis=1)))
    np.testing.assert_allclose(infos.detail.network["rmse"][0], error)
    np.testing.assert_allclose(infos.value[0], error**2)
    left = np.sum((outputs(end) - outputs(teacher)) ** 2) / 40
    assert left < 0.05 * error**2


def test_reports_residuals_of_the_variables_after_the_step(x64):
    net, params = network((2, 4, 2), SOFTMAX, 0.1)
    batches = two_moons(20)
    end, state, infos = run(bcd(net), params, batches, 2)
    detail = jax.tree.map(lambda x: x[-1], infos.detail)
    below = (batches.train[0], state.activations[0])
    for i in range(2):
        layer = end[f"layer_{i}"]
        product = below[i] @ layer["kernel"] + layer["bias"][None]
        activated = activate(state.preactivations[i], 0.1 if i == 0 else 1)
        for found, difference in (
            (detail.linear_residual, state.preactivations[i] - product),
            (detail.activation_residual, state.activations[i] - activated),
        ):
            rms = np.sqrt(np.mean(np.asarray(difference) ** 2))
            np.testing.assert_allclose(found[f"layer_{i}"], rms)


def test_two_splitting_keeps_one_variable_a_layer():
    net, params = network((2, 4, 2), SOFTMAX, 0.0)
    batches, key = two_moons(10), jax.random.key(0)
    sizes: Any = [
        sum(
            x.size
            for x in jax.tree.leaves(bcd(net, splitting=s).init(params, batches, key))
        )
        for s in ("three", "two")
    ]
    assert sizes[0] - sizes[1] == 10 * (4 + 2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"splitting": "four"}, "splitting is 'four'; it must be 'three' or 'two'"),
        ({"penalty": 0.0}, "penalty is 0.0; it must be greater than 0"),
        ({"activation_penalty": -1.0}, "activation_penalty is -1.0"),
        ({"proximal_weight": 0.0}, "proximal_weight is 0.0"),
        ({"splitting": "two", "penalty": 2.0}, "two-splitting has one penalty"),
    ],
)
def test_refuses_settings_out_of_range(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        bcd(network((2, 3, 2), SOFTMAX, 0.0)[0], **settings)
