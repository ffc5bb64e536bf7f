"""Eta models that were trained on one problem, for runs on another to start from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from benchmarks.problems import Benchmark, build
from samt_jax import (
    MetaState,
    fit,
    load_meta_params,
    make_optimizer,
    save_meta_params,
    trained_meta_params,
)
from samt_jax.trainer import Progress

# They are made anew where they are missing, and are not committed.
KEPT = Path("runs") / "eta_models"


def meta_params_of(
    source: Benchmark, optimizer: str, settings: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, PyTree]:
    """Trains eta models, or reads those that were trained before.

    Args:
      source: What they are trained on, and how long.
      optimizer: SAMT of some granularity, by name.
      settings: Of the runs that start from them; here, eta models learn at the rate
        that they have by default.
      seeds: Of both runs.

    Returns:
      Their weights by block after the last epoch, along a leading axis of seeds.
    """
    learning = {k: v for k, v in settings.items() if k != "meta_learning_rate"}
    # All that they come from: those of other settings are others.
    words = (source.name, f"{source.epochs} epochs", optimizer,
             *(f"{name} {value}" for name, value in sorted(learning.items())),
             "seeds " + " ".join(map(str, seeds)))  # fmt: skip
    path = KEPT / f"{', '.join(words)}.npz"
    if path.exists():
        return load_meta_params(path)
    records = fit(
        build(source, with_test=False),
        make_optimizer(optimizer, **learning),
        epochs=source.epochs,
        batch_size=source.batch_size,
        seeds=seeds,
    )
    *_, last = records
    meta_params = trained_meta_params(last.state)
    KEPT.mkdir(parents=True, exist_ok=True)
    save_meta_params(path, meta_params)
    return meta_params


def start_from(progress: Progress, meta_params: Mapping[str, PyTree]) -> Progress:
    """Puts trained eta models in the place of fresh ones, seed by seed.

    `meta_params=` would give all seeds of a compiled run the same.

    Args:
      progress: A run at its start.
      meta_params: Weights by block, along a leading axis of seeds.

    Returns:
      The start of a run with these.
    """

    def placed(node: Any) -> Any:
        if not _is_meta(node):
            return node
        return {
            name: each._replace(params=meta_params[name]) for name, each in node.items()
        }

    state = progress.state
    algorithm_state = jax.tree.map(placed, state.algorithm_state, is_leaf=_is_meta)
    return progress._replace(state=state._replace(algorithm_state=algorithm_state))


def _is_meta(node: Any) -> bool:
    return isinstance(node, dict) and any(
        isinstance(each, MetaState) for each in node.values()
    )
