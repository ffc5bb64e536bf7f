"""The report: one rule for all verdicts; what is compared is what is run."""

import numpy as np
import pytest

from benchmarks import report, reproduce
from benchmarks.claims import CLAIMS, QUANTITIES, Claim, Comparison, compare, verdict
from benchmarks.experiments import EXPERIMENTS
from benchmarks.problems import PROBLEMS
from benchmarks.questions import ANSWERS, QUESTIONS
from benchmarks.trials import Method
from samt_jax.runs import append_line

MORE = Comparison("final", ("mnist 100",), "A", "B")


def line(method, seed, *accuracies, status="finished"):
    return {
        "phase": "final", "problem": "mnist 100", "method": method, "seed": seed,
        "status": status, "test_accuracy": accuracies, "steps": 20,
        "validation_accuracy": accuracies, "train_loss": [0.5] * len(accuracies),
        "train_seconds": [1.0] * len(accuracies),
        "gradient_evaluations": 40, "device": "cpu", "compile_seconds": 1.0,
    }  # fmt: skip


def runs(method, *finals):
    return [line(method, seed, 0.5, final) for seed, final in enumerate(finals)]


@pytest.mark.parametrize(
    ("finals", "says"),
    [
        ((0.91, 0.92, 0.93), "yes"),
        ((0.71, 0.72, 0.73), "no"),
        ((0.90, 0.78, 0.83), "open"),
        ((0.81, 0.82, 0.83), "open"),
    ],
)
def test_a_comparison_is_decided_by_differences_of_runs_with_the_same_seed(
    finals, says
):
    # A seed's luck is shared: the accuracies themselves overlap.
    outcome = compare(MORE, runs("A", *finals) + runs("B", 0.81, 0.82, 0.83))
    differences = 100 * (np.array(finals) - (0.81, 0.82, 0.83))
    assert outcome.says == says
    assert outcome.difference == pytest.approx(differences.mean())
    assert outcome.error == pytest.approx(differences.std(ddof=1) / 3**0.5)


def errors_of(method, *finals):
    return [
        line(method, seed, status="diverged" if final is None else "finished")
        | {"test_rmse": [0.5, final], "validation_rmse": [0.5, final]}
        for seed, final in enumerate(finals)
    ]


@pytest.mark.parametrize(
    ("finals", "says"),
    [
        ((0.2, 0.21, 0.22), "yes"),
        ((0.4, 0.41, 0.42), "no"),
        # A run without a number is as far behind as the furthest that has one.
        ((0.2, 0.21, None), "open"),
        ((0.4, 0.41, None), "no"),
        ((None, None, None), "no"),
    ],
)
def test_of_regression_less_error_is_more_and_a_run_without_a_number_least(
    finals, says
):
    lines = errors_of("A", *finals) + errors_of("B", 0.31, 0.3, 0.32)
    assert compare(MORE, lines).says == says


def test_runs_of_other_seeds_problems_and_phases_are_not_compared():
    lines = runs("A", 0.9, 0.91)
    others = [line("B", seed, 0.1) for seed in (1, 2, 3)]
    assert compare(MORE, lines + others) is None
    tuning = [each | {"phase": "tuning"} for each in runs("B", 0.1, 0.1)]
    elsewhere = [each | {"problem": "mnist 400"} for each in runs("B", 0.1, 0.1)]
    assert compare(MORE, lines + tuning + elsewhere) is None


@pytest.mark.parametrize(
    ("quantity", "more", "less"),
    [
        ("early", (0.8, 0.7, 0.7), (0.7, 0.9, 0.9)),
        ("fluctuation", (0.5, 0.9, 0.7, 0.9), (0.1, 0.9, 0.8, 0.9)),
        ("fall", (0.95, 0.9, 0.8), (0.1, 0.9, 0.85)),
    ],
)
def test_quantities_of_a_curve(quantity, more, less):
    comparison = MORE._replace(quantity=quantity)
    lines = [
        line(method, seed, *(each + 0.001 * seed * i for i, each in enumerate(curve)))
        for method, curve in (("A", more), ("B", less))
        for seed in range(3)
    ]
    assert compare(comparison, lines).difference > 0


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("yes yes yes open", "holds"),
        ("yes no no no", "does not hold"),
        ("yes yes no open", "holds in part"),
        ("open open", "open"),
        ("yes open open open open", "open"),
        ("yes no", "does not hold"),
        ("yes none", "not decided yet"),
        ("none none", "not run yet"),
    ],
)
def test_one_rule_makes_all_verdicts(says, expected):
    outcome = compare(MORE, runs("A", 0.9, 0.91) + runs("B", 0.8, 0.82))
    outcomes = [
        None if word == "none" else outcome._replace(says=word) for word in says.split()
    ]
    claim = Claim("E1", "", (MORE,) * len(outcomes))
    assert verdict(claim, outcomes) == expected
    if expected in ("open", "does not hold", "holds in part"):
        somewhere = claim._replace(is_somewhere=True)
        assert (verdict(somewhere, outcomes) == "holds") == ("yes" in says)


@pytest.mark.parametrize(
    ("of_a", "of_b", "says"),
    [
        # The diverged one of B counts as the furthest of the others.
        (((0.91, 0.92, 0.93), ""), ((0.88, 0.9, 0.99), "  d"), "yes"),
        (((0.91, 0.92, 0.93), "ddd"), ((0.1, 0.1, 0.1), ""), "no"),
        (((0.91, 0.92, 0.93), "d  "), ((0.1, 0.1, 0.1), "d  "), "open"),
    ],
)
def test_a_diverged_run_has_reached_nothing(of_a, of_b, says):
    lines = [
        line(method, seed, 0.5, final,
             status="diverged" if words[seed : seed + 1] == "d" else "finished")
        for method, (finals, words) in (("A", of_a), ("B", of_b))
        for seed, final in enumerate(finals)
    ]  # fmt: skip
    assert compare(MORE, lines).says == says


def test_a_diverged_run_is_not_steady_nor_at_its_best():
    lost = line("A", 0, 0.5, 0.1, 0.1, 0.1, status="diverged")
    for quantity, of_lost in (("fluctuation", np.inf), ("fall", np.inf),
                              ("late gain", -np.inf)):  # fmt: skip
        assert QUANTITIES[quantity](lost).value == of_lost


def test_no_worse_is_ahead_but_for_a_slack():
    lines = runs("A", 0.80, 0.81, 0.82) + runs("B", 0.802, 0.8121, 0.8219)
    assert compare(MORE, lines).says == "no"
    assert compare(MORE._replace(slack=0.3), lines).says == "yes"


def test_of_several_problems_the_mean_counts_or_how_much_they_differ():
    def on(problem, method, *finals):
        return [each | {"problem": problem} for each in runs(method, *finals)]

    both = MORE._replace(problems=("x", "y"))
    lines = [*on("x", "A", 0.9, 0.91), *on("y", "A", 0.7, 0.7),
             *on("x", "B", 0.8, 0.81), *on("y", "B", 0.76, 0.76)]  # fmt: skip
    # Means 80 and 80.5 against 78 and 78.5; ranges 20 and 21 against 4 and 5.
    assert compare(both, lines).difference == pytest.approx(2)
    uneven = both._replace(quantity="unevenness")
    assert compare(uneven, lines).difference == pytest.approx(16)
    assert compare(both, lines[:-1]) is None


def test_every_comparison_is_of_runs_that_an_experiment_makes():
    made = {
        (problem, method.name)
        for experiment in EXPERIMENTS.values()
        for problem in experiment.problems
        for method in experiment.methods
    }
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            for method in (comparison.more, comparison.less):
                for problem in comparison.problems:
                    assert (problem, method) in made, (claim, method)


def test_experiments_are_of_known_problems_and_say_each_method_once():
    for experiment in reproduce.ALL.values():
        assert set(experiment.problems) <= PROBLEMS.keys()
        names = [method.name for method in experiment.methods]
        assert len(set(names)) == len(names)


def test_dante_has_a_batch_for_every_update_on_every_layer():
    for experiment in EXPERIMENTS.values():
        for problem in experiment.problems:
            for method in experiment.methods:
                if method.optimizer == "dante":
                    updates = 5 * PROBLEMS[problem].num_blocks
                    assert method.settings["num_train"] == updates, problem


TRANSFERRED = next(answer for answer in ANSWERS if answer.number == "O5")


def test_the_report_has_verdicts_tables_pictures_and_what_is_missing(
    tmp_path, monkeypatch
):
    path = tmp_path / "lines.jsonl"
    methods = (Method("A", "sgd"), Method("B", "adam"), Method("C", "lion"))
    experiment = EXPERIMENTS["figure3"]._replace(
        problems=("mnist 100",), methods=methods, path=path
    )
    for each in (*runs("A", 0.9, 0.91, 0.92), *runs("B", 0.8, 0.82, 0.81)[:2],
                 line("B", 2, 0.5, 0.1, status="diverged")):  # fmt: skip
        append_line(path, each)
    monkeypatch.setattr(report, "EXPERIMENTS", {"figure3": experiment})
    question = QUESTIONS["transfer"]._replace(
        problems=("mnist 100",), methods=methods, path=path
    )
    monkeypatch.setattr(report, "QUESTIONS", {"transfer": question})
    monkeypatch.setattr(report, "REPORT", tmp_path / "REPORT.md")
    monkeypatch.setattr(report, "PICTURES", tmp_path)
    report.write_report()
    text = (tmp_path / "REPORT.md").read_text()
    assert "| A | 91.00 ± 1.00 |" in text
    assert "| B | 81.00 ± 1.41 (1 of 3 diverged) |" in text
    assert "(1 of 3 diverged) |" in text
    assert "Not run yet: C on mnist 100." in text
    assert "\nSeeds: 3. Budget: " in text
    assert "| E1 | MNIST: HD is not competitive | not run yet |" in text
    assert "| E11 | Sigmoid wins at 300 and 600 units on MNIST | not testable" in text
    table, of_statements = text.split("| claim | | verdict")[:2]
    rows = [row.split(" | ") for row in of_statements.splitlines() if row[:3] == "| E"]
    numbers = [row[0] for row in rows]
    assert numbers == sorted(numbers, key=lambda number: int(number[3:]))
    tally = [row.split(" | ") for row in table.splitlines() if row[:3] == "| E"]
    assert [row[0] for row in tally] == [f"| E{number}" for number in range(1, 18)]
    for row in tally:
        of_it = [each[2] for each in rows if each[0] == row[0]]
        assert int(row[6] or 0) == of_it.count("not testable here")
        assert sum(int(cell.strip(" |") or 0) for cell in row[2:]) == len(of_it)
    last = table.rstrip().splitlines()[-1].split(" | ")
    assert last[:2] == ["| all", f"{len(rows)} statements"]
    for column in range(2, 8):
        cells = [int(row[column].strip(" |") or 0) for row in (*tally, last)]
        assert cells[-1] == sum(cells[:-1])
    assert "Budget: 60 minutes of two cores; the runs" in text
    assert (tmp_path / "figure3-mnist-100.png").stat().st_size > 10_000
    assert "(pictures/figure3-mnist-100.png)" in text
    questions = text[text.index("# The open questions") :]
    assert "`python -m benchmarks.reproduce transfer`" in questions
    assert "after the first epoch, %:\n\n| method | mnist 100 |" in questions
    assert "| A | 50.00 ± 0.00 |" in questions
    assert f"| O5 | {TRANSFERRED.words} | not run yet |" in questions


def test_a_table_says_how_many_seeds_its_cells_have():
    methods = (Method("A", "sgd"), Method("B", "adam"), Method("C", "lion"))
    experiment = EXPERIMENTS["figure3"]._replace(methods=methods)
    lines = [*runs("A", *(0.9,) * 5), *runs("B", *(0.8,) * 3)]
    wider = [each | {"problem": "mnist 400"} for each in runs("A", *(0.9,) * 3)]
    table = report.experiment_table(experiment, lines + wider)
    assert "\nSeeds: 3 to 5 on mnist 100; 3 on mnist 400. Budget: " in table


def test_methods_are_timed_on_the_problems_asked_for(monkeypatch):
    timed = []
    monkeypatch.setattr(
        reproduce,
        "time_methods",
        lambda methods, benchmark, path: timed.append(
            ([method.name for method in methods], benchmark.name)
        ),
    )
    reproduce.time_all("figure3", ["mnist 400", "mnist 800"], ["Adam", "SGD"])
    assert timed == [(["SGD", "Adam"], "mnist 400"), (["SGD", "Adam"], "mnist 800")]
    with pytest.raises(SystemExit, match="has no method 'Adm'; it has 'SAMT-S, gra"):
        reproduce.time_all("figure3", None, ["Adm"])
    with pytest.raises(SystemExit, match="Figure 3 has no problem 'digits'"):
        reproduce.time_all("figure3", ["digits"], None)


def test_table_3_is_made_by_the_module_of_its_methods(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        reproduce.layerwise_rivals, "run", lambda **given: asked.append(given)
    )
    monkeypatch.setattr(
        reproduce.layerwise_table, "table", lambda path: f"of {path.name}"
    )
    monkeypatch.setattr("sys.argv", ["reproduce", "table3", "--quick"])
    reproduce.main()
    assert asked == [{"quick": True}]
    assert capsys.readouterr().out == "of layerwise-quick.jsonl\n"


def test_quick_keeps_the_narrowest_networks_and_writes_elsewhere():
    for experiment in reproduce.ALL.values():
        small = reproduce._small(experiment)
        assert small.path == reproduce.QUICK
        assert small.problems and set(small.problems) <= set(experiment.problems)
