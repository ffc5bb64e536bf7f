"""What a run spends: four measures, from lines, and nothing where nothing is known."""

import json

import numpy as np
import pytest

from benchmarks import (
    abstract,
    costs,
    engine_cost,
    method_features,
    readings_report,
    rivals,
    timing,
    trials,
)
from benchmarks.claims import Comparison, compare
from benchmarks.experiments import EXPERIMENTS
from benchmarks.problems import PROBLEMS, Benchmark
from benchmarks.rivals import METHODS
from benchmarks.trials import Method
from samt_jax import OPTIMIZERS

MORE_UPDATES = Comparison("updates", ("mnist 100",), "SGD", "Adam")
FIGURE = EXPERIMENTS["figure3"]._replace(
    problems=("mnist 100",), methods=(Method("SGD", "sgd"), Method("Adam", "adam"),
                                      Method("DANTE", "dante")),
)  # fmt: skip


def run(method, seed, *accuracies, optimizer="sgd", problem="mnist 100", **settings):
    return {
        "phase": "final", "problem": problem, "method": method, "seed": seed,
        "optimizer": optimizer, "settings": settings, "status": "finished",
        "epochs": len(accuracies), "steps": 10 * len(accuracies),
        "gradient_evaluations": 40 * len(accuracies),
        "validation_accuracy": accuracies, "test_accuracy": accuracies,
        "train_loss": [0.5] * len(accuracies),
    }  # fmt: skip


def bench_line(name, ratios, microseconds, **cell):
    method = {"name": name, "reading": None, "engine": None, "option": ""} | cell
    return {
        "network": "784-100-10", "framework": "jax", **method,
        "adam_epochs_by_round": ratios, "microseconds_per_step": microseconds,
    }  # fmt: skip


def time_line(method, *seconds, problem="cifar10 cnn"):
    return {
        "phase": "time", "problem": problem, "method": method, "steps": 10,
        "steps_per_epoch": 100, "train_seconds": seconds,
    }  # fmt: skip


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Committed lines in a place of their own: a step of SGD costs half of Adam's."""
    files = {
        (engine_cost, "RESULTS"): [bench_line("adam", [1.0], 2e6),
                                   bench_line("sgd", [0.4, 0.5, 0.9], 7e6)],
        (costs, "RESULTS"): [{"network": "784-100-10", "method": "SGD",
                              "flops_per_step": 3e12}],
        (rivals, "RESULTS"): [time_line("Adam", 2.0, 3.0, 4.0),
                              time_line("SAMT-E, gradient", 4.0, 9.0, 16.0)],
    }  # fmt: skip
    for number, ((module, name), content) in enumerate(files.items()):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in content))
        monkeypatch.setattr(module, name, path)
    caches = (costs._bench, costs._flops, costs.timed_in_turns)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_a_run_spends_its_steps_until_the_target_times_what_a_step_costs(lines):
    # Two of four epochs: 20 steps of half of Adam's two seconds.
    assert costs.spent(run("SGD", 0, 0.9, 0.97, 0.98, 0.96)) == costs.Spent(
        is_reached=True, epochs=2, updates=20, gradients=80,
        flops=pytest.approx(6e13), seconds=20,
    )  # fmt: skip
    # At least an epoch more than its two.
    never = costs.spent(run("SGD", 0, 0.5, 0.5))
    assert (never.is_reached, never.epochs, never.updates) == (False, 3, 30)
    unknown = costs.spent(run("DANTE", 0, 0.98, optimizer="dante", num_updates=3))
    assert unknown == costs.Spent(True, 1, 30, 40, None, None)


def test_what_is_not_timed_in_the_bench_is_what_was_timed_in_turns(lines):
    ratio = costs.in_adams("cifar10 cnn", "SAMT-E, gradient")
    assert ratio == pytest.approx(np.median([2, 3, 4]))
    assert costs.in_adams("cifar10 cnn", "DANTE") is None
    # Without a cell of Adam on this network there are no seconds to multiply.
    assert costs.seconds_per_step("cifar10 cnn", "SAMT-E, gradient") is None
    text = abstract.cnn_epoch()
    assert (
        "| SAMT-E, gradient |  |  | 90.0 | 3.00 |\n| Adam |  |  | 30.0 | 1.00 |" in text
    )
    assert "not run yet" not in text


def test_times_are_held_against_those_of_adam_in_the_same_turns(lines):
    later = [time_line("Adam", 1.0, 1.0, 1.0), time_line("SGD", 2.0, 2.0, 2.0)]
    with rivals.RESULTS.open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in later))
    ratios = {
        name: costs.in_adams("cifar10 cnn", name)
        for name in ("SAMT-E, gradient", "SGD", "Adam")
    }
    assert ratios == {"SAMT-E, gradient": 3.0, "SGD": 2.0, "Adam": 1.0}


def test_what_took_turns_without_adam_has_no_ratio(lines):
    with rivals.RESULTS.open("a") as file:
        line = time_line("SAMT-E, gradient", 2.0, 2.0, 2.0)
        file.write(json.dumps(line) + "\n")
    assert costs.in_adams("cifar10 cnn", "SAMT-E, gradient") is None
    assert "| SAMT-E, gradient |  |  | 20.0 |  |" in abstract.cnn_epoch()


def test_operations_of_the_cnn_stand_where_nothing_was_timed(monkeypatch):
    flops = {
        ("cifar10 cnn", name): count
        for name, count in (("Adam", 2e6), ("SAMT-E, gradient", 7e6), ("DANTE", 20e6))
    }
    monkeypatch.setattr(costs, "_flops", lambda: flops)
    monkeypatch.setattr(costs, "timed_in_turns", lambda problem: {})
    text = abstract.cnn_epoch()
    assert "| Adam | 2 | 1.00 |  |  |" in text
    assert "| SAMT-E, gradient | 7 | 3.50 |  |  |" in text
    # A step of twenty batches.
    assert "| DANTE | 1 | 0.50 |  |  |" in text
    assert "Seconds: not run yet." in text


def test_what_is_known_to_an_epoch_is_no_surer_than_that(lines):
    def compared(slow, seeds):
        found = [
            run(name, seed, *([0.9] * epochs), 0.98, 0.98)
            for name, epochs in (("SGD", slow), ("Adam", 1))
            for seed in range(seeds)
        ]
        return compare(MORE_UPDATES, found), found

    # 4 epochs of 10 steps against 2, under every seed alike: rounding alone would have
    # differences vary by a sixth of the square of an epoch.
    outcome, found = compared(slow=3, seeds=3)
    assert (outcome.difference, outcome.says) == (pytest.approx(20), "yes")
    assert outcome.error == pytest.approx(10 * (1 / 6 / 3) ** 0.5)
    assert compared(slow=2, seeds=3)[0].says == "open"
    assert compared(slow=2, seeds=5)[0].says == "yes"
    assert compare(MORE_UPDATES._replace(quantity="operations"), found) is None


def test_of_a_run_that_never_gets_there_only_so_much_is_known(lines):
    never = [run("SGD", seed, *[0.5] * 9) for seed in range(3)]
    at_once, late = (
        [run("Adam", seed, *[0.5] * slow, 0.98) for seed in range(3)]
        for slow in (0, 11)
    )
    # It would have spent ten epochs at least, and the other spent one.
    outcome = compare(MORE_UPDATES, never + at_once)
    assert (outcome.difference, outcome.says) == (pytest.approx(90), "yes")
    # The other spent twelve: whether that is more is not known.
    outcome = compare(MORE_UPDATES, never + late)
    assert (outcome.difference, outcome.says) == (0, "open")
    fewer = MORE_UPDATES._replace(more="Adam", less="SGD")
    assert compare(fewer, never + late).says == "open"
    assert compare(fewer, never + at_once).says == "no"


def test_tables_have_all_four_measures_and_late_fluctuation(lines):
    found = [
        run("SGD", 0, 0.9, 0.97, 0.98, 0.96),
        run("SGD", 1, 0.9, 0.9, 0.9, 0.9),
        run("Adam", 0, 0.98, 0.98),
        run("DANTE", 0, 0.1, 0.2, optimizer="dante"),
    ]
    text = abstract.to_targets(FIGURE, found)
    # The second, of four epochs, would have spent five at least.
    assert "| SGD | ≥ 3.5 (1 of 2) | ≥ 35 | ≥ 140 | ≥ 105.00 | ≥ 35.0 |" in text
    assert "| Adam | 1.0 | 10 | 40 |  | 20.0 |" in text
    assert "| DANTE | never |" in text
    text = abstract.fluctuations(FIGURE, found)
    # The second half goes from 98 to 96 %, and stays at 90 %.
    assert f"| SGD | 1.000 ± {2**0.5:.3f} |" in text
    assert "| Adam | 0.000 |" in text
    lost = {"test_rmse": [0.2, None, 0.1, None], "status": "diverged"}
    errors = [
        run("SGD", 0, 0, 0, 0, 0) | {"test_rmse": [0.4, 0.3, 0.2, 0.1]},
        run("SGD", 1, 0, 0, 0, 0) | lost,
        run("Adam", 0, 0, 0, 0, 0) | lost,
    ]
    text = abstract.fluctuations(FIGURE, errors)
    assert "| SGD | 0.1000 (1 of 2 diverged) |" in text
    assert "| Adam | (1 of 1 diverged) |" in text


def test_mnist_at_400_units_stands_beside_the_quoted_figure(lines):
    assert "Not run yet." in abstract.quoted_accuracy([])
    found = [run("SAMT-S, gradient", seed, 0.98, 0.97, problem="mnist 400")
             for seed in range(2)]  # fmt: skip
    text = abstract.quoted_accuracy(found)
    assert "98.6 %" in text and "98.39 %" in text
    assert "| SAMT-S, gradient | 2 | 97.00 ± 0.00 | 98.00 ± 0.00 |" in text
    long = "mnist 400, 50 epochs"
    found += [run("SAMT-E", seed, 0.98, 0.985, problem=long) for seed in range(2)]
    text = abstract.quoted_accuracy(found)
    assert "| SAMT-E | 2 | 98.50 ± 0.00 | 98.50 ± 0.00 |" in text
    text = abstract.within_reach(found)
    assert f"| {long} | SAMT-E | 98.50 ± 0.00 | 98.39 | 98.3 | yes |" in text
    assert "Not run yet." in abstract.within_reach([])


def test_the_best_epoch_is_chosen_on_validation():
    chosen = run("SGD", 0, 0.9, 0.8) | {"test_accuracy": [0.7, 0.95]}
    lost = run("SGD", 1, 0.9, 0.8) | {"status": "diverged"}
    text = abstract.best_epochs(FIGURE, [chosen, lost])
    assert "| SGD | 70.00 |" in text and "Adam" not in text
    errors = {"validation_rmse": [0.4, None, 0.5], "test_rmse": [0.3, None, 0.1]}
    assert abstract.at_best_epoch(errors, "rmse") == 0.3


def test_updates_an_epoch_are_those_of_the_readings(tmp_path, monkeypatch):
    made = [
        run(reading, seed, 0.9, 0.8) | {"phase": "reading", "steps": steps}
        for reading, steps in (("centre", 20), ("a batch a block", 10))
        for seed in range(2)
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in made))
    monkeypatch.setattr(readings_report, "RESULTS", path)
    text = abstract.updates_an_epoch()
    assert "| mnist 100 | centre | 10 | 85.00 ± 0.00 |" in text
    assert "| mnist 100 | a batch a block | 5 | 85.00 ± 0.00 |" in text


def test_defaults_stand_beside_what_was_tuned():
    method = next(each for each in METHODS if each.name == "SAMT-S")
    trials = [
        run("SAMT-S", 100, score, score) | {"phase": "tuning", "settings": settings}
        for score, settings in ((0.9, method.trial(3)), (0.95, method.trial(4)))
    ]
    text = abstract.defaults(trials)
    assert "| mnist 100 | SAMT-S | 90.00 | 95.00 | 0.3 and 0.9 |" in text


def test_operations_are_those_of_the_products_of_a_step():
    digits = Benchmark("digits 4", "digits", (4,), 1, 0.5, tuned_on="")
    sgd = costs.count_flops(Method("SGD", "sgd"), digits)
    # Forward, gradient, and the last layer's inputs: multiply and add.
    products = 2 * 64 * (2 * 64 * 4 + 3 * 4 * 10)
    assert products < sgd < 1.2 * products
    # Adam has some ten operations more for each of the 310 weights.
    more = costs.count_flops(Method("Adam", "adam"), digits) - sgd
    assert 5 * 310 < more < 20 * 310


def test_networks_on_images_of_one_size_are_one():
    assert costs.network_name(PROBLEMS["mnist 100"]) == "784-100-10"
    assert costs.network_name(PROBLEMS["fashion_mnist 100"]) == "784-100-10"
    assert costs.network_name(PROBLEMS["cifar10 cnn"]) == "cifar10 cnn"
    assert costs.network_name(PROBLEMS["pol 100"]) == "pol 100"


def test_the_table_of_methods_has_a_row_each_of_what_the_registry_knows(monkeypatch):
    chosen = {n: OPTIMIZERS[n] for n in ("samt-s", "adam", "dladmm", "sgd-hd", "badm")}
    monkeypatch.setattr(method_features, "OPTIMIZERS", chosen)
    rows = {
        row.split("`")[1]: [cell.strip() for cell in row.split("|")[2:-1]]
        for row in method_features.table().splitlines()[4:]
    }
    assert rows.keys() == chosen.keys()
    assert rows["adam"] == ["yes", "", "", "", "", "2.00"]
    assert rows["samt-s"][:4] == ["yes", "yes", "", "by an eta model, a block"]
    assert rows["dladmm"][:4] == ["", "yes", "yes", "by backtracking"]
    assert rows["sgd-hd"][3] == "one, from successive gradients"
    # It keeps variables for every example; the others know nothing of how many.
    assert float(rows["dladmm"][-1]) > 100 > float(rows["samt-s"][-1])


def test_every_method_that_goes_block_by_block_says_what_it_solves():
    for name in OPTIMIZERS:
        solves = name in method_features._SUB_PROBLEMS
        assert solves or not method_features.is_alternating(name)


def test_rounds_of_a_timing_make_one_epoch(tmp_path):
    digits = Benchmark("digits 4", "digits", (4,), 1, 0.5, tuned_on="")
    path = tmp_path / "lines.jsonl"
    timing.time_methods((Method("SGD", "sgd"),), digits, path, rounds=3)
    (line,) = trials.lines_of(path)
    assert (line["steps"], line["steps_per_epoch"]) == (6, 20)
    assert len(line["train_seconds"]) == 3
