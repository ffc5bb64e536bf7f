import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samt_jax import checkpoint
from samt_jax.base import Batches, BatchSpec, from_optax
from samt_jax.chain import Chain, dense
from samt_jax.loop import state_sha256
from samt_jax.manifest import Identity
from samt_jax.meta import adam
from samt_jax.optimizers import OPTIMIZERS, make_optimizer
from samt_jax.problem import squared_error
from samt_jax.samt import samt_sweep
from samt_jax.samt_rows import META_DISTANCE, META_DISTANCE_ALONG_GRADIENT


def block_loss(params, batch):
    """Of one block, so that a sweep compiles fast."""
    inputs, targets = batch
    outputs = inputs @ params["only"]["kernel"] + params["only"]["bias"][None, :]
    return jnp.mean((outputs - targets) ** 2)


@pytest.fixture(scope="module")
def start():
    rng = np.random.default_rng(0)
    kernel = jnp.array(rng.normal(size=(3, 2)), jnp.float32)
    params = {"only": {"kernel": kernel, "bias": jnp.zeros(2)}}
    inputs = jnp.array(rng.normal(size=(8, 3)), jnp.float32)
    return params, (inputs, inputs[:, :2])


def batches_of(algorithm, batch):
    several = algorithm.batch_spec.num_train
    if several > 1:
        batch = jax.tree.map(lambda leaf: jnp.stack([leaf] * several), batch)
    return Batches(batch, batch)


def path_of(algorithm, params, batch, num_steps):
    """Where each of the steps ends."""
    batches, key = batches_of(algorithm, batch), jax.random.key(0)
    state = algorithm.init(params, batches, key)
    step, path = jax.jit(algorithm.step), []
    for _ in range(num_steps):
        params, state, _ = step(params, state, batches, key)
        path.append(params)
    return path


def train(algorithm, params, batch, num_steps):
    return path_of(algorithm, params, batch, num_steps)[-1]


@pytest.fixture(scope="module")
def chain_start(start):
    """What methods that keep variables for every layer can train."""
    rng = np.random.default_rng(1)
    params = {
        name: {"kernel": jnp.array(rng.normal(size=shape), jnp.float32),
               "bias": jnp.zeros(shape[1])}
        for name, shape in {"first": (3, 4), "last": (4, 2)}.items()
    }  # fmt: skip
    layers = (dense("first", jax.nn.leaky_relu), dense("last"))
    return Chain(layers, squared_error), params, start[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_default_settings_lower_the_loss_saved_or_not(
    name, start, chain_start, tmp_path
):
    layerwise = OPTIMIZERS[name].full_batch
    loss_fn, params, batch = chain_start if layerwise else (block_loss, *start)
    algorithm = make_optimizer(name)(loss_fn, jax.random.key(0), 300)
    batches, key = batches_of(algorithm, batch), jax.random.key(0)
    at, step = (params, algorithm.init(params, batches, key)), jax.jit(algorithm.step)
    identity = Identity({}, [], {})
    for number in range(300):
        if number == 7:
            checkpoint.save(tmp_path, number, at, identity)
            restored = checkpoint.restore(tmp_path, at, identity).state
        if number == 20:
            unbroken = at
        *at, _ = step(*at, batches, key)
    trained, _ = at
    assert loss_fn(trained, batch) < 0.99 * loss_fn(params, batch)
    # Taken up from the disk, every bit of it is what it was without.
    for _ in range(7, 20):
        *restored, _ = step(*restored, batches, key)
    assert state_sha256(list(restored)) == state_sha256(list(unbroken))


NUM_STEPS = 21


def named_path(name, start, **settings):
    algorithm = make_optimizer(name, **settings)(
        block_loss, jax.random.key(0), NUM_STEPS
    )
    return path_of(algorithm, *start, NUM_STEPS)


@pytest.fixture(scope="module")
def as_it_comes(request, start):
    """The path of a row with the settings that it has by itself."""
    return named_path(request.param, start)


@pytest.mark.parametrize(
    ("name", "as_it_comes"),
    [(name, name) for name, row in OPTIMIZERS.items() if row.learning_rate is not None],
    indirect=["as_it_comes"],
)
def test_row_takes_its_learning_rate(name, as_it_comes, start):
    other = named_path(name, start, learning_rate=OPTIMIZERS[name].learning_rate / 3)
    one, other = (path[4]["only"]["kernel"] for path in (as_it_comes, other))
    assert not np.allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "as_it_comes"),
    [(name, name) for name, row in OPTIMIZERS.items() if "schedule" in row.takes],
    indirect=["as_it_comes"],
)
@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_schedule_slows_the_end_of_a_run(name, as_it_comes, schedule, start):
    def last_move(path):
        return optax.tree.norm(jax.tree.map(jnp.subtract, *path[-2:]))

    # As it comes, the learning rate is constant.
    scheduled = named_path(name, start, schedule=schedule)
    assert last_move(scheduled) < 0.5 * last_move(as_it_comes)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0]),
        ("step", [1, 1, 0.1, 0.01, 0.01]),
    ],
)
def test_schedule_by_hand(schedule, expected):
    """SGD on a slope of one moves by the learning rate itself."""
    make = make_optimizer("sgd", learning_rate=2.0, schedule=schedule)
    algorithm = make(lambda params, batch: params, jax.random.key(0), 8)
    params, batches, key = jnp.zeros(()), Batches(()), jax.random.key(0)
    state, moves = algorithm.init(params, batches, key), []
    for _ in range(9):
        moved, state, _ = algorithm.step(params, state, batches, key)
        moves.append(float(params - moved))
        params = moved
    np.testing.assert_allclose(moves[::2], 2 * np.array(expected), atol=1e-6)


def test_samt_row_is_the_sweep_with_its_settings(start):
    settings = {
        "learning_rate": 0.05, "squash": "sigmoid", "terms": "right",
        "proposal_max": 0.2, "inner_steps": 2,
    }  # fmt: skip
    key = jax.random.key(3)
    named = make_optimizer(
        "samt-r", meta_learning_rate=1e-2, meta_batch="same", **settings
    )(block_loss, key, 10)
    by_hand = from_optax(
        samt_sweep(
            **settings,
            granularity="row",
            meta_optimizer=adam(1e-2),
            seed=key,
        ),
        block_loss,
        BatchSpec(1, "same"),
    )
    assert named.batch_spec == by_hand.batch_spec
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b),
        train(named, *start, 4),
        train(by_hand, *start, 4),
    )


def outcome(start, **settings):
    make = make_optimizer("samt-s", **settings)
    algorithm = make(block_loss, jax.random.key(0), 100)
    return train(algorithm, *start, 20), algorithm.batch_spec


@pytest.fixture(scope="module")
def usual(start):
    return outcome(start)


@pytest.mark.parametrize(
    "settings",
    [
        {"direction": "gradient"},
        {"direction": "adam"},
        {"direction": optax.ema(0.5)},
        {"feature_scale": 0.0},
        {"feature_scale": 1e-3},
        {"features": ("norm",)},
        {"features": "raw_gradient"},
        {"frozen": ("only/bias",)},
        {"mixing_weight": 1.0},
        {"step_bounds": (0.0, 0.05)},
        {"ball_radius": 0.1},
        {"meta_learning_rate": 0.5},
        {"meta_optimizer": "sgd"},
        {"num_train": 2, "inner_steps": 2},
    ],
    ids=lambda settings: "-".join(map(str, settings)),
)
def test_samt_setting_reaches_the_sweep(settings, start, usual):
    trained, spec = outcome(start, **settings)
    if "num_train" in settings:
        assert (spec.num_train, usual[1].num_train) == (2, 1)
    else:
        pairs = zip(jax.tree.leaves(trained), jax.tree.leaves(usual[0]), strict=True)
        assert not all((a == b).all() for a, b in pairs)


def test_meta_learning_rate_is_a_fixed_distance_over_the_run(start, usual):
    explicit, _ = outcome(start, meta_learning_rate=META_DISTANCE / 100)
    jax.tree.map(np.testing.assert_array_equal, explicit, usual[0])


def test_along_the_gradient_eta_models_learn_a_third_as_fast(start):
    along = {"direction": "gradient"}
    rate = META_DISTANCE_ALONG_GRADIENT / 100
    assert rate == pytest.approx(META_DISTANCE / 100 / 3)
    explicit, _ = outcome(start, meta_learning_rate=rate, **along)
    jax.tree.map(np.testing.assert_array_equal, explicit, outcome(start, **along)[0])


def test_schedule_free_shows_the_averaged_iterate():
    tx = optax.contrib.schedule_free_adamw(0.1)
    loss = lambda params, batch: jnp.sum((params - batch) ** 2)  # noqa: E731
    params, target = jnp.array([1.0, -2.0]), jnp.zeros(2)
    at, state = params, tx.init(params)
    for _ in range(7):
        updates, state = tx.update(jax.grad(loss)(at, target), state, at)
        at = optax.apply_updates(at, updates)
    expected = optax.contrib.schedule_free_eval_params(state, at)
    make = make_optimizer("schedule-free", learning_rate=0.1)
    shown = train(make(loss, jax.random.key(0), 7), params, target, 7)
    np.testing.assert_allclose(shown, expected, rtol=1e-5)
    assert not np.allclose(shown, at)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("sdg", {}, "no optimizer 'sdg'; choose one of samt-s, "),
        ("adam", {"momentum": 0.9}, "which is for momentum, nesterov"),
        ("schedule-free", {"schedule": "cosine"}, "takes no setting 'schedule'"),
        ("sgd", {"colour": "red"}, "it takes learning_rate, schedule"),
        ("samt-s", {"element_head": "dense"}, "which is for samt-e, learned-e"),
    ],
)
def test_unknown_name_or_setting_is_refused_at_once(name, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_optimizer(name, **settings)


@pytest.mark.parametrize(
    "settings",
    [{"schedule": "linear"}, {"direction": "sideways"}, {"meta_optimizer": "lion"}],
)
def test_unknown_choice_is_refused(settings):
    with pytest.raises(ValueError, match="choose one of"):
        make_optimizer("samt-s", **settings)(block_loss, jax.random.key(0), 10)


def test_a_scale_of_features_is_not_for_the_raw_gradient():
    make = make_optimizer("samt-s", features="raw_gradient", feature_scale=1e-3)
    with pytest.raises(ValueError, match="leave one of them out"):
        make(block_loss, jax.random.key(0), 10)


def test_table_is_read_without_jax():
    program = (
        "import sys; from samt_jax.optimizers import make_optimizer; "
        "make_optimizer('samt-s', squash='tanh'); sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
