"""What the eta models answer: asked, counted, told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import mixing, mixing_report, trials
from benchmarks.problems import Benchmark
from samt_jax import Batches, Problem, make_optimizer
from samt_jax.runs import append_line

TINY = Benchmark("tiny", "tiny", (), 2, 0.5, tuned_on="")
S, E = mixing.METHODS[0], mixing.METHODS[2]


@pytest.mark.parametrize(("method", "count"), [(S, 1), (E, 2 * 3 + 3)])
def test_answers_are_those_that_a_visit_would_take(method, count):
    params = {"only": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}

    def loss(params, batch):
        out = batch @ params["only"]["kernel"] + params["only"]["bias"][None]
        return jnp.mean(out**2)

    # With a meta-optimizer that stands still, an eta model answers as it did.
    settings = method.settings | {"meta_optimizer": "sgd", "meta_learning_rate": 0.0}
    algorithm = make_optimizer(method.optimizer, **settings)(loss, jax.random.key(0), 9)
    batch, key = jnp.ones((4, 2)), jax.random.key(0)
    state = algorithm.init(params, Batches(batch, batch), key)
    state = jax.tree.map(  # An eta model that has something to say.
        lambda leaf: leaf + 0.01 * jnp.arange(leaf.size).reshape(leaf.shape)
        if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf,
        state,
    )  # fmt: skip
    step = jax.jit(algorithm.step)
    params, state, info = step(params, state, Batches(batch, batch), key)
    params, state = jax.tree.map(lambda leaf: leaf[None], (params, state))
    answers = mixing.answers_of(method)(params, state)
    visit = info.detail["only"]
    end = method.settings["proposal_max"]
    for name, scale in (("mixing_weight", 1), ("proposal", end)):
        answered = answers[name]["only"]
        assert answered.shape == (1, count)
        told = getattr(visit, name)
        np.testing.assert_allclose(scale * answered.mean(), told, rtol=1e-5)
    assert not np.isclose(visit.mixing_weight, 0.5)


def a_number(benchmark, *, with_test):
    """One block of one number, to be the mean of the data; no test set to be had."""
    assert not with_test
    data = jnp.arange(1280.0) / 1280

    def measure(params, model_state, batch):
        distances = jnp.abs(params["only"]["w"] - 0.5) * jnp.ones_like(batch)
        return {"loss": distances, "accuracy": jnp.clip(1 - distances, 0, 1)}

    return Problem(
        init=lambda key: ({"only": {"w": jax.random.uniform(key)}}, ()),
        loss_fn=lambda params, batch: jnp.mean((params["only"]["w"] - batch) ** 2),
        train=data,
        evaluation={"validation": data},
        measure=measure,
    )


def test_a_run_is_looked_at_all_along_and_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(mixing, "build", a_number)
    monkeypatch.setattr(mixing, "SEEDS", (0, 1))
    monkeypatch.setattr(mixing, "EVERY", 15)
    path = tmp_path / "lines.jsonl"
    for _ in range(2):
        mixing.run_method(S, TINY, path)
    lines = trials.lines_of(path)
    assert [line["seed"] for line in lines] == [0, 1]
    for line in lines:
        assert line["looks"] == [15, 30, 40] and line["steps_per_epoch"] == 20
        assert len(line["validation_accuracy"]) == line["epochs"] == 2
        for name in mixing.QUANTITIES:
            for block, means in line[name].items():
                assert block == "only"
                assert len(means) == 3 and all(0 <= mean <= 1 for mean in means)
                early, all_of_it = (
                    np.array(line["shares"][part][name][block])
                    for part in ("first epoch", "run")
                )
                # One answer a look: the first in the first epoch, a third of all.
                bin_of_it = min(int(means[0] * mixing.BINS), mixing.BINS - 1)
                assert early[bin_of_it] == 1 == early.sum()
                assert all_of_it.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("betas", "word"),
    [
        ([[0.1, 0.2, 0.8, 0.9], [0.1, 0.2, 0.7, 0.9]], "rises"),
        ([[0.9, 0.8, 0.2, 0.1], [0.9, 0.7, 0.2, 0.1]], "falls"),
        ([[0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.1, 0.2]], "open"),
        ([[0.1, 0.1, 0.9, 0.9]], ""),
    ],
)
def test_whether_beta_rises_is_decided_over_seeds(betas, word):
    assert mixing_report.moves(np.array(betas), 2) == word


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        ([0.5, 0.97, 0.98], "step 20"),
        ([0.97, 0.5, 0.01], "step 30"),
        ([0.01, 0.97, 0.99], "step 10"),
        ([0.01, 0.97, 0.6], "never"),
    ],
)
def test_beta_is_saturated_where_it_stays_near_an_end(mean, words):
    assert mixing_report.saturated_from(np.array(mean), [10, 20, 30]) == words


def test_the_section_has_a_row_a_block_a_picture_and_what_is_missing(
    tmp_path, monkeypatch
):
    path = tmp_path / "lines.jsonl"
    monkeypatch.setattr(mixing_report, "RESULTS", path)
    half = [0.25] + [0.0] * 9 + [0.5] + [0.0] * 8 + [0.25]
    for seed in range(2):
        by_block = {"Dense_0": [0.5, 0.7 + seed / 10, 0.99, 0.98]}
        append_line(path, {
            "phase": "mixing", "problem": "mnist 100", "method": "SAMT-S, tanh",
            "seed": seed, "steps_per_epoch": 20, "looks": [10, 20, 30, 40],
            "mixing_weight": by_block, "proposal": by_block, "device": "cpu",
            "shares": {"run": {"mixing_weight": {"Dense_0": half},
                               "proposal": {"Dense_0": half}}},
        })  # fmt: skip
    text = mixing_report.section(tmp_path)
    course = "0.500 → 0.750 → 0.980"
    row = f"| SAMT-S, tanh | Dense_0 | {course} | rises | step 30 | 50.0 | 50.0 |"
    assert row in text
    assert "Not run yet: SAMT-S, sigmoid, SAMT-E, tanh, SAMT-E, sigmoid." in text
    assert "Not run yet: anything on fashion_mnist 100." in text
    assert (tmp_path / "mixing-mnist-100.png").stat().st_size > 10_000
