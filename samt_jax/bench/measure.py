"""Measures cells in turns, each an epoch in one compiled scan.

Every cell of a network is compiled, run once to warm up, and then measured round by
round, so that what changes on the machine meanwhile meets all of them.
"""

import functools
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from samt_jax.base import ONE_BATCH, Algorithm, Batch, LossFn, Params, from_optax
from samt_jax.bench.cells import BASELINE, GRANULARITIES, Method, Network
from samt_jax.data_order import StepIndices, data_order, gather_batches, step_indices
from samt_jax.engine import samt_algorithm
from samt_jax.models import build_model
from samt_jax.problem import supervised

BATCH_SIZE = 64
LEARNING_RATE = 0.1
_PROC_STAT = Path("/proc/stat")


class Subject(NamedTuple):
    """A cell that is ready to be measured.

    Attributes:
      method: What it measures.
      run: Trains one epoch further, waits for it, and returns its mean loss.
      facts: What is known before it runs: compile seconds, operations, memory.
    """

    method: Method
    run: Callable[[], float]
    facts: Mapping[str, Any]


class Rounds(NamedTuple):
    """What measuring a cell gave, one entry a round.

    Attributes:
      seconds: Wall time of the epoch.
      foreign: Share of the processors' time that other processes took meanwhile; NaN
        where the system does not say.
      loss: Mean loss of the last epoch.
    """

    seconds: list[float]
    foreign: list[float]
    loss: float


def measure_network(
    network: Network,
    methods: Sequence[Method],
    dataset: Any,
    *,
    rounds: int = 5,
) -> Iterator[dict[str, Any]]:
    """Measures the methods on one network, in turns.

    Args:
      network: The network.
      methods: The methods, the baseline among them; those in PyTorch are left out where
        it is not installed.
      dataset: What is trained on; its fields are `task`, `train`, `num_outputs`.
      rounds: Epochs a method, at least 1.

    Yields:
      One line a method.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    wanted = [m for m in methods if m.framework == "jax" or has_torch]
    subjects = [_prepare(network, method, dataset) for method in wanted]
    measured = take_turns(subjects, rounds)
    base = _baseline(subjects, measured)
    steps = num_steps(network, dataset)
    for subject, cell in zip(subjects, measured, strict=True):
        median = statistics.median(cell.seconds)
        ratios = [a / b for a, b in zip(cell.seconds, base.seconds, strict=True)]
        yield {
            "network": network.name,
            **subject.method._asdict(),
            "batch_size": BATCH_SIZE,
            "steps": steps,
            "microseconds_per_step": 1e6 * median / steps,
            "epoch_seconds": cell.seconds,
            "adam_epochs": median / statistics.median(base.seconds),
            "adam_epochs_by_round": ratios,
            "foreign_load": cell.foreign,
            "last_loss": cell.loss,
            **subject.facts,
        }


def take_turns(subjects: Sequence[Subject], rounds: int) -> list[Rounds]:
    """Warms every subject up, and then runs them in turns.

    Args:
      subjects: What to run.
      rounds: How often each, at least 1.

    Returns:
      What was measured, in the order of the subjects.

    Example:
      >>> from samt_jax.bench.cells import Method
      >>> calls = []
      >>> def subject(name):
      ...     return Subject(Method(name), lambda: calls.append(name) or 0.5, {})
      >>> first, second = take_turns([subject("a"), subject("b")], rounds=2)
      >>> calls, len(first.seconds), second.loss
      (['a', 'b', 'a', 'b', 'a', 'b'], 2, 0.5)
    """
    for subject in subjects:
        subject.run()
    seconds: list[list[float]] = [[] for _ in subjects]
    foreign: list[list[float]] = [[] for _ in subjects]
    losses = [0.0 for _ in subjects]
    for _ in range(rounds):
        for i, subject in enumerate(subjects):
            others, started = _foreign_seconds(), time.perf_counter()
            losses[i] = subject.run()
            wall = time.perf_counter() - started
            seconds[i].append(wall)
            taken = (_foreign_seconds() - others) / (wall * (os.cpu_count() or 1))
            foreign[i].append(round(max(taken, 0.0), 3))
    return [Rounds(*each) for each in zip(seconds, foreign, losses, strict=True)]


def _prepare(network: Network, method: Method, dataset: Any) -> Subject:
    if method.framework == "torch":
        # Only now, and only where it is installed: it takes seconds to import.
        from samt_jax.bench.torch_methods import torch_epoch

        steps = num_steps(network, dataset)
        order = data_order(len(dataset.train[0]), BATCH_SIZE, ONE_BATCH)
        indices = step_indices(order, 0, 0, steps).train[:, 0]
        run, facts = torch_epoch(network, method, dataset, indices)
        return Subject(method, run, facts)
    return jax_subject(network, method, dataset)


def jax_subject(
    network: Network, method: Method, dataset: Any, *, keeps_records: bool = False
) -> Subject:
    """Compiles a cell of this library or of optax.

    Args:
      network: The network.
      method: The method.
      dataset: Images as :func:`measure_network` takes them.
      keeps_records: Whether each step works out all that it reports, as in a training
        loop; else its loss alone.

    Returns:
      The cell, ready to be measured.
    """
    model = build_model(
        network.model, num_outputs=dataset.num_outputs, hidden=network.hidden
    )
    problem = supervised(dataset, model)
    algorithm = _algorithm(method, problem.loss_fn)
    num_examples, steps = len(problem.train[0]), num_steps(network, dataset)
    order = data_order(num_examples, BATCH_SIZE, algorithm.batch_spec)
    indices = jax.device_put(step_indices(order, 0, 0, steps))
    params, _ = problem.init(jax.random.key(0))
    first = gather_batches(problem.train, jax.tree.map(lambda x: x[0], indices))
    state = algorithm.init(params, first, jax.random.key(0))
    # Donated arrays must be one's own.
    carry = jax.tree.map(jnp.array, (params, state))
    started = time.perf_counter()
    epoch = functools.partial(_epoch, algorithm, keeps_records)
    lowered = jax.jit(epoch, donate_argnums=0).lower(carry, problem.train, indices)
    traced = time.perf_counter()
    compiled = lowered.compile()
    facts = {
        "trace_seconds": traced - started,
        "compile_seconds": time.perf_counter() - traced,
        **_cost(compiled),
        "params_bytes": _num_bytes(params),
        "state_bytes": _num_bytes(state),
    }

    def run() -> float:
        nonlocal carry
        carry, *told = compiled(carry, problem.train, indices)
        loss, _ = jax.block_until_ready(told)
        return float(loss)

    return Subject(method, run, facts)


def _epoch(
    algorithm: Algorithm,
    keeps_records: bool,
    carry: tuple[Params, PyTree],
    train: Batch,
    indices: StepIndices,
) -> tuple[tuple[Params, PyTree], Array, Array]:
    key = jax.random.key(0)

    def step(carry: tuple[Params, PyTree], now: StepIndices) -> tuple[tuple, tuple]:
        params, state, info = algorithm.step(*carry, gather_batches(train, now), key)
        # What is not used is not worked out, and a sum uses all of it.
        record = optax.tree.sum(info.detail) if keeps_records else jnp.zeros(())
        return (params, state), (info.value, record)

    carry, (values, records) = jax.lax.scan(step, carry, indices)
    return carry, jnp.mean(values), jnp.sum(records)


def _algorithm(method: Method, loss: LossFn) -> Algorithm:
    if method.name == BASELINE:
        return from_optax(optax.adam(1e-3), loss)
    if method.name == "sgd":
        return from_optax(optax.sgd(LEARNING_RATE), loss)
    settings: dict[str, Any] = {
        "meta_batch": method.reading,
        "engine": method.engine,
        "direction": "momentum" if method.option == "momentum" else "gradient",
    }
    if method.option == "bfloat16":
        settings["activation_dtype"] = jnp.bfloat16
    return samt_algorithm(
        loss,
        LEARNING_RATE,
        granularity=GRANULARITIES[method.name.removeprefix("SAMT-")],
        proposal_max=LEARNING_RATE,
        **settings,
    )


def _cost(compiled: Any) -> dict[str, Any]:
    """Operations and memory, as the compiler counts them."""
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    # The body of a loop is counted once: these are the operations of one step.
    found = {"flops_per_step": cost.get("flops")}
    if memory is not None:
        found |= {
            "argument_bytes": memory.argument_size_in_bytes,
            "temporary_bytes": memory.temp_size_in_bytes,
            "peak_bytes": memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.temp_size_in_bytes,
        }
    return found


def _num_bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def num_steps(network: Network, dataset: Any) -> int:
    """Steps of a measured epoch: as many as the network has, or full batches in it."""
    return min(network.steps, len(dataset.train[0]) // BATCH_SIZE)


def _baseline(subjects: Sequence[Subject], measured: Sequence[Rounds]) -> Rounds:
    return next(
        cell
        for subject, cell in zip(subjects, measured, strict=True)
        if subject.method == Method(BASELINE)
    )


def _foreign_seconds() -> float:
    """Processor seconds that all other processes have taken; NaN if not known."""
    if not _PROC_STAT.exists():
        return np.nan
    # user nice system idle iowait irq softirq steal, in hundredths of a second.
    ticks = [int(word) for word in _PROC_STAT.read_text().split("\n")[0].split()[1:9]]
    own = os.times()
    return (sum(ticks) - ticks[3] - ticks[4]) / 100 - own.user - own.system
