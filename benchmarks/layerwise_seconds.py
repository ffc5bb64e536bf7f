"""Seconds an iteration of layer-wise methods, beside a plain NumPy rendering of them.

    python -m benchmarks.layerwise_seconds [METHOD ...]

MNIST, 784-h-10 with ReLUs, 55,000 images, full batches (BADM: 64 images), float32. The
rendering (`layerwise_numpy.py`) does the same arithmetic in the same order as the
methods' descriptions have it. AA-mDLAM's is that of mDLAM, with no history yet to
extrapolate from. Both run in turns in one process; a line a width and method says the
median seconds, and by how much the networks differ after the iterations, for the
rendering is of the same step. Lines go to `benchmarks/results/layerwise_seconds.jsonl`.
"""

import argparse
import pathlib
import statistics
import time
from typing import Any

import jax
import numpy as np

from benchmarks import layerwise_numpy as plain
from benchmarks.layerwise_rivals import METHODS, build_problem
from benchmarks.trials import machine
from samt_jax import Batches
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import Problem
from samt_jax.runs import append_line

RESULTS = pathlib.Path(__file__).parent / "results" / "layerwise_seconds.jsonl"
WIDTHS, NUM_STEPS = (100, 400), 3
# Of a method that takes mini-batches, in one compiled loop as in training.
MINI_BATCH_STEPS = 100

# By method: its name in the library, settings, its step in NumPy, and what starts that.
RENDERED: dict[str, tuple[str, dict[str, Any], Any, Any]] = {
    "dlADMM": ("dladmm", {}, plain.dladmm_step, plain.start_numpy),
    "mDLAM": ("mdlam", {}, plain.accelerated_mdlam_step, plain.start_numpy),
    "mDLAM, not accelerated": (
        "mdlam",
        {"accelerate": False},
        plain.mdlam_step,
        plain.start_numpy,
    ),
    "BCD": ("bcd", {}, plain.bcd_step, plain.start_from_state),
    # Its multiplier moves from the second iteration on.
    "scaleADMM": (
        "scaleadmm",
        {"warm_steps": 1},
        plain.scaleadmm_step,
        plain.start_from_state,
    ),
    "pdADMM": ("pdadmm", {}, plain.pdadmm_step, plain.start_split),
    "TIAM": ("tiam", {}, plain.tiam_step, plain.start_numpy),
    "AA-mDLAM": ("aa-mdlam", {}, plain.mdlam_step, plain.start_numpy),
    "BCD, two-splitting": (
        "bcd",
        {"splitting": "two"},
        plain.two_splitting_step,
        plain.start_from_state,
    ),
    "BADM": ("badm", {}, plain.badm_step, plain.start_weights),
}


def measure(name: str, problem: Problem) -> dict[str, Any]:
    """Medians of both over the same iterations, in turns."""
    optimizer, settings, numpy_step, start = RENDERED[name]
    batch_size = METHODS[name].batch_size
    train = jax.tree.map(lambda leaf: leaf[:batch_size], problem.train)
    inputs, labels = train
    x = np.array(inputs).reshape(len(inputs), -1)
    codes = np.eye(10, dtype=np.float32)[np.array(labels)]
    params, _ = problem.init(jax.random.key(0))
    batches, key = Batches(train), jax.random.key(0)
    make_algorithm = make_optimizer(optimizer, **settings)
    algorithm = make_algorithm(problem.loss_fn, key, NUM_STEPS)
    state = jax.jit(algorithm.init)(params, batches, key)
    repeats = MINI_BATCH_STEPS if batch_size else 1

    def steps(params: Any, state: Any) -> Any:
        def step(_: Any, carry: Any) -> Any:
            params, state = carry
            return algorithm.step(params, state, batches, key)[:2]

        return jax.lax.fori_loop(0, repeats, step, (params, state))

    compiled = jax.jit(steps).lower(params, state).compile()
    variables = start(params, x, codes, state)
    seconds: dict[str, list[float]] = {"samt_jax": [], "numpy": []}
    for _ in range(NUM_STEPS):
        started = time.perf_counter()
        params, state = jax.block_until_ready(compiled(params, state))
        seconds["samt_jax"].append((time.perf_counter() - started) / repeats)
        started = time.perf_counter()
        for _ in range(repeats):
            numpy_step(variables, x, codes)
        seconds["numpy"].append((time.perf_counter() - started) / repeats)
    difference = [
        float(np.max(np.abs(variables["W"][i] - params[f"Dense_{i}"]["kernel"])))
        for i in range(2)
    ]
    medians = {who: statistics.median(each) for who, each in seconds.items()}
    return {
        "method": name,
        "settings": settings,
        "seconds": medians,
        "all_seconds": seconds,
        "times_faster": medians["numpy"] / medians["samt_jax"],
        "largest_difference_of_kernels": difference,
        **machine(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layerwise_seconds")
    parser.add_argument(
        "methods", nargs="*", metavar="METHOD", help=f"of {'; '.join(RENDERED)}"
    )
    chosen = parser.parse_args().methods or list(RENDERED)
    if unknown := [name for name in chosen if name not in RENDERED]:
        parser.error(f"no method {unknown}; there are {list(RENDERED)}.")
    for width in WIDTHS:
        for name in chosen:
            problem = build_problem("mnist", width, METHODS[name].start)
            line = {"hidden": width} | measure(name, problem)
            append_line(RESULTS, line)
            print(
                width, name, line["seconds"], f"{line['times_faster']:.2f}", flush=True
            )
