"""`samt bench`: what the methods cost, in units of an epoch of optax's Adam."""

import pathlib
import statistics
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from samt_jax.bench.cells import Method, Network, networks
from samt_jax.bench.measure import measure_network
from samt_jax.bench.safety import measure_checkpoint, measure_guards
from samt_jax.cli.display import result_console
from samt_jax.cli.environment import environment
from samt_jax.cli.memory import in_units
from samt_jax.cli.options import Bench
from samt_jax.data import DataError, load
from samt_jax.runs import append_line, to_json

Line = dict[str, Any]
# The network whose checkpoint is measured.
PAPERS = "784-400-10"
# Of these the guards are measured too.
GUARDED = ("784-100-10", PAPERS, "784-800-10")
NUM_RANDOM, IMAGE, NUM_CLASSES = 10_000, (28, 28, 1), 10


class RandomImages(NamedTuple):
    """Random data of Fashion-MNIST's shape, as far as measuring needs a data set."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    task: str = "classification"
    num_outputs: int = NUM_CLASSES


def run(options: Bench) -> int:
    """Measures, and prints a line a cell as it is done and a table at the end.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code.
    """
    chosen = _chosen(networks(options.quick), options.networks)
    dataset, data = _data(options)
    about = environment() | {
        "data": data, "quick": options.quick, "commit": _commit(),
    }  # fmt: skip
    words = Console(stderr=True)
    words.print(f"data: {data}; devices: {', '.join(about['devices'])}")

    def note(line: Line, sentence: str) -> Line:
        words.print(sentence, highlight=False, soft_wrap=True)
        if options.out is not None:
            append_line(options.out, line | about)
        return line

    cells = [
        note(line, _sentence(line))
        for line in _measure(chosen, dataset, options.rounds)
    ]
    # What keeping a run safe costs: of a step, and of a checkpoint.
    safety = [
        note(line, guards_sentence(line))
        for line in (measure_guards(n, dataset) for n in chosen if n.name in GUARDED)
    ]
    saved = None
    if any(network.name == PAPERS for network in chosen):
        saved = measure_checkpoint(dataset, pathlib.Path.cwd())
        note(saved, checkpoint_sentence(saved))
    if options.json:
        found = {"cells": cells, "guards": safety, "checkpoint": saved}
        print(to_json({"environment": about} | found))
    else:
        _print(cells)
        for line in safety:
            print(guards_sentence(line))
        if saved is not None:
            print(checkpoint_sentence(saved))
    return 0


def _measure(
    table: dict[Network, tuple[Method, ...]], dataset: Any, rounds: int
) -> Iterator[Line]:
    for network, methods in table.items():
        yield from measure_network(network, methods, dataset, rounds=rounds)
        # Compiled programs of one network are of no use to the next.
        jax.clear_caches()


def _chosen(
    table: dict[Network, tuple[Method, ...]], names: tuple[str, ...] | None
) -> dict[Network, tuple[Method, ...]]:
    if names is None:
        return table
    by_name = {network.name: network for network in table}
    return {by_name[name]: table[by_name[name]] for name in names}


def _data(options: Bench) -> tuple[Any, str]:
    """Fashion-MNIST if it is there, and if it is not, random data of its shape."""
    try:
        return load("fashion_mnist", data_dir=options.data_dir), "fashion_mnist"
    except DataError:
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=(NUM_RANDOM, *IMAGE)).astype(np.float32)
        labels = rng.integers(NUM_CLASSES, size=NUM_RANDOM).astype(np.int32)
        part = (inputs, labels)
        few = (inputs[:1], labels[:1])
        return RandomImages(part, few, few), "random, of Fashion-MNIST's shape"


def _commit() -> str | None:
    """The commit that the library is at; `None` where it is no checkout."""
    folder = pathlib.Path(__file__).parent
    git = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _name(line: Line) -> str:
    method = Method(**{field: line[field] for field in Method._fields})
    words = [method.name, method.reading, method.engine, method.option]
    framework = "PyTorch" if method.framework == "torch" else ""
    return " ".join(word for word in (framework, *words) if word)


def _sentence(line: Line) -> str:
    return (
        f"{line['network']}: {_name(line)}: {line['microseconds_per_step']:.0f} µs a "
        f"step, {line['adam_epochs']:.2f} of Adam's"
    )


def guards_sentence(line: Line) -> str:
    """What the guards cost, in words.

    Args:
      line: From :func:`~samt_jax.bench.safety.measure_guards`.

    Returns:
      The sentence, without its full stop.
    """
    low, high = (100 * share for share in line["share_quartiles"])
    return (
        f"the guards of {line['guards']}: {100 * line['share']:.1f} % of a step of "
        f"{line['microseconds_without']:.0f} µs without (quartiles {low:.1f} and "
        f"{high:.1f}, {line['rounds']} rounds)"
    )


def checkpoint_sentence(saved: Line) -> str:
    """What a checkpoint costs, in words.

    Args:
      saved: From :func:`~samt_jax.bench.safety.measure_checkpoint`.

    Returns:
      The sentence, without its full stop.
    """
    low, high = saved["save_ms_quartiles"]
    return (
        f"a checkpoint of {saved['checkpoint']}, {in_units(saved['bytes'])}: "
        f"{saved['save_ms']:.0f} ms (quartiles {low:.0f} and {high:.0f}), restored in "
        f"{saved['restore_ms']:.0f} ms"
    )


def _print(lines: list[Line]) -> None:
    for network in dict.fromkeys(line["network"] for line in lines):
        table = Table(
            "method", "µs a step", "in Adam's", "spread", "compile s", "MFLOP a step",
            "temporaries", "other load", title=network,
        )  # fmt: skip
        for line in (line for line in lines if line["network"] == network):
            ratios = line["adam_epochs_by_round"]
            table.add_row(
                _name(line),
                f"{line['microseconds_per_step']:.0f}",
                f"{line['adam_epochs']:.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                _number(line, "compile_seconds", 1, ".1f"),
                _number(line, "flops_per_step", 1e6, ".0f"),
                _number(line, "temporary_bytes", 2**20, ".1f", " MiB"),
                f"{100 * statistics.median(line['foreign_load']):.0f} %",
            )
        result_console().print(table)


def _number(line: Line, key: str, unit: float, form: str, suffix: str = "") -> str:
    value = line.get(key)
    return "" if value is None else f"{value / unit:{form}}{suffix}"
