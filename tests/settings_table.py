"""The README's tables of settings and methods, made from the code.

    python tests/settings_table.py

Names and defaults come from the signatures, what a setting does from the docstrings,
methods from the table of optimizers. Where a default comes from stands here.
"""

import inspect
import pathlib
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from samt_jax import OPTIMIZERS, samt_algorithm, samt_sweep, step_layout, step_sizes

README = pathlib.Path(__file__).parent.parent / "README.md"

_TUNED = "validation, see below"
_PAPER = "the paper"
ORIGINS = {
    "learning_rate": _TUNED,
    "granularity": f"{_PAPER}'s SAMT-S, the cheapest",
    "blocks": f"a block a layer, as in {_PAPER}",
    "frozen": "nothing",
    "order": f"{_PAPER}'s Algorithm 1; the chain engine needs it",
    "inner_steps": f"`None` is 1: {_PAPER}'s Algorithm 1",
    "eta_model": f"`None` is `EtaMLP`, {_PAPER}'s three layers of 64",
    "shared_eta_model": f"one each; {_PAPER} leaves it open",
    "element_head": f"memory: {_PAPER}'s dense head has 128 weights an entry",
    "kernel_layout": "Flax and Equinox both as they are",
    "features": f"`None` is {_PAPER}'s five, on a logarithmic scale: raw ones are too "
    "small to see",
    "squash": f"{_PAPER}; the other is the same at twice the input",
    "proposal_max": _TUNED,
    "mixing_weight": f"learned, as in {_PAPER}",
    "terms": f"{_PAPER}'s (10)",
    "direction": _TUNED,
    "meta_optimizer": f"`None` is Adam; its rate: {_TUNED}",
    "meta_params": "fresh ones",
    "schedule": "none",
    "step_bounds": f"none; {_PAPER}'s theory alone has them",
    "ball_radius": f"none; {_PAPER}'s theory alone has it",
    "seed": "any",
    "meta_batch": f"{_TUNED}: on the training batch itself steps run to the end of "
    "their range",
    "num_train": f"a sweep a batch; {_PAPER} leaves it open",
    "engine": "the cheaper one that can serve",
    "activation_dtype": "that of the inputs",
}


def settings() -> dict[str, inspect.Parameter]:
    """Every setting of SAMT: those of a sweep, and those of the algorithm around it."""
    found: dict[str, inspect.Parameter] = {}
    for function in (samt_sweep, samt_algorithm):
        parameters = inspect.signature(function).parameters.values()
        found |= {p.name: p for p in parameters if p.default is not p.empty}
    return found


def explanations(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument, on one line."""
    docstring = inspect.getdoc(function) or ""
    found = re.search(r"^Args:\n(.*?)\n\n", docstring, re.DOTALL | re.MULTILINE)
    text = found.group(1) if found else ""
    entries = re.split(r"^  (?=[\w*]+: )", text, flags=re.MULTILINE)[1:]
    pairs = (entry.partition(": ") for entry in entries)
    return {name: _as_markdown(words) for name, _, words in pairs}


def settings_table() -> str:
    """One row a setting."""
    words = explanations(samt_algorithm) | explanations(samt_sweep)
    # What a sweep hands on to a stage is explained there.
    stages = explanations(step_layout) | explanations(step_sizes)
    words |= {n: stages[n] for n, said in words.items() if said.startswith("See ")}
    rows = [
        f"| `{name}` | `{_default(parameter)}` | {words[name]} | {ORIGINS[name]} |"
        for name, parameter in settings().items()
    ]
    head = "| setting | default | what it does | where the default comes from |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows])


def methods_table() -> str:
    """One row a method, by the name that the command and `make_optimizer` know."""
    rows = [
        f"| `{name}` | {row.summary} | {_rate(row.learning_rate)} | "
        f"{_takes(row.takes)} |"
        for name, row in OPTIMIZERS.items()
    ]
    head = "| name | what it is | learning rate | other settings |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows])


def _rate(learning_rate: float | None) -> str:
    return "none" if learning_rate is None else f"{learning_rate:g}"


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "methods": methods_table,
}


def updated(readme: str) -> str:
    """The README with its tables as the code has them."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: made by tests/settings_table.py -->", "<!-- end -->"
        pattern = f"{re.escape(begin)}\n.*?{re.escape(end)}"
        whole = f"{begin}\n\n{table()}\n\n{end}"
        readme, count = re.subn(
            pattern, lambda _, whole=whole: whole, readme, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"README.md has {count} places for the table '{name}'.")
    return readme


def _default(parameter: inspect.Parameter) -> str:
    return repr(parameter.default).replace("'", '"')


def _takes(takes: frozenset[str]) -> str:
    others = sorted(takes - {"learning_rate"})
    if "squash" in takes:
        missing = sorted(OPTIMIZERS["samt-e"].takes - takes)
        but = ", ".join(f"`{name}`" for name in missing)
        return f"those above, but for {but}" if missing else "those above"
    return ", ".join(f"`{name}`" for name in others) or "none"


def _as_markdown(words: str) -> str:
    line = " ".join(words.split())
    line = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", line)
    return line.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{README.name}: {', '.join(TABLES)}")
