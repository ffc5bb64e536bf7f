"""The open questions: what is compared is what is run, and is what it is called."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import LIGHT
from test_benchmarks import a_scalar

from benchmarks import transfer, trials
from benchmarks.claims import compare
from benchmarks.experiments import EXPERIMENTS, PLAIN, STUDIES, from_step, tuned
from benchmarks.problems import PROBLEMS, Benchmark
from benchmarks.questions import ANSWERS, QUESTIONS, block_sizes, feature_masks
from benchmarks.trials import FACTORS, Method, gradients_per_step
from benchmarks.watched import watch
from samt_jax import (
    FEATURE_NAMES,
    Algorithm,
    Batches,
    BatchSpec,
    StepInfo,
    VisitInfo,
    partition_blocks,
    samt_sweep,
    scaled_features,
    trained_meta_params,
)
from samt_jax.loop import TrainState
from samt_jax.trainer import Progress

MADE = [
    (problem, method)
    for question in QUESTIONS.values()
    for problem in question.problems
    for method in question.methods
]


def test_every_answer_compares_runs_that_a_question_makes():
    made = {(problem, method.name) for problem, method in MADE}
    numbers = {question.number for question in QUESTIONS.values()}
    assert {answer.number for answer in ANSWERS} == numbers
    for answer in ANSWERS:
        for comparison in answer.comparisons:
            for method in (comparison.more, comparison.less):
                for problem in comparison.problems:
                    assert (problem, method) in made, (answer, method)


def test_a_name_stands_for_one_method_in_all_files():
    studied, compared = (
        [
            method
            for experiment in (EXPERIMENTS | QUESTIONS).values()
            if (experiment.path == STUDIES) == is_study
            for method in experiment.methods
        ]
        for is_study in (True, False)
    )
    methods = {}
    for method in studied:
        assert methods.setdefault(method.name, method) == method
    assert {method.name for method in compared}.isdisjoint(methods)


def test_another_first_step_takes_the_range_of_proposals_with_it():
    method = PLAIN["E"]
    middle, tripled = (tuned(method).trial(FACTORS.index(f)) for f in (1.0, 3.0))
    assert middle == from_step(method, 0.2).settings == method.settings
    assert tripled == from_step(method, 0.6).settings
    assert (tripled["learning_rate"], tripled["proposal_max"]) == (0.6, 1.5)
    assert tuned(method).name == "SAMT-E, tuned"
    assert from_step(method, 0.6).name == "SAMT-E, η0 0.6"


def test_features_are_left_out_and_alone_once_each():
    all_five, none, _, *masks = feature_masks()
    assert "features" not in all_five.settings and none.settings["features"] == []
    kept = [method.settings["features"] for method in masks]
    alone = [each for each in kept if len(each) == 1]
    assert sorted(name for (name,) in alone) == sorted(FEATURE_NAMES)
    without = [set(FEATURE_NAMES) - set(each) for each in kept if len(each) > 1]
    assert sorted(name for (name,) in without) == sorted(FEATURE_NAMES)


def test_constant_features_tell_nothing():
    settings = feature_masks()[2].settings
    features = scaled_features(settings["features"], settings["feature_scale"])
    seen = [
        features.present(jnp.array([mean, size**2, 3 * size, -3 * size, 80 * size]))
        for mean, size in ((1e-6, 1e-4), (-1e-4, 1e-1))
    ]
    # Gradients a thousand times as large change what is seen by a fiftieth.
    np.testing.assert_allclose(*seen, atol=0.021)
    np.testing.assert_allclose(seen[0], [0, 1, 1, -1, 1], atol=0.03)


@pytest.mark.parametrize("name", ["grouping", "block-size", "block-size-cnn"])
def test_groups_are_of_consecutive_layers_of_the_network(name):
    question = QUESTIONS[name]
    benchmark = PROBLEMS[question.problems[0]]
    names = ["Conv_0", "Conv_1"] if benchmark.width else []
    names += [f"Dense_{i}" for i in range(benchmark.num_blocks - len(names))]
    params = {name: {"kernel": jnp.ones((2, 2))} for name in names}
    for method in question.methods[1:]:
        table = partition_blocks(params, method.settings["blocks"])
        grouped = [path.split("/")[0] for block in table.blocks for path in block.paths]
        assert grouped == names
        assert gradients_per_step("samt-s", method.settings, 99) == 2 * len(
            table.blocks
        )


def test_blocks_of_a_size_are_of_that_size_but_the_last():
    (method,) = block_sizes(5, [2])
    assert list(method.settings["blocks"].values()) == [
        ["Dense_0", "Dense_1"], ["Dense_2", "Dense_3"], ["Dense_4"],
    ]  # fmt: skip


def test_deeper_problems_have_the_layers_that_their_names_say():
    for depth in (1, 8):
        assert PROBLEMS[f"fashion_mnist 64x{depth}"].hidden == (64,) * depth


def reporting(sizes):
    """An algorithm that only reports these step sizes, one a step."""

    def step(params, count, batches, key):
        visit = VisitInfo(*[jnp.zeros(())] * 9)._replace(step_size=sizes[count])
        return params, count + 1, StepInfo(jnp.zeros(()), {"a": visit})

    return lambda *_: Algorithm(
        lambda params, batches, key: jnp.zeros((), jnp.int32), step, BatchSpec(1, None)
    )


def test_a_swing_is_the_change_of_a_step_size_from_step_to_step():
    algorithm = watch(reporting(jnp.array([0.4, 0.2, 0.2, 0.8, 0.0])))()
    batches, key = Batches(()), jax.random.key(0)
    state, swings = algorithm.init((), batches, key), []
    for _ in range(5):
        _, state, info = algorithm.step((), state, batches, key)
        swings.append(float(info.detail["a"].swing))
    # A factor of two, none, four; before the first and at a skipped visit nothing.
    assert swings[1:4] == pytest.approx([np.log(2), 0, np.log(4)], rel=1e-6)
    assert not np.isfinite(swings[0]) and not np.isfinite(swings[4])


def test_the_quantity_swing_is_the_mean_over_epochs_and_blocks():
    answer = next(a for a in ANSWERS if "swing" in a.words)
    comparison = answer.comparisons[0]
    lines = [
        {
            "phase": "final", "problem": comparison.problems[0], "method": method,
            "seed": seed, "test_accuracy": [0.5],
            "rates": {"a/swing": [more, 0.1], "b/swing": [0.0, 0.1], "a/step": [9.0]},
        }
        for method, more in ((comparison.more, 0.6), (comparison.less, 0.2))
        for seed in (0, 1)
    ]  # fmt: skip
    # Means 20 % and 10 %.
    assert compare(comparison, lines).difference == pytest.approx(10)


TINY = Benchmark("digits 3", "digits", (3,), 2, 0.5, "digits 3", batch_size=256)
FROZEN = {"meta_learning_rate": 0.0, "learning_rate": 0.2}
PARAMS = {"Dense_0": {"kernel": jnp.ones((2, 2))}}


def states_of(seeds):
    """SAMT before its first step, along an axis of seeds."""
    init = jax.vmap(lambda seed: samt_sweep(**LIGHT, seed=seed).init(PARAMS))
    return jax.jit(init)(jnp.array(seeds))


def test_eta_models_learn_where_they_come_from_and_are_kept(tmp_path, monkeypatch):
    asked, made = [], []

    def fit_nothing(problem, make_algorithm, **run):
        asked.append(run)
        yield SimpleNamespace(state=None)
        yield SimpleNamespace(state=states_of(run["seeds"]))

    monkeypatch.setattr(transfer, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(transfer, "fit", fit_nothing)
    monkeypatch.setattr(
        transfer, "make_optimizer", lambda name, **given: made.append((name, given))
    )
    other = FROZEN | {"learning_rate": 0.1}
    first, _, again, _ = (
        transfer.meta_params_of(TINY, "samt-s", settings, seeds)
        for settings, seeds in (
            (FROZEN, (4, 5)), (FROZEN, (5,)), (FROZEN, (4, 5)), (other, (5,))
        )
    )  # fmt: skip
    assert asked == [
        {"epochs": 2, "batch_size": 256, "seeds": seeds}
        for seeds in ((4, 5), (5,), (5,))
    ]
    rates = [settings["learning_rate"] for _, settings in made]
    assert rates == [0.2, 0.2, 0.1] and all(len(given) == 1 for _, given in made)
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_each_seed_is_given_its_own_eta_models_and_nothing_else():
    state = TrainState(*[jnp.zeros(2)] * 5)._replace(
        algorithm_state=(states_of([0, 1]), {"a": jnp.ones(2)})
    )
    progress = Progress(state, (), np.int32(0), np.zeros(2, bool), np.float64(0))
    other = trained_meta_params(states_of([8, 9]))
    started = transfer.start_from(progress, other)
    for seed in (0, 1):
        of_seed = [
            trained_meta_params(tree, seed) for tree in (started, states_of([8, 9]))
        ]
        jax.tree.map(np.testing.assert_array_equal, *of_seed)
    back = transfer.start_from(started, trained_meta_params(progress))
    jax.tree.map(np.testing.assert_array_equal, back, progress)
    assert jax.tree.structure(started) == jax.tree.structure(progress)


def test_a_transfer_starts_from_eta_models_of_the_same_seeds(monkeypatch):
    monkeypatch.setattr(trials, "PROBLEMS", {"digits 3": TINY._replace(epochs=9)})
    monkeypatch.setattr(trials, "meta_params_of", lambda *given: given)
    started = []

    def start_from(progress, trained):
        started.append(trained)
        return progress

    monkeypatch.setattr(trials, "start_from", start_from)
    settings = {"learning_rate": 0.1}
    method = Method("S", "sgd", settings, is_tuned=False, eta_from="digits 3")
    problem = a_scalar(TINY, with_test=True)
    lines = trials.run_seeds(method, TINY, problem, settings, [4, 5])
    # As many epochs there as here.
    assert started == [(TINY, "sgd", settings, [4, 5])]
    assert [line["seed"] for line in lines] == [4, 5]
    assert {line["eta_from"] for line in lines} == {"digits 3"}
    assert all(line["settings"] == settings for line in lines)
