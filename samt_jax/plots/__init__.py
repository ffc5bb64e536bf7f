"""Pictures of a run's metrics: curves, step sizes, and several runs side by side.

The functions take the lines of `metrics.jsonl`, or arrays, and return a matplotlib
figure that says its units, how many seeds it shows and, where it is told, the device.
Colours are Okabe and Ito's, which the colour-blind can tell apart, and lines differ in
style too; maps of numbers use cividis, which keeps its order in grey print.
"""

from samt_jax.plots.comparison import plot_comparison, plot_ranking
from samt_jax.plots.curves import plot_curves
from samt_jax.plots.layers import plot_pixels, plot_units
from samt_jax.plots.look import COLOURS, save_figure
from samt_jax.plots.step_sizes import plot_distributions, plot_step_sizes

__all__ = [
    "COLOURS",
    "plot_comparison",
    "plot_curves",
    "plot_distributions",
    "plot_pixels",
    "plot_ranking",
    "plot_step_sizes",
    "plot_units",
    "save_figure",
]
