"""What is trained in the experiments: data, network and budget, fixed beforehand.

A problem's number of epochs is the budget of every method's final runs on it. Settings
are tuned on one network a data set and carried over to its others.
"""

import functools
from typing import NamedTuple

from samt_jax.data import Dataset, load
from samt_jax.models import build_model
from samt_jax.problem import Problem, supervised


class Benchmark(NamedTuple):
    """A problem of the experiments.

    Attributes:
      name: What lines and tables call it.
      dataset: Name of the data set.
      hidden: Widths of the network's hidden layers.
      epochs: Length of every final run.
      target: The validation accuracy whose time is measured, from 0 to 1.
      tuned_on: Name of the problem that settings are tuned on.
      batch_size: Examples a batch.
    """

    name: str
    dataset: str
    hidden: tuple[int, ...]
    epochs: int
    target: float
    tuned_on: str
    batch_size: int = 64

    @property
    def num_blocks(self) -> int:
        """Layers, each a block of the alternating methods."""
        return len(self.hidden) + 1


EPOCHS = 10
TUNED_WIDTH = 100
# Of the validation accuracy: what a good run reaches in a few epochs.
TARGETS = {"fashion_mnist": 0.87, "mnist": 0.97}

PROBLEMS = {
    f"{dataset} {width}": Benchmark(
        name=f"{dataset} {width}",
        dataset=dataset,
        hidden=(width,),
        epochs=EPOCHS,
        target=target,
        tuned_on=f"{dataset} {TUNED_WIDTH}",
    )
    for dataset, target in TARGETS.items()
    for width in (100, 400)
}


def build(benchmark: Benchmark, *, with_test: bool) -> Problem:
    """Loads the data and builds the network.

    Args:
      benchmark: The problem.
      with_test: Whether the test set is judged on; without, it is not there.

    Returns:
      The problem as the training loop takes it.
    """
    dataset = _load_once(benchmark.dataset)
    model = build_model("mlp", num_outputs=dataset.num_outputs, hidden=benchmark.hidden)
    problem = supervised(dataset, model)
    if with_test:
        return problem
    validation = {"validation": problem.evaluation["validation"]}
    return problem._replace(evaluation=validation)


@functools.cache
def _load_once(name: str) -> Dataset:
    return load(name)
