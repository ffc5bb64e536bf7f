import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import samt_jax
from samt_jax.cli import VERBS, _flags, main, parse
from samt_jax.cli import options as cli_options
from samt_jax.cli.explain import GRANULARITIES
from samt_jax.cli.options import (
    Compare,
    Settings,
    Train,
    num_epochs,
)
from samt_jax.data import DATASETS
from samt_jax.data.catalog import TABLES
from samt_jax.features import FEATURE_NAMES
from samt_jax.models import MODELS
from samt_jax.optimizers import OPTIMIZERS

# What each kind of option can never take.
NONSENSE = ["nonsense", "", "-1", "nan", "1e999", "0x10", "\x01é", "1 2 three"]
# These take any words, and the network or the file system decides later.
FREE = {"--out", "--order", "--frozen"}


def refusal(arguments, capsys):
    """The exit code and what was said, which must be one line."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return code, captured.err


def test_names_are_those_of_the_library():
    assert set(DATASETS) == set(cli_options.DATASETS)
    assert set(TABLES) == set(cli_options.TABLES)
    assert MODELS == cli_options.MODELS
    assert FEATURE_NAMES == cli_options.FEATURES
    assert tuple(GRANULARITIES) == cli_options.SAMT


def test_every_setting_of_every_optimizer_is_an_option():
    names = {field.name for field in dataclasses.fields(Settings)}
    assert names == set().union(*(row.takes for row in OPTIMIZERS.values()))


def test_every_option_refuses_nonsense_at_once_and_writes_nothing(tmp_path):
    """In a process of its own, to see that JAX stays out of it."""
    # Verbs share their groups of options, so one has them all try everything.
    tried = [(verb, flag, word) for verb, options in VERBS.items()
             for flag in _flags(options)
             for word in (NONSENSE if verb == "train" else NONSENSE[:1])]  # fmt: skip
    cases = [
        [verb, flag, *word.split(" ")] for verb, flag, word in tried if flag not in FREE
    ]
    program = """
import contextlib, io, json, sys
from samt_jax.cli import main
wrong = []
for arguments in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    said = err.getvalue()
    good = code == 2 and said.count("\\n") == 1 and said.startswith("samt: ")
    if not good or out.getvalue() or len(said) > 500:
        wrong.append([arguments, code, said])
heavy = {"jax", "flax", "optax", "matplotlib", "sklearn", "tensorflow"}
print(json.dumps([wrong, sorted(heavy & sys.modules.keys())]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(cases),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(samt_jax.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    wrong, heavy = json.loads(answer.stdout)
    assert len(cases) > 400
    assert wrong == []
    assert heavy == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [],
            "no command was given; give one of train, resume, compare, explain, bench, "
            "doctor",
        ),
        (["trian"], "there is no command 'trian'"),
        (["train", "--sed", "3"], "no option '--sed'; did you mean --seed?"),
        (["train", "stray"], "no option 'stray'"),
        (["train", "--json=3"], "no option '3'"),
        (["train", "--epochs"], "takes one value, a whole number from 1 to 1000000"),
        (["train", "--epochs", "3", "4"], "got 2: 3 4"),
        (["train", "--epochs", "2.5"], "--epochs is '2.5'; it must be a whole number"),
        (["train", "--hidden"], "--hidden takes one value or more"),
        (["train", "--hidden", "3", "0"], "--hidden is '0'"),
        (["train", "--learning-rate", "0"], "must be a positive number"),
        (["train", "--weight-decay", "-1"], "must be 0 or a positive number"),
        (["train", "--mixing-weight", "1.1"], "must be a number from 0 to 1"),
        (["train", "--step-bounds", "1", "0.1"], "with low <= high"),
        (["train", "--meta-params", "nowhere"], "must be a folder that exists"),
        (["train", "--nesterov", "true"], "must be yes or no"),
        (["train", "--squash", "relu"], "must be one of tanh, sigmoid"),
        (["train", "--features", "mean", "mode"], "--features is 'mode'"),
        (["train", "--dataset", "imagenet"], "must be one of digits, mnist"),
        (["train", "--optimizer", "adma"], "must be one of samt-s"),
        (["train", "--data-dir", "nowhere"], "must be a folder that exists"),
        (["train", "--optimizer", "adam", "--squash", "tanh"], "which is for samt-s"),
        (["train", "--hidden", "4", "--model", "cnn"], "scale its widths with --width"),
        (["train", "--width", "2"], "give its widths with --hidden"),
        (["train", "--model", "cnn", "--width", "1e9"], "positive number up to 100"),
        (["train", "--model", "cnn", "--dataset", "pol"], "pol is a table"),
        (["train", "--split", "3"], "digits has one split"),
        (["train", "--seed", "4294967295", "--seeds", "2"], "start lower"),
        (["compare", "--optimizers", "adam,sgdd"], "--optimizers has 'sgdd'"),
        (["compare", "--optimizers", "adam,adam"], "adam twice"),
        (["compare", "--optimizers", ","], "--optimizers has ''"),
        (
            ["compare", "--optimizers", "adam,sgd", "--squash", "tanh"],
            "none of adam, sgd takes --squash",
        ),
        (["explain", "--optimizer", "adam"], "must be one of samt-s, samt-r"),
        (["doctor", "--epochs", "3"], "doctor has no option '--epochs'"),
        (["train", "--checkpoint-every", "0"], "a whole number from 1 to 1000000000"),
        (["compare", "--checkpoint-every", "9"], "compare has no option"),
        (["resume"], "resume takes one value, the folder of a run; got none"),
        (["resume", "nowhere"], "RUN is 'nowhere'; it must be a folder that exists"),
        (["resume", "."], "config.json cannot be read (No such file or directory)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusal_says_what_was_given_and_what_is_allowed(
    arguments, sentence, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, said = refusal(arguments, capsys)
    assert code == 2
    assert sentence in said
    assert list(tmp_path.iterdir()) == []


def test_long_nonsense_is_cut_short(capsys):
    _, said = refusal(["train", "--epochs", "9" * 5_000], capsys)
    assert len(said) < 200


def test_full_run_folder_is_refused_before_anything_is_computed(tmp_path, capsys):
    (tmp_path / "kept").write_text("")
    code, said = refusal(["train", "--out", str(tmp_path)], capsys)
    assert code == 2
    assert "nothing is overwritten" in said


def test_options_are_read_into_their_groups():
    words = (
        "train --dataset pol --hidden 400 300 --no-bias --optimizer samt-e --squash "
        "sigmoid --features mean norm --shared-eta-model no --seed 5 --seeds 3 --json "
        "--epochs=7"
    )
    verb, options = parse(words.split())
    assert verb == "train"
    assert (options.data.dataset, options.network.hidden) == ("pol", (400, 300))
    assert not options.network.bias
    assert options.optimizer == "samt-e"
    assert options.settings.given() == {
        "squash": "sigmoid",
        "features": ("mean", "norm"),
        "shared_eta_model": False,
    }
    assert options.run.seed_list == (5, 6, 7)
    assert options.run.json
    assert num_epochs(options) == 7


@pytest.mark.parametrize(
    ("words", "order"),
    [
        ("backward", "backward"),
        ("Dense_0", ("Dense_0",)),
        ("Dense_1 Dense_0", ("Dense_1", "Dense_0")),
    ],
)
def test_order_is_a_name_or_the_blocks(words, order):
    _, options = parse(["train", "--order", *words.split()])
    assert options.settings.given() == {"order": order}


def test_optimizers_are_separated_by_commas_or_blanks():
    for words in (["adam,sgd,lion"], ["adam", "sgd,", "lion"]):
        _, options = parse(["compare", "--optimizers", *words])
        assert options.names == ("adam", "sgd", "lion")


def test_no_argument_is_samt_s_on_digits():
    _, options = parse(["train"])
    assert (options.optimizer, options.data.dataset) == ("samt-s", "digits")
    assert options.settings.given() == {}


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_printed_and_good(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"] if verb else ["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for flag in _flags(VERBS[verb]) if verb else VERBS:
        assert flag in printed


def test_a_full_batch_method_takes_iterations_for_epochs_and_no_batch_size(capsys):
    assert num_epochs(Train(optimizer="mdlam")) == 200
    assert num_epochs(Compare(optimizers=("mdlam,dladmm",))) == 200
    assert num_epochs(Compare(optimizers=("mdlam", "sgd"))) == 100
    code, said = refusal(
        ["train", "--optimizer", "dladmm", "--batch-size", "8"], capsys
    )
    assert code == 2
    assert "dladmm takes the whole training set at every step; leave it out" in said
