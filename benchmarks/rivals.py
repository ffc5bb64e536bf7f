"""The gradient methods by name, on equal terms, beside the paper's numbers.

    python -m benchmarks.rivals run [METHOD ...]
    python -m benchmarks.rivals report

MNIST and Fashion-MNIST, 784-h-10 with h = 100 and 400, batch 64, ten epochs, seeds 0 to
2; 55,000 images to train on, 5,000 for validation, 10,000 for testing. Every method
tries the same four multiples of its default learning rate at h = 100, five epochs each;
all else is as the library has it by default. `run` appends to
`benchmarks/results/rivals.jsonl` and leaves out what stands there; to run methods
again, delete their lines. The lines of the HD rows answer whether hypergradient descent
is as far behind SGD as the paper has it: with its authors' settings, with their
library's, and tuned.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.problems import PROBLEMS
from benchmarks.tables import print_problem, print_summary
from benchmarks.trials import Method, lines_of, run_method

RESULTS = Path(__file__).parent / "results" / "rivals.jsonl"

# DANTE's five updates on each of two layers, each on a batch of its own.
FRESH = {"num_train": 10}

METHODS = (
    Method("SGD", "sgd"),
    Method("Adam", "adam"),
    Method("SGD-HD", "sgd-hd"),
    Method("DANTE", "dante", FRESH),
    Method("SGD-HD, multiplicative", "sgd-hd", {"rule": "multiplicative"}),
    Method("Adam-HD", "adam-hd"),
    Method("momentum", "momentum"),
    Method("DANTE, plain steps", "dante", FRESH | {"normalize": False}, rate=0.1),
    Method("SGDN-HD", "sgdn-hd"),
    Method("ultimate", "ultimate"),
    Method("Newton's rate", "newton-lr"),
    Method("Nesterov", "nesterov"),
    Method("AdamW", "adamw"),
    Method("AdaGrad", "adagrad"),
    Method("RMSProp", "rmsprop"),
    Method("AMSGrad", "amsgrad"),
    Method("AdaBelief", "adabelief"),
    Method("Lion", "lion"),
    Method("schedule-free AdamW", "schedule-free"),
    Method("Prodigy", "prodigy"),
    Method("SGD, cosine", "sgd", {"schedule": "cosine"}),
    Method("momentum, cosine", "momentum", {"schedule": "cosine"}),
    Method("Adam, cosine", "adam", {"schedule": "cosine"}),
    Method("SAMT-S", "samt-s"),
    Method("SAMT-E", "samt-e"),
    Method("SAMT-R", "samt-r"),
    Method("SAMT-C", "samt-c"),
)

# Of hypergradient descent: its authors' run, and their library's default κ = 1e-6, from
# small and larger learning rates; κ = 0 is SGD.
_HD_SETTINGS = [
    (rate, kappa) for rate in (1e-3, 1e-2, 1e-1) for kappa in (0.0, 1e-6, 1e-3, 1e-2)
]
HD_METHODS = tuple(
    Method(
        f"SGD-HD {rate:g}, {kappa:g}",
        "sgd-hd",
        {"learning_rate": rate, "hyper_learning_rate": kappa},
        is_tuned=False,
    )
    for rate, kappa in _HD_SETTINGS
)
HD_PROBLEM = "fashion_mnist 100"
# The paper's name of a method, where it has it.
IN_PAPER = {"SGD-HD": "HD"}


def run(names: Sequence[str]) -> None:
    """Makes every run that has no line yet, of the methods named or of all."""
    known = {method.name: method for method in (*METHODS, *HD_METHODS)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no method {unknown[0]!r}; there are {', '.join(known)}.")
    for method in [known[name] for name in names] or known.values():
        problems = [HD_PROBLEM] if method in HD_METHODS else PROBLEMS
        for problem in problems:
            run_method(method, PROBLEMS[problem], RESULTS)


def report() -> None:
    """Prints the summary of all problems, a table a problem, and HD's settings."""
    lines = lines_of(RESULTS)
    print_summary(METHODS, PROBLEMS, lines, IN_PAPER)
    for problem in PROBLEMS.values():
        print_problem(METHODS, problem, lines)
    print_problem(HD_METHODS, PROBLEMS[HD_PROBLEM], lines)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"run": run, "report": lambda names: report()}[command](arguments)
