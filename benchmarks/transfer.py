"""Eta models that were trained on one problem, for runs on another to start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from benchmarks.problems import Benchmark, build
from samt_jax import (
    fit,
    load_meta_params,
    make_optimizer,
    save_meta_params,
    trained_meta_params,
)

# They are made anew where they are missing, and are not committed.
KEPT = Path("runs") / "eta_models"


def meta_params_of(
    source: Benchmark, optimizer: str, settings: Mapping[str, Any], seed: int
) -> dict[str, PyTree]:
    """Trains eta models, or reads those that were trained before.

    Args:
      source: What they are trained on, and how long.
      optimizer: SAMT of some granularity, by name.
      settings: Of the run that starts from them; here, eta models learn at the rate
        that they have by default.
      seed: Of both runs.

    Returns:
      Their weights by block, after the last epoch.
    """
    name = f"{source.name}, {source.epochs} epochs, {optimizer}, {seed}.npz"
    if (KEPT / name).exists():
        return load_meta_params(KEPT / name)
    learning = {k: v for k, v in settings.items() if k != "meta_learning_rate"}
    records = fit(
        build(source, with_test=False),
        make_optimizer(optimizer, **learning),
        epochs=source.epochs,
        batch_size=source.batch_size,
        seeds=(seed,),
    )
    *_, last = records
    meta_params = trained_meta_params(last.state, seed=0)
    KEPT.mkdir(parents=True, exist_ok=True)
    save_meta_params(KEPT / name, meta_params)
    return meta_params
