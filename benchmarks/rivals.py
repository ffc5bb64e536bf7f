"""The gradient methods by name, each tuned by one rule, and what the paper calls them.

Every method's learning rate is tuned on the narrowest network of a data set, five
epochs a trial, see `trials.py`; all else is as the library has it by default. Their
lines share one file, and so one tuning: `python -m benchmarks.reproduce rivals` makes
those of all methods, `table2`, `figure3` and others those of some. The HD rows
answer whether hypergradient descent is as far behind SGD as the paper has it: with its
authors' settings, with their library's, and tuned.
"""

from pathlib import Path

from benchmarks.open_settings import SLOWEST
from benchmarks.trials import Method

RESULTS = Path(__file__).parent / "results" / "rivals.jsonl"

# DANTE's five updates on each of two layers, each on a batch of its own.
FRESH = {"num_train": 10}

# The paper's direction; SAMT's own default is momentum.
PLAIN = {"direction": "gradient"}
ALONG_ADAM = {"direction": "adam"}
ANNEALED = {"schedule": "cosine"}
# Eta models that learn a tenth as fast: under a schedule there is less to learn.
SLOW = {"meta_learning_rate": SLOWEST}
# Both layers in one block: nothing alternates, and the learned step sizes are left.
ONE_BLOCK = {"blocks": {"all": ["Dense_0", "Dense_1"]}}

METHODS = (
    Method("SGD", "sgd"),
    Method("Adam", "adam"),
    Method("SGD-HD", "sgd-hd"),
    Method("DANTE", "dante", FRESH),
    Method("SAMT-S", "samt-s", proposal_ratio=3.0),
    Method("SAMT-E", "samt-e", proposal_ratio=3.0),
    Method("SAMT-S, gradient", "samt-s", PLAIN, rate=0.2, proposal_ratio=2.5),
    Method("SAMT-E, gradient", "samt-e", PLAIN, rate=0.2, proposal_ratio=2.5),
    Method("SGD-HD, multiplicative", "sgd-hd", {"rule": "multiplicative"}),
    Method("Adam-HD", "adam-hd"),
    Method("momentum", "momentum"),
    Method("DANTE, plain steps", "dante", FRESH | {"normalize": False}, rate=0.1),
    Method("SGDN-HD", "sgdn-hd"),
    Method("ultimate", "ultimate"),
    Method("Newton's rate", "newton-lr"),
    Method("Nesterov", "nesterov"),
    Method("AdamW", "adamw"),
    Method("AdaGrad", "adagrad"),
    Method("RMSProp", "rmsprop"),
    Method("AMSGrad", "amsgrad"),
    Method("AdaBelief", "adabelief"),
    Method("Lion", "lion"),
    Method("schedule-free AdamW", "schedule-free"),
    Method("Prodigy", "prodigy"),
    Method("SGD, cosine", "sgd", ANNEALED),
    Method("momentum, cosine", "momentum", ANNEALED),
    Method("Adam, cosine", "adam", ANNEALED),
    Method("SAMT-R", "samt-r", proposal_ratio=3.0),
    Method("SAMT-C", "samt-c", proposal_ratio=3.0),
    Method("SAMT-R, gradient", "samt-r", PLAIN, rate=0.2, proposal_ratio=2.5),
    Method("SAMT-C, gradient", "samt-c", PLAIN, rate=0.2, proposal_ratio=2.5),
    Method("SAMT-S, cosine", "samt-s", ANNEALED, proposal_ratio=3.0),
    Method("SAMT-E, cosine", "samt-e", ANNEALED, proposal_ratio=3.0),
    Method("SAMT-S, Adam", "samt-s", ALONG_ADAM, rate=1e-3, proposal_ratio=2.0),
    Method("SAMT-S, Adam, cosine", "samt-s", ALONG_ADAM | ANNEALED, rate=1e-3,
           proposal_ratio=2.0),
    Method("SAMT-S, cosine, slow", "samt-s", ANNEALED | SLOW, proposal_ratio=3.0),
    Method("SAMT-E, cosine, slow", "samt-e", ANNEALED | SLOW, proposal_ratio=3.0),
    Method("SAMT-S, Adam, cosine, slow", "samt-s", ALONG_ADAM | ANNEALED | SLOW,
           rate=1e-3, proposal_ratio=2.0),
    Method("SAMT-E, one block, cosine, slow", "samt-e", ONE_BLOCK | ANNEALED | SLOW,
           rate=0.2, proposal_ratio=3.0),
    Method("learned S", "learned-s", proposal_ratio=3.0),
    Method("learned S, gradient", "learned-s", PLAIN, rate=0.2, proposal_ratio=2.5),
    Method("learned S, cosine, slow", "learned-s", ANNEALED | SLOW, proposal_ratio=3.0),
)  # fmt: skip

# Hypergradient descent by (α_0, κ): without κ, which is SGD; with the default κ of its
# authors' library; as its authors ran it (the third); with ten times their κ; and from
# larger learning rates.
_HD_SETTINGS = (
    (1e-3, 0.0), (1e-3, 1e-6), (1e-3, 1e-3), (1e-3, 1e-2), (1e-2, 1e-6), (1e-1, 1e-3),
    (1e-1, 1e-4), (1e-1, 1e-6),
)  # fmt: skip
HD_METHODS = tuple(
    Method(
        f"SGD-HD {rate:g}, {kappa:g}",
        "sgd-hd",
        {"learning_rate": rate, "hyper_learning_rate": kappa},
        is_tuned=False,
    )
    for rate, kappa in _HD_SETTINGS
)
# The paper's name of a method, where it has it under another; SAMT with momentum is not
# the paper's.
IN_PAPER = {
    "SGD-HD": "HD",
    "SAMT-S": "",
    "SAMT-E": "",
    "SAMT-S, gradient": "SAMT-S",
    "SAMT-E, gradient": "SAMT-E",
}
