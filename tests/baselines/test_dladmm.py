"""dlADMM: every update lowers the augmented Lagrangian, each as far as it should."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layerwise_problems import network, run, two_moons

from samt_jax.baselines import SOFTMAX, SQUARED_ERROR, dladmm
from samt_jax.baselines.dladmm import (
    Subproblem,
    Variables,
    augmented_lagrangian,
    sweep,
)
from samt_jax.baselines.layerwise import DenseLayer, affine

pytestmark = pytest.mark.usefixtures("x64")

WIDTHS, NUM_EXAMPLES = (4, 5, 3, 2), 30
PENALTIES = (1e-6, 0.1, 1.0, 10.0)


def lagrangian_of(problem, variables):
    """From the variables alone, without the products that a sweep keeps up."""
    inputs = (problem.inputs, *variables.activations)
    products = tuple(map(affine, variables.layers, inputs))
    return augmented_lagrangian(problem, variables._replace(products=products))


def random_problem(output, slope, penalty, output_penalty):
    """Variables that agree in nothing, so that every term is at work."""
    rng = np.random.default_rng(3)
    draw = lambda *shape: jnp.array(rng.normal(size=shape))  # noqa: E731
    net, params = network(WIDTHS, output, slope)
    layers = tuple(DenseLayer(**params[f"layer_{i}"]) for i in range(3))
    inputs, z = draw(NUM_EXAMPLES, 4), tuple(draw(NUM_EXAMPLES, w) for w in WIDTHS[1:])
    activations = tuple(draw(*each.shape) for each in z[:-1])
    # A multiplier at the scale that a difference of probabilities has.
    multiplier = 0.3 * draw(NUM_EXAMPLES, 2)
    targets = jnp.arange(NUM_EXAMPLES) % 2 if output is SOFTMAX else draw(30, 2)
    problem = Subproblem(
        net,
        output.minimise,
        inputs,
        inputs.T @ inputs,
        targets,
        penalty,
        output_penalty,
        jnp.array(0.01),
    )
    products = tuple(map(affine, layers, (inputs, *activations)))
    return problem, Variables(layers, z, activations, multiplier, products)


class Trail:
    """Two sweeps: before each update the variables and the gradient, and after it."""

    def __init__(self, output, slope, penalty, output_penalty):
        self.problem, start = random_problem(output, slope, penalty, output_penalty)

        names = []

        @jax.jit
        def sweep_once(start):
            names[:], found = zip(*sweep(self.problem, start), strict=True)
            return found

        self.variables = [start, *sweep_once(start)]
        self.variables += sweep_once(self.variables[-1])
        self.names = 2 * names
        value_and_grad = jax.jit(
            jax.value_and_grad(lambda v: lagrangian_of(self.problem, v))
        )
        pairs = [value_and_grad(variables) for variables in self.variables]
        self.values = [float(value) for value, _ in pairs]
        self.grads = [gradient for _, gradient in pairs]

    def updates(self, kind):
        """Layer, index before and index after, of each update of a kind."""
        for i, name in enumerate(self.names):
            if name[0] == kind:
                yield int(name[1:] or 0) - 1, i, i + 1


@functools.cache
def trail(penalty, output_penalty, slope=0.0, output=SOFTMAX):
    with jax.enable_x64(True):
        penalties = jnp.array(penalty), jnp.array(output_penalty)
        return Trail(output, slope, *penalties)


TRAILS = [(1e-6, 1e-6, 0.0, SOFTMAX), (1.0, 1.0, 0.1, SOFTMAX),
          (0.2, 3.0, 1.0, SQUARED_ERROR)]  # fmt: skip
of_trails = pytest.mark.parametrize("arguments", TRAILS, ids=["small", "one", "linear"])


@of_trails
def test_no_update_but_the_multipliers_raises_the_lagrangian(arguments):
    found = trail(*arguments)
    slack = 1e-13 * max(map(abs, found.values))
    for i, name in enumerate(found.names):
        if name != "u":
            assert found.values[i + 1] <= found.values[i] + slack, name
    # And together they lower it by something.
    first = found.names.index("u")
    assert found.values[first] < found.values[0] - 0.01


@of_trails
def test_products_are_kept_up_with_what_they_are_of(arguments):
    found = trail(*arguments)
    with jax.enable_x64(True):
        for variables in found.variables:
            inputs = (found.problem.inputs, *variables.activations)
            for layer, a, product in zip(
                variables.layers, inputs, variables.products, strict=True
            ):
                np.testing.assert_allclose(product, affine(layer, a), atol=1e-10)


@of_trails
def test_a_bias_is_optimal(arguments):
    found = trail(*arguments)
    for layer, _, after in found.updates("b"):
        gradient = found.grads[after].layers[layer].bias
        assert np.max(np.abs(gradient)) < 1e-11


@of_trails
def test_outputs_are_optimal(arguments):
    found = trail(*arguments)
    for layer, _, after in found.updates("z"):
        if layer == 2:
            assert np.max(np.abs(found.grads[after].preactivations[2])) < 1e-6


@of_trails
def test_hidden_preactivations_are_no_worse_than_any_other(arguments):
    """One example's z_1 and z_2 after their update, over a grid."""
    problem, found = trail(*arguments).problem, trail(*arguments)
    slope = problem.network.negative_slope
    grid = np.linspace(-8, 8, 8001)
    activated = np.maximum(grid, 0) + slope * np.minimum(grid, 0)
    for layer, before, after in found.updates("z"):
        if layer < 2:
            old, new = found.variables[before], found.variables[after]
            m, a = (np.asarray(x[layer])[0] for x in (old.products, old.activations))
            z = np.asarray(new.preactivations[layer])[0]
            costs = (grid - m[:, None]) ** 2 + (a[:, None] - activated) ** 2
            below = slope * np.minimum(z, 0)
            reached = (z - m) ** 2 + (a - np.maximum(z, 0) - below) ** 2
            assert (reached <= costs.min(axis=1) + 1e-12).all()


@of_trails
def test_kernels_and_activations_take_a_gradient_step_that_lowers_enough(arguments):
    """The step is -G/θ, and the drop at least ‖G‖²/(2θ)."""
    found = trail(*arguments)
    slack = 1e-13 * max(map(abs, found.values))
    for kind in "Wa":
        for layer, before, after in found.updates(kind):
            if kind == "W":
                gradient = found.grads[before].layers[layer].kernel
                new, old = (found.variables[i].layers[layer].kernel
                            for i in (after, before))  # fmt: skip
            else:
                gradient = found.grads[before].activations[layer]
                new, old = (found.variables[i].activations[layer]
                            for i in (after, before))  # fmt: skip
            norm = np.linalg.norm(gradient)
            theta = norm / np.linalg.norm(new - old)
            np.testing.assert_allclose(
                new - old, -gradient / theta, atol=1e-8 * np.max(np.abs(new - old))
            )
            drop = found.values[before] - found.values[after]
            assert drop >= norm**2 / (2 * theta) - slack
            # One of the doublings of where it starts.
            assert np.log2(theta / 0.01) == pytest.approx(
                np.round(np.log2(theta / 0.01)), abs=1e-6
            )


@of_trails
def test_multiplier_is_the_label_less_the_probabilities(arguments):
    """KKT: the last outputs are optimal, so that u = -∇R(z_L) after its step."""
    found = trail(*arguments)
    problem = found.problem
    with jax.enable_x64(True):
        for _, _, after in found.updates("u"):
            variables = found.variables[after]
            gradient = jax.grad(
                lambda z: jnp.sum(problem.network.output.values(z, problem.targets))
            )(variables.preactivations[-1])
            np.testing.assert_allclose(variables.multiplier, -gradient, atol=1e-6)


def test_at_penalty_one_the_lagrangian_falls_and_the_constraint_closes():
    net, params = network((2, 6, 2), SOFTMAX, 0.0)
    algorithm = dladmm(net, penalty=1.0, penalty_schedule="constant")
    _, _, infos = run(algorithm, params, two_moons(40), 150)
    detail = infos.detail
    assert np.all(np.diff(detail.objective) <= 1e-9)
    assert (
        detail.linear_residual["layer_1"][-1]
        < detail.linear_residual["layer_1"][0] / 10**1.5
    )
    assert infos.detail.network["accuracy"][-1] > 0.8


def test_reports_the_networks_own_loss_and_accuracy_before_the_step():
    net, params = network((2, 6, 2), SOFTMAX, 0.0)
    batches = two_moons(40)
    algorithm = dladmm(net)
    state = algorithm.init(params, batches, None)
    # The variables fit the labels at once; the network must not take credit for that.
    _, _, info = jax.jit(algorithm.step)(params, state, batches, jax.random.key(0))
    inputs, labels = batches.train
    hidden = jnp.maximum(affine(DenseLayer(**params["layer_0"]), inputs), 0)
    outputs = affine(DenseLayer(**params["layer_1"]), hidden)
    accuracy = np.mean(np.argmax(outputs, axis=1) == labels)
    assert info.detail.network["accuracy"] == pytest.approx(accuracy)
    assert info.value == pytest.approx(net.loss_fn(params, batches.train))


def step_with(state_changes, **settings):
    """The state after a step from a state that is changed first; one layer."""
    net, params = network((2, 2), SOFTMAX, 0.0)
    batches = two_moons(10)
    algorithm = dladmm(net, **settings)
    state = algorithm.init(params, batches, None)._replace(**state_changes)
    return algorithm.step(params, state, batches, jax.random.key(0))[1]


def test_penalties_grow_every_hundred_iterations_as_in_the_paper():
    settings = {"penalty": 1e-3, "output_penalty": 1e-2}
    for count, factor in [(0, 1), (99, 1), (100, 10), (101, 1), (200, 10)]:
        state = step_with({"count": jnp.int32(count)}, **settings)
        assert state.output_penalty == pytest.approx(factor * 1e-2)
        assert state.penalty == pytest.approx(1e-3)
        assert state.curvature == factor
        assert state.count == count + 1


def test_penalties_grow_when_the_loss_rose_three_times_as_in_the_authors_code():
    rising = {"last_value": jnp.float32(-1.0), "num_rises": jnp.int32(2)}
    settings = {"penalty_schedule": "on_rise", "penalty": 0.03}
    state = step_with(rising, **settings)
    # Ten times 0.03 would be beyond the largest, 0.1.
    assert state.penalty == state.output_penalty == pytest.approx(0.1)
    assert state.curvature == 10
    assert state.num_rises == 3
    twice = step_with(rising | {"num_rises": jnp.int32(1)}, **settings)
    assert twice.penalty == pytest.approx(0.03) and twice.num_rises == 2
    falling = step_with(rising | {"last_value": jnp.float32(99.0)}, **settings)
    assert falling.penalty == pytest.approx(0.03) and falling.num_rises == 0


@pytest.mark.parametrize(("settings", "message"), [
    ({"penalty": 0.0}, "penalty is 0.0; it must be greater than 0"),
    ({"output_penalty": -1.0}, "output_penalty is -1.0"),
    ({"curvature": float("nan")}, "curvature is nan"),
    ({"penalty_schedule": "never"}, "must be one of 'constant'"),
])  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dladmm(network((2, 2), SOFTMAX, 0.0)[0], **settings)
