"""Trials on equal terms: one rule of tuning for all, then final runs, as lines.

A method is tuned on its problem's `tuned_on`: at three multiples of its learning rate,
and, as long as the best lies at the edge of what was tried, one step beyond it, twice
at most. A trial is one run under a seed that no final run has, judged by its mean
validation accuracy (or error) over the last `LAST_EPOCHS` epochs; one that diverged is
the worst, and of equals the lowest rate is the best.
The test set is not even given to the loop. The final runs, one a seed, measure
validation and test accuracy after every epoch. Every run, diverged or not, is one JSON
line; a run that has its line is not repeated.
"""

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from benchmarks.problems import PROBLEMS, Benchmark, build
from benchmarks.transfer import meta_params_of, start_from
from benchmarks.watched import watch
from samt_jax.optimizers import OPTIMIZERS, make_optimizer
from samt_jax.problem import Problem
from samt_jax.runs import append_line, read_lines
from samt_jax.training import EpochRecord, prepare, run

TUNING_SEED = 100
LAST_EPOCHS = 2
TUNING_EPOCHS = 5
# An error in standard deviations of the training targets, of which their mean as
# prediction has about 1; a cross-entropy, of which a guess has 2.3 to 4.6.
LOST_RMSE, LOST_ACCURACY, LOST_LOSS = 10.0, 0.25, 100.0
# What the middle learning rate is multiplied by; the trials start with three of them.
FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FIRST_TRIALS = (2, 3, 4)
# What a line keeps of a method's own record, epoch by epoch: learning rates and step
# sizes, and what SAMT mixed these of.
RATES = ("learning_rate", "step_size", "mixing_weight", "proposal", "swing")

Line = dict[str, Any]
Settings = dict[str, Any]


class Method(NamedTuple):
    """A method of a comparison.

    Attributes:
      name: What lines and tables call it.
      optimizer: Its name in the library.
      settings: What is fixed.
      rate: Middle of the learning rates to try; by default the library's default.
      is_tuned: Whether the learning rate is; otherwise `settings` are all there is.
      proposal_ratio: SAMT: the end of the proposal's range, in learning rates.
      eta_from: SAMT: the problem whose eta models a run starts from, trained with the
        same seed and settings, for as many epochs.
      is_watched: SAMT: whether lines have the swings of its step sizes too.
    """

    name: str
    optimizer: str
    settings: Settings = {}  # noqa: RUF012 - a NamedTuple's default, never changed.
    rate: float | None = None
    is_tuned: bool = True
    proposal_ratio: float | None = None
    eta_from: str | None = None
    is_watched: bool = False

    def trial(self, index: int) -> Settings:
        """The settings of a tuning trial, by its index in `FACTORS`."""
        middle = self.rate or OPTIMIZERS[self.optimizer].learning_rate
        if middle is None:
            raise ValueError(f"{self.optimizer} has no learning rate to tune.")
        rate = _rounded(FACTORS[index] * middle)
        return rates_from(rate, self.proposal_ratio) | self.settings


def rates_from(rate: float, proposal_ratio: float | None) -> Settings:
    """A learning rate and, with a ratio, the end of the proposal's range."""
    rates = {"learning_rate": rate}
    if proposal_ratio is not None:
        rates["proposal_max"] = _rounded(proposal_ratio * rate)
    return rates


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def run_method(method: Method, benchmark: Benchmark, path: Path) -> None:
    """Tunes a method where it is to be tuned, and makes its final runs.

    Args:
      method: The method.
      benchmark: What it is trained on.
      path: File of the lines; what stands there is not run again.
    """
    if method.is_tuned:
        tuning = PROBLEMS[benchmark.tuned_on]
        while missing := missing_trials(method, tuning.name, lines_of(path)):
            run_missing(method, tuning, "tuning", missing[0], path, (TUNING_SEED,))
    settings = chosen_settings(method, benchmark, lines_of(path))
    seeds = range(benchmark.num_seeds)
    run_missing(method, benchmark, "final", settings, path, seeds)


def lines_of(path: Path) -> list[Line]:
    """The lines of a file, none where there is no file yet."""
    return read_lines(path) if path.exists() else []


def missing_trials(
    method: Method, problem: str, lines: Iterable[Line]
) -> list[Settings]:
    """What is to be tried before the tuning of a method is done.

    Args:
      method: The method.
      problem: Name of the problem that it is tuned on.
      lines: All lines.

    Returns:
      The settings of the trials that are known to be missing; none when it is done.
    """
    scores = _scores(method, problem, lines)
    missing = [index for index in FIRST_TRIALS if index not in scores]
    if not missing:
        best = _best(scores)
        beyond = (best - 1, best + 1)
        missing = [i for i in beyond if i in range(len(FACTORS)) and i not in scores]
    return [method.trial(index) for index in missing]


def _scores(method: Method, problem: str, lines: Iterable[Line]) -> dict[int, float]:
    """The score of each trial that has a line, by its index in `FACTORS`."""
    found = [line for line in lines if is_of(line, method.name, problem, "tuning")]
    trials = [method.trial(index) for index in range(len(FACTORS))]
    return {
        trials.index(line["settings"]): validation_score(line)
        for line in found
        if line["settings"] in trials
    }


def chosen_settings(
    method: Method, benchmark: Benchmark, lines: Sequence[Line]
) -> Settings:
    """The settings of the final runs: the best trial on the validation split.

    Args:
      method: The method.
      benchmark: What it is to be trained on.
      lines: All lines.

    Returns:
      The settings.

    Raises:
      ValueError: The tuning is not done.
    """
    if not method.is_tuned:
        return method.settings
    missing = missing_trials(method, benchmark.tuned_on, lines)
    if missing:
        raise ValueError(
            f"{method.name} is not tuned yet on {benchmark.tuned_on}: no line for "
            f"{missing}; run it first."
        )
    scores = _scores(method, benchmark.tuned_on, lines)
    return method.trial(_best(scores))


def _best(scores: Mapping[int, float]) -> int:
    """The lowest of the best: where every trial diverged, a lower rate may not."""
    return max(sorted(scores), key=lambda index: scores[index])


def has_diverged(line: Line) -> bool:
    """Whether a run came to numbers that are not finite, or to results beyond sense.

    SAMT skips a visit whose numbers are not finite: where others end at NaN, it may
    stay at an error of a million standard deviations, or at the accuracy of chance with
    a loss of a million. Such a loss alone may be that of a few batches.
    """
    if line["status"] == "diverged":
        return True
    if "validation_rmse" in line:
        error = line["validation_rmse"][-1]
        # A line has null for what is not a finite number.
        return error is None or error > LOST_RMSE
    is_at_chance = line["validation_accuracy"][-1] < LOST_ACCURACY
    return is_at_chance and line["train_loss"][-1] > LOST_LOSS


def validation_score(line: Line) -> float:
    """What a trial is chosen by, the more the better; least is one that diverged."""
    if has_diverged(line):
        return -np.inf
    if "validation_rmse" in line:
        return -float(np.mean(line["validation_rmse"][-LAST_EPOCHS:]))
    return float(np.mean(line["validation_accuracy"][-LAST_EPOCHS:]))


def is_of(line: Line, method: str, problem: str, phase: str) -> bool:
    """Whether a line is of this method on this problem in this phase, all by name."""
    key = (line["method"], line["problem"], line["phase"])
    return key == (method, problem, phase)


def final_lines(method: str, problem: str, lines: Iterable[Line]) -> list[Line]:
    """The final runs of a method on a problem, in the order of their seeds."""
    found = [line for line in lines if is_of(line, method, problem, "final")]
    return sorted(found, key=lambda line: line["seed"])


def epochs_to_target(line: Line, target: float) -> int | None:
    """Epochs until a run's validation accuracy is the target's; `None` for never."""
    reached = np.array(line["validation_accuracy"]) >= target
    return int(np.argmax(reached)) + 1 if reached.any() else None


def run_missing(
    method: Method,
    benchmark: Benchmark,
    phase: str,
    settings: Settings,
    path: Path,
    seeds: Sequence[int],
) -> None:
    """Makes a method's runs of a phase that have no line yet.

    Args:
      method: The method.
      benchmark: What it is trained on.
      phase: `"tuning"`, one short run under a seed that no other has; `"reading"`,
        whole runs, judged on the validation split; or `"final"`, the same with the test
        set, which no other sees.
      settings: The optimizer's settings.
      path: File of the lines.
      seeds: The seeds of the runs.
    """
    done = [
        line["seed"]
        for line in lines_of(path)
        if is_of(line, method.name, benchmark.name, phase)
        and line["settings"] == settings
    ]
    missing = [seed for seed in seeds if seed not in done]
    if not missing:
        return
    problem = build(benchmark, with_test=phase == "final")
    if phase == "tuning":
        benchmark = benchmark._replace(epochs=TUNING_EPOCHS)
    for line in run_seeds(method, benchmark, problem, settings, missing):
        append_line(path, {"phase": phase} | line)
        print(phase, benchmark.name, method.name, settings, line["seed"],
              line["status"], f"{validation_score(line):.4f}",
              file=sys.stderr, flush=True)  # fmt: skip


def run_seeds(
    method: Method,
    benchmark: Benchmark,
    problem: Problem,
    settings: Settings,
    seeds: Sequence[int],
) -> list[Line]:
    """Trains once a seed in one compiled program, and says all that is to be known.

    Args:
      method: The method.
      benchmark: Its problem.
      problem: The same, built.
      settings: The optimizer's settings.
      seeds: The seeds of the runs.

    Returns:
      Their lines, without the phase. Accuracies, losses, seconds and learned rates have
      one number an epoch; seconds are a run's share of those of all seeds.
    """
    origin, trained = machine(), None
    if method.eta_from:
        source = PROBLEMS[method.eta_from]._replace(epochs=benchmark.epochs)
        trained = meta_params_of(source, method.optimizer, settings, seeds)
    make_algorithm = make_optimizer(method.optimizer, **settings)
    trainer = prepare(
        problem,
        watch(make_algorithm) if method.is_watched else make_algorithm,
        epochs=benchmark.epochs,
        batch_size=benchmark.batch_size,
        seeds=seeds,
    )
    start = trainer.init()
    records = list(run(trainer, start_from(start, trained) if trained else start))
    per_step = gradients_per_step(method.optimizer, settings, benchmark.num_blocks)
    metric = benchmark.metric
    common = {
        "problem": benchmark.name,
        "method": method.name,
        "optimizer": method.optimizer,
        "settings": settings,
        **({"eta_from": method.eta_from} if method.eta_from else {}),
        "epochs": len(records),
        "steps": records[-1].step,
        "gradient_evaluations": records[-1].step * per_step,
    }
    measured = [_measured(records, index, metric) for index in range(len(seeds))]
    return [
        common | {"seed": seed} | line | origin
        for seed, line in zip(seeds, measured, strict=True)
    ]


def _measured(records: Sequence[EpochRecord], index: int, metric: str) -> Line:
    """What a run's line says of its course; the run is one of several seeds."""
    num_seeds = len(records[-1].status)
    results = {
        f"{part}_{metric}": [
            round(float(record.evaluation[part][metric][index]), 6)
            for record in records
        ]
        for part in records[-1].evaluation
    }
    return {
        "status": records[-1].status[index],
        "train_loss": [float(r.metrics.info.value[index]) for r in records],
        **results,
        "rates": _rates(records, index),
        "train_seconds": [round(r.train_seconds / num_seeds, 3) for r in records],
        "compile_seconds": round(records[-1].compile_seconds, 3),
    }


def gradients_per_step(
    optimizer: str, settings: Mapping[str, Any], num_blocks: int
) -> int:
    """How many gradients of a mini-batch's loss a step computes.

    SAMT takes two a visit, one on the training batch and one on the meta-batch; DANTE
    one for each update of a block; all others one. A block's gradient counts as one,
    though it costs less than that of the whole network. Eta models that are frozen are
    given a meta-batch like any.

    Args:
      optimizer: Its name in the library.
      settings: Its settings.
      num_blocks: Layers of the network, each a block where settings do not say else.

    Returns:
      The number.
    """
    num_blocks = len(settings.get("blocks", range(num_blocks)))
    if optimizer.startswith("samt-"):
        return 2 * num_blocks * settings.get("inner_steps", 1)
    if optimizer == "dante":
        return num_blocks * settings.get("num_updates", 5)
    return 1


def _rates(records: Sequence[EpochRecord], index: int) -> dict[str, list[float]]:
    """What the method chose, `RATES`: means over each epoch."""
    rates: dict[str, list[float]] = {}
    for record in records:
        detail = record.metrics.info.detail
        for field in RATES:
            for path, leaf in optax.tree.get_all_with_path(detail, field):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                if np.ndim(leaf) == 1:
                    rates.setdefault(name, []).append(float(f"{leaf[index]:.6g}"))
    return rates


@functools.cache
def machine() -> dict[str, str]:
    """What a line says of where it comes from: device, versions, flags, commit.

    Once a process, so that the commit is that of the code which it has loaded.
    """
    flags = os.environ.get("XLA_FLAGS")
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout
    return {
        "device": f"{jax.devices()[0].device_kind}, {platform.machine()}",
        "jax": jax.__version__,
        "python": platform.python_version(),
        **({"xla_flags": flags} if flags else {}),
        "commit": commit.strip(),
    }
