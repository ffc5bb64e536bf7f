"""Lines of metrics as a run writes them, of random numbers."""

import numpy as np


def lines_of(epochs=3, seeds=2, blocks=("Dense_0", "Dense_1"), metric="accuracy"):
    rng = np.random.default_rng(0)

    def numbers():
        return rng.uniform(0.1, 0.9, seeds).tolist()

    lines = []
    for epoch in range(1, epochs + 1):
        line = {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": numbers(),
            "train_seconds": 0.5,
        }
        for part in ("validation", "test"):
            line |= {f"{part}_loss": numbers(), f"{part}_{metric}": numbers()}
        line["step_sizes"] = {block: numbers() for block in blocks}
        lines.append(line)
    return lines


def labels(axes):
    return [line.get_label() for line in axes.lines]
