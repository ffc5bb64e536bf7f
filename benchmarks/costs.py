"""What a step of a method costs, and what a run spends until it is good.

    python -m benchmarks.costs

Four measures, because they differ: updates of each weight, gradients of a batch's loss,
floating-point operations, and seconds. Operations are those of a compiled step, as XLA
counts them: `python -m benchmarks.costs` compiles every method of the tables with
rivals, on each of their networks, runs nothing, and appends a line each to
`benchmarks/results/step_flops.jsonl` (half a minute a line on two cores at most).
Seconds are never those of the runs, which were made beside other work: they are Adam's
time of a step from `samt bench` (`results/engine_cost.jsonl`), times what the method
took in units of Adam's, measured in turns with it, there or by
`python -m benchmarks.reproduce NAME --time`. What was not measured has no number.
"""

import functools
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import engine_cost, rivals
from benchmarks.experiments import EXPERIMENTS
from benchmarks.problems import PROBLEMS, Benchmark, build
from benchmarks.trials import Line, Method, epochs_to_target, lines_of, machine
from samt_jax.base import Batches
from samt_jax.bench import cells
from samt_jax.data_order import data_order, gather_batches, step_indices
from samt_jax.optimizers import make_optimizer
from samt_jax.runs import append_line

RESULTS = Path(__file__).parent / "results" / "step_flops.jsonl"

# Under what the methods of the tables stand in the lines of `samt bench`.
CELLS = {
    "SGD": cells.Method("sgd"),
    "Adam": cells.Method("adam"),
    "SAMT-S, gradient": cells.Method("SAMT-S", "next", "chain"),
    "SAMT-E, gradient": cells.Method("SAMT-E", "next", "chain"),
    "SAMT-S": cells.Method("SAMT-S", "next", "chain", "momentum"),
    # A schedule is one more factor of a number.
    "SAMT-S, cosine": cells.Method("SAMT-S", "next", "chain", "momentum"),
}


class Spent(NamedTuple):
    """What a run spent until its validation accuracy was a target.

    A run that never got there would have spent an epoch more than its own at least, and
    that is what stands for it. `None` where the cost of a step is not known.

    Attributes:
      is_reached: Whether the target was.
      epochs: Epochs, whole ones: accuracy is measured at their ends.
      updates: Updates of each weight.
      gradients: Gradients of a batch's loss.
      flops: Floating-point operations.
      seconds: Seconds of training, on a machine of its own.
    """

    is_reached: bool
    epochs: int
    updates: float
    gradients: float
    flops: float | None
    seconds: float | None


def spent(line: Line, target: float | None = None) -> Spent:
    """What a run spent until a target, by default its problem's."""
    problem, method = line["problem"], line["method"]
    if target is None:
        target = PROBLEMS[problem].target
    found = epochs_to_target(line, target)
    epochs = line["epochs"] + 1 if found is None else found
    share = epochs / line["epochs"]
    # DANTE takes several steps on a layer before the next.
    is_dante = line["optimizer"] == "dante"
    visits = line["settings"].get("num_updates", 5) if is_dante else 1
    flops, seconds = flops_per_step(problem, method), seconds_per_step(problem, method)
    steps = share * line["steps"]
    return Spent(
        is_reached=found is not None,
        epochs=epochs,
        updates=steps * visits,
        gradients=share * line["gradient_evaluations"],
        flops=None if flops is None else steps * flops,
        seconds=None if seconds is None else steps * seconds,
    )


def network_name(benchmark: Benchmark) -> str:
    """The network of a problem; the MLPs on 28 x 28 images share theirs."""
    if benchmark.width or benchmark.metric == "rmse":
        return benchmark.name
    return "-".join(map(str, (784, *benchmark.hidden, 10)))


def flops_per_step(problem: str, method: str) -> float | None:
    """Operations of a step, from the committed lines; `None` where there is none."""
    network = network_name(PROBLEMS[problem])
    return _flops().get((network, method))


def seconds_per_step(problem: str, method: str) -> float | None:
    """Seconds of a step, from the committed lines; `None` where not measured."""
    network = network_name(PROBLEMS[problem])
    adam = _bench().get((network, *CELLS["Adam"]))
    ratio = in_adams(problem, method)
    if adam is None or ratio is None:
        return None
    return 1e-6 * adam["microseconds_per_step"] * ratio


def in_adams(problem: str, method: str) -> float | None:
    """Time of a step in units of Adam's, from the committed lines, if measured."""
    cell = CELLS.get(method)
    if cell is not None:
        line = _bench().get((network_name(PROBLEMS[problem]), *cell))
        if line is not None:
            return statistics.median(line["adam_epochs_by_round"])
    timed = timed_in_turns(problem).get(method)
    return None if timed is None else timed.in_adams


class Timed(NamedTuple):
    """The times of a method, and those of Adam where both took turns.

    Attributes:
      line: The method's line of the phase `time`.
      adam: Adam's, if it was timed beside.
    """

    line: Line
    adam: Line | None

    @property
    def seconds_an_epoch(self) -> float:
        """Median time of an epoch."""
        return float(np.median(_seconds(self.line))) * self.line["steps_per_epoch"]

    @property
    def in_adams(self) -> float | None:
        """Median over the rounds of the time in units of Adam's in the same round."""
        if self.adam is None:
            return None
        return float(np.median(_seconds(self.line) / _seconds(self.adam)))


def _seconds(line: Line) -> np.ndarray:
    return np.array(line["train_seconds"]) / line["steps"]


@functools.cache
def timed_in_turns(problem: str) -> dict[str, Timed]:
    """The last times of each method on a problem's network.

    Methods that took turns have their lines one after the other; times of two days do
    not compare.
    """
    network = network_name(PROBLEMS[problem])
    found: dict[str, dict[str, Line]] = {}
    turns: dict[str, Line] = {}
    for line in lines_of(rivals.RESULTS):
        is_time = line["phase"] == "time"
        if not is_time or line["method"] in turns:
            turns = {}
        if is_time and network_name(PROBLEMS[line["problem"]]) == network:
            turns[line["method"]] = line
            found[line["method"]] = turns
    return {name: Timed(of[name], of.get("Adam")) for name, of in found.items()}


@functools.cache
def _bench() -> dict[tuple, Line]:
    return engine_cost.last_cells(lines_of(engine_cost.RESULTS))


@functools.cache
def _flops() -> dict[tuple[str, str], float]:
    return {
        (line["network"], line["method"]): line["flops_per_step"]
        for line in lines_of(RESULTS)
    }


def count_flops(method: Method, benchmark: Benchmark) -> float:
    """Compiles a step of a method and counts its floating-point operations.

    Args:
      method: The method.
      benchmark: Its problem.

    Returns:
      The compiler's count; every branch and loop body once, and no step of this table
      has a loop.
    """
    problem = build(benchmark, with_test=False)
    make = make_optimizer(method.optimizer, **method.settings)
    # Rates and schedules are numbers, or their arithmetic: any length will do.
    algorithm = make(problem.loss_fn, jax.random.key(0), 1000)
    num_examples = len(jax.tree.leaves(problem.train)[0])
    order = data_order(num_examples, benchmark.batch_size, algorithm.batch_spec)
    first = jax.tree.map(lambda leaf: leaf[0], step_indices(order, 0, 0, 1))

    def batches_of(train: Any) -> Batches:
        return gather_batches(train, first)

    key = jax.random.key(0)
    batches = jax.eval_shape(batches_of, problem.train)
    params, _ = jax.eval_shape(problem.init, key)
    state = jax.eval_shape(algorithm.init, params, batches, key)
    step = jax.jit(algorithm.step).lower(params, state, batches, key)
    return float((step.compile().cost_analysis() or {})["flops"])


def run() -> None:
    """Counts what has no line yet, networks of few units first."""
    wanted = {
        (network_name(PROBLEMS[problem]), method.name): (method, PROBLEMS[problem])
        for experiment in EXPERIMENTS.values()
        if experiment.path == rivals.RESULTS
        for problem in experiment.problems
        if PROBLEMS[problem].target
        for method in experiment.methods
    }
    for network, name in sorted(wanted):
        if (network, name) in _flops():
            continue
        method, benchmark = wanted[network, name]
        line = {
            "network": network,
            "method": name,
            "optimizer": method.optimizer,
            "settings": method.settings,
            "batch_size": benchmark.batch_size,
            "flops_per_step": count_flops(method, benchmark),
        }
        append_line(RESULTS, line | machine())
        print(network, name, f"{line['flops_per_step']:.4g}",
              file=sys.stderr, flush=True)  # fmt: skip


if __name__ == "__main__":
    run()
