"""The rivals, one method a file."""

from samt_jax.baselines.badm import BadmInfo, BadmState, badm
from samt_jax.baselines.dante import DanteInfo, DanteState, dante
from samt_jax.baselines.dladmm import DladmmState, dladmm
from samt_jax.baselines.hd import adam_hd, sgd_hd, sgdn_hd
from samt_jax.baselines.hypergradient import (
    HypergradientInfo,
    HypergradientState,
    hypergradient_descent,
)
from samt_jax.baselines.layerwise import LayerwiseInfo, Network
from samt_jax.baselines.levels import (
    Level,
    adagrad_level,
    adam_level,
    rmsprop_level,
    sgd_level,
)
from samt_jax.baselines.newton_lr import NewtonLrInfo, NewtonLrState, newton_lr
from samt_jax.baselines.outputs import SOFTMAX, SQUARED_ERROR, OutputLoss
from samt_jax.baselines.ultimate import UltimateInfo, UltimateState, ultimate

__all__ = [
    "SOFTMAX",
    "SQUARED_ERROR",
    "BadmInfo",
    "BadmState",
    "DanteInfo",
    "DanteState",
    "DladmmState",
    "HypergradientInfo",
    "HypergradientState",
    "LayerwiseInfo",
    "Level",
    "Network",
    "NewtonLrInfo",
    "NewtonLrState",
    "OutputLoss",
    "UltimateInfo",
    "UltimateState",
    "adagrad_level",
    "adam_hd",
    "adam_level",
    "badm",
    "dante",
    "dladmm",
    "hypergradient_descent",
    "newton_lr",
    "rmsprop_level",
    "sgd_hd",
    "sgd_level",
    "sgdn_hd",
    "ultimate",
]
