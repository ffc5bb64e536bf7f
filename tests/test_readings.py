"""Readings: one setting around the library's defaults, judged without the test set."""

import inspect

import numpy as np
import pytest

from benchmarks import readings, readings_report, trials
from benchmarks.open_settings import CENTRE, ELSEWHERE, READINGS, Reading
from benchmarks.problems import PROBLEMS, Benchmark, build
from benchmarks.readings_report import ends_by_block, fate
from samt_jax import OPTIMIZERS, samt_algorithm, samt_sweep, scaled_features
from samt_jax.runs import append_line


def line(reading, seed, *accuracies, problem="mnist 100", steps=(0.1, 0.1), **other):
    return {
        "phase": "reading", "problem": problem, "method": reading, "seed": seed,
        "status": "finished", "settings": CENTRE, "validation_accuracy": accuracies,
        "rates": {"Dense_0/VisitInfo.step_size": list(steps),
                  "Dense_0/VisitInfo.mixing_weight": [0.5, 0.25]},
    } | other  # fmt: skip


def test_the_centre_is_the_librarys_defaults():
    defaults = {
        name: parameter.default
        for function in (samt_sweep, samt_algorithm)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    log_scale = inspect.signature(scaled_features).parameters["log_scale"].default
    known = defaults | {
        "learning_rate": OPTIMIZERS["samt-s"].learning_rate,
        "inner_steps": 1,  # What `None` is.
        "meta_optimizer": "adam",
        "feature_scale": log_scale,
    }
    assert {name: known[name] for name in CENTRE} == CENTRE


def test_every_reading_changes_one_thing_and_is_compared_with_what_it_changes():
    by_name = {reading.name: reading for reading in READINGS}
    assert len(by_name) == len(READINGS)
    for reading in READINGS:
        other = by_name[reading.against]
        if other is reading:
            continue
        theirs = other.method.settings
        changed = {
            name for name, value in reading.method.settings.items()
            if name not in theirs or theirs[name] != value
        }  # fmt: skip
        if changed & {"meta_optimizer", "num_train"}:
            changed -= {"meta_learning_rate"}  # Each has rates of its own.
        if reading.optimizer != other.optimizer:
            changed = {"granularity"}
        if reading.use_bias != other.use_bias:
            changed |= {"biases"}
        assert len(changed) == 1, reading
        assert set(reading.problems) <= set(other.problems)
        assert reading.changes.keys() <= OPTIMIZERS[reading.optimizer].takes
    asked = {reading.question for reading in READINGS}
    assert asked >= {f"Q{n}" for n in (1, 2, 3, 7, 8, 9, 10, 11, 13, 14, 20)}


def test_a_reading_is_run_once_and_without_the_test_set(tmp_path, monkeypatch):
    digits = Benchmark("digits 4", "digits", (4,), 1, 0.5, tuned_on="digits 4")
    built = []

    def build_noted(benchmark, *, with_test):
        built.append((benchmark.use_bias, with_test))
        return build(benchmark, with_test=with_test)

    chosen = (Reading("Q13", "no biases", {}, use_bias=False, problems=("digits 4",)),)
    monkeypatch.setattr(readings, "READINGS", chosen)
    monkeypatch.setitem(PROBLEMS, "digits 4", digits)
    monkeypatch.setattr(readings, "RESULTS", tmp_path / "lines.jsonl")
    monkeypatch.setattr(trials, "build", build_noted)
    monkeypatch.setattr(readings, "SEEDS", (0, 1))
    names = ["digits 4", "mnist 100"]
    readings.run(names, ["centre"], quick=False)
    assert not built
    for _ in range(2):
        readings.run(names, ["centre", "no biases"], quick=False)
    assert built == [(False, False)]
    lines = trials.lines_of(tmp_path / "lines.jsonl")
    assert [(each["phase"], each["seed"]) for each in lines] == [
        ("reading", 0), ("reading", 1),
    ]  # fmt: skip
    for each in lines:
        assert "test_accuracy" not in each and len(each["validation_accuracy"]) == 1
        assert {name.split(".")[1] for name in each["rates"]} == {
            "step_size", "mixing_weight", "proposal",
        }  # fmt: skip
        steps = ends_by_block([each], "step_size")
        assert steps.keys() == {"Dense_0", "Dense_1"}
        first, last = steps["Dense_1"]
        assert 0 < first == last < 0.3


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [
        (0.1, 0.0009, "collapsed"),
        (0.1, 0.002, ""),
        (0.1, 0.28, ""),
        (0.1, 0.29, "at the end"),
    ],
)
def test_a_step_size_collapses_runs_to_the_end_or_neither(first, last, word):
    assert fate(first, last, {"learning_rate": 0.1, "proposal_max": 0.3}) == word


def test_the_table_has_paired_differences_step_sizes_and_what_is_missing(
    tmp_path, monkeypatch
):
    path = tmp_path / "lines.jsonl"
    monkeypatch.setattr(readings_report, "RESULTS", path)
    for seed, accuracy in enumerate((0.8, 0.82, 0.9)):
        append_line(path, line("centre", seed, 0.1, accuracy, accuracy))
        append_line(path, line("sigmoid", seed, 0.1, accuracy + 0.01, accuracy + 0.01,
                               steps=(0.1, 0.0005)))  # fmt: skip
    append_line(path, line("backward", 0, 0.5, 0.1, 0.1, status="diverged"))
    text = readings_report.table()
    spread = np.std([80, 82, 90], ddof=1)
    assert f"|  | centre |  | 84.00 ± {spread:.2f} |  |  |" in text
    assert f"| Q10 | sigmoid |  | 85.00 ± {spread:.2f} (+1.00 ± 0.00*) |" in text
    assert "| Q20 | backward |  | (1 of 1 diverged) |" in text
    assert "Dense_0 0.1 → 0.0005, *collapsed* under 3 of 3 seeds |" in text
    assert "| Q10 | sigmoid |  | Dense_0 0.500 → 0.250 |" in text
    assert "anything on fashion_mnist 100" in text
    assert "Not run yet: " in text and "random order, 5 inner steps" in text
    assert "The best first: none." in text


ALL = {"mnist 100": 1, "mnist 400": 1, "fashion_mnist 100": 0, "fashion_mnist 400": 0}
KEPT, COLLAPSED = (0.1, 0.09), (0.1, 0.0005)


@pytest.mark.parametrize(
    ("ahead", "steps", "centres_steps", "expected"),
    [
        (ALL, KEPT, KEPT, ["sigmoid"]),
        (ALL | {"mnist 400": 0}, KEPT, KEPT, []),
        (ALL | {"fashion_mnist 100": -1}, KEPT, KEPT, []),
        (ALL, COLLAPSED, KEPT, []),
        (ALL | {"mnist 400": 0}, KEPT, COLLAPSED, ["sigmoid"]),
        (ALL | {"fashion_mnist 100": -1}, KEPT, COLLAPSED, []),
        ({"mnist 100": 1, "mnist 400": 1}, KEPT, KEPT, []),
    ],
)
def test_a_reading_wins_that_is_ahead_twice_never_behind_and_keeps_its_steps(
    ahead, steps, centres_steps, expected
):
    lines = [
        line(name, seed, 0.8 + luck + by, 0.8 + luck + by, problem=problem,
             steps=ends if seed == 1 else KEPT)
        for problem, sign in ahead.items()
        for name, by, ends in (("centre", 0.0, centres_steps),
                               ("sigmoid", 0.01 * sign, steps))
        for seed, luck in enumerate((0.0, 0.03, 0.01))
    ]  # fmt: skip
    assert readings_report.winners(lines) == expected


def test_of_several_winners_the_one_with_the_largest_lead_stands_first():
    lines = [
        line(name, seed, 0.8 + luck + by, 0.8 + luck + by, problem=problem)
        for problem in ALL
        for name, by in (("centre", 0.0), ("sigmoid", 0.01), ("backward", 0.02))
        for seed, luck in enumerate((0.0, 0.03, 0.01))
    ]
    assert readings_report.winners(lines) == ["backward", "sigmoid"]


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        ({}, []),
        (dict.fromkeys(ELSEWHERE[:-1], 0), []),
        (dict.fromkeys(ELSEWHERE, 0), ["meta-optimizer SGD at 0.1"]),
        (dict.fromkeys(ELSEWHERE, 1) | {ELSEWHERE[-1]: -1}, []),
    ],
)
def test_what_is_ahead_has_to_serve_elsewhere_too(elsewhere, expected):
    lines = [
        line(name, seed, 0.8 + luck + by, 0.8 + luck + by, problem=problem)
        for problem, sign in (ALL | elsewhere).items()
        for name, by in (("centre", 0.0), ("meta-optimizer SGD at 0.1", 0.01 * sign))
        for seed, luck in enumerate((0.0, 0.03, 0.01))
    ]
    assert readings_report.winners(lines) == expected
