"""The gradient methods by name, on equal terms, beside the paper's numbers.

    python -m benchmarks.rivals run [--problems ...] [--methods ...]
    python -m benchmarks.rivals time [--problems ...] [--methods ...]
    python -m benchmarks.rivals report

MNIST and Fashion-MNIST, 784-h-10 with h = 100 and 400, batch 64, ten epochs, seeds 0 to
2; 55,000 images to train on, 5,000 for validation, 10,000 for testing. Every method's
learning rate is tuned by one rule at h = 100, five epochs a trial, see `trials.py`; all
else is as the library has it by default. `run` appends to
`benchmarks/results/rivals.jsonl` and leaves out what stands there; to run methods
again, delete their lines. The lines of the HD rows answer whether hypergradient descent
is as far behind SGD as the paper has it: with its authors' settings, with their
library's, and tuned. `time` times an epoch of each, interleaved: the seconds of `run`
are those of a machine that does other work too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.problems import PROBLEMS
from benchmarks.tables import print_problem, print_rates, print_summary
from benchmarks.timing import time_methods
from benchmarks.trials import Method, lines_of, run_method

RESULTS = Path(__file__).parent / "results" / "rivals.jsonl"

# DANTE's five updates on each of two layers, each on a batch of its own.
FRESH = {"num_train": 10}

# The paper's direction; SAMT's own default is momentum.
PLAIN = {"direction": "gradient"}
ALONG_ADAM = {"direction": "adam"}

METHODS = (
    Method("SGD", "sgd"),
    Method("Adam", "adam"),
    Method("SGD-HD", "sgd-hd"),
    Method("DANTE", "dante", FRESH),
    Method("SAMT-S", "samt-s", proposal_ratio=3.0),
    Method("SAMT-E", "samt-e", proposal_ratio=3.0),
    Method("SAMT-S, gradient", "samt-s", PLAIN, rate=0.2, proposal_ratio=2.5),
    Method("SAMT-E, gradient", "samt-e", PLAIN, rate=0.2, proposal_ratio=2.5),
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
    Method("SAMT-R", "samt-r", proposal_ratio=3.0),
    Method("SAMT-C", "samt-c", proposal_ratio=3.0),
    Method("SAMT-S, cosine", "samt-s", {"schedule": "cosine"}, proposal_ratio=3.0),
    Method("SAMT-E, cosine", "samt-e", {"schedule": "cosine"}, proposal_ratio=3.0),
    Method("SAMT-S, Adam", "samt-s", ALONG_ADAM, rate=1e-3, proposal_ratio=2.0),
    Method("SAMT-S, Adam, cosine", "samt-s", ALONG_ADAM | {"schedule": "cosine"},
           rate=1e-3, proposal_ratio=2.0),
)  # fmt: skip

# Hypergradient descent by (α_0, κ): without κ, which is SGD; with the default κ of its
# authors' library; as its authors ran it (the third); with ten times their κ; and from
# larger learning rates.
_HD_SETTINGS = (
    (1e-3, 0.0), (1e-3, 1e-6), (1e-3, 1e-3), (1e-3, 1e-2), (1e-2, 1e-6), (1e-1, 1e-3),
    (1e-1, 1e-4), (1e-1, 1e-6),
)  # fmt: skip
HD_METHODS = tuple(
    Method(
        f"SGD-HD {rate:g}, {kappa:g}",
        "sgd-hd",
        {"learning_rate": rate, "hyper_learning_rate": kappa},
        is_tuned=False,
    )
    for rate, kappa in _HD_SETTINGS
)
NAMES = tuple(
    f"{dataset} {width}"
    for dataset in ("fashion_mnist", "mnist")
    for width in (100, 400)
)
HD_PROBLEM = "fashion_mnist 100"
# The paper's name of a method, where it has it under another; SAMT with momentum is not
# the paper's.
IN_PAPER = {
    "SGD-HD": "HD",
    "SAMT-S": "",
    "SAMT-E": "",
    "SAMT-S, gradient": "SAMT-S",
    "SAMT-E, gradient": "SAMT-E",
}


def run(problem_names: Sequence[str], method_names: Sequence[str]) -> None:
    """Makes every run that has no line yet, method by method, problem by problem."""
    for problem in problem_names:
        for method in (*METHODS, *HD_METHODS):
            if method.name not in method_names:
                continue
            if problem == HD_PROBLEM or method in METHODS:
                run_method(method, PROBLEMS[problem], RESULTS)


def report() -> None:
    """Prints the summary of all problems, a table a problem, and HD's settings."""
    lines = lines_of(RESULTS)
    print_summary(METHODS, NAMES, lines, IN_PAPER)
    for name in NAMES:
        print_problem(METHODS, PROBLEMS[name], lines)
    print_problem(HD_METHODS, PROBLEMS[HD_PROBLEM], lines)
    print_rates(HD_METHODS, HD_PROBLEM, lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals")
    parser.add_argument("command", choices=("run", "time", "report"))
    names = [method.name for method in (*METHODS, *HD_METHODS)]
    parser.add_argument("--problems", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    if options.command == "run":
        run(options.problems, options.methods)
    elif options.command == "time":
        chosen = [method for method in METHODS if method.name in options.methods]
        for problem in options.problems:
            time_methods(chosen, PROBLEMS[problem], RESULTS)
    else:
        report()


if __name__ == "__main__":
    main()
