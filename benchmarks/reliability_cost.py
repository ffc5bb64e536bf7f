"""What keeping a run safe costs: the guards of a visit, and a checkpoint.

    python -m benchmarks.reliability_cost

The paper's MLP, 784-400-10, batches of 64, on random images: time does not depend on
what they show. *Guards*: a step of SAMT-S by the chain engine, with the checks for what
is not finite and without (`keep_if` takes the new tree, `all_finite` says yes), both
compiled, called in turns. *Checkpoint*: a save of the run's whole state, durable when
it returns. Appends JSON lines to `benchmarks/results/reliability_cost.jsonl`.
"""

import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from samt_jax import chain_sweep, checkpoint, layer_step, visit
from samt_jax.cli.environment import environment
from samt_jax.manifest import Identity
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import Problem, supervised
from samt_jax.trainer import Progress, Trainer, prepare

RESULTS = pathlib.Path(__file__).parent / "results" / "reliability_cost.jsonl"
STEPS, ROUNDS, SAVES = 100, 15, 30


class Images(NamedTuple):
    """Random images of MNIST's size, as a data set."""

    task: str
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def make_problem() -> Problem:
    """The paper's MLP on 6,400 images: an epoch of a hundred steps."""
    rng = np.random.default_rng(0)

    def part(size: int) -> tuple[np.ndarray, np.ndarray]:
        images = rng.normal(size=(size, 28, 28, 1)).astype(np.float32)
        return images, rng.integers(0, 10, size, np.int32)

    model = build_model("mlp", num_outputs=10, hidden=(400,))
    dataset = Images("classification", part(64 * STEPS), part(64), part(64))
    return supervised(dataset, model)


@contextlib.contextmanager
def no_guards() -> Iterator[None]:
    """Has visits traced in here check nothing, and always take what they computed."""
    say_yes, take_new = (lambda *_: jnp.array(True)), (lambda ok, new, old: new)
    with contextlib.ExitStack() as stack:
        for home, name, instead in (
            (visit, "all_finite", say_yes),
            (visit, "keep_if", take_new),
            (layer_step, "all_finite", say_yes),
            (chain_sweep, "candidate_is_finite", say_yes),
            (chain_sweep, "keep_if", take_new),
        ):
            stack.enter_context(mock.patch.object(home, name, instead))
        yield


def measure_guards(problem: Problem, make: Any) -> tuple[dict[str, Any], Trainer]:
    """Milliseconds a step with guards and without, measured in turns."""
    guarded = prepare(problem, make, epochs=ROUNDS + 1)
    with no_guards():
        bare = prepare(problem, make, epochs=ROUNDS + 1)
    times: dict[str, list[float]] = {"guarded": [], "bare": []}
    for _ in range(ROUNDS):
        for name, trainer in (("guarded", guarded), ("bare", bare)):
            progress = trainer.init()
            jax.block_until_ready(progress.state)
            seconds = _seconds(lambda t=trainer, p=progress: t.advance(p, STEPS))
            times[name].append(1e3 * seconds / STEPS)
    ratios = [a / b - 1 for a, b in zip(times["guarded"], times["bare"], strict=True)]
    return {
        "what": "guards of SAMT-S, chain engine",
        "rounds": ROUNDS,
        "steps_a_round": STEPS,
        "guarded_ms": statistics.median(times["guarded"]),
        "bare_ms": statistics.median(times["bare"]),
        "cost_percent": 100 * statistics.median(ratios),
        "cost_percent_quartiles": [
            100 * each for each in statistics.quantiles(ratios, n=4)[::2]
        ],
    }, guarded


def measure_checkpoint(progress: Progress) -> dict[str, Any]:
    """Milliseconds of a save and of a restoration."""
    identity = Identity({}, [], {})
    saves, restores = [], []
    with tempfile.TemporaryDirectory(dir=".") as home:
        folder = pathlib.Path(home, "checkpoints")
        for step in range(SAVES + 5):
            save = lambda s=step: checkpoint.save(folder, s, progress, identity)  # noqa: E731
            saves.append(1e3 * _seconds(save))
            restore = lambda: checkpoint.restore(folder, progress, identity)  # noqa: E731
            restores.append(1e3 * _seconds(restore))
    # The first ones load what is needed, and have nothing old to remove.
    saves, restores = saves[5:], restores[5:]
    return {
        "what": "checkpoint of SAMT-S on 784-400-10",
        "megabytes": sum(x.nbytes for x in jax.tree.leaves(progress)) / 1e6,
        "saves": SAVES,
        "save_ms": statistics.median(saves),
        "save_ms_quartiles": statistics.quantiles(saves, n=4)[::2],
        "restore_ms": statistics.median(restores),
    }


def main() -> None:
    """Measures both, and appends a line each."""
    problem, make = make_problem(), make_optimizer("samt-s")
    guards, trainer = measure_guards(problem, make)
    progress, _ = trainer.advance(trainer.init(), STEPS)
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout
    run = {"commit": commit.strip(), "environment": environment()}
    with RESULTS.open("a") as file:
        for line in (guards, measure_checkpoint(progress)):
            print(json.dumps(line))
            file.write(json.dumps(line | run) + "\n")


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
