"""The auxiliary-variable rivals beside the paper's Table 3, on MNIST and its kin.

    python -m benchmarks.layerwise_rivals [METHOD ...] [--widths ...] [--quick]

Full batches, 784-h-10 with one hidden layer of ReLUs (as the paper prints the network),
weights and biases from the normal distribution of standard deviation 0.1 (as the
methods' authors draw them; BCD's take 0.01 for kernels, 0.1 for biases, and pixels from
0 to 1), 55,000 images to train on, 5,000 for validation, 10,000 for testing. Settings
are the methods' own, and none was chosen here. Hundreds of iterations over all examples
are dear: three seeds of the two methods of the paper's table at 100 units, one of all
others. One JSON line a run is appended to
`benchmarks/results/layerwise_rivals.jsonl`, and what stands there is left out, so that
this can be stopped and taken up again; cheap runs come first.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from benchmarks.problems import WIDTHS
from benchmarks.trials import Line, lines_of, machine
from samt_jax.baselines import LayerwiseInfo
from samt_jax.data import Dataset, load
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import Problem, supervised
from samt_jax.runs import append_line
from samt_jax.training import fit

RESULTS = pathlib.Path(__file__).parent / "results" / "layerwise_rivals.jsonl"
_IMAGES = ("mnist", "fashion_mnist")
DATASETS = (*_IMAGES, "kmnist_reduced")

# Two iterations of each method, into a file of its own.
QUICK, QUICK_ITERATIONS = pathlib.Path("runs") / "layerwise-quick.jsonl", 2
# What all of it takes on two cores.
MINUTES = 500
SEEDS = 3  # Of the paper's methods at 100 units.


class Start(NamedTuple):
    """How weights are drawn (`None`: biases as kernels), and what pixels are."""

    kernel_std: float = 0.1
    bias: float | None = None
    unit_pixels: bool = False


class Method(NamedTuple):
    """A method, its settings, how long, at which widths and on what it is run.

    Iterations are epochs where the method takes batches. `num_seeds` is of 100 units;
    wider networks have one.
    """

    optimizer: str
    settings: dict[str, Any]
    iterations: int
    widths: tuple[int, ...]
    start: Start = Start()
    batch_size: int | None = None
    datasets: tuple[str, ...] = _IMAGES
    num_seeds: int = 1


ALL_WIDTHS, _UNIT = (100, 200, 400, 800), Start(unit_pixels=True)
_BCD = Start(kernel_std=0.01, bias=0.1, unit_pixels=True)


METHODS = {
    "dlADMM": Method("dladmm", {}, 200, ALL_WIDTHS, _UNIT, None, DATASETS, SEEDS),
    "mDLAM": Method("mdlam", {}, 200, ALL_WIDTHS, _UNIT, None, DATASETS, SEEDS),
    "mDLAM, not accelerated": Method(
        "mdlam", {"accelerate": False}, 200, (100,), _UNIT
    ),
    "dlADMM, as its code": Method(
        "dladmm",
        {"penalty_schedule": "on_rise", "output_solver": "fista"},
        200,
        (100,),
        _UNIT,
    ),
    "mDLAM, as its code": Method(
        "mdlam",
        {
            "accelerate": False,
            "freeze_second_bias": True,
            "max_doublings": 10,
            "output_solver": "fista",
        },
        200,
        (100, 400),
        _UNIT,
    ),
    "pdADMM": Method("pdadmm", {}, 50, (100, 400), _UNIT),
    "AA-mDLAM": Method("aa-mdlam", {}, 200, (100, 400), _UNIT),
    "AA-mDLAM, held to its image": Method(
        "aa-mdlam", {"accept_below": "image"}, 200, (100,), _UNIT
    ),
    "BCD": Method("bcd", {}, 50, (100, 400), _BCD),
    "BCD, two-splitting": Method("bcd", {"splitting": "two"}, 50, (100, 400), _BCD),
    "scaleADMM": Method("scaleadmm", {}, 60, (100, 400)),
    "scaleADMM, warm-up 50": Method("scaleadmm", {"warm_steps": 50}, 60, (100, 400)),
    "scaleADMM, as reimplemented": Method(
        "scaleadmm", {"penalty": 5.0, "activation_penalty": 5.0}, 60, (100, 400)
    ),
    "TIAM": Method("tiam", {}, 200, (100, 400), _UNIT),
    "BADM": Method("badm", {}, 20, (100, 400), batch_size=64),
}


def run(
    names: Sequence[str] = tuple(METHODS),
    widths: Sequence[int] = ALL_WIDTHS,
    *,
    quick: bool = False,
) -> None:
    """Makes the runs of these methods and widths that have no line yet.

    Args:
      names: Of methods.
      widths: Of the hidden layer.
      quick: Whether to run two iterations of the narrowest on the smallest set alone,
        of one seed, into a file that no report reads.
    """
    path = QUICK if quick else RESULTS
    if quick:
        path.parent.mkdir(exist_ok=True)
        widths = widths[:1]
    runs = [
        (seed, width, dataset, name)
        for name in names
        for width in METHODS[name].widths
        for dataset in (DATASETS[-1:] if quick else METHODS[name].datasets)
        for seed in range(1 if quick or width > WIDTHS[0] else METHODS[name].num_seeds)
        if width in widths
    ]
    keys = ("seed", "hidden", "dataset", "method")
    done = {tuple(line[key] for key in keys) for line in lines_of(path)}
    for seed, width, dataset, name in sorted(set(runs) - done):
        method = METHODS[name]
        if quick:
            method = method._replace(iterations=QUICK_ITERATIONS)
        line = _run(build_problem(dataset, width, method.start), method, seed)
        head = {"method": name, "dataset": dataset, "hidden": width}
        append_line(path, head | line)
        print(name, dataset, width, seed, line["test_accuracy"][-1], file=sys.stderr)


def build_problem(dataset: str, width: int, start: Start) -> Problem:
    """The data and the network, with its start."""
    data = load(dataset)
    if start.unit_pixels:
        data = _with_unit_pixels(data)
    normal = jax.nn.initializers.normal(start.kernel_std)
    bias = jax.nn.initializers.constant(start.bias or 0.0)
    model = build_model(
        "mlp",
        num_outputs=data.num_outputs,
        hidden=(width,),
        negative_slope=0.0,
        kernel_init=lambda fan_in: normal,
        bias_init=lambda fan_in: normal if start.bias is None else bias,
    )
    return supervised(data, model)


def _with_unit_pixels(data: Dataset) -> Dataset:
    """Undoes the standardisation, of which black and white are the ends."""
    black, white = data.train.inputs.min(), data.train.inputs.max()
    parts = {
        name: part._replace(inputs=(part.inputs - black) / (white - black))
        for name, part in data._asdict().items()
        if name in ("train", "validation", "test")
    }
    return data._replace(**parts)


def _run(problem: Problem, method: Method, seed: int) -> Line:
    make_algorithm = make_optimizer(method.optimizer, **method.settings)
    info, evaluations, seconds = [], [], 0.0
    # Not a list of records: each has variables of every example, and two hundred of
    # them fill a machine.
    for record in fit(
        problem,
        make_algorithm,
        epochs=method.iterations,
        batch_size=method.batch_size,
        seeds=(seed,),
    ):
        info.append(record.metrics.info)
        evaluations.append(record.evaluation)
        seconds += record.train_seconds
    details = [each.detail for each in info]
    has_variables = isinstance(details[0], LayerwiseInfo)
    return {
        "optimizer": method.optimizer,
        "settings": method.settings,
        "start": method.start._asdict(),
        "batch_size": method.batch_size,
        "seed": seed,
        "iterations": len(info),
        "status": record.status[0],
        "train_loss": [float(each.value[0]) for each in info],
        **(_of_variables(details) if has_variables else {}),
        **{f"{part}_accuracy": [
            float(each[part]["accuracy"][0]) for each in evaluations
        ] for part in ("validation", "test")},
        "train_seconds": seconds,
        "compile_seconds": record.compile_seconds,
        **machine(),
    }  # fmt: skip


def _of_variables(details: list[LayerwiseInfo]) -> dict[str, Any]:
    accepted = [e.is_accepted for e in details if e.is_accepted is not None]
    return {
        "objective": [float(each.objective[0]) for each in details],
        **({"is_accepted": [bool(each[0]) for each in accepted]} if accepted else {}),
        "linear_residual": {
            layer: [float(each.linear_residual[layer][0]) for each in details]
            for layer in details[0].linear_residual
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layerwise_rivals")
    parser.add_argument(
        "methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}"
    )
    parser.add_argument(
        "--widths", nargs="+", type=int, choices=ALL_WIDTHS, default=ALL_WIDTHS
    )
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.methods if name not in METHODS]:
        parser.error(f"no method {unknown}; there are {list(METHODS)}.")
    run(options.methods or list(METHODS), options.widths, quick=options.quick)


if __name__ == "__main__":
    main()
