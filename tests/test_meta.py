import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec, reshard
from problems import BAD, assert_same_bits

from samt_jax.meta import (
    CAUSES,
    MetaState,
    adam,
    all_finite,
    block_updates,
    first_failure,
    keep_if,
    meta_value_and_grad,
    step_evidence,
    step_meta_params,
)


def test_an_update_is_minus_step_size_times_direction():
    values = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    directions = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.arange(3.0)}
    row = jnp.array([0.5, 1.0, 2.0])
    updates = block_updates(
        values, directions, {"kernel": row.reshape(1, 3), "bias": row}
    )
    np.testing.assert_array_equal(updates["kernel"], [[0, -1, -4], [-1.5, -4, -10]])
    np.testing.assert_array_equal(updates["bias"], [0, -1, -4])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_an_update_has_the_dtype_of_its_leaf(dtype):
    half = {"w": jnp.ones(2, dtype)}
    assert block_updates(half, half, {"w": jnp.float32(0.5)})["w"].dtype == dtype


def test_worked_example_of_two_scalar_blocks():
    # f(a, b) = (ab - 1)²/2 at a = 2, b = 1: g = 1, candidate 1.75, g' = 0.75.
    def f(a, b):
        return (a * b - 1) ** 2 / 2

    a, b = {"a": jnp.float32(2.0)}, jnp.float32(1.0)
    grads = jax.grad(lambda a: f(a["a"], b))(a)

    def objective(step_size):
        updates = block_updates(a, grads, {"a": step_size})
        candidate = optax.apply_updates(a, updates)
        return f(candidate["a"], b), candidate

    value, candidate, slope = meta_value_and_grad(objective, jnp.float32(0.25))
    assert grads["a"] == 1 and candidate["a"] == 1.75
    assert value == jnp.float32(0.75**2 / 2)
    assert slope == -0.75


def test_meta_optimizer_descends_and_keeps_its_state():
    optimizer = optax.sgd(0.5, momentum=0.9)
    params = {"w": jnp.array([1.0, 2.0])}
    state = MetaState(params, optimizer.init(params))
    for _ in range(2):
        state = step_meta_params(state, {"w": jnp.array([1.0, 0.0])}, optimizer)
    # Steps of 0.5 and 0.5 * (1 + 0.9).
    np.testing.assert_allclose(state.params["w"], [1 - 0.5 - 0.95, 2], rtol=1e-6)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("leaf", ["small", "large", "half", "number"])
def test_all_finite_finds_one_bad_entry_in_any_leaf(bad, leaf):
    tree = {
        "small": jnp.ones((3, 2)),
        "large": jnp.ones((2**14 + 1,)),
        "half": jnp.ones(2, jnp.bfloat16),
        "number": jnp.float32(1.0),
        "count": jnp.arange(3),
    }
    finite = jax.jit(all_finite)
    assert finite(tree)
    flat = jnp.ravel(tree[leaf])
    tree[leaf] = flat.at[flat.size - 1].set(bad).reshape(tree[leaf].shape)
    assert not finite(tree)


@pytest.mark.parametrize("size", [3, 2**14 + 1])
def test_entries_whose_sum_overflows_are_finite(size):
    assert jax.jit(all_finite)(jnp.full(size, 3e38))
    assert jax.jit(all_finite)(jnp.full(size, 60000, jnp.float16))


def test_leaves_of_one_shape_may_be_sharded_differently():
    with jax.set_mesh(jax.make_mesh((1,), ("x",), (AxisType.Explicit,))):
        rows, columns = PartitionSpec("x", None), PartitionSpec(None, "x")
        tree = [reshard(jnp.ones((8, 8)), spec) for spec in (rows, columns)]
        assert all_finite(tree)
        assert not all_finite([tree[0], tree[1] / 0])


def test_a_tree_without_numbers_is_finite():
    assert all_finite({})
    assert all_finite({"count": jnp.arange(2)})


@pytest.mark.parametrize("size", [3, 2**14 + 1])
def test_adam_is_that_of_optax_however_it_is_laid_out(size, rng):
    params = {"w": jnp.zeros(size), "b": jnp.zeros(())}
    ours, theirs = adam(1e-2), optax.adam(1e-2)
    states = [each.init(params) for each in (ours, theirs)]
    for _ in range(3):
        grads = jax.tree.map(
            lambda leaf: jnp.array(rng.normal(size=leaf.shape)), params
        )
        (own, states[0]), (known, states[1]) = (
            each.update(grads, state, params)
            for each, state in zip((ours, theirs), states, strict=True)
        )
        for name in params:
            np.testing.assert_allclose(own[name], known[name], rtol=1e-6)


@pytest.mark.parametrize("bad", BAD)
def test_the_first_failure_is_named(bad):
    good = {cause: {"a": jnp.ones((2, 3)), "b": jnp.ones(3)} for cause in CAUSES}
    made_bad = {"a": jnp.ones((2, 3)), "b": jnp.array([1.0, bad, 1.0])}
    assert first_failure(good) == -1
    for index, cause in enumerate(CAUSES):
        assert first_failure(good | {cause: made_bad}) == index
    last_two = dict.fromkeys(CAUSES[-2:], made_bad)
    assert CAUSES[int(first_failure(good | last_two))] == CAUSES[-2]


@pytest.mark.parametrize("size", [5, 20_000])
@pytest.mark.parametrize("number", [*BAD, 1e30, 1e19, -1e19, 1e-30])
def test_the_norm_of_a_gradient_shows_whether_a_step_of_adam_is_finite(size, number):
    optimizer, params = adam(1.0), {"w": jnp.ones(size)}
    state = MetaState(params, optimizer.init(params))
    grads = {"w": jnp.zeros(size).at[1].set(number)}
    for _ in range(3):
        state = step_meta_params(state, grads, optimizer)
        evidence = step_evidence(state, grads, optimizer)
        assert evidence.state == ()
        assert all_finite(evidence.grads) == (abs(number) <= 1e19)
        assert all_finite(state) or not all_finite(evidence.grads)


@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [(optax.adam(1e-3), "float32"), (adam(2.0), "float32"), (adam(1e-3), "float16")],
)
def test_evidence_of_other_steps_is_all_that_they_changed(optimizer, dtype):
    params = {"w": jnp.ones(3, dtype)}
    state = MetaState(params, optimizer.init(params))
    evidence = step_evidence(state, params, optimizer)
    assert evidence.state is state
    assert evidence.grads is params


def test_what_is_kept_is_kept_to_the_bit():
    old = {"w": jnp.array([-0.0, 1.0, jnp.nan]), "count": jnp.int32(3)}
    new = {"w": jnp.array([0.0, jnp.inf, 2.0]), "count": jnp.int32(4)}
    keep = jax.jit(keep_if)
    assert_same_bits(keep(jnp.array(False), new, old), old)
    assert_same_bits(keep(jnp.array(True), new, old), new)


def test_stages_do_not_change_dtypes_silently(strict_promotion):
    values = {"w": jnp.ones((2, 2))}
    updates = block_updates(values, values, {"w": jnp.float32(0.1)})
    assert all_finite((updates, jnp.int32(1)))
    assert keep_if(all_finite(updates), updates, values)["w"].dtype == jnp.float32
