"""SAMT-S with the library's defaults against constant steps and Adam, paired by seed.

    python -m benchmarks.fashion_mnist_defaults run
    python -m benchmarks.fashion_mnist_defaults report

Fashion-MNIST, 784-400-10, batch 64, 20 epochs, seeds 0 to 4; 55,000 images to train on,
5,000 for validation, 10,000 for testing. Every method sees the same initial weights and
the same batches under a seed. SAMT's defaults were fixed on the validation split (one
and two seeds, 20 epochs) before this was run, and the constant step to compare with is
the best on validation of the four. `run` appends one JSON line a method and seed to
`benchmarks/results/fashion_mnist_defaults.jsonl` and leaves out what stands there.
"""

import json
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax
import numpy as np

from samt_jax.data import load
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import supervised
from samt_jax.training import fit

RESULTS = pathlib.Path(__file__).parent / "results" / "fashion_mnist_defaults.jsonl"
EPOCHS, HIDDEN, SEEDS = 20, (400,), (0, 1, 2, 3, 4)
CONSTANT: dict[str, Any] = {"mixing_weight": 1.0, "meta_batch": "same"}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "SAMT-S": ("samt-s", {}),
    "constant 0.02": ("samt-s", {"learning_rate": 0.02, **CONSTANT}),
    "constant 0.05": ("samt-s", {"learning_rate": 0.05, **CONSTANT}),
    "Adam 1e-3": ("adam", {"learning_rate": 1e-3}),
    "SAMT-S, momentum": ("samt-s", {"direction": "momentum", "learning_rate": 0.1}),
    "constant 0.1": ("samt-s", {"learning_rate": 0.1, **CONSTANT}),
    "constant 0.01": ("samt-s", {"learning_rate": 0.01, **CONSTANT}),
}


def run() -> None:
    """Trains every method and seed that has no line yet."""
    done = {(line["method"], line["seed"]) for line in _lines()}
    dataset = load("fashion_mnist")
    model = build_model("mlp", num_outputs=dataset.num_outputs, hidden=HIDDEN)
    problem = supervised(dataset, model)
    for method, (optimizer, settings) in METHODS.items():
        for seed in SEEDS:
            if (method, seed) in done:
                continue
            make_algorithm = make_optimizer(optimizer, **settings)
            records = list(fit(problem, make_algorithm, epochs=EPOCHS, seeds=(seed,)))
            line = {
                "problem": "fashion_mnist 784-400-10",
                "method": method,
                "optimizer": optimizer,
                "settings": settings,
                "seed": seed,
                "epochs": len(records),
                "steps": records[-1].step,
                "status": records[-1].status[0],
                **{f"{part}_accuracy": [
                    float(record.evaluation[part]["accuracy"][0]) for record in records
                ] for part in ("validation", "test")},
                "train_seconds": sum(record.train_seconds for record in records),
                "compile_seconds": records[-1].compile_seconds,
                **_machine(),
            }  # fmt: skip
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(method, seed, line["validation_accuracy"][-1], file=sys.stderr)


def report() -> None:
    """Prints the table: means, spreads, and paired differences to SAMT-S.

    A method some of whose seeds have no line yet is named below the table.
    """
    done = {(line["method"], line["seed"]) for line in _lines()}
    complete = [m for m in METHODS if all((m, seed) in done for seed in SEEDS)]
    final = _final_accuracies(complete)
    reference = final["test"]["SAMT-S"]
    print(
        "| method | validation | test | SAMT-S minus it, test |\n"
        "| --- | --- | --- | --- |"
    )
    for method in complete:
        difference = reference - final["test"][method]
        error = difference.std(ddof=1) / np.sqrt(difference.size)
        cells = [
            f"{final[part][method].mean():.2f} ± {final[part][method].std(ddof=1):.2f}"
            for part in ("validation", "test")
        ]
        against = (
            "" if method == "SAMT-S" else f"{difference.mean():+.2f} ± {error:.2f}"
        )
        print(f"| {method} | {cells[0]} | {cells[1]} | {against} |")
    missing = [method for method in METHODS if method not in complete]
    if missing:
        print(f"Not all seeds were run of: {', '.join(missing)}.")


def _final_accuracies(methods: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Mean accuracy in % of the last five epochs: by part, by method, one a seed."""
    lines = {(line["method"], line["seed"]): line for line in _lines()}
    return {
        part: {
            method: np.array([
                100 * np.mean(lines[method, seed][f"{part}_accuracy"][-5:])
                for seed in SEEDS
            ])
            for method in methods
        }
        for part in ("validation", "test")
    }  # fmt: skip


def _lines() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def _machine() -> dict[str, str]:
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout
    return {
        "device": f"{jax.devices()[0].device_kind}, {platform.machine()}",
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": commit.strip(),
    }


if __name__ == "__main__":
    {"run": run, "report": report}[sys.argv[1]]()
