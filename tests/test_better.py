"""What is chosen on validation, and what is counted of it on the test set."""

import itertools

import pytest

from benchmarks import better
from benchmarks.experiments import CANDIDATES, CHOSEN, TO_BEAT
from benchmarks.trials import lines_of

CELL = "mnist 100"
NOISE = (0.0, 0.001, -0.0008)


def runs(method, validation, test, problem=CELL, seeds=NOISE):
    """Final runs of a method, one a seed, of two epochs."""
    return [
        {
            "phase": "final", "method": method.name, "problem": problem,
            "optimizer": method.optimizer, "settings": {}, "seed": seed,
            "status": "finished", "epochs": 2, "steps": 1718,
            "gradient_evaluations": 1718,
            "validation_accuracy": [0.5, validation + noise],
            "test_accuracy": [0.5, test + 2 * noise],
        }
        for seed, noise in enumerate(seeds)
    ]  # fmt: skip


@pytest.fixture
def lines():
    """The first candidate is best on validation, and the second on the test set."""
    first, second, *others = CANDIDATES
    made = [
        runs(first, 0.97, 0.960),
        runs(second, 0.96, 0.990),
        *(runs(method, 0.9, 0.9) for method in others),
        *(runs(method, 0.9, 0.95 - i / 1000) for i, method in enumerate(TO_BEAT)),
    ]
    return list(itertools.chain(*made))


def test_validation_chooses_and_the_test_set_does_not(lines):
    assert better.choose(CANDIDATES, [CELL], lines) == CANDIDATES[0]


def test_what_runs_at_800_units_is_what_the_committed_lines_choose():
    lines = lines_of(better.EXPERIMENT.path)
    chosen = better.choose(CANDIDATES, better.EXPERIMENT.problems, lines)
    assert chosen.name == CHOSEN


def test_the_rival_to_beat_is_the_best_on_the_test_set(lines):
    assert better.best_rival(CELL, lines) == TO_BEAT[0]


def test_a_cell_counts_once_every_method_has_run_on_it(lines):
    methods = (*CANDIDATES, *TO_BEAT)
    assert better.cells_run(better.EXPERIMENT, methods, lines) == [CELL]
    without = [line for line in lines if line["method"] != TO_BEAT[-1].name]
    assert better.cells_run(better.EXPERIMENT, methods, without) == []
    assert "No cell" in better.section(without)


def test_the_section_counts_cells_ahead_and_significant(lines):
    text = better.section(lines)
    assert f"**{CANDIDATES[0].name}** has the best mean validation" in text
    assert "of 100 and 400 units that all have run on, 1 of 4. Of the 1 cells" in text
    assert "in 1, by the t-test on differences of the same seed in 1" in text
    assert "| SGD | 95.01 ± 0.18 | +1.00 ± 0.00 * |" in text
    assert f"| {len(TO_BEAT)}, 0, 0 |" in text


def test_at_800_units_the_chosen_one_alone_has_to_run(lines):
    wide = better.WIDE.problems[0]
    rivals = [runs(m, 0.9, 0.99, problem=wide) for m in TO_BEAT]
    unchosen = runs(CANDIDATES[1], 0.99, 0.99, problem=wide)
    found = [*lines, *itertools.chain(*rivals), *unchosen]
    assert "Of the 1 cells" in better.section(found)
    chosen = runs(CANDIDATES[0], 0.9, 0.98, problem=wide)
    text = better.section([*found, *chosen])
    assert f"**{CANDIDATES[0].name}** has the best" in text
    assert "Of the 2 cells" in text and "below it by that test in 1." in text


def test_a_diverged_candidate_is_not_chosen(lines):
    for line in lines:
        if line["method"] == CANDIDATES[0].name and line["seed"] == 1:
            line["status"] = "diverged"
    assert better.choose(CANDIDATES, [CELL], lines) == CANDIDATES[1]


def test_seconds_are_those_until_what_sgd_reaches_at_its_best(lines, monkeypatch):
    monkeypatch.setattr(better.costs, "seconds_per_step", lambda problem, method: 0.001)
    text = better.section(lines)
    row = text.splitlines()[-1]
    # SGD is at its best after the second epoch; its seeds differ, and one is above.
    # One that never gets there would have taken an epoch more than its two at least.
    assert row.endswith("| 1.7 (≥ 2.3, 1 of 3) |")
    assert "it gets there sooner in 1 of the 1 cells that were timed." in text
    soonest = f"{CANDIDATES[0].name} is the soonest: 1.7 on {CELL} (≥ 2.3, 1 of 3)."
    assert soonest in text
    monkeypatch.setattr(better.costs, "seconds_per_step", lambda problem, method: None)
    text = better.section(lines)
    assert text.splitlines()[-1].endswith("|  |") and "soonest" not in text
