"""Trained eta models: what another run starts from is what this one has learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LIGHT, regression_batch

from samt_jax import (
    Batches,
    Chain,
    dense,
    load_meta_params,
    make_optimizer,
    samt_algorithm,
    samt_sweep,
    save_meta_params,
    trained_meta_params,
)

# A name with a slash, and one that reads like what is sought.
PARAMS = {
    "first/half": {"kernel": jnp.ones((3, 2))},
    "meta": {"kernel": jnp.ones((2, 1))},
}
X, Y = regression_batch(jax.random.key(0), 8, 3, 1)


def loss_fn(params, batch=None):
    hidden = X @ params["first/half"]["kernel"]
    return jnp.mean((hidden @ params["meta"]["kernel"] - Y) ** 2)


def swept(count=3, **settings):
    """The state after some sweeps at a speed of learning that shows."""
    tx, params = samt_sweep(0.05, **LIGHT | settings), PARAMS
    state, values = tx.init(params), {"value_fn": loss_fn, "meta_value_fn": loss_fn}
    update = jax.jit(lambda params, state: tx.update((), state, params, **values))
    for _ in range(count):
        updates, state = update(params, state)
        params = optax.apply_updates(params, updates)
    return state


@pytest.fixture(scope="module")
def taught():
    return trained_meta_params(swept())


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_starts_from_the_eta_models_of_another(taught):
    assert_equal(trained_meta_params(swept(0, meta_params=taught)), taught)
    fresh = swept(1).info["meta"]
    moved = swept(1, meta_params=taught).info["meta"]
    # The same gradient enters the first block, and another step size comes out.
    assert abs(float(moved.step_size - fresh.step_size)) > 1e-4
    again = swept(1, meta_params=taught, seed=7).info["meta"]
    assert float(again.step_size) == float(moved.step_size)


def test_frozen_eta_models_stay_as_they_are_to_the_bit(taught):
    still = swept(meta_params=taught, meta_optimizer=optax.set_to_zero())
    assert_equal(trained_meta_params(still), taught)
    with pytest.raises(AssertionError):
        assert_equal(trained_meta_params(swept(meta_params=taught)), taught)


def test_meta_learning_rate_of_zero_freezes_them():
    make = make_optimizer("samt-s", meta_learning_rate=0.0, meta_batch="same")
    algorithm, batches = make(loss_fn, jax.random.key(0), 10), Batches((), ())
    params = PARAMS
    start = state = algorithm.init(params, batches, jax.random.key(0))
    step = jax.jit(lambda *now: algorithm.step(*now, batches, jax.random.key(0)))
    for _ in range(2):
        params, state, _ = step(params, state)
    assert int(state.count) == 2
    assert_equal(trained_meta_params(state), trained_meta_params(start))


def test_one_engine_starts_from_what_the_other_has_learned(taught):
    chain = Chain((dense("first/half"), dense("meta")), lambda o, y: (o - y)[:, 0] ** 2)
    settings = LIGHT | {"meta_batch": "same", "meta_params": taught}
    batches, key = Batches((X, Y), (X, Y)), jax.random.key(0)
    ends = []
    for engine in ("chain", "general"):
        algorithm = samt_algorithm(chain, 0.05, engine=engine, **settings)
        state = algorithm.init(PARAMS, batches, key)
        assert_equal(trained_meta_params(state), taught)
        params, _, _ = jax.jit(algorithm.step)(PARAMS, state, batches, key)
        ends.append(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *ends)


def test_of_several_seeds_one_is_taken():
    init = jax.vmap(lambda seed: samt_sweep(0.1, **LIGHT, seed=seed).init(PARAMS))
    states = jax.jit(init)(jnp.arange(3))
    each = [trained_meta_params(states, seed=index) for index in range(3)]
    alone = samt_sweep(0.1, **LIGHT, seed=2).init(PARAMS)
    assert_equal(each[2], trained_meta_params(alone))
    with pytest.raises(AssertionError):
        assert_equal(each[1], each[2])


def test_a_state_within_others_is_found_and_none_is_refused():
    tx = optax.chain(optax.clip(1.0), samt_sweep(0.1, **LIGHT))
    assert list(trained_meta_params(tx.init(PARAMS))) == list(PARAMS)
    with pytest.raises(ValueError, match="give the state of samt"):
        trained_meta_params(optax.adam(1e-3).init(PARAMS))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"blocks": {"all": ".*"}}, r"are for \['all'\]; give those of a run with"),
        ({"shared_eta_model": True}, r"for \['shared'\]; give those of a run with"),
        ({"granularity": "row"}, r"'first/half' .* float32\[2\], and here it is float"),
        ({"eta_model": None}, "give those of a run with the same eta_model"),
    ],
)
def test_eta_models_that_do_not_fit_are_refused_in_a_sentence(
    settings, sentence, taught
):
    tx = samt_sweep(0.1, **LIGHT | settings, meta_params=taught)
    with pytest.raises(ValueError, match=sentence) as refusal:
        tx.init(PARAMS)
    assert "\n" not in str(refusal.value)


def test_what_is_saved_comes_back_to_the_bit(tmp_path, taught):
    path = tmp_path / "eta_models.npz"
    save_meta_params(path, taught)
    loaded = load_meta_params(str(path))
    assert_equal(loaded, taught)
    save_meta_params(str(path), loaded)
    assert_equal(load_meta_params(path), taught)
    assert [path.name for path in tmp_path.iterdir()] == ["eta_models.npz"]
    assert_equal(trained_meta_params(swept(0, meta_params=loaded)), taught)


def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path, taught, monkeypatch
):
    path = tmp_path / "eta_models.npz"
    with pytest.raises(ValueError, match="No such file or directory"):
        load_meta_params(path)
    save_meta_params(path, taught)
    whole = path.read_bytes()
    kernel = taught["meta"]["params"]["Dense_0"]["kernel"]
    inside = whole.index(np.asarray(kernel).tobytes())
    flipped = whole[:inside] + bytes([whole[inside] ^ 1]) + whole[inside + 1 :]
    for content in (b"", b"no such", whole[:inside], flipped):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged, or no file of eta models"):
            load_meta_params(path)
    np.savez(path, np.array([1.0]))
    with pytest.raises(ValueError, match="damaged, or no file of eta models"):
        load_meta_params(path)
    path.write_bytes(whole)
    monkeypatch.setattr("samt_jax.meta_params.FEATURE_NAMES", ("mean", "mode"))
    with pytest.raises(ValueError, match=r"they are \['mean', 'mode'\] here"):
        load_meta_params(path)
