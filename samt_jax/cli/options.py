"""The command's options; nothing here needs JAX."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from samt_jax.cli.values import (
    choice,
    folder,
    interval,
    multiplier,
    nonnegative,
    path,
    positive,
    several,
    share,
    switch,
    whole_number,
    whole_numbers,
    words,
)
from samt_jax.optimizers import OPTIMIZERS, SCHEDULES
from samt_jax.samt_rows import META_OPTIMIZERS

# These also stand where they belong, in files that take long to import; a test holds
# them equal.
TABLES = ("bike", "bike_full", "pol", "kegg", "kegg_undirected")
DATASETS = (
    "digits", "mnist", "kmnist", "fashion_mnist", "cifar10", "cifar100",
    "kmnist_reduced", *TABLES,
)  # fmt: skip
MODELS = ("mlp", "cnn", "resnet18", "vgg11")
FEATURES = ("mean", "variance", "max", "min", "norm")
ORDERS = ("forward", "backward", "random")
SAMT = ("samt-s", "samt-r", "samt-c", "samt-e")
DIGITS_EPOCHS, EPOCHS, FULL_BATCH_EPOCHS = 100, 20, 200
BATCH_SIZE = 64
LAST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Data:
    """What to train on."""

    dataset: Annotated[str, choice("--dataset", DATASETS)] = "digits"
    """Data set; `samt doctor` says which are there."""
    data_dir: Annotated[Path | None, folder("--data-dir")] = None
    """Folder of original data files; else SAMT_JAX_DATA, else ./data."""
    split: Annotated[int | None, whole_number("--split", 0, 9, "0")] = None
    """Which split of a regression set, 0 to 9."""


@dataclasses.dataclass(frozen=True)
class Network:
    """What to train."""

    model: Annotated[str, choice("--model", MODELS)] = "mlp"
    """Network."""
    hidden: Annotated[
        tuple[int, ...] | None, whole_numbers("--hidden", default="100")
    ] = None
    """Widths of the hidden layers of mlp."""
    width: Annotated[float | None, multiplier("--width", 100, "1")] = None
    """Multiplies the widths of the other networks."""
    bias: Annotated[
        tyro.conf.FlagCreatePairsOff[bool],
        tyro.conf.arg(help_behavior_hint="(default: with biases)"),
    ] = True
    """Leave biases out."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the optimizer; each is refused by optimizers that do not take it."""

    learning_rate: Annotated[float | None, positive("--learning-rate", "own")] = None
    """Learning rate, SAMT's η0; each optimizer has its own default."""
    schedule: Annotated[str | None, choice("--schedule", SCHEDULES, "constant")] = None
    """Schedule of the learning rate, or of SAMT's whole step size."""
    momentum: Annotated[float | None, share("--momentum", "0.9")] = None
    """Momentum."""
    weight_decay: Annotated[float | None, nonnegative("--weight-decay", "own")] = None
    """Weight decay."""
    meta_batch: Annotated[
        str | None,
        choice("--meta-batch", ("next", "held_out", "strided", "same"), "next"),
    ] = None
    """SAMT: where the meta-batch comes from."""
    meta_learning_rate: Annotated[
        float | None, nonnegative("--meta-learning-rate", "own")
    ] = None
    """SAMT: rate at which the eta models learn, 0 to freeze them; by default 0.6 (0.2
    along the gradient) divided by the steps for Adam, 0.1 for SGD."""
    meta_optimizer: Annotated[
        str | None, choice("--meta-optimizer", META_OPTIMIZERS, "adam")
    ] = None
    """SAMT: what trains the eta models."""
    meta_params: Annotated[Path | None, folder("--meta-params", "fresh")] = None
    """SAMT: folder of a run whose trained eta models to start from."""
    proposal_max: Annotated[float | None, positive("--proposal-max", "own")] = None
    """SAMT: end of the range of the proposal."""
    mixing_weight: Annotated[float | None, share("--mixing-weight", "learned")] = None
    """SAMT: fixes the mixing weight; 1 gives the constant step --learning-rate."""
    terms: Annotated[
        str | None, choice("--terms", ("both", "left", "right"), "both")
    ] = None
    """SAMT: components of the step size."""
    squash: Annotated[str | None, choice("--squash", ("tanh", "sigmoid"), "tanh")] = (
        None
    )
    """SAMT: map into (0, 1)."""
    direction: Annotated[
        str | None,
        choice("--direction", ("gradient", "momentum", "adam"), "momentum"),
    ] = None
    """SAMT: what the step size multiplies."""
    step_bounds: Annotated[
        tuple[float, ...] | None, interval("--step-bounds", "none")
    ] = None
    """SAMT: smallest and largest step size; others are cut off."""
    ball_radius: Annotated[float | None, positive("--ball-radius", "none")] = None
    """SAMT: radius of the ball about its start that a block stays in."""
    inner_steps: Annotated[
        int | None, whole_number("--inner-steps", high=100, default="1")
    ] = None
    """SAMT: consecutive visits to a block."""
    order: Annotated[
        tuple[str, ...] | None,
        words("--order", "{forward,backward,random}|BLOCK ...", "forward"),
    ] = None
    """SAMT, DANTE: order of the blocks, or the name of every block once."""
    blocks: Annotated[
        int | None,
        whole_number("--blocks", high=10, default="layers,resnet18:1,vgg11:1"),
    ] = None
    """SAMT, DANTE: one block to all layers whose paths share their first parts."""
    frozen: Annotated[tuple[str, ...] | None, words("--frozen", "REGEX ...")] = None
    """SAMT, DANTE: regular expressions of parameters never to change."""
    features: Annotated[
        tuple[str, ...] | None, several("--features", FEATURES, "all")
    ] = None
    """SAMT: features to tell the eta model; the others are zero."""
    feature_scale: Annotated[float | None, nonnegative("--feature-scale", "1e-8")] = (
        None
    )
    """SAMT: magnitude below which a feature is as good as zero; 0: raw features."""
    element_head: Annotated[
        str | None, choice("--element-head", ("factored", "dense"), "factored")
    ] = None
    """samt-e, learned-e: head of the eta model."""
    shared_eta_model: Annotated[bool | None, switch("--shared-eta-model", "no")] = None
    """SAMT: one eta model for all blocks, where they have the same shapes."""
    num_train: Annotated[
        int | None, whole_number("--num-train", high=1_000, default="1")
    ] = None
    """SAMT, DANTE: batches a sweep: 1, one a visit, or (DANTE) one an update."""
    engine: Annotated[
        str | None, choice("--engine", ("auto", "chain", "general"), "auto")
    ] = None
    """SAMT: engine."""
    hyper_learning_rate: Annotated[
        float | None, nonnegative("--hyper-learning-rate", "own")
    ] = None
    """HD, ultimate, newton-lr: rate at which the learning rate learns."""
    rule: Annotated[
        str | None, choice("--rule", ("additive", "multiplicative"), "additive")
    ] = None
    """HD: how the learning rate is moved."""
    final_learning_rate: Annotated[
        float | None, positive("--final-learning-rate", "none")
    ] = None
    """HD: learning rate to pass over to."""
    nesterov: Annotated[bool | None, switch("--nesterov", "yes")] = None
    """sgdn-hd: Nesterov's momentum."""
    tensor_by_tensor: Annotated[bool | None, switch("--tensor-by-tensor", "no")] = None
    """adam-hd: as the authors' code has it."""
    fold_epsilon: Annotated[bool | None, switch("--fold-epsilon", "no")] = None
    """adam-hd: as the authors' code has it."""
    window: Annotated[int | None, whole_number("--window", default="own")] = None
    """newton-lr: steps to each step of the rate; by default by the run."""
    safeguard: Annotated[bool | None, switch("--safeguard", "no")] = None
    """newton-lr: bound on the change of the learning rate."""
    num_updates: Annotated[
        int | None, whole_number("--num-updates", high=100, default="5")
    ] = None
    """DANTE: steps on a layer before the next."""
    normalize: Annotated[bool | None, switch("--normalize", "yes")] = None
    """DANTE: normalised steps."""
    keep: Annotated[str | None, choice("--keep", ("last", "best"), "last")] = None
    """DANTE: which iterate of a layer is kept."""

    penalty: Annotated[float | None, positive("--penalty", "own")] = None
    """ADMM and BCD: weight of the penalties, which are sums over examples."""
    output_penalty: Annotated[float | None, positive("--output-penalty", "own")] = None
    """dladmm: weight of the last layer's penalty; by default the others'."""
    penalty_schedule: Annotated[
        str | None,
        choice("--penalty-schedule", ("constant", "every_100", "on_rise"), "every_100"),
    ] = None
    """dladmm: when penalties grow; on_rise is the authors' code's."""
    curvature: Annotated[float | None, positive("--curvature", "own")] = None
    """dladmm, pdadmm: where the backtracking of gradient steps starts."""
    output_solver: Annotated[
        str | None, choice("--output-solver", ("newton", "fista"), "newton")
    ] = None
    """ADMM kind: how outputs are minimised over; fista is the authors' code's."""
    constraint_penalty: Annotated[
        float | None, positive("--constraint-penalty", "own")
    ] = None
    """pdadmm: weight of the constraints between layers; by default the others'."""
    tolerance: Annotated[float | None, positive("--tolerance", "100")] = None
    """mDLAM: half-width of the box about the activations, at first."""
    min_tolerance: Annotated[float | None, positive("--min-tolerance", "1e-3")] = None
    """mDLAM: where halving that at every iteration ends."""
    accelerate: Annotated[bool | None, switch("--accelerate", "yes")] = None
    """mdlam: Nesterov's extrapolation; the authors' code has none."""
    max_doublings: Annotated[
        int | None, whole_number("--max-doublings", 0, 100, "none")
    ] = None
    """mDLAM: after how many a step is given up; 10 in the authors' code."""
    freeze_second_bias: Annotated[bool | None, switch("--freeze-second-bias", "no")] = (
        None
    )
    """mdlam: leave the second hidden layer's bias, as the authors' code does."""
    memory: Annotated[int | None, whole_number("--memory", 0, 100, "5")] = None
    """aa-mdlam: changes of the iterates that are kept."""
    accept_below: Annotated[
        str | None, choice("--accept-below", ("last", "image"), "last")
    ] = None
    """aa-mdlam: what an extrapolated point must be no worse than."""
    accelerated: Annotated[
        str | None, choice("--accelerated", ("weights", "all"), "weights")
    ] = None
    """aa-mdlam: the variables that are accelerated."""
    start_inertia: Annotated[float | None, share("--start-inertia", "0.3")] = None
    """tiam: p1, where a step starts."""
    gradient_inertia: Annotated[float | None, share("--gradient-inertia", "0.3")] = None
    """tiam: p2, where its gradient is taken."""
    beyond_inertia: Annotated[float | None, share("--beyond-inertia", "0.1")] = None
    """tiam: p3, how far it is overdone."""
    monotone: Annotated[bool | None, switch("--monotone", "yes")] = None
    """tiam: no step that raises the objective."""
    activation_penalty: Annotated[
        float | None, positive("--activation-penalty", "own")
    ] = None
    """bcd, scaleadmm: weight of the activations' penalties."""
    proximal_weight: Annotated[
        float | None, nonnegative("--proximal-weight", "own")
    ] = None
    """bcd, badm: weight of the proximal terms, which slow the steps."""
    splitting: Annotated[
        str | None, choice("--splitting", ("three", "two"), "three")
    ] = None
    """bcd: whether pre-activations are variables, too, or activations alone."""
    mean_loss: Annotated[bool | None, switch("--mean-loss", "no")] = None
    """bcd: the loss as a mean over examples, as in the paper's text."""
    output_loss: Annotated[
        str | None, choice("--output-loss", ("own", "squared", "hinge"), "own")
    ] = None
    """bcd, scaleadmm: loss of the outputs' copy; by default the authors'."""
    warm_steps: Annotated[int | None, whole_number("--warm-steps", 0, default="10")] = (
        None
    )
    """scaleadmm: iterations before the multiplier moves."""
    multiplier_step: Annotated[float | None, positive("--multiplier-step", "1")] = None
    """scaleadmm: step of the multiplier; 2 is the method of multipliers' own."""
    ridge: Annotated[float | None, nonnegative("--ridge", "1e-4")] = None
    """scaleadmm: damping of the least squares."""
    num_parts: Annotated[
        int | None, whole_number("--num-parts", high=1_000, default="4")
    ] = None
    """badm: parts of a batch."""

    def given(self) -> dict[str, Any]:
        """The settings that were asked for, as the library takes them."""
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        given = {name: value for name, value in pairs if value is not None}
        if len(given.get("order", ())) == 1 and given["order"][0] in ORDERS:
            given["order"] = given["order"][0]
        if self.meta_params is not None:
            # A run is taken up from any folder.
            given["meta_params"] = self.meta_params.absolute()
        return given


@dataclasses.dataclass(frozen=True)
class Run:
    """How long, how often, and where to."""

    epochs: Annotated[
        int | None,
        whole_number(
            "--epochs",
            default=f"{EPOCHS},digits:{DIGITS_EPOCHS},full-batch:{FULL_BATCH_EPOCHS}",
        ),
    ] = None
    """Passes over the training set."""
    batch_size: Annotated[
        int | None, whole_number("--batch-size", default=f"{BATCH_SIZE},full-batch:all")
    ] = None
    """Examples a batch."""
    seed: Annotated[int, whole_number("--seed", 0, LAST_SEED)] = 0
    """The seed, or the first of several."""
    seeds: Annotated[int, whole_number("--seeds", high=1_000)] = 1
    """How many seeds, from the first on, in one compilation."""
    out: Annotated[Path | None, path("--out", "new")] = None
    """Run folder, new or empty; else a new one under runs/."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on standard output, and nothing else there."""

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.seed, self.seed + self.seeds))


@dataclasses.dataclass(frozen=True)
class Train:
    """Train one network with one optimizer, and leave a run folder."""

    data: tyro.conf.OmitArgPrefixes[Data] = Data()
    network: tyro.conf.OmitArgPrefixes[Network] = Network()
    optimizer: Annotated[str, choice("--optimizer", tuple(OPTIMIZERS))] = "samt-s"
    """Optimizer; `samt doctor` says what each is."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = Settings()
    run: tyro.conf.OmitArgPrefixes[Run] = Run()
    checkpoint_every: Annotated[
        int | None, whole_number("--checkpoint-every", high=10**9, default="never")
    ] = None
    """Steps between checkpoints; SIGTERM has one made in any case."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write logs for TensorBoard too, into the run folder; needs tensorboardX."""


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped, killed or failed, from its last checkpoint."""

    run_dir: Annotated[tyro.conf.Positional[Path | None], folder("RUN")] = None
    """The run's folder."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Train with several optimizers alike; one table, one picture."""

    data: tyro.conf.OmitArgPrefixes[Data] = Data()
    network: tyro.conf.OmitArgPrefixes[Network] = Network()
    optimizers: Annotated[tuple[str, ...], words("--optimizers", "NAME,...")] = (
        "samt-s",
        "adam",
        "sgd",
    )
    """Optimizers, separated by commas or blanks."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = Settings()
    run: tyro.conf.OmitArgPrefixes[Run] = Run()

    @property
    def names(self) -> tuple[str, ...]:
        """The optimizers' names, one by one."""
        return tuple(n for word in self.optimizers for n in word.split(",") if n)


@dataclasses.dataclass(frozen=True)
class Explain:
    """Show the blocks: paths, shapes, step sizes, memory of the eta models, order."""

    data: tyro.conf.OmitArgPrefixes[Data] = Data()
    network: tyro.conf.OmitArgPrefixes[Network] = Network()
    optimizer: Annotated[str, choice("--optimizer", SAMT)] = "samt-s"
    """Granularity of SAMT."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = Settings()
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure what methods cost: both engines, optax, PyTorch if it is installed."""

    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """The headline alone, in under three minutes."""
    networks: Annotated[
        tuple[str, ...] | None, words("--networks", "NAME ...", "all")
    ] = None
    """Names of the networks to measure on, such as 784-400-10."""
    rounds: Annotated[int, whole_number("--rounds", high=1_000)] = 5
    """Measured epochs of each method, taken in turns."""
    data_dir: Annotated[Path | None, folder("--data-dir")] = None
    """Folder of original data files; else SAMT_JAX_DATA, else ./data."""
    out: Annotated[Path | None, path("--out", "none", "file")] = None
    """File to append a JSON line for every cell to."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Show versions, devices, optimizers, data, whether runs are safe, what to do."""

    data_dir: Annotated[Path | None, folder("--data-dir")] = None
    """Folder of original data files; else SAMT_JAX_DATA, else ./data."""
    out: Annotated[Path | None, path("--out", "runs")] = None
    """Folder to try checkpoints and locks in; it, or the nearest that exists."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on standard output, and nothing else there."""


def batch_size(run: Run, optimizer: str) -> int | None:
    """The batch size of an optimizer's run, resolved; `None` is the whole set."""
    if OPTIMIZERS[optimizer].full_batch:
        return None
    return BATCH_SIZE if run.batch_size is None else run.batch_size


def num_epochs(options: Train | Compare) -> int:
    """The epochs, resolved; a full-batch method takes one step in each."""
    if options.run.epochs is not None:
        return options.run.epochs
    names = options.names if isinstance(options, Compare) else (options.optimizer,)
    if all(OPTIMIZERS[name].full_batch for name in names):
        return FULL_BATCH_EPOCHS
    return DIGITS_EPOCHS if options.data.dataset == "digits" else EPOCHS


def words_of(options: Any) -> list[str]:
    """The words that would have given these options; defaults are left out.

    Args:
      options: A group of options, and of groups.

    Returns:
      Flags and values, as a shell has them.

    Example:
      >>> words_of(Train(run=Run(seed=3), network=Network(bias=False)))
      ['--no-bias', '--seed', '3']
    """
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            words += words_of(value)
        elif value != field.default:
            words += _words(field.name.replace("_", "-"), value, field.default)
    return words


def _words(name: str, value: Any, default: Any) -> list[str]:
    if isinstance(default, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, bool):
        return [f"--{name}", "yes" if value else "no"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{name}", *(str(each) for each in values)]
