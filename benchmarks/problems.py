"""What is trained in the experiments: data, network and budget, fixed beforehand.

A problem's number of epochs is the budget of every method's final runs on it. Settings
are tuned on one network a data set and carried over to its others. Each method has
three final runs on a network, and five where five are cheap: on the narrowest of each
data set of images, and on the tables.
"""

import functools
from typing import Any, NamedTuple

from samt_jax.data import Dataset, load
from samt_jax.data.catalog import TABLES
from samt_jax.models import build_model
from samt_jax.problem import Problem, supervised


class Benchmark(NamedTuple):
    """A problem of the experiments.

    Attributes:
      name: What lines and tables call it.
      dataset: Name of the data set.
      hidden: Widths of an MLP's hidden layers; none for the CNN.
      epochs: Length of every final run.
      target: The validation accuracy whose time is measured, from 0 to 1; 0 for none.
      tuned_on: Name of the problem that settings are tuned on.
      batch_size: Examples a batch.
      width: Multiplies the CNN's widths.
      use_bias: Whether its layers have biases.
      num_seeds: Final runs of each method, of the seeds from 0 on.
    """

    name: str
    dataset: str
    hidden: tuple[int, ...]
    epochs: int
    target: float
    tuned_on: str
    batch_size: int = 64
    width: float | None = None
    use_bias: bool = True
    num_seeds: int = 3

    @property
    def num_blocks(self) -> int:
        """Layers, each a block of the alternating methods."""
        return 4 if self.width else len(self.hidden) + 1

    @property
    def metric(self) -> str:
        """What is reported: `"accuracy"`, from 0 to 1, or `"rmse"`."""
        return "rmse" if self.dataset in TABLES else "accuracy"


TUNED_WIDTH, MORE_SEEDS = 100, 5
WIDTHS = (100, 400, 800)
# Epochs: KMNIST's reduced set is an eighth of the others, a table a fifth or less.
# Targets, of the validation accuracy: what a good run reaches in a few epochs.
_IMAGES = {
    "fashion_mnist": (10, 0.87), "mnist": (10, 0.97), "kmnist_reduced": (40, 0.9),
}  # fmt: skip
_TABLES = {"bike": 40, "bike_full": 40, "pol": 40, "kegg": 20}
# The paper's CNN at a quarter of its width: what two cores carry.
_CNN = {"cifar10": (10, 0.6), "cifar100": (10, 0.25)}
# The open questions, on Fashion-MNIST: a network whose gradients are small enough to be
# features, one of three layers, and ones that grow deeper.
_NARROW, _GROUPED = ((16,), 10, 0.85), ((100, 100), 10, 0.87)
DEPTHS = (1, 2, 4, 8)
_DEEP_EPOCHS, _DEEP_TARGET = 5, 0.85
_CNN_EPOCHS = 3

_PROBLEMS = (
    *(
        Benchmark(f"{dataset} {width}", dataset, (width,), epochs, target,
                  f"{dataset} {TUNED_WIDTH}",
                  num_seeds=MORE_SEEDS if width == TUNED_WIDTH else 3)
        for dataset, (epochs, target) in _IMAGES.items()
        for width in WIDTHS
    ),
    *(
        Benchmark(f"{dataset} 400, 50 epochs", dataset, (400,), 50, _IMAGES[dataset][1],
                  f"{dataset} {TUNED_WIDTH}")
        for dataset in ("fashion_mnist", "mnist")
    ),
    *(
        Benchmark(f"{dataset} 100", dataset, (100,), epochs, 0.0, f"{dataset} 100",
                  num_seeds=MORE_SEEDS)
        for dataset, epochs in _TABLES.items()
    ),
    *(
        Benchmark(f"{dataset} cnn", dataset, (), epochs, target, f"{dataset} cnn",
                  width=0.25)
        for dataset, (epochs, target) in _CNN.items()
    ),
    *(
        Benchmark(f"fashion_mnist {name}", "fashion_mnist", hidden, epochs, target,
                  f"fashion_mnist {name}")
        for name, (hidden, epochs, target) in {
            "16": _NARROW,
            "100-100": _GROUPED,
            **{f"64x{depth}": ((64,) * depth, _DEEP_EPOCHS, _DEEP_TARGET)
               for depth in DEPTHS},
        }.items()
    ),
    *(
        Benchmark(f"{dataset} cnn, short", dataset, (), _CNN_EPOCHS, target,
                  f"{dataset} cnn, short", width=0.25)
        for dataset, (_, target) in _CNN.items()
    ),
)  # fmt: skip
PROBLEMS = {benchmark.name: benchmark for benchmark in _PROBLEMS}


def build(benchmark: Benchmark, *, with_test: bool) -> Problem:
    """Loads the data and builds the network.

    Args:
      benchmark: The problem.
      with_test: Whether the test set is judged on; without, it is not there.

    Returns:
      The problem as the training loop takes it.
    """
    dataset = _load_once(benchmark.dataset)
    network: dict[str, Any] = {"hidden": benchmark.hidden, "width": benchmark.width}
    model = build_model(
        "cnn" if benchmark.width else "mlp",
        num_outputs=dataset.num_outputs,
        use_bias=benchmark.use_bias,
        **{name: value for name, value in network.items() if value},
    )
    problem = supervised(dataset, model)
    if with_test:
        return problem
    validation = {"validation": problem.evaluation["validation"]}
    return problem._replace(evaluation=validation)


@functools.cache
def _load_once(name: str) -> Dataset:
    return load(name)
