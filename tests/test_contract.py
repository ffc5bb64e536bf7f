"""What every algorithm promises, whichever it is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from algorithms import ALGORITHMS, LEAST_SQUARES, TRANSFORMATIONS

from samt_jax import Algorithm, from_optax


class Case(NamedTuple):
    """An algorithm ready to step; `traces` grows with every trace of `step`."""

    row: Any
    algorithm: Algorithm
    step: Any
    traces: list

    def start(self, seed=0):
        params = self.row.problem.init_params(jax.random.key(seed))
        batches = self.batches(0)
        return params, self.algorithm.init(params, batches, jax.random.key(seed + 1))

    def batches(self, step):
        return self.row.problem.batches(self.algorithm.batch_spec, step)

    def run(self, num_steps, seed=0):
        params, state = self.start(seed)
        for i in range(num_steps):
            key = jax.random.fold_in(jax.random.key(seed + 2), i)
            params, state, info = self.step(params, state, self.batches(i), key)
        return params, state, info


@pytest.fixture(scope="module", params=ALGORITHMS, ids=lambda row: row.name)
def case(request):
    row, traces = request.param, []
    algorithm = row.make(row.problem.loss_fn)

    def step(*args):
        traces.append(1)
        return algorithm.step(*args)

    return Case(row, algorithm, jax.jit(step), traces)


def assert_close(actual, desired, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(
        lambda a, d: np.testing.assert_allclose(a, d, rtol=rtol, atol=atol),
        as_numbers(actual),
        as_numbers(desired),
    )


def as_numbers(tree):
    """Keys as their data, so that they can be compared."""
    return jax.tree.map(
        lambda x: (
            jax.random.key_data(x)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else x
        ),
        tree,
    )


def signature(tree):
    """Structure, shapes and dtypes, weak ones told apart."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: tree))
    return structure, [(x.shape, x.dtype, x.weak_type) for x in leaves]


def test_steps_under_jit_and_reports_the_loss_before_the_step(case):
    params, state = case.start()
    batches = case.batches(0)
    moved, _, info = case.step(params, state, batches, jax.random.key(0))
    first = jax.tree.map(lambda x: x[0], batches.train)
    train = batches.train if case.algorithm.batch_spec.num_train == 1 else first
    assert_close(info.value, case.row.problem.loss_fn(params, train))
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), moved, params)
    assert any(jax.tree.leaves(changed))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(moved))


def test_compiles_once(case):
    case.run(3)
    case.run(2, seed=5)
    assert len(case.traces) == 1


def test_state_keeps_its_structure_shapes_and_dtypes(case):
    params, state = case.start()
    moved, next_state, _ = jax.eval_shape(
        case.algorithm.step, params, state, case.batches(0), jax.random.key(0)
    )
    assert signature_of_shapes(moved) == signature(params)
    assert signature_of_shapes(next_state) == signature(state)


def signature_of_shapes(tree):
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype, x.weak_type) for x in leaves]


NUM_BATCHES = 10


@pytest.fixture(scope="module")
def scanned(case):
    """What every step of a long run gives, all of them under one scan."""
    batches = [case.batches(i) for i in range(NUM_BATCHES)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

    def body(carry, i):
        batches = jax.tree.map(lambda x: x[i % NUM_BATCHES], stacked)
        key = jax.random.fold_in(jax.random.key(2), i)
        params, state, info = case.algorithm.step(*carry, batches, key)
        return (params, state), (params, state, info)

    steps = jnp.arange(case.row.num_steps)
    return jax.jit(lambda carry: jax.lax.scan(body, carry, steps)[1])(case.start())


def test_scan_is_the_loop(case, scanned):
    assert_close(jax.tree.map(lambda x: x[2], scanned), case.run(3))


def test_vmap_over_seeds_is_the_loop(case):
    starts = [case.start(seed) for seed in (0, 3)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    batches = case.batches(0)
    keys = jax.random.split(jax.random.key(9), 2)
    many = jax.jit(jax.vmap(case.algorithm.step, in_axes=(0, 0, None, 0)))
    many_result = many(*together, batches, keys)
    for i, (params, state) in enumerate(starts):
        one_result = case.step(params, state, batches, keys[i])
        assert_close(jax.tree.map(lambda x, i=i: x[i], many_result), one_result)


def test_dtype_of_params_is_kept(case):
    params = optax.tree.cast(case.start()[0], jnp.bfloat16)
    batches, key = case.batches(0), jax.random.key(0)
    state = case.algorithm.init(params, batches, jax.random.key(1))
    moved, next_state, _ = jax.jit(case.algorithm.step)(params, state, batches, key)
    assert signature(moved) == signature(params)
    assert signature(next_state) == signature(state)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(moved))
    as_float32 = case.step(*case.start(), batches, key)[0]
    assert_close(optax.tree.cast(moved, jnp.float32), as_float32, rtol=0.05, atol=0.05)


def test_nesting_the_parameters_changes_nothing(case):
    algorithm = case.row.make(lambda p, b: case.row.problem.loss_fn(p["net"][1], b))
    params, state = case.start()
    nested = {"net": ([], params), "none": ()}
    batches, key = case.batches(0), jax.random.key(0)
    nested_state = algorithm.init(nested, batches, jax.random.key(1))
    moved, _, info = jax.jit(algorithm.step)(nested, nested_state, batches, key)
    assert jax.tree.structure(moved) == jax.tree.structure(nested)
    flat_moved, _, flat_info = case.step(params, state, batches, key)
    assert_close(moved["net"][1], flat_moved)
    assert_close(info.value, flat_info.value)


def test_same_key_same_result_to_the_bit(case):
    first, second = as_numbers(case.run(3)), as_numbers(case.run(3))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_arguments_are_not_changed_and_state_can_be_donated(case):
    params, state = case.start()
    batches, key = case.batches(0), jax.random.key(0)
    before = jax.tree.map(np.array, as_numbers((params, state)))
    expected = case.step(params, state, batches, key)
    jax.tree.map(np.testing.assert_array_equal, before, as_numbers((params, state)))
    donating = jax.jit(case.algorithm.step, donate_argnums=(0, 1))
    assert_close(donating(params, state, batches, key), expected)


def test_reaches_a_known_minimum(case, scanned):
    *_, info = scanned
    minimum = case.row.problem.minimum
    assert info.value[0] - minimum > 0.5
    assert np.max(info.value[-NUM_BATCHES:]) - minimum < 1e-3


@pytest.fixture(scope="module", params=TRANSFORMATIONS, ids=lambda row: row.name)
def transformation(request):
    return request.param


def two_steps(tx, row):
    """The parameters and the information after each of two steps."""
    algorithm = from_optax(tx, LEAST_SQUARES.loss_fn, row.batch_spec)
    params, key = LEAST_SQUARES.init_params(jax.random.key(0)), jax.random.key(0)
    state = algorithm.init(params, LEAST_SQUARES.batches(row.batch_spec), key)
    step, found = jax.jit(algorithm.step), []
    for i in range(2):
        batches = LEAST_SQUARES.batches(row.batch_spec, i)
        params, state, info = step(params, state, batches, key)
        found.append((params, info))
    return found


@pytest.fixture(scope="module")
def alone(transformation):
    """What a transformation gives by itself."""
    tx = transformation.factory(**transformation.settings)
    return two_steps(tx, transformation)


def test_unknown_extra_arguments_are_ignored(transformation, alone):
    tx = optax.with_extra_args_support(
        transformation.factory(**transformation.settings)
    )

    def update_fn(updates, state, params=None, **extra_args):
        return tx.update(updates, state, params, unknown=jnp.ones(3), **extra_args)

    noisy = optax.GradientTransformationExtraArgs(tx.init, update_fn)
    assert_close(two_steps(noisy, transformation), alone)


def test_chains_with_other_transformations(transformation, alone):
    tx = transformation.factory(**transformation.settings)
    # A clip that clips nothing, and a scale that halves what comes out.
    chained = optax.chain(optax.clip(1e3), tx, optax.scale(0.5))
    (half, info), _ = two_steps(chained, transformation)
    (whole, whole_info), _ = alone
    start = LEAST_SQUARES.init_params(jax.random.key(0))
    assert_close(half, jax.tree.map(lambda a, b: (a + b) / 2, start, whole))
    assert_close(info, whole_info)


def test_runs_under_inject_hyperparams(transformation, alone):
    factory, settings = transformation.factory, transformation.settings
    injected = optax.inject_hyperparams(factory, static_args=transformation.static)
    assert_close(two_steps(injected(**settings), transformation), alone)
