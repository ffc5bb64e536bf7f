"""The experiments' terms: one rule of tuning, the test set last, every run a line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import timing, trials
from benchmarks.claims import QUANTITIES
from benchmarks.problems import Benchmark
from benchmarks.rivals import METHODS
from benchmarks.trials import Method, chosen_settings, gradients_per_step
from samt_jax import Batches, BatchSpec
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import Problem

DIGITS = Benchmark("digits 4", "digits", (4,), 2, 0.5, "digits 4", num_seeds=2)
SGD, ADAM = Method("SGD", "sgd"), Method("Adam", "adam")


def line(validation, phase="tuning", status="finished", seed=100, **settings):
    return {
        "phase": phase, "problem": "digits 4", "method": "SGD", "settings": settings,
        "seed": seed, "status": status, "validation_accuracy": validation,
        "test_accuracy": validation, "train_loss": [0.5] * len(validation),
        "train_seconds": [1.0] * len(validation),
        "gradient_evaluations": 40,
    }  # fmt: skip


def tried(scores):
    return [line([score], learning_rate=rate) for rate, score in scores.items()]


def test_choice_is_the_best_mean_of_the_last_epochs_on_the_validation_split():
    lines = [
        line([0.9, 0.1, 0.5], learning_rate=0.03),
        line([0.1, 0.4, 0.4], learning_rate=0.1),
        line([0.1, 0.1, 0.6], learning_rate=0.3),
    ]
    # A test accuracy could not help it, and there is none in a line of tuning.
    for each in lines:
        del each["test_accuracy"]
    assert chosen_settings(SGD, DIGITS, lines) == {"learning_rate": 0.1}


def test_diverged_trial_is_the_worst_whatever_it_reached():
    lines = tried({0.03: 0.2, 0.1: 0.3, 0.3: 0.1})
    lines[1] = line([0.9, 0.9], status="diverged", learning_rate=0.1)
    lines += tried({0.01: 0.1})
    assert chosen_settings(SGD, DIGITS, lines) == {"learning_rate": 0.03}


@pytest.mark.parametrize(
    ("accuracy", "loss", "is_lost"),
    [(0.1, 2.3, False), (0.1, 1e9, True), (0.9, 1e9, False)],
)
def test_a_run_at_chance_with_a_loss_beyond_sense_has_diverged(accuracy, loss, is_lost):
    run = line([0.9, accuracy], status="finished") | {"train_loss": [0.1, loss]}
    assert trials.has_diverged(run) is is_lost


@pytest.mark.parametrize(
    ("errors", "status", "is_lost"),
    [
        ([0.5, 0.4], "finished", False),
        # Predicting the mean of the targets has an error of 1.
        ([0.5, 1.5], "finished", False),
        ([0.5, 3e6], "finished", True),
        ([0.5, None], "finished", True),
        ([3e6, 0.4], "finished", False),
        ([0.5, 0.4], "diverged", True),
    ],
)
def test_a_run_whose_error_ends_beyond_sense_has_diverged(errors, status, is_lost):
    run = {"status": status, "validation_rmse": errors, "test_rmse": errors}
    assert trials.has_diverged(run) is is_lost
    if is_lost:
        assert trials.validation_score(run) == -np.inf
        assert QUANTITIES["final"](run).value == -np.inf


@pytest.mark.parametrize(
    ("scores", "next_rates"),
    [
        ({}, [0.03, 0.1, 0.3]),
        ({0.1: 0.5}, [0.03, 0.3]),
        ({0.03: 0.5, 0.1: 0.6, 0.3: 0.5}, []),
        ({0.03: 0.5, 0.1: 0.6, 0.3: 0.7}, [1.0]),
        ({0.03: 0.5, 0.1: 0.6, 0.3: 0.7, 1.0: 0.6}, []),
        ({0.03: 0.5, 0.1: 0.6, 0.3: 0.7, 1.0: 0.8}, [3.0]),
        ({0.03: 0.5, 0.1: 0.6, 0.3: 0.7, 1.0: 0.8, 3.0: 0.9}, []),
        ({0.03: 0.8, 0.1: 0.6, 0.3: 0.7}, [0.01]),
        # Of equals the lowest is the best, whichever was tried first.
        ({0.1: 0.5, 0.3: 0.5, 0.03: 0.5}, [0.01]),
        ({0.1: 0.5, 0.3: 0.5, 0.03: 0.4}, []),
    ],
)
def test_trials_go_on_beyond_an_edge_twice_at_most(scores, next_rates):
    missing = trials.missing_trials(SGD, "digits 4", tried(scores))
    assert [settings["learning_rate"] for settings in missing] == next_rates
    if next_rates:
        with pytest.raises(ValueError, match="not tuned yet on digits 4"):
            chosen_settings(SGD, DIGITS, tried(scores))


def test_every_tuned_method_has_trials_of_its_own():
    assert len({method.name for method in METHODS}) == len(METHODS)
    for method in METHODS:
        rates = [method.trial(i)["learning_rate"] for i in range(len(trials.FACTORS))]
        assert rates == sorted(set(rates))


def a_scalar(benchmark, *, with_test):
    """A problem that compiles fast: the mean of the data; right is who is near it."""
    data = jnp.arange(640.0) / 640

    def measure(params, model_state, batch):
        distances = jnp.abs(params - 0.5) * jnp.ones_like(batch)
        return {"loss": distances, "accuracy": jnp.clip(1 - 2 * distances, 0, 1)}

    return Problem(
        init=lambda key: (jax.random.uniform(key), ()),
        loss_fn=lambda params, batch: jnp.mean((params - batch) ** 2),
        train=data,
        evaluation={"validation": data} | ({"test": data} if with_test else {}),
        measure=measure,
    )


def test_run_tunes_without_the_test_set_and_repeats_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "PROBLEMS", {"digits 4": DIGITS})
    monkeypatch.setattr(trials, "build", a_scalar)
    path = tmp_path / "lines.jsonl"
    method = Method("SGD-HD", "sgd-hd", {"hyper_learning_rate": 1e-4})
    trials.run_method(method, DIGITS, path)
    lines = trials.lines_of(path)
    tuning = [each for each in lines if each["phase"] == "tuning"]
    final = [each for each in lines if each["phase"] == "final"]
    assert 3 <= len(tuning) <= 5 and {each["seed"] for each in tuning} == {100}
    assert not any("test_accuracy" in each for each in tuning)
    assert [each["seed"] for each in final] == [0, 1]
    chosen = chosen_settings(method, DIGITS, lines)
    for each in final:
        assert each["settings"] == chosen and each["epochs"] == 2
        assert len(each["test_accuracy"]) == len(each["train_seconds"]) == 2
        assert each["gradient_evaluations"] == each["steps"] == 20
        rates = each["rates"]["HypergradientInfo.learning_rate"]
        assert rates == pytest.approx([chosen["learning_rate"]] * 2, rel=0.05)
    path.write_text("".join(path.read_text().splitlines(True)[:-1]))
    trials.run_method(method, DIGITS, path)
    again = trials.lines_of(path)
    assert [each["seed"] for each in again] == [each["seed"] for each in lines]
    assert again[-1]["test_accuracy"] == lines[-1]["test_accuracy"]


def test_more_seeds_are_made_beside_those_that_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "PROBLEMS", {"digits 4": DIGITS})
    monkeypatch.setattr(trials, "build", a_scalar)
    path, method = tmp_path / "lines.jsonl", Method("SGD", "sgd")
    trials.run_method(method, DIGITS, path)
    before = trials.lines_of(path)
    trials.run_method(method, DIGITS._replace(num_seeds=5), path)
    after = trials.lines_of(path)
    assert after[: len(before)] == before
    assert [each["seed"] for each in after[len(before) - 2 :]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("optimizer", "settings", "unread"),
    [
        ("adam", {}, 0),
        ("sgd-hd", {}, 0),
        ("samt-s", {"engine": "general", "meta_batch": "same"}, 1),
        ("samt-s", {"engine": "general", "inner_steps": 2}, 1),
        ("dante", {}, 1),
        ("dante", {"num_train": 10}, 1),
    ],
)
def test_gradient_evaluations_are_those_of_a_step(optimizer, settings, unread):
    # The loss is traced once for each; `from_optax` adds one gradient that methods
    # which take the loss itself do not read, and compilation removes.
    params = {name: {"w": jnp.ones(())} for name in ("first", "last")}
    traces = []

    def loss_fn(params, batch):
        traces.append(1)
        return params["first"]["w"] * params["last"]["w"] * jnp.mean(batch)

    make = make_optimizer(optimizer, **settings)
    algorithm = make(loss_fn, jax.random.key(0), 10)
    batches = batches_of(algorithm.batch_spec)
    state = algorithm.init(params, batches, jax.random.key(0))
    traces.clear()
    jax.eval_shape(algorithm.step, params, state, batches, jax.random.key(0))
    counted = gradients_per_step(optimizer, settings, num_blocks=2)
    # Finding the order of the blocks traces the loss too, without a gradient.
    assert len(traces) - unread - (unread > 0) == counted


def batches_of(spec: BatchSpec):
    batch = jnp.ones((spec.num_train, 4)[spec.num_train == 1 :])
    return Batches(batch, batch)


def test_methods_are_timed_in_rounds_and_lines_have_each(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "build", a_scalar)
    path = tmp_path / "lines.jsonl"
    timing.time_methods((SGD, ADAM), DIGITS, path, rounds=2)
    lines = trials.lines_of(path)
    assert [each["method"] for each in lines] == ["SGD", "Adam"]
    assert all(len(each["train_seconds"]) == 2 for each in lines)
