"""Why mDLAM's accuracy collapses with the width: its authors' cap, from many starts.

    python -m benchmarks.layerwise_collapse

Their code gives a step up after ten doublings of its curvature, which ends at 1024, and
leaves the block as it is. The curvature that the step on the second kernel may need,
the largest eigenvalue of ρ a₁ᵀa₁, grows with the width, so that from some width on the
outputs' layer does not move, and the network stays near the accuracy of its start.
Three iterations from each of six starts; 784-h-10, settings and start of `"mDLAM, as
its code"` of `layerwise_rivals.py`. One line a start, in
`benchmarks/results/layerwise_collapse.jsonl`; what stands there is not run again.
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.layerwise_rivals import METHODS, build_problem
from benchmarks.trials import lines_of, machine
from samt_jax import Batches
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import Problem
from samt_jax.runs import append_line

RESULTS = pathlib.Path(__file__).parent / "results" / "layerwise_collapse.jsonl"
METHOD = METHODS["mDLAM, as its code"]
WIDTHS, SEEDS, NUM_ITERATIONS = (100, 200, 400, 800), tuple(range(6)), 3
PENALTY = 1e-3  # mDLAM's default.
SECOND = "Dense_1"


def try_starts(problem: Problem, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The first iterations from some starts: whether the second kernel moves.

    Args:
      problem: Data and network, of one hidden layer.
      seeds: Of the starts.

    Yields:
      The `"seed"`, `"second_kernel_moves"`, and the `"largest_curvature"` that its step
      may need.
    """
    batches, key = Batches(jax.tree.map(jnp.asarray, problem.train)), jax.random.key(0)
    make_algorithm = make_optimizer(METHOD.optimizer, **METHOD.settings)
    algorithm = make_algorithm(problem.loss_fn, key, NUM_ITERATIONS)
    init, step = jax.jit(algorithm.init), jax.jit(algorithm.step)
    for seed in seeds:
        start, _ = problem.init(jax.random.key(seed))
        params, state = start, init(start, batches, key)
        hidden = state.activations[0]
        curvatures = jnp.linalg.eigvalsh(PENALTY * hidden.T @ hidden)
        for _ in range(NUM_ITERATIONS):
            params, state, _ = step(params, state, batches, key)
        moves = jnp.any(params[SECOND]["kernel"] != start[SECOND]["kernel"])
        yield {
            "seed": seed,
            "second_kernel_moves": bool(moves),
            "largest_curvature": float(curvatures[-1]),
        }


def run() -> None:
    """Tries the starts that have no line yet."""
    done = {
        (line["dataset"], line["hidden"], line["seed"]) for line in lines_of(RESULTS)
    }
    for width in WIDTHS:
        for dataset in METHOD.datasets:
            seeds = [seed for seed in SEEDS if (dataset, width, seed) not in done]
            if seeds:
                problem = build_problem(dataset, width, METHOD.start)
                for line in try_starts(problem, seeds):
                    head = {"dataset": dataset, "hidden": width}
                    append_line(RESULTS, head | line | machine())


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Of how many starts the second kernel moves, by data set and width."""
    rows = [
        "From how many starts the outputs' layer moves in three iterations of it, "
        "whose cap is a curvature of 1024, and in brackets the smallest and largest "
        "that its step may need (`python -m benchmarks.layerwise_collapse`):\n",
        f"| data | {' | '.join(f'h = {width}' for width in WIDTHS)} |",
        "| --- |" + " --- |" * len(WIDTHS),
    ]
    for dataset in METHOD.datasets:
        cells = []
        for width in WIDTHS:
            found = [
                line
                for line in lines
                if (line["dataset"], line["hidden"]) == (dataset, width)
            ]
            moves = sum(line["second_kernel_moves"] for line in found)
            sizes = [line["largest_curvature"] for line in found]
            cells.append(
                f"{moves} of {len(found)} ({min(sizes):.0f} to {max(sizes):.0f})"
                if found
                else ""
            )
        rows.append(f"| {dataset} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.layerwise_collapse").parse_args()
    run()
    print(table(lines_of(RESULTS)))
