"""Loss and metric of one run over its epochs."""

from matplotlib.figure import Figure

from samt_jax.plots.look import (
    Lines,
    draw_band,
    in_unit,
    put_caption,
    style_axes,
    unit_of,
)


def plot_curves(
    lines: Lines, *, metric: str, title: str = "", device: str = ""
) -> Figure:
    """Loss and metric over the epochs, with the spread over seeds where there are some.

    Args:
      lines: One mapping an epoch, with `epoch`, `train_loss`, and for validation and
        test `<part>_loss` and `<part>_<metric>`, each a list with a number a seed.
      metric: ``"accuracy"`` (a share, shown in %) or ``"rmse"``.
      title: Stands above.
      device: What it ran on; stands below.

    Returns:
      The figure.

    Example:
      >>> line = {"epoch": 1, "train_loss": [0.5]}
      >>> line |= {"validation_loss": [0.6], "test_loss": [0.6]}
      >>> line |= {"validation_accuracy": [0.9], "test_accuracy": [0.8]}
      >>> len(plot_curves([line], metric="accuracy").axes)
      2
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in lines]
    parts = ("training", "validation", "test")
    losses = ("train_loss", "validation_loss", "test_loss")
    for index, (part, name) in enumerate(zip(parts, losses, strict=True)):
        values = [line[name] for line in lines]
        draw_band(left, epochs, values, index, part, len(parts))
    loss_unit = "cross-entropy, nats" if metric == "accuracy" else "squared error"
    style_axes(left, "epoch", f"mean loss ({loss_unit})")
    left.set_yscale("log")
    for index, part in enumerate(parts[1:], 1):
        values = in_unit([line[f"{part}_{metric}"] for line in lines], metric)
        draw_band(right, epochs, values, index, part, len(parts))
    style_axes(right, "epoch", unit_of(metric))
    put_caption(figure, lines, title, device)
    return figure
