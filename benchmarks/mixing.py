"""What the eta models answer while SAMT trains: mixing weights β and proposals η̂.

    python -m benchmarks.mixing [--quick]

SAMT-S and SAMT-E under both squashes, with the settings of the paper's figures on them
(`experiments.squashes`), on 784-100-10, ten epochs, seeds 0 to 2, MNIST first, judged
on the validation split. Every `EVERY` steps the eta models are asked again, with the
features that they saw last, and all that they answer is counted: one number a block
(S), or one an entry of it (E). A line has the means at each look, and the shares of the
answers in `BINS` equal parts of their range, over the first epoch and over all.

Budget: eight cells of three runs, one to three minutes each on two cores. What has its
line in `benchmarks/results/mixing.jsonl` is not run again; `--quick` is one epoch of
each on MNIST, into a file below `runs/`. The report draws what the lines say.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.experiments import squashes
from benchmarks.problems import PROBLEMS, Benchmark, build
from benchmarks.trials import Line, Method, is_of, lines_of, machine
from samt_jax import (
    EtaMLP,
    get_block,
    make_optimizer,
    partition_blocks,
    scaled_features,
    step_layout,
    step_sizes,
)
from samt_jax.bench.cells import GRANULARITIES
from samt_jax.runs import append_line
from samt_jax.trainer import Progress
from samt_jax.training import EpochRecord, Keeping, prepare, run

RESULTS = Path(__file__).parent / "results" / "mixing.jsonl"
QUICK = Path("runs") / "mixing-quick.jsonl"
NAMES = ("mnist 100", "fashion_mnist 100")
QUANTITIES = ("mixing_weight", "proposal")
SEEDS = (0, 1, 2)
EVERY, BINS = 100, 20

# The general engine keeps what a visit saw in its state.
METHODS = tuple(
    method._replace(
        name=f"SAMT-{letter}, {squash}",
        settings=method.settings | {"engine": "general", "squash": squash},
    )
    for letter in "SE"
    for squash, method in zip(("tanh", "sigmoid"), squashes(letter), strict=True)
)

# By quantity and block, for each seed all that its eta model answers.
Answers = dict[str, dict[str, np.ndarray]]


class Look(NamedTuple):
    """What was answered at a step: means, and how many answers in each bin.

    Attributes:
      step: Steps taken before.
      means: By quantity and block, one number a seed.
      counts: By quantity and block, shape ``(seeds, BINS)``.
    """

    step: int
    means: Answers
    counts: Answers


def run_method(method: Method, benchmark: Benchmark, path: Path) -> None:
    """Makes a method's runs that have no line yet.

    Args:
      method: The method.
      benchmark: What it is trained on.
      path: File of the lines.
    """
    done = [
        line["seed"]
        for line in lines_of(path)
        if is_of(line, method.name, benchmark.name, "mixing")
    ]
    seeds = [seed for seed in SEEDS if seed not in done]
    if not seeds:
        return
    trainer = prepare(
        build(benchmark, with_test=False),
        make_optimizer(method.optimizer, **method.settings),
        epochs=benchmark.epochs,
        batch_size=benchmark.batch_size,
        seeds=seeds,
    )
    ask, looks = answers_of(method), []

    def look(progress: Progress, is_finite: bool) -> None:
        del is_finite  # A run that has diverged says so in its status.
        answers = ask(progress.state.params, progress.state.algorithm_state)
        looks.append(_look(progress.step, jax.device_get(answers)))

    records = list(run(trainer, keeping=Keeping(look, every=EVERY)))
    for index, seed in enumerate(seeds):
        line = _line(records, looks, index, trainer.order.steps_per_epoch)
        named = {"phase": "mixing", "problem": benchmark.name, "method": method.name}
        settings = {"optimizer": method.optimizer, "settings": method.settings}
        append_line(path, named | settings | {"seed": seed} | line | machine())
        print(benchmark.name, method.name, seed, line["status"],
              file=sys.stderr, flush=True)  # fmt: skip


def answers_of(method: Method) -> Callable[[Any, Any], dict[str, dict[str, Any]]]:
    """What the eta models of a run answer to the features that they saw last.

    Args:
      method: SAMT, by the general engine.

    Returns:
      ``ask(params, algorithm_state)``, all with a leading axis of seeds: by quantity
      and block, shape ``(seeds, step sizes)``, in units of the end of its range.
    """
    settings = method.settings
    granularity = GRANULARITIES[method.optimizer[-1].upper()]

    def ask(params: Any, state: Any) -> dict[str, dict[str, Any]]:
        (_, meta), *_ = optax.tree.get_all_with_path(state, "meta")
        (_, info), *_ = optax.tree.get_all_with_path(state, "info")
        found: dict[str, dict[str, Any]] = {name: {} for name in QUANTITIES}
        for block in partition_blocks(params).blocks:
            layout = step_layout(get_block(params, block), granularity)
            seen = scaled_features().present(info[block.name].features)
            raw: Any = EtaMLP(layout.num_steps).apply(meta[block.name].params, seen)
            # With a range of 1, proposals are in units of their range.
            heads = step_sizes(*raw, layout, 0.0, squash=settings["squash"])
            for name in QUANTITIES:
                found[name][block.name] = jnp.concatenate(
                    [jnp.ravel(_product(getattr(head, name))) for head in heads]
                )
        return found

    return jax.jit(jax.vmap(ask))


def _product(factors: Sequence[Any]) -> Any:
    return functools.reduce(jnp.multiply, factors)


def _look(step: int, answers: Answers) -> Look:
    def count(values: np.ndarray) -> np.ndarray:
        return np.array([np.histogram(each, BINS, (0, 1))[0] for each in values])

    means = jax.tree.map(lambda values: values.mean(axis=1, dtype=float), answers)
    return Look(step, means, jax.tree.map(count, answers))


def _line(
    records: Sequence[EpochRecord], looks: Sequence[Look], index: int, first_epoch: int
) -> Line:
    """A seed's run: means at each look, shares of answers, validation accuracy."""

    def shares(looks: Sequence[Look]) -> dict[str, dict[str, list[float]]]:
        summed = jax.tree.map(lambda *counts: sum(counts)[index],
                              *[look.counts for look in looks])  # fmt: skip
        return jax.tree.map(lambda c: (c / max(c.sum(), 1)).round(5).tolist(), summed)

    early = [look for look in looks if look.step <= first_epoch]
    means = jax.tree.map(lambda *each: [round(float(e[index]), 5) for e in each],
                         *[look.means for look in looks])  # fmt: skip
    return {
        "status": records[-1].status[index],
        "epochs": len(records),
        "steps_per_epoch": first_epoch,
        "validation_accuracy": [
            round(float(r.evaluation["validation"]["accuracy"][index]), 6)
            for r in records
        ],
        "looks": [look.step for look in looks],
        **means,
        "shares": {"first epoch": shares(early), "run": shares(looks)},
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixing")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    path = QUICK if quick else RESULTS
    path.parent.mkdir(exist_ok=True)
    for name in NAMES[:1] if quick else NAMES:
        benchmark = PROBLEMS[name]
        if quick:
            benchmark = benchmark._replace(epochs=1)
        for method in METHODS:
            run_method(method, benchmark, path)


if __name__ == "__main__":
    main()
