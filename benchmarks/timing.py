"""Times of methods that compare: an epoch of each, in turns, as lines.

Times of runs that were made on different days, or beside other work, do not compare;
these do, for what disturbs a round disturbs all of it.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.problems import Benchmark, build
from benchmarks.trials import Method, machine
from samt_jax.optimizers import make_optimizer
from samt_jax.runs import append_line
from samt_jax.training import prepare


def time_methods(
    methods: Sequence[Method], benchmark: Benchmark, path: Path, rounds: int = 3
) -> None:
    """Times each method in rounds that make an epoch, and appends a line a method.

    Args:
      methods: The methods; their default learning rates are taken.
      benchmark: What they train on.
      path: File of the lines.
      rounds: In how many parts each takes an epoch.
    """
    problem = build(benchmark, with_test=False)
    trainers = [
        prepare(
            problem,
            make_optimizer(method.optimizer, **method.settings),
            epochs=1,
            batch_size=benchmark.batch_size,
        )
        for method in methods
    ]
    states = [trainer.init() for trainer in trainers]
    seconds: list[list[float]] = [[] for _ in methods]
    for done in range(1, rounds + 1):
        for index, trainer in enumerate(trainers):
            end = done * (trainer.order.steps_per_epoch // rounds)
            started = time.perf_counter()
            states[index], _ = trainer.advance(states[index], end)
            seconds[index].append(round(time.perf_counter() - started, 4))
    for method, trainer, each in zip(methods, trainers, seconds, strict=True):
        steps = trainer.order.steps_per_epoch
        line = {"phase": "time", "problem": benchmark.name, "method": method.name}
        taken = {"train_seconds": each, "steps": steps // rounds}
        append_line(path, line | taken | {"steps_per_epoch": steps} | machine())
