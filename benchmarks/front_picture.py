"""The picture of the README: SAMT-S on Fashion-MNIST, seed 0, 784-400-10, 20 epochs.

    python -m benchmarks.front_picture

Left the test accuracy against the training time, with Adam beside it; right the step
sizes that SAMT-S chose. Writes `benchmarks/pictures/front.png`.
"""

import pathlib

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samt_jax.data import load
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.plots import COLOURS, save_figure
from samt_jax.problem import supervised
from samt_jax.training import EpochRecord, fit

PICTURE = pathlib.Path(__file__).parent / "pictures" / "front.png"
METHODS = {"SAMT-S": ("samt-s", {}), "Adam 1e-3": ("adam", {"learning_rate": 1e-3})}


def main() -> None:
    """Trains both, and draws."""
    dataset = load("fashion_mnist")
    model = build_model("mlp", num_outputs=dataset.num_outputs, hidden=(400,))
    problem = supervised(dataset, model)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, (optimizer, settings)) in zip(
        COLOURS, METHODS.items(), strict=False
    ):
        records = list(fit(problem, make_optimizer(optimizer, **settings), epochs=20))
        accuracy = [100 * r.evaluation["test"]["accuracy"][0] for r in records]
        seconds = np.cumsum([record.train_seconds for record in records])
        left.plot(seconds, accuracy, "o-", ms=3, color=colour, label=name)
        if name == "SAMT-S":
            _draw_step_sizes(right, records)
    left.set(xlabel="training time, seconds", ylabel="test accuracy, %")
    left.legend(frameon=False)
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    figure.suptitle(
        f"Fashion-MNIST, 784-400-10, batch 64, 20 epochs, 1 seed ({device})"
    )
    save_figure(figure, PICTURE)


def _draw_step_sizes(axes: Axes, records: list[EpochRecord]) -> None:
    epochs = [record.epoch for record in records]
    for index, block in enumerate(records[0].metrics.info.detail):
        steps = [r.metrics.info.detail[block].step_size[0] for r in records]
        axes.plot(epochs, steps, "-" if index else "--", color=COLOURS[index + 2],
                  label=f"{block}, learned")  # fmt: skip
    axes.set(xlabel="epoch", ylabel="step size (mean of the epoch)", yscale="log")
    axes.legend(frameon=False)


if __name__ == "__main__":
    main()
