"""The table of what the methods cost, made from the lines that `samt bench` left.

    samt bench --out benchmarks/results/engine_cost.jsonl
    python -m benchmarks.engine_cost

Every number is in units of an epoch of `optax.adam` on the same network, measured in
turns with it: the median over rounds and its quartiles. PyTorch's stand in those units
too. Where a cell has several lines the last counts.
"""

import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from samt_jax.bench.cells import Method, networks
from samt_jax.cli.bench import checkpoint_sentence, guards_sentence
from samt_jax.runs import read_lines

RESULTS = pathlib.Path(__file__).parent / "results" / "engine_cost.jsonl"
Line = dict[str, Any]


def report() -> None:
    """Prints what each network costs in time and memory, depths, and safety."""
    lines = read_lines(RESULTS)
    cells = last_cells(lines)
    shallow = [n for n in _networks(cells) if not n.endswith("-layers")]
    _print_table("method", cells, shallow, _ratio)
    print()
    _print_table("state + temporaries, MiB", cells, shallow, _memory)
    _print_depths(cells, [n for n in _networks(cells) if n not in shallow])
    guards = {line["guards"]: line for line in lines if "guards" in line}
    for line in guards.values():
        print(f"\n{guards_sentence(line)}.")
    for line in [line for line in lines if "checkpoint" in line][-1:]:
        print(f"\n{checkpoint_sentence(line)}.")


def _print_table(
    title: str,
    cells: dict[tuple, Line],
    networks: list[str],
    show: Callable[[Line | None], str],
) -> None:
    """A row a method, a column a network; methods with nothing to show have none."""
    print(f"| {title} | " + " | ".join(networks) + " |")
    print("| --- |" + " --- |" * len(networks))
    for method in dict.fromkeys(key[1:] for key in cells if key[0] in networks):
        row = [show(cells.get((network, *method))) for network in networks]
        if any(row):
            print(f"| {_name(method)} | " + " | ".join(row) + " |")


def _memory(line: Line | None) -> str:
    """MiB of the method's state, and of what a step needs for its time."""
    if line is None or line.get("temporary_bytes") is None:
        return ""
    state, temporary = (line[f"{of}_bytes"] / 2**20 for of in ("state", "temporary"))
    return f"{state:.1f} + {temporary:.1f}"


def _print_depths(cells: dict[tuple, Line], networks: list[str]) -> None:
    print("\n| layers | method | in Adam's | µs a step | compile s |")
    print("| --- | --- | --- | --- | --- |")
    for (network, *method), line in cells.items():
        if network in networks:
            print(
                f"| {network.removesuffix('-layers')} | {_name(tuple(method))} "
                f"| {_ratio(line)} | {line['microseconds_per_step']:.0f} "
                f"| {line['trace_seconds'] + line['compile_seconds']:.1f} |"
            )


def _ratio(line: Line | None) -> str:
    if line is None:
        return ""
    rounds = line["adam_epochs_by_round"]
    low, median, high = statistics.quantiles(rounds, n=4)
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _name(method: tuple) -> str:
    name, reading, engine, option, framework = method
    words = ["PyTorch" if framework == "torch" else "", name, reading, engine, option]
    return " ".join(word for word in words if word)


def _networks(cells: dict[tuple, Line]) -> list[str]:
    return list(dict.fromkeys(network for network, *_ in cells))


def last_cells(lines: Sequence[Line]) -> dict[tuple, Line]:
    """The last line of each cell of the full table, in the table's order."""
    last = {
        (line["network"], *(line[field] for field in Method._fields)): line
        for line in lines
        if "network" in line
    }
    keys = [
        (network.name, *method)
        for network, methods in networks(quick=False).items()
        for method in methods
    ]
    return {key: last[key] for key in keys if key in last}


if __name__ == "__main__":
    report()
