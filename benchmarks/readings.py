"""What the paper leaves open, one setting at a time, judged on the validation split.

    python -m benchmarks.readings run [--quick] [--problems ...]
    python -m benchmarks.readings table

The centre is the library's defaults; each reading changes one setting of it. MNIST and
Fashion-MNIST, 784-h-10 with h = 100 and 400, batch 64, ten epochs, seeds 0 to 2, paired
with the centre's by seed; 55,000 images to train on and 5,000 for validation; the test
set is never loaded. `run` appends to `benchmarks/results/readings.jsonl`, h = 100
first, and leaves out what stands there. `--quick` is one epoch at h = 100, into a file
below `runs/`, in ten minutes.

Budget: 24 readings on four problems, the dense element head at h = 100 alone (at 400
one seed's takes 467 MiB): 94 cells of three runs. On two cores of their own a cell
takes about half a minute at h = 100 and one and a half at 400; inner steps and random
orders, which take the general engine, five times that, the dense head a quarter of an
hour: two and a half hours in all.

A block's step sizes have collapsed where their mean over the last epoch is below
`COLLAPSED` of that over the first, and are at the end of their range above `AT_END` of
it; the range ends at the larger of the learning rate and `proposal_max`.

The file also has lines of the phase `exploration`: an earlier search, twenty epochs at
h = 400, of one or two seeds, whose command is gone. It is where the centre comes from;
nothing here is compared with it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims import decide
from benchmarks.problems import PROBLEMS, Benchmark
from benchmarks.trials import (
    Line,
    Method,
    Settings,
    is_of,
    lines_of,
    run_missing,
    validation_score,
)

RESULTS = Path(__file__).parent / "results" / "readings.jsonl"
QUICK, QUICK_EPOCHS = Path("runs") / "readings-quick.jsonl", 1
NAMES = ("fashion_mnist 100", "mnist 100", "fashion_mnist 400", "mnist 400")
COLLAPSED, AT_END = 0.01, 0.95

# The library's defaults, written out, so that a line says what was run; a test holds
# them equal. The meta-optimizer's rate is the library's too: 0.6 by the steps.
CENTRE: Settings = {
    "learning_rate": 0.1,
    "shared_eta_model": False,
    "num_train": 1,
    "meta_batch": "next",
    "meta_optimizer": "adam",
    "proposal_max": 0.3,
    "squash": "tanh",
    "inner_steps": 1,
    "feature_scale": 1e-8,
    "order": "forward",
    "direction": "momentum",
}
# Of ten epochs of 859 sweeps, a third and three times the library's 0.6.
SLOW, FAST = 2.33e-5, 2.1e-4


class Reading(NamedTuple):
    """One setting changed.

    Attributes:
      question: The paper's open question, by its number.
      name: What lines and tables call it.
      changes: What differs from `CENTRE`.
      optimizer: Its name in the library.
      use_bias: Whether the network has biases.
      against: Name of the reading that it is compared with.
      problems: What it is run on.
    """

    question: str
    name: str
    changes: Settings
    optimizer: str = "samt-s"
    use_bias: bool = True
    against: str = "centre"
    problems: tuple[str, ...] = NAMES

    @property
    def method(self) -> Method:
        """The reading as a method whose settings are all fixed."""
        settings = CENTRE | self.changes
        return Method(self.name, self.optimizer, settings, is_tuned=False)


def _dense_head() -> Reading:
    changes, narrow = {"element_head": "dense"}, NAMES[:2]
    name, against = "entries, dense head", "entries, factored head"
    return Reading("Q8", name, changes, "samt-e", against=against, problems=narrow)


READINGS = (
    Reading("", "centre", {}),
    Reading("Q1", "one eta model for all blocks", {"shared_eta_model": True}),
    Reading("Q2", "a batch a block", {"num_train": 2}),
    Reading("Q3", "meta-batch strided", {"meta_batch": "strided"}),
    Reading("Q3", "meta-batch same", {"meta_batch": "same"}),
    Reading("Q3", "meta-batch held out", {"meta_batch": "held_out"}),
    *(
        Reading("Q7", f"meta-optimizer SGD, {rate:g}",
                {"meta_optimizer": "sgd", "meta_learning_rate": rate})
        for rate in (0.01, 0.1, 1.0)
    ),
    Reading("Q7", "meta-optimizer at a third", {"meta_learning_rate": SLOW}),
    Reading("Q7", "meta-optimizer three times as fast", {"meta_learning_rate": FAST}),
    Reading("Q9", "proposals up to 0.1", {"proposal_max": 0.1}),
    Reading("Q9", "proposals up to 1", {"proposal_max": 1.0}),
    Reading("Q10", "sigmoid", {"squash": "sigmoid"}),
    Reading("Q13", "no biases", {}, use_bias=False),
    Reading("Q14", "raw features", {"feature_scale": 0.0}),
    Reading("Q20", "backward", {"order": "backward"}),
    Reading("", "direction gradient", {"direction": "gradient"}),
    Reading("Q8", "entries, factored head", {"element_head": "factored"}, "samt-e"),
    Reading("Q11", "2 inner steps", {"inner_steps": 2}),
    Reading("Q20", "random order", {"order": "random"}),
    Reading("Q11", "5 inner steps", {"inner_steps": 5}),
    _dense_head(),
)  # fmt: skip


def run(names: Sequence[str], *, quick: bool) -> None:
    """Makes the runs that have no line yet, problem by problem."""
    path = QUICK if quick else RESULTS
    path.parent.mkdir(exist_ok=True)
    for name in names:
        for reading in READINGS:
            if name not in reading.problems:
                continue
            problem = PROBLEMS[name]._replace(use_bias=reading.use_bias)
            if quick:
                problem = problem._replace(epochs=QUICK_EPOCHS)
            method = reading.method
            run_missing(method, problem, "reading", method.settings, path)


def table() -> str:
    return ""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readings")
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--problems", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.command == "run":
        names = NAMES[:2] if options.quick else options.problems
        run(names, quick=options.quick)
    else:
        print(table())


if __name__ == "__main__":
    main()
