"""The chain engine gives the iterates of the general one."""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samt_jax import (
    Batches,
    Chain,
    EtaMLP,
    choose_engine,
    convolution,
    dense,
    equal_layers,
    raw_gradient_features,
    samt_algorithm,
    samt_sweep,
    scaled_features,
)
from samt_jax.chain_run import Run
from samt_jax.rule import complete_rule

# With 9 examples 40 -> 50 takes the Gram path, 50 -> 3 the product.
NUM_EXAMPLES, NUM_BATCHES = 9, 21


def activate(pre_activations):
    return jax.nn.leaky_relu(pre_activations)


def pool(images):
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, window, window, "VALID")


def cross_entropy(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


@functools.cache
def dense_chain(widths):
    last = len(widths) - 2
    layers = [dense(f"Dense_{i}", activate) for i in range(last)]
    return Chain((*layers, dense(f"Dense_{last}")), cross_entropy)


def dense_params(widths, use_bias=True):
    rng, params = np.random.default_rng(0), {}
    for i, (num_in, num_out) in enumerate(itertools.pairwise(widths)):
        params[f"Dense_{i}"] = {"kernel": rng.normal(size=(num_in, num_out)) * 0.2}
        if use_bias:
            params[f"Dense_{i}"]["bias"] = rng.normal(size=num_out) * 0.1
    return params


@functools.cache
def convolutional():
    rng = np.random.default_rng(1)
    layers = (
        convolution("Conv_0", lambda z: activate(pool(z))),
        convolution("Conv_1", lambda z: activate(z).reshape(z.shape[0], -1)),
        dense("Dense_0"),
    )
    params = {
        "Conv_0": {"kernel": rng.normal(size=(3, 3, 1, 4)), "bias": rng.normal(size=4)},
        "Conv_1": {"kernel": rng.normal(size=(3, 3, 4, 3)), "bias": rng.normal(size=3)},
        "Dense_0": {"kernel": rng.normal(size=(27, 3)), "bias": rng.normal(size=3)},
    }
    params = jax.tree.map(lambda leaf: 0.3 * leaf, params)
    return Chain(layers, cross_entropy), params, (6, 6, 1)


def stream(shape, num_examples=NUM_EXAMPLES):
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(NUM_BATCHES, num_examples, *shape))
    return inputs, rng.integers(0, 3, size=(NUM_BATCHES, num_examples))


def meta_of(batches, step, reading):
    inputs, targets = batches
    if reading == "next":
        return inputs[step + 1], targets[step + 1]
    if reading == "held_out":
        return inputs[-1 - step], targets[-1 - step]
    stride = 2 if reading == "strided" else 1
    return inputs[step][::stride], targets[step][::stride]


# One of each, for programs of the same settings to be found again.
ETA_MODEL = functools.partial(EtaMLP, width=8, param_dtype=jnp.float64)
META_OPTIMIZER = optax.sgd(0.1)


@functools.cache
def program(engine, chain, reading, fewest_equal, **settings):
    """An engine's algorithm and its step, compiled once for all that ask for it."""
    assert fewest_equal == equal_layers.FEWEST_EQUAL
    settings = {
        "eta_model": ETA_MODEL, "meta_optimizer": META_OPTIMIZER,
        "direction": "gradient", **settings,
    }  # fmt: skip
    algorithm = samt_algorithm(
        chain, 0.1, meta_batch=reading, engine=engine, **settings
    )
    return algorithm, jax.jit(algorithm.step)


def sweep(
    engine, chain, params, batches, reading, num_sweeps, announced=None, **settings
):
    # The general engine is given its meta-batch and does not know where from.
    known = reading if engine == "chain" else "same"
    algorithm, step_fn = program(
        engine, chain, known, equal_layers.FEWEST_EQUAL, **settings
    )
    key, params = jax.random.key(0), jax.tree.map(jnp.asarray, params)
    inputs, targets = batches
    state = algorithm.init(params, Batches((inputs[0], targets[0])), key)
    for step in range(num_sweeps):
        meta = meta_of(announced or batches, step, reading)
        seen = Batches((inputs[step], targets[step]), meta)
        params, state, info = step_fn(params, state, seen, key)
    return params, info, state


def assert_same_iterates(chain, params, batches, reading, num_sweeps=20, **settings):
    with jax.numpy_rank_promotion("allow"):
        general, chained = (
            sweep(engine, chain, params, batches, reading, num_sweeps, **settings)[:2]
            for engine in ("general", "chain")
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10),
        general[0],
        chained[0],
    )
    # Diagnostics are kept in float32.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        general[1],
        chained[1],
    )
    moved = jax.tree.map(
        lambda a, b: np.abs(a - np.asarray(b)).max(), params, chained[0]
    )
    assert min(jax.tree.leaves(moved)) > 1e-6


@pytest.fixture(autouse=True)
def in_float64(x64):
    """Rounding must not hide a difference."""


@pytest.mark.parametrize("granularity", ["scalar", "row", "column", "element"])
@pytest.mark.parametrize("reading", ["same", "strided", "next", "held_out"])
def test_two_layers_have_the_iterates_of_the_general_engine(granularity, reading):
    widths = (40, 50, 3)
    assert_same_iterates(
        dense_chain(widths), dense_params(widths), stream((40,)), reading,
        granularity=granularity,
    )  # fmt: skip


@pytest.mark.parametrize(
    "granularity, reading",
    [("scalar", "strided"), ("row", "next"), ("column", "next"), ("element", "same")],
)
def test_convolutions_have_the_iterates_of_the_general_engine(granularity, reading):
    chain, params, shape = convolutional()
    assert_same_iterates(
        chain, params, stream(shape), reading, granularity=granularity,
        proposal_max=0.1,
    )  # fmt: skip


@pytest.mark.parametrize(
    "widths, granularity, reading",
    [
        ((40, 50, 30, 3), "scalar", "next"),
        ((40, 50, 30, 3), "column", "strided"),
        ((20, 24, 24, 24, 24, 3), "row", "held_out"),
    ],
)
def test_deeper_nets_have_the_iterates_of_the_general_engine(
    widths, granularity, reading
):
    assert_same_iterates(
        dense_chain(widths), dense_params(widths), stream(widths[:1]), reading,
        granularity=granularity,
    )  # fmt: skip


# Layers 1 to 3 of it are equal.
EQUAL = (20, 24, 24, 24, 24, 3)


@pytest.mark.parametrize(
    "granularity, reading", [("scalar", "next"), ("column", "strided")]
)
def test_equal_layers_under_a_scan_have_the_iterates_of_the_general_engine(
    granularity, reading, monkeypatch
):
    monkeypatch.setattr(equal_layers, "FEWEST_EQUAL", 3)
    assert_same_iterates(
        dense_chain(EQUAL), dense_params(EQUAL), stream(EQUAL[:1]), reading,
        granularity=granularity,
    )  # fmt: skip


def test_equal_layers_under_a_scan_skip_what_is_not_finite(monkeypatch):
    monkeypatch.setattr(equal_layers, "FEWEST_EQUAL", 3)
    inputs, targets = stream(EQUAL[:1])
    inputs[1, 0, 0] = np.nan  # The first sweep's meta-batch.
    start = jax.tree.map(jnp.asarray, dense_params(EQUAL))
    params, _, state = sweep(
        "chain", dense_chain(EQUAL), start, (inputs, targets), "next", 1
    )
    jax.tree.map(np.testing.assert_array_equal, params, start)
    assert all(int(np.sum(n)) == 1 for n in state.samt.skipped.values())


@pytest.mark.parametrize(
    "widths, stretch",
    [
        ((20, *(24,) * 9, 3), (1, 9)),
        ((24,) * 10, (1, 8)),
        ((20, 24, 24, 24, 3), None),
        ((20, *(24,) * 4, 30, *(24,) * 8, 3), (6, 13)),
    ],
)
def test_long_stretches_of_equal_layers_are_found(widths, stretch):
    settings = samt_settings() | {"direction": "gradient"}
    chain, rule = dense_chain(widths), complete_rule(settings)
    values = tuple(dense_params(widths).values())
    zs = tuple(np.zeros((NUM_EXAMPLES, width)) for width in widths[1:])
    run = Run((), None, zs, (), None)
    assert equal_layers.equal_stretch(chain, rule, values, run) == stretch
    by_direction = rule._replace(direction=optax.trace(0.9))
    assert equal_layers.equal_stretch(chain, by_direction, values, run) is None


def samt_settings():
    """The settings of `samt_sweep`, all at their defaults."""
    parameters = inspect.signature(samt_sweep).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


@pytest.mark.parametrize(
    "settings",
    [
        {"direction": "momentum"},
        {"direction": "momentum", "granularity": "row"},
        {"direction": "momentum", "granularity": "column"},
        {"direction": optax.scale_by_adam(), "proposal_max": 0.01},
        {"squash": "sigmoid", "terms": "right"},
        {"terms": "left"},
        {"mixing_weight": 1.0},
        {"granularity": "element", "mixing_weight": 0.5},
        {"granularity": "element", "element_head": "dense"},
        {"features": scaled_features(keep=("norm", "max"), log_scale=None)},
        {"features": raw_gradient_features()},
        {"schedule": optax.cosine_decay_schedule(1.0, 10)},
        {"shared_eta_model": True},
        {"granularity": lambda path, shape: (1,) * len(shape)},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_every_setting_has_the_iterates_of_the_general_engine(settings):
    widths = (20, 25, 3)
    assert_same_iterates(
        dense_chain(widths), dense_params(widths), stream((20,), 5), "next",
        num_sweeps=5, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("granularity", ["row", "column"])
def test_without_biases(granularity):
    widths = (40, 50, 3)
    assert_same_iterates(
        dense_chain(widths), dense_params(widths, use_bias=False), stream((40,)),
        "strided", num_sweeps=5, granularity=granularity,
    )  # fmt: skip


def test_a_stream_that_breaks_its_promise_still_gives_the_right_iterates():
    widths, announced = (40, 50, 3), stream((40,))
    # Every second batch comes twice: what was announced as next is not what comes.
    order = np.repeat(np.arange(0, NUM_BATCHES, 2), 2)[:NUM_BATCHES]
    inputs, targets = (leaf[order] for leaf in announced)
    found = (
        sweep(
            engine, dense_chain(widths), dense_params(widths), (inputs, targets),
            "next", 6, announced=announced,
        )[0]
        for engine in ("general", "chain")
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), *found)


def test_batches_of_the_same_plain_sums_are_told_apart():
    chain, params = dense_chain((2, 3)), dense_params((2, 3))
    first = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    inputs = np.stack([first, 1 - first, first, 1 - first])
    targets = np.zeros((4, 4), int)
    announced = (np.stack([first] * 4), targets)
    (general, value, _), (chained, reported, _) = (
        sweep(engine, chain, params, (inputs, targets), "next", 3, announced)
        for engine in ("general", "chain")
    )
    np.testing.assert_allclose(value.value, reported.value, rtol=1e-10)
    jax.tree.map(np.testing.assert_allclose, general, chained)


@pytest.mark.parametrize(
    "change",
    [
        lambda params: jax.tree.map(lambda leaf: 0.9 * leaf, params),
        lambda params: params | {"Dense_1": dense_params((6, 5, 3))["Dense_1"]},
    ],
)
def test_parameters_may_be_changed_between_sweeps(change):
    chain, (inputs, targets) = dense_chain((6, 5, 3)), stream((6,))
    key, values = jax.random.key(0), []
    for engine in ("general", "chain"):
        algorithm, step_fn = program(engine, chain, "next", equal_layers.FEWEST_EQUAL)
        params = jax.tree.map(jnp.asarray, dense_params((6, 5, 3)))
        state = algorithm.init(params, Batches((inputs[0], targets[0])), key)
        for step in range(4):
            seen = Batches(
                (inputs[step], targets[step]), (inputs[step + 1], targets[step + 1])
            )
            params, state, info = step_fn(params, state, seen, key)
            values.append(info.value)
            params = jax.tree.map(jnp.asarray, change(params))
    np.testing.assert_allclose(values[:4], values[4:], rtol=1e-10)


@pytest.mark.parametrize("granularity", ["scalar", "row", "column", "element"])
def test_dense_layers_on_tokens_have_the_iterates_of_the_general_engine(granularity):
    layers = (dense("Dense_0", lambda z: activate(z).mean(1)), dense("Dense_1"))
    chain, params = Chain(layers, cross_entropy), dense_params((64, 64, 3))
    batches = stream((5, 64), num_examples=4)
    settings = {"granularity": granularity, "num_sweeps": 3}
    assert_same_iterates(chain, params, batches, "next", **settings)


@pytest.mark.parametrize("reading", ["nextt", None])
def test_an_unknown_meta_batch_is_refused(reading):
    with pytest.raises(ValueError, match=r"meta_batch is .*; it must be one of 'same"):
        samt_algorithm(dense_chain((2, 3)), meta_batch=reading)


def test_tied_layers_are_left_to_the_general_engine():
    layers = (dense("Dense_0", activate), dense("Dense_0", activate), dense("Dense_1"))
    chain = Chain(layers, cross_entropy)
    assert choose_engine(chain).engine == "general"
    with pytest.raises(ValueError, match="layers share their parameters"):
        choose_engine(chain, engine="chain")


def test_a_candidate_beyond_half_precision_is_not_taken():
    chain = Chain((dense("a"),), lambda o, y: jnp.abs(o[:, 0] - y) * 2e4)
    params = {"a": {"kernel": jnp.ones((2, 1), jnp.float16)}}
    batch = (jnp.full((4, 2), 0.1, jnp.float16), jnp.zeros(4, jnp.float16))
    algorithm = samt_algorithm(
        chain, 100.0, proposal_max=100.0, meta_batch="same", engine="chain",
        direction="gradient",
    )  # fmt: skip
    key, batches = jax.random.key(0), Batches(batch, batch)
    state = algorithm.init(params, batches, key)
    stepped, state, _ = algorithm.step(params, state, batches, key)
    assert (stepped["a"]["kernel"] == 1).all()
    assert state.samt.skipped["a"].sum() == 1


@pytest.mark.parametrize("layer", [dense("a"), convolution("a")])
def test_whole_numbers_are_refused_as_inputs(layer):
    values = {"kernel": jnp.ones((1, 1, 1, 1) if not layer.is_dense else (1, 1))}
    inputs = jnp.ones((1, 1, 1, 1), jnp.uint8)
    with pytest.raises(ValueError, match=r"dtype uint8, .*`prepare`"):
        layer.apply(values, inputs)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["train", "meta"])
def test_what_is_not_finite_changes_nothing_and_is_counted_alike(bad, where):
    widths = (40, 50, 3)
    inputs, targets = stream((40,))
    inputs[0 if where == "train" else 1][0, 0] = bad
    start = jax.tree.map(jnp.asarray, dense_params(widths))
    counted = []
    for engine in ("general", "chain"):
        params, _, state = sweep(
            engine, dense_chain(widths), start, (inputs, targets), "next", 1
        )
        state = state if engine == "general" else state.samt
        jax.tree.map(np.testing.assert_array_equal, params, start)
        counted.append(state.skipped)
    jax.tree.map(np.testing.assert_array_equal, *counted)
    assert all(int(np.sum(counts)) == 1 for counts in counted[0].values())


def test_momentum_goes_on_after_skipped_visits_as_in_the_general_engine():
    widths, (inputs, targets) = (40, 50, 3), stream((40,))
    inputs[2][0, 0] = np.nan
    found, counted = [], []
    for engine in ("general", "chain"):
        params, _, state = sweep(
            engine, dense_chain(widths), dense_params(widths), (inputs, targets),
            "next", 6, direction="momentum",
        )  # fmt: skip
        found.append(params)
        state = state if engine == "general" else state.samt
        counted.append(state.skipped)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), *found)
    jax.tree.map(np.testing.assert_array_equal, *counted)
    # By its meta-loss and by its own: two sweeps of six.
    assert all(int(np.sum(counts)) == 2 for counts in counted[0].values())


def test_bfloat16_activations_stay_close():
    widths, batches = (40, 50, 3), stream((40,))
    plain, _, _ = sweep(
        "chain", dense_chain(widths), dense_params(widths), batches, "next", 5
    )
    rough, _, _ = sweep(
        "chain", dense_chain(widths), dense_params(widths), batches, "next", 5,
        activation_dtype=jnp.bfloat16,
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.03), plain, rough)
    assert jax.tree.leaves(rough)[0].dtype == jax.tree.leaves(plain)[0].dtype
