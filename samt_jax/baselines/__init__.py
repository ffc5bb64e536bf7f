"""The rivals, one method a file."""

from samt_jax.baselines.aa_mdlam import AaMdlamState, aa_mdlam
from samt_jax.baselines.badm import BadmInfo, BadmState, badm
from samt_jax.baselines.bcd import BcdState, bcd
from samt_jax.baselines.codes import HALF_SQUARED_ERROR, HINGE
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
from samt_jax.baselines.mdlam import MdlamState, mdlam
from samt_jax.baselines.newton_lr import NewtonLrInfo, NewtonLrState, newton_lr
from samt_jax.baselines.outputs import SOFTMAX, SQUARED_ERROR, OutputLoss
from samt_jax.baselines.pdadmm import PdadmmState, pdadmm
from samt_jax.baselines.scaleadmm import ScaleadmmState, scaleadmm
from samt_jax.baselines.tiam import TiamState, tiam
from samt_jax.baselines.ultimate import UltimateInfo, UltimateState, ultimate

__all__ = [
    "HALF_SQUARED_ERROR",
    "HINGE",
    "SOFTMAX",
    "SQUARED_ERROR",
    "AaMdlamState",
    "BadmInfo",
    "BadmState",
    "BcdState",
    "DanteInfo",
    "DanteState",
    "DladmmState",
    "HypergradientInfo",
    "HypergradientState",
    "LayerwiseInfo",
    "Level",
    "MdlamState",
    "Network",
    "NewtonLrInfo",
    "NewtonLrState",
    "OutputLoss",
    "PdadmmState",
    "ScaleadmmState",
    "TiamState",
    "UltimateInfo",
    "UltimateState",
    "aa_mdlam",
    "adagrad_level",
    "adam_hd",
    "adam_level",
    "badm",
    "bcd",
    "dante",
    "dladmm",
    "hypergradient_descent",
    "mdlam",
    "newton_lr",
    "pdadmm",
    "rmsprop_level",
    "scaleadmm",
    "sgd_hd",
    "sgd_level",
    "sgdn_hd",
    "tiam",
    "ultimate",
]
