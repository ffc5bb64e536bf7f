"""SAMT for JAX: alternating minimisation with trainable step sizes, and its rivals.

Names are imported when they are first used, so that the `samt` command can answer for
its options without starting JAX.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_HOME = {
    "Algorithm": "base",
    "BatchSpec": "base",
    "Batches": "base",
    "Block": "blocks",
    "BlockTable": "blocks",
    "CAUSES": "meta",
    "Chain": "chain",
    "EngineChoice": "engine",
    "EtaMLP": "eta",
    "FEATURE_NAMES": "features",
    "Features": "features",
    "LastStep": "learned_step_size",
    "Layer": "chain",
    "LearnedStepSizeState": "learned_step_size",
    "MetaState": "meta",
    "OPTIMIZERS": "optimizers",
    "Problem": "problem",
    "SamtState": "visit",
    "StepInfo": "base",
    "StepLayout": "granularity",
    "VisitInfo": "records",
    "block_updates": "meta",
    "build_model": "models",
    "chain_outputs": "chain",
    "choose_engine": "engine",
    "convolution": "chain",
    "dense": "chain",
    "eta_model_bytes": "records",
    "fit": "training",
    "from_optax": "base",
    "get_block": "blocks",
    "gradient_features": "features",
    "load_meta_params": "meta_params",
    "make_optimizer": "optimizers",
    "meta_value_and_grad": "meta",
    "metrics_line": "metrics",
    "order_by_first_use": "blocks",
    "partition_blocks": "blocks",
    "raw_gradient_features": "features",
    "replace_block": "blocks",
    "samt": "samt",
    "samt_algorithm": "engine",
    "samt_sweep": "samt",
    "save_meta_params": "meta_params",
    "scale_by_learned_step_size": "learned_step_size",
    "scaled_features": "features",
    "spread_step_sizes": "step_size",
    "step_meta_params": "meta",
    "step_layout": "granularity",
    "step_sizes": "step_size",
    "supervised": "problem",
    "trained_meta_params": "meta_params",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Imports a public name from the file that it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module 'samt_jax' has no attribute '{name}'")
    return getattr(importlib.import_module(f"samt_jax.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


class _Package(ModuleType):
    """A package that a submodule cannot take a public name from (`samt` is both)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
