import contextlib
import functools
import gc
import itertools
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import OneLayerEta, assert_same_bits

from samt_jax import checkpoint, samt_sweep
from samt_jax import trainer as trainer_module
from samt_jax.base import Algorithm, BatchSpec, StepInfo, from_optax
from samt_jax.data_order import data_order, epoch_batches, step_indices
from samt_jax.loop import state_sha256
from samt_jax.manifest import Identity
from samt_jax.metrics import metrics_line
from samt_jax.models import Model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import Problem, supervised
from samt_jax.trainer import prepare
from samt_jax.training import Keeping, Stopped, fit, run


class Examples(NamedTuple):
    inputs: np.ndarray
    targets: np.ndarray


class ToyDataset(NamedTuple):
    task: str
    train: Examples
    validation: Examples
    test: Examples


def forward(params, inputs):
    hidden = jax.nn.leaky_relu(inputs @ params["Dense_0"]["kernel"])
    return hidden @ params["Dense_1"]["kernel"]


def toy_model(num_outputs=3):
    """A network of two layers whose model state counts the examples it has seen."""

    def init(key, inputs):
        keys = jax.random.split(key)
        width = inputs.shape[-1]
        first = jax.random.normal(keys[0], (width, 5)) / 2
        last = jax.random.normal(keys[1], (5, num_outputs)) / 2
        params = {"Dense_0": {"kernel": first}, "Dense_1": {"kernel": last}}
        return params, {"seen": jnp.zeros((), jnp.int32)}

    return Model(
        "toy",
        init,
        forward,
        lambda params, model_state, inputs: forward(params, inputs),
        lambda params, state, inputs: {"seen": state["seen"] + len(inputs)},
    )


def toy_dataset(task="classification", sizes=(50, 11, 13)):
    rng = np.random.default_rng(0)

    def part(size):
        inputs = rng.normal(size=(size, 4)).astype(np.float32)
        if task == "regression":
            return Examples(inputs, inputs[:, :1] - inputs[:, 1:2])
        return Examples(inputs, inputs[:, :3].argmax(1).astype(np.int32))

    return ToyDataset(task, *(part(size) for size in sizes))


@functools.cache
def toy_problem(task="classification"):
    outputs = 1 if task == "regression" else 3
    return supervised(toy_dataset(task), toy_model(outputs))


def records_of(optimizer="sgd", problem=None, epochs=2, **settings):
    make = optimizer if callable(optimizer) else make_optimizer(optimizer)
    problem = toy_problem() if problem is None else problem
    return list(fit(problem, make, epochs=epochs, batch_size=8, **settings))


# Adam divides the eta model's tiny first gradients by themselves, rounding and all; at
# this rate that does not reach the parameters.
SAMT = make_optimizer("samt-s", meta_learning_rate=1e-4)


@functools.cache
def alone(optimizer, seed):
    """The last record of a seed that is run by itself, for several tests."""
    return records_of(optimizer, seeds=(seed,))[-1]


def test_epoch_is_the_loop_written_out_by_hand():
    problem, seed = toy_problem(), 3
    last = records_of(problem=problem, seeds=(seed,))[-1]
    key = jax.random.key(seed)
    params, _ = problem.init(jax.random.fold_in(key, 0))
    order = data_order(50, 8, BatchSpec())
    losses = []
    for epoch in range(2):
        for rows in epoch_batches(order, seed, epoch):
            batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], problem.train)
            loss, grads = jax.value_and_grad(problem.loss_fn)(params, batch)
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
            losses.append(loss)
    ours = jax.tree.map(lambda leaf: leaf[0], last.state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, params)
    assert last.step == last.state.step[0] == 12
    np.testing.assert_allclose(
        last.metrics.info.value[0], np.mean(losses[6:]), rtol=1e-5
    )


def test_methods_compile_once_what_is_of_their_problem(monkeypatch):
    compiled, compile_it = [], trainer_module._compile

    def note(function, *args):
        compiled.append(function.__name__)
        return compile_it(function, *args)

    monkeypatch.setattr(trainer_module, "_compile", note)
    dataset, model = toy_dataset(), toy_model(3)
    first, second = supervised(dataset, model), supervised(dataset, model)
    own, of_problem = ["init_seed", "train_seed"], ["weights_of_seed", "evaluate_seed"]
    for problem, optimizer, expected in (
        (first, "sgd", of_problem + own),
        (first, "adam", own),
        (second, "sgd", of_problem + own),
    ):
        compiled.clear()
        records_of(optimizer, problem)
        assert compiled == expected


def test_model_state_is_updated_once_a_step():
    assert alone(SAMT, 7).state.model_state["seen"][0] == 12 * 8


@pytest.mark.parametrize("eval_batch_size", [1, 4, 13, 1000])
def test_evaluation_counts_every_example_once(eval_batch_size):
    problem = toy_problem()
    last = records_of(problem=problem, eval_batch_size=eval_batch_size)[-1]
    params = jax.tree.map(lambda leaf: leaf[0], last.state.params)
    for part in ("validation", "test"):
        inputs, targets = problem.evaluation[part]
        outputs = forward(params, inputs)
        correct = jnp.argmax(outputs, axis=1) == targets
        losses = -jax.nn.log_softmax(outputs)[jnp.arange(len(targets)), targets]
        measured = last.evaluation[part]
        np.testing.assert_allclose(measured["accuracy"][0], correct.mean(), rtol=1e-6)
        np.testing.assert_allclose(measured["loss"][0], losses.mean(), rtol=1e-5)


def test_regression_reports_the_root_of_the_mean_squared_error():
    problem = toy_problem("regression")
    last = records_of("adam", problem=problem)[-1]
    params = jax.tree.map(lambda leaf: leaf[0], last.state.params)
    inputs, targets = problem.evaluation["test"]
    squared = np.mean((forward(params, inputs) - targets) ** 2)
    np.testing.assert_allclose(last.evaluation["test"]["loss"][0], squared, rtol=1e-5)
    np.testing.assert_allclose(
        last.evaluation["test"]["rmse"][0], np.sqrt(squared), rtol=1e-5
    )


def assert_same_parameters(together, row, by_itself):
    ours = jax.tree.map(lambda leaf: leaf[row], together.state.params)
    single = jax.tree.map(lambda leaf: leaf[0], by_itself.state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        ours,
        single,
    )
    measured = together.evaluation["test"]["loss"][row]
    expected = by_itself.evaluation["test"]["loss"][0]
    np.testing.assert_allclose(measured, expected, rtol=1e-4)


@pytest.mark.parametrize("seeds_at_once", [1, 2, 3])
def test_seeds_together_give_what_they_give_alone(seeds_at_once):
    seeds = (0, 7, 2)
    together = records_of("adam", seeds=seeds, seeds_at_once=seeds_at_once)[-1]
    for row, seed in enumerate(seeds):
        assert_same_parameters(together, row, alone("adam", seed))


def test_vectorised_seeds_of_samt_give_what_they_give_alone():
    together = records_of(SAMT, seeds=(0, 7), seeds_at_once=2)[-1]
    assert_same_parameters(together, 1, alone(SAMT, 7))


def test_seeds_that_take_turns_compute_no_branch_that_is_not_taken():
    computed = []

    def note(value):
        computed.append(value)
        return value

    def rarely(value):
        return jax.pure_callback(note, value, value, vmap_method="sequential")

    def make_algorithm(*arguments):
        sgd = make_optimizer("sgd")(*arguments)

        def step(*arguments):
            params, state, info = sgd.step(*arguments)
            value = jax.lax.cond(info.value < 0, rarely, jnp.positive, info.value)
            return params, state, info._replace(value=value)

        return sgd._replace(step=step)

    records_of(make_algorithm, seeds=(0, 7), seeds_at_once=1)
    assert not computed
    records_of(make_algorithm, seeds=(0, 7), seeds_at_once=2)
    assert computed


def test_half_precision_losses_have_their_mean():
    def make_algorithm(*arguments):
        sgd = make_optimizer("sgd")(*arguments)

        def step(*arguments):
            params, state, info = sgd.step(*arguments)
            return params, state, info._replace(value=jnp.ones((), jnp.bfloat16))

        return sgd._replace(step=step)

    problem = supervised(toy_dataset(sizes=(8 * 300, 11, 13)), toy_model())
    (record,) = records_of(make_algorithm, problem, epochs=1)
    assert float(record.metrics.info.value[0]) == 1.0


def test_an_algorithm_is_told_the_length_of_the_run_and_no_other():
    told = []

    def make_algorithm(loss_fn, key, num_steps):
        told.append(num_steps)
        return make_optimizer("sgd")(loss_fn, key, num_steps)

    records_of(make_algorithm, epochs=3)
    assert {*told} == {3 * (50 // 8)}


@pytest.mark.parametrize("name", ["info", "skipped", "meta"])
def test_a_layer_may_be_called_as_a_field_of_a_state(name):
    def init(key):
        del key
        return {name: {"w": jnp.ones(2)}}, ()

    def loss_fn(params, batch):
        return jnp.mean((batch @ params[name]["w"]) ** 2)

    def measure(params, model_state, batch):
        return {"loss": (batch @ params[name]["w"]) ** 2}

    data = np.ones((16, 2), np.float32)
    problem = Problem(init, loss_fn, data, {"test": data}, measure)
    (record,) = records_of("momentum", problem, epochs=1)
    line = metrics_line(record)
    assert record.metrics.info.detail == ()
    assert "skipped" not in line
    assert len(line["test_loss"]) == 1


def test_seeds_differ():
    one, other = (alone("adam", seed).state.params["Dense_0"] for seed in (0, 7))
    assert not np.allclose(one["kernel"], other["kernel"])


@pytest.mark.parametrize("optimizer", ["momentum", "samt-r"])
def test_run_taken_up_equals_an_unbroken_one(optimizer):
    make, problem = make_optimizer(optimizer), toy_problem()
    trainer = prepare(problem, make, epochs=4, batch_size=8)
    unbroken = list(run(trainer))
    halfway = jax.device_get(unbroken[1].progress)
    rest = list(fit(problem, make, epochs=4, batch_size=8, progress=halfway))
    assert [record.epoch for record in rest] == [3, 4]
    assert state_sha256(rest[-1].state) == state_sha256(unbroken[-1].state)


def test_same_seed_gives_the_same_fingerprint_and_another_seed_another():
    one, other = (state_sha256(alone("adam", seed).state) for seed in (0, 7))
    again = records_of("adam", seeds=(0,))[-1]
    assert state_sha256(again.state) == one
    assert one != other


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"other": state["w"]},
        lambda state: {"w": state["w"].reshape(2, 1)},
        lambda state: {"w": state["w"].astype(jnp.float16)},
        lambda state: {"w": -state["w"]},
    ],
    ids=["path", "shape", "dtype", "bytes"],
)
def test_fingerprint_sees(change):
    state = {"w": jnp.zeros(2)}
    assert state_sha256(change(state)) != state_sha256(state)


def test_fingerprint_takes_typed_keys():
    assert state_sha256(jax.random.key(0)) != state_sha256(jax.random.key(1))


def counting_algorithm(traces, info_of=lambda value, count: StepInfo(value)):
    """An algorithm that counts its traces and its steps and moves nothing."""

    def make_algorithm(loss_fn, key, num_steps):
        def step(params, count, batches, key):
            traces.append(num_steps)
            value = loss_fn(params, batches.train)
            return params, count + 1, info_of(value, count)

        return Algorithm(lambda *_: jnp.zeros((), jnp.int32), step, BatchSpec())

    return make_algorithm


def test_step_is_traced_for_the_first_epoch_only():
    traces = []
    trainer = prepare(toy_problem(), counting_algorithm(traces), epochs=5, batch_size=8)
    compiled = len(traces)
    assert compiled >= 1
    assert set(traces) == {30}
    with jax.log_compiles(False):
        assert len(list(run(trainer))) == 5
    assert len(traces) == compiled


def test_info_is_averaged_over_the_finite_steps_of_each_epoch():
    def info_of(value, count):
        number = jnp.where(count % 6 == 2, jnp.nan, count.astype(jnp.float32))
        return StepInfo(value, {"number": number, "count": count})

    records = records_of(counting_algorithm([], info_of))
    # The steps of an epoch are 0 to 5 and 6 to 11; the third of each is not finite.
    for record, mean, last in zip(records, (13 / 5, 43 / 5), (5, 11), strict=True):
        detail = record.metrics.info.detail
        np.testing.assert_allclose(detail["number"][0], mean, rtol=1e-6)
        assert detail["count"][0] == last


def test_steps_without_a_finite_loss_are_counted():
    def info_of(value, count):
        return StepInfo(jnp.where(count % 6 < 2, jnp.inf, value))

    first = records_of(counting_algorithm([], info_of))[0]
    assert first.metrics.nonfinite_losses[0] == 2
    assert np.isfinite(first.metrics.info.value[0])
    assert first.status == ("running",)


def test_status_says_running_then_finished():
    assert [r.status for r in records_of()] == [("running",), ("finished",)]


def test_diverged_run_stops_and_says_so():
    make = make_optimizer("sgd", learning_rate=1e30)
    records = records_of(make, epochs=5)
    assert records[-1].status == ("diverged",)
    assert len(records) < 5


def test_diverged_seed_does_not_stop_the_others_and_stays_diverged():
    def make_algorithm(loss_fn, key, num_steps):
        def step(params, count, batches, key):
            # The last step of the first epoch, for one of the two seeds.
            is_bad = (params["Dense_0"]["kernel"][0, 0] > threshold) & (count == 5)
            value = jnp.where(is_bad, jnp.nan, loss_fn(params, batches.train))
            return params, count + 1, StepInfo(value)

        return Algorithm(lambda *_: jnp.zeros((), jnp.int32), step, BatchSpec())

    problem = toy_problem()
    keys = [jax.random.fold_in(jax.random.key(seed), 0) for seed in (0, 1)]
    entries = [problem.init(key)[0]["Dense_0"]["kernel"][0, 0] for key in keys]
    threshold = sum(entries) / 2
    records = records_of(make_algorithm, problem=problem, epochs=3, seeds=(0, 1))
    for record, good in zip(records, ("running", "running", "finished"), strict=True):
        assert record.status == tuple(
            "diverged" if entry > threshold else good for entry in entries
        )


def test_nonfinite_parameters_are_divergence_even_where_the_loss_is_finite():
    data = jnp.ones(8)
    problem = Problem(
        init=lambda key: ({"used": jnp.zeros(()), "unused": jnp.zeros(())}, ()),
        loss_fn=lambda params, batch: jnp.mean((params["used"] - batch) ** 2),
        train=data,
        evaluation={"test": data},
        measure=lambda params, _, batch: {"loss": (params["used"] - batch) ** 2},
    )

    def make_algorithm(loss_fn, key, num_steps):
        def step(params, state, batches, key):
            value = loss_fn(params, batches.train)
            return params | {"unused": jnp.array(jnp.nan)}, state, StepInfo(value)

        return Algorithm(lambda *_: (), step, BatchSpec())

    records = list(fit(problem, make_algorithm, epochs=3, batch_size=4))
    assert records[0].status == ("diverged",)
    assert len(records) == 1


def test_every_step_has_a_key_of_its_own():
    def make_algorithm(loss_fn, key, num_steps):
        def step(params, state, batches, key):
            drawn = jax.random.uniform(key)
            close = jnp.min(jnp.abs(state - drawn))
            state = jnp.roll(state, 1).at[0].set(drawn)
            return params, state, StepInfo(close)

        return Algorithm(lambda *_: jnp.full(12, 9.0), step, BatchSpec())

    drawn = records_of(make_algorithm)[-1].state.algorithm_state[0]
    assert len(np.unique(drawn)) == 12


def test_algorithm_starts_from_the_batches_of_the_first_step():
    def make_algorithm(loss_fn, key, num_steps):
        def init(params, batches, key):
            return batches.train[0]

        def step(params, state, batches, key):
            return params, state, StepInfo(jnp.zeros(()))

        return Algorithm(init, step, BatchSpec(2, "next"))

    problem = toy_problem()
    state = records_of(make_algorithm, problem=problem, seeds=(4,))[-1].state
    indices = step_indices(data_order(50, 8, BatchSpec(2, "next")), 4, 0, 1)
    np.testing.assert_array_equal(
        state.algorithm_state[0], problem.train[0][indices.train[0]]
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
        ({"seeds_at_once": 0}, "seeds_at_once is 0"),
        ({"seeds": ()}, "give one or more"),
        ({"seeds": (-1,)}, "from 0 to"),
        ({"seeds": (2**32,)}, "from 0 to"),
    ],
)
def test_number_out_of_range_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        records_of(**settings)


def test_unknown_task_is_refused():
    dataset = toy_dataset()._replace(task="ranking")
    with pytest.raises(ValueError, match="'ranking'; it must be one of"):
        supervised(dataset, toy_model())


def granular(granularity):
    """SAMT with a small eta model, momentum and a random order: state of every kind."""

    def make_algorithm(loss_fn, key, num_steps):
        tx = samt_sweep(
            0.1, granularity=granularity, order="random", direction=optax.trace(0.5),
            eta_model=OneLayerEta, meta_optimizer=optax.adam(1e-2), seed=key,
        )  # fmt: skip
        return from_optax(tx, loss_fn, BatchSpec(meta="next"))

    return make_algorithm


@pytest.fixture(scope="module", params=["scalar", "row", "column", "element"])
def long_run(request):
    """A run of 10,000 steps, twenty an epoch, compiled once for several tests."""
    problem = supervised(toy_dataset(sizes=(165, 11, 13)), toy_model())
    return prepare(problem, granular(request.param), epochs=500, batch_size=8)


def until(trainer, epoch, progress=None, keeping=None):
    """The record of an epoch of a run."""
    for record in run(trainer, progress, keeping):
        if record.epoch == epoch:
            return record
    raise AssertionError


def test_every_resume_point_of_sixty_steps_gives_the_unbroken_run(long_run, tmp_path):
    points = {}
    identity = Identity({}, [], {})

    def remember(progress, is_finite):
        assert is_finite
        points[progress.step] = jax.device_get(progress)

    unbroken = until(long_run, 3)
    kept = until(long_run, 3, keeping=Keeping(remember, every=1))
    assert list(points) == list(range(1, 61))
    assert state_sha256(kept.state) == state_sha256(unbroken.state)
    for step, progress in points.items():
        if step % 10 == 7:
            # Over the disk, too.
            checkpoint.save(tmp_path, step, progress, identity)
            restored = checkpoint.restore(tmp_path, long_run.shape, identity)
            assert state_sha256(restored.state) == state_sha256(progress)
            progress = restored.state
        resumed = until(long_run, 3, progress)
        assert state_sha256(resumed.state) == state_sha256(unbroken.state)
        # Sums over an epoch go on where they were, too.
        assert_same_bits(resumed.metrics, unbroken.metrics)
        assert_same_bits(resumed.evaluation, unbroken.evaluation)


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_ten_thousand_steps_compile_nothing_and_keep_nothing(long_run):
    compilations = []

    def note(event, duration, **details):
        if event.endswith("backend_compile_duration"):
            compilations.append(event)

    until(long_run, 2)
    jax.monitoring.register_event_duration_secs_listener(note)
    seen = {}
    for record in run(long_run):
        if record.epoch in (50, 500):
            gc.collect()
            seen[record.step] = len(jax.live_arrays()), resident_bytes()
    jax.monitoring.clear_event_listeners()
    assert list(seen) == [1_000, 10_000]
    assert compilations == []
    (arrays, before), (arrays_after, after) = seen.values()
    assert arrays_after == arrays
    assert after - before < 9 * 2e6


@pytest.fixture(scope="module")
def trainer():
    return prepare(toy_problem(), make_optimizer("sgd"), epochs=4, batch_size=8)


class TestKeeping:
    """When a run is saved, and how it is left."""

    def saves_of(self, trainer, **settings):
        saves = []

        def save(progress, is_finite):
            saves.append((progress.step, is_finite))

        records = []
        with contextlib.suppress(Stopped):
            records.extend(run(trainer, None, Keeping(save, **settings)))
        return saves, records

    @pytest.mark.parametrize("step", [6, 24])
    def test_what_is_on_the_disk_already_is_not_saved_again(self, trainer, step):
        # To save the same step again is to take what is there away first.
        kept = {}

        def keep(progress, is_finite):
            kept[progress.step] = jax.device_get(progress)

        def fail(progress, is_finite):
            raise AssertionError(f"step {progress.step} is saved again")

        list(run(trainer, None, Keeping(keep, every=6)))
        every = Keeping(fail, every=24 if step == 24 else 1000)
        records = run(trainer, kept[step], every)
        # The first epoch ends at step 6, the run at 24.
        assert next(records).step == step

    def test_it_is_saved_every_so_many_steps_and_at_the_end(self, trainer):
        saves, records = self.saves_of(trainer, every=7)
        assert saves == [(7, True), (14, True), (21, True), (24, True)]
        assert [record.epoch for record in records] == [1, 2, 3, 4]
        assert self.saves_of(trainer, every=12)[0] == [(12, True), (24, True)]
        assert self.saves_of(trainer)[0] == []

    @pytest.mark.parametrize("stop_at", [1, 6, 8, 24])
    def test_told_to_stop_it_saves_within_a_step(self, trainer, stop_at, monkeypatch):
        # Steps that take longer than the time between two looks.
        monkeypatch.setattr("samt_jax.training.LOOK_EVERY_SECONDS", 0.0)
        looks = itertools.count(1)
        saves, records = self.saves_of(
            trainer, should_stop=lambda: next(looks) == stop_at
        )
        assert saves == [(stop_at, True)]
        assert len(records) == (stop_at - 1) // 6

    def test_fast_steps_are_taken_many_at_a_time(self, trainer):
        looks = []
        self.saves_of(trainer, should_stop=lambda: looks.append(1))
        assert len(looks) < 10

    def test_an_error_in_saving_ends_the_run(self, trainer):
        def fail(progress, is_finite):
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            list(run(trainer, None, Keeping(fail, every=7)))

    def test_a_state_that_is_not_finite_is_said_to_be(self):
        make = make_optimizer("sgd", learning_rate=1e30)
        trainer = prepare(toy_problem(), make, epochs=2, batch_size=8)
        saves, records = self.saves_of(trainer, every=6)
        assert saves == [(6, False)]
        assert records[-1].status == ("diverged",)


@pytest.mark.parametrize(
    ("task", "part", "change", "sentence"),
    [
        ("classification", "train", {"targets": (3, 3)},
         "train label 3 is 3; the model has 3 outputs, for labels from 0 to 2"),
        ("classification", "test", {"targets": (5, -1)}, "test label 5 is -1"),
        ("classification", "test", {"targets": (0, 0.5)}, "test label 0 is 0.5"),
        ("classification", "validation", {"inputs": ((2, 1), np.nan)},
         r"validation input \[2, 1\] is nan"),
        ("regression", "train", {"targets": ((4, 0), -np.inf)},
         r"train target \[4, 0\] is -inf"),
    ],
)  # fmt: skip
def test_bad_example_is_named_with_index_and_value(task, part, change, sentence):
    dataset = toy_dataset(task)
    ((field, (index, value)),) = change.items()
    array = getattr(getattr(dataset, part), field)
    array = array.astype(type(value)) if value == 0.5 else array.copy()
    array[index] = value
    examples = getattr(dataset, part)._replace(**{field: array})
    with pytest.raises(ValueError, match=sentence):
        supervised(
            dataset._replace(**{part: examples}),
            toy_model(1 if task == "regression" else 3),
        )


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_empty_part_is_refused(part):
    dataset = toy_dataset()
    empty = Examples(*(leaf[:0] for leaf in getattr(dataset, part)))
    with pytest.raises(ValueError, match=f"the {part} part has 0 inputs"):
        supervised(dataset._replace(**{part: empty}), toy_model())
