"""SAMT-S with the library's defaults against constant steps and Adam, paired by seed.

    python -m benchmarks.fashion_mnist_defaults run
    python -m benchmarks.fashion_mnist_defaults report

Fashion-MNIST, 784-400-10, batch 64, 20 epochs, seeds 0 to 4; 55,000 images to train on,
5,000 for validation, 10,000 for testing. Under a seed every method sees the same
initial weights and the same batches. SAMT's defaults were fixed on the validation split
(see `benchmarks/results/readings.jsonl`) before this was run. The constant steps are
alternating minimisation, SAMT with its mixing weight fixed to 1; those with momentum
and a cosine schedule have what SAMT-S has, or more, but the learning. `run` appends one
JSON line a method and seed to `benchmarks/results/fashion_mnist_defaults.jsonl` and
leaves out what stands there.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import Benchmark, build
from benchmarks.trials import Method, final_lines, lines_of, run_seeds
from samt_jax.runs import append_line

RESULTS = Path(__file__).parent / "results" / "fashion_mnist_defaults.jsonl"
SEEDS = (0, 1, 2, 3, 4)
LAST_EPOCHS = 5
NAME = "fashion_mnist 400, 20 epochs"
PROBLEM = Benchmark(NAME, "fashion_mnist", (400,), epochs=20, target=0.89, tuned_on="")

# The library's defaults, written out, so that a line says what was run.
DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.1,
    "proposal_max": 0.3,
    "direction": "momentum",
    "meta_batch": "next",
}
GRADIENT = {"direction": "gradient"}


def _constant(step: float, **settings: Any) -> dict[str, Any]:
    """Alternating minimisation with a constant step."""
    fixed = {"learning_rate": step, "mixing_weight": 1.0, "meta_batch": "same"}
    return fixed | GRADIENT | settings


METHODS = tuple(
    Method(name, optimizer, settings, is_tuned=False)
    for name, optimizer, settings in (
        ("SAMT-S", "samt-s", DEFAULTS),
        ("constant 0.01", "samt-s", _constant(0.01)),
        ("constant 0.02", "samt-s", _constant(0.02)),
        ("constant 0.05", "samt-s", _constant(0.05)),
        ("constant 0.1", "samt-s", _constant(0.1)),
        ("Adam 1e-3", "adam", {"learning_rate": 1e-3}),
        ("constant 0.05, momentum", "samt-s", _constant(0.05, direction="momentum")),
        ("constant 0.1, momentum, cosine", "samt-s",
         _constant(0.1, direction="momentum", schedule="cosine")),
        ("SAMT-S, gradient", "samt-s",
         {"learning_rate": 0.2, "proposal_max": 0.5, **GRADIENT}),
    )
)  # fmt: skip


def run() -> None:
    """Trains every method and seed that has no line yet."""
    problem = build(PROBLEM, with_test=True)
    for method in METHODS:
        done = {
            line["seed"] for line in final_lines(method.name, NAME, lines_of(RESULTS))
        }
        seeds = [seed for seed in SEEDS if seed not in done]
        if not seeds:
            continue
        for line in run_seeds(method, PROBLEM, problem, method.settings, seeds):
            append_line(RESULTS, {"phase": "final"} | line)
        print(method.name, seeds, file=sys.stderr, flush=True)


def report() -> None:
    """Prints means, spreads, and paired differences of SAMT-S to each method.

    A method some of whose seeds have no line yet is named below the table.
    """
    final = {method.name: _final_accuracies(method) for method in METHODS}
    complete = [name for name, values in final.items() if values["test"].size == 5]
    print(
        "| method | validation | test | SAMT-S minus it, test |\n"
        "| --- | --- | --- | --- |"
    )
    for name in complete:
        cells = [
            f"{final[name][part].mean():.2f} ± {final[name][part].std(ddof=1):.2f}"
            for part in ("validation", "test")
        ]
        difference = final["SAMT-S"]["test"] - final[name]["test"]
        error = difference.std(ddof=1) / np.sqrt(difference.size)
        against = "" if name == "SAMT-S" else f"{difference.mean():+.2f} ± {error:.2f}"
        print(f"| {name} | {cells[0]} | {cells[1]} | {against} |")
    missing = [name for name in final if name not in complete]
    if missing:
        print(f"Not all seeds were run of: {', '.join(missing)}.")


def _final_accuracies(method: Method) -> dict[str, np.ndarray]:
    """Mean accuracy in % of the last epochs: by part, one number a seed."""
    lines = final_lines(method.name, NAME, lines_of(RESULTS))
    return {
        part: np.array([
            100 * np.mean(line[f"{part}_accuracy"][-LAST_EPOCHS:]) for line in lines
        ])
        for part in ("validation", "test")
    }  # fmt: skip


if __name__ == "__main__":
    {"run": run, "report": report}[sys.argv[1]]()
