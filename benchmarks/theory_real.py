"""When Assumption 4's bounds hold on a network: Fashion-MNIST, 784-100-10.

SAMT-S and SAMT-E with the paper's direction, in the settings chosen on validation, ten
epochs in batches of 64, as they are trained: no bounds, no balls. At some sweeps the
curvature of each block, the others fixed, is measured on 1,000 training images: the
largest and the smallest eigenvalue of its Hessian, by power iteration, stand for μ_l
and λ_l at the place where the run is. Lemma 1 asks for steps up to ``2 / (λ_l + μ_l)``;
that is a bound on every visit, whose smallest and largest step size are kept. The
envelopes that make the error decay are multiples of 1/t; their constants are not known
for a network, so that the best envelope of a given ratio is looked for.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.open_settings import GRADIENT
from benchmarks.problems import PROBLEMS, build
from benchmarks.theory_arms import RATIO
from benchmarks.theory_runs import rounded
from benchmarks.trials import Line, lines_of, machine
from samt_jax import get_block, make_optimizer, partition_blocks, replace_block
from samt_jax.base import Batch, LossFn, Params, Scalar
from samt_jax.blocks import Block
from samt_jax.data_order import (
    StepIndices,
    data_order,
    gather_batches,
    step_indices,
)
from samt_jax.runs import append_line

PROBLEM = "fashion_mnist 100"
METHODS = {"SAMT-S": "samt-s", "SAMT-E": "samt-e"}
SEEDS = (0, 1, 2)
# Sweeps after which curvatures are measured; windows of steps lie between them.
STOPS = (0, 10, 30, 100, 300, 860, 1720, 3440, 5150, 6870, 8590)
CHUNK = 10  # Sweeps a call, so that one program serves all stretches.
NUM_IMAGES, NUM_ITERATIONS = 1000, 20


def run_real(path: Path) -> None:
    """Makes the runs that have no line yet.

    Args:
      path: File of the lines.
    """
    known = {(line["method"], line["seed"]) for line in lines_of(path)
             if line["kind"] == "real"}  # fmt: skip
    for name, optimizer in METHODS.items():
        seeds = [seed for seed in SEEDS if (name, seed) not in known]
        if not seeds:
            continue
        run_seed = _runner(optimizer)
        for seed in seeds:
            line = run_seed(seed)
            append_line(path, {
                "kind": "real", "method": name, "seed": seed, "problem": PROBLEM,
                "settings": GRADIENT, **line, **machine(),
            })  # fmt: skip
            print(name, seed, line["share"], line["exponent"], flush=True)


def _runner(optimizer: str) -> Callable[[int], Line]:
    """Compiles a method once, for all its seeds."""
    benchmark = PROBLEMS[PROBLEM]
    problem = build(benchmark, with_test=False)
    algorithm = make_optimizer(optimizer, **GRADIENT)(
        problem.loss_fn, jax.random.key(0), STOPS[-1]
    )
    order = data_order(len(problem.train[1]), benchmark.batch_size,
                       algorithm.batch_spec)  # fmt: skip
    some = jax.tree.map(lambda leaf: leaf[:NUM_IMAGES], problem.train)

    def step(carry: tuple, indices: Any) -> tuple[tuple, tuple]:
        batches = gather_batches(problem.train, indices)
        params, state, info = algorithm.step(*carry, batches, jax.random.key(0))
        ends = {name: (visit.step_size_min, visit.step_size, visit.step_size_max)
                for name, visit in info.detail.items()}  # fmt: skip
        return (params, state), (info.value, ends)

    advance = jax.jit(lambda carry, indices: jax.lax.scan(step, carry, indices))
    measure = jax.jit(lambda params: curvatures(problem.loss_fn, params, some))

    def run_seed(seed: int) -> Line:
        params, _ = problem.init(jax.random.key(seed))
        indices = step_indices(order, seed, 0, STOPS[-1])
        first = gather_batches(problem.train, jax.tree.map(lambda i: i[0], indices))
        carry = params, algorithm.init(params, first, jax.random.key(seed))
        measured, found = [measure(params)], []
        for begin in range(0, STOPS[-1], CHUNK):
            carry, reported = advance(carry, _chunk(indices, begin))
            found.append(jax.tree.map(np.asarray, reported))
            if begin + CHUNK in STOPS:
                measured.append(measure(carry[0]))
        return summarise(jax.tree.map(float, measured), found)

    return run_seed


def _chunk(indices: StepIndices, begin: int) -> StepIndices:
    return jax.tree.map(lambda leaf: leaf[begin : begin + CHUNK], indices)


def curvatures(
    loss_fn: LossFn, params: Params, batch: Batch
) -> dict[str, tuple[Scalar, Scalar]]:
    """The ends of every block's spectrum, the other blocks fixed.

    Args:
      loss_fn: The loss.
      params: Where.
      batch: On which examples.

    Returns:
      By block the smallest and the largest eigenvalue of its Hessian: the largest from
      below, the smallest from above.
    """
    return {
        block.name: _ends(loss_fn, params, batch, block)
        for block in partition_blocks(params).blocks
    }


def _ends(
    loss_fn: LossFn, params: Params, batch: Batch, block: Block
) -> tuple[Scalar, Scalar]:
    flat, unravel = ravel_pytree(get_block(params, block))

    def value(flat: Any) -> Scalar:
        return loss_fn(replace_block(params, unravel(flat)), batch)

    def times_hessian(vector: Any) -> Any:
        return jax.jvp(jax.grad(value), (flat,), (vector,))[1]

    first = jax.random.normal(jax.random.key(0), flat.shape)
    largest = _power(times_hessian, first)
    gap = _power(lambda vector: largest * vector - times_hessian(vector), first)
    return largest - gap, largest


def _power(times: Callable[[Any], Any], vector: Any) -> Scalar:
    """The eigenvalue of largest magnitude of a symmetric map."""

    def improve(_: int, vector: Any) -> Any:
        moved = times(vector)
        return moved / jnp.linalg.norm(moved)

    vector = jax.lax.fori_loop(
        0, NUM_ITERATIONS, improve, vector / jnp.linalg.norm(vector)
    )
    return jnp.vdot(vector, times(vector))


def summarise(measured: list[dict[str, tuple[float, float]]], found: list) -> Line:
    """Which visits kept Lemma 1's bound, window by window, and the steps' decay.

    Args:
      measured: Curvatures at every stop.
      found: Chunk by chunk the losses, and by block the smallest, mean and largest step
        size, of every sweep.

    Returns:
      By block: curvatures at the stops; shares of visits within the bound and mean
      steps between them; the power of t that mean steps follow after the first
      hundred sweeps; the largest share that an envelope ``c/t`` to ``RATIO c/t`` holds.
    """
    stops, total = np.array(STOPS), STOPS[-1]
    sweeps = np.arange(1, total + 1)
    line: Line = {"stops": list(STOPS), "convexity": {}, "smoothness": {}, "share": {},
                  "step": {}, "exponent": {}, "in_envelope": {}}  # fmt: skip
    parts = [slice(a, b) for a, b in itertools.pairwise(STOPS)]
    losses = np.concatenate([values for values, _ in found])
    line["loss"] = rounded([losses[part].mean() for part in parts])
    for name in measured[0]:
        low, mean, high = (np.concatenate([ends[name][i] for _, ends in found])
                           for i in range(3))  # fmt: skip
        convexity, smoothness = (np.array([each[name][i] for each in measured])
                                 for i in range(2))  # fmt: skip
        # Between stops in proportion; what is below zero asks for less, not for more.
        bound = np.interp(sweeps, stops, 2 / (smoothness + np.maximum(convexity, 0)))
        line["convexity"][name] = rounded(convexity)
        line["smoothness"][name] = rounded(smoothness)
        line["share"][name] = rounded([(high <= bound)[p].mean() for p in parts])
        line["step"][name] = rounded([mean[p].mean() for p in parts])
        late = slice(100, total)
        slope = np.polyfit(np.log(sweeps[late]), np.log(mean[late]), 1)[0]
        line["exponent"][name] = rounded(slope)
        line["in_envelope"][name] = rounded(best_envelope(sweeps * low, sweeps * high))
    return line


def best_envelope(low: Any, high: Any) -> float:
    """The largest share of visits that one envelope c to `RATIO` c holds.

    Args:
      low: The smallest step of each visit, times its sweep.
      high: The largest.

    Returns:
      The share, from 0 to 1.

    Example:
      >>> best_envelope(np.array([1.0, 2.0, 9.0]), np.array([2.0, 4.0, 9.0]))
      0.6666666666666666
    """
    starts = np.quantile(low, np.linspace(0, 1, 400))
    # What rounding moves across the edge is within.
    edge = 1 + 1e-6
    return max(
        float(np.mean((low * edge >= c) & (high <= RATIO * c * edge))) for c in starts
    )
