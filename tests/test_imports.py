"""The table of which of our files may import which; the code is read, not run."""

import ast
import pathlib
import subprocess
import sys

import pytest

import samt_jax

PACKAGE = pathlib.Path(samt_jax.__file__).parent
STAGES = {"blocks", "features", "eta", "granularity", "step_size", "meta"}
VISIT = STAGES | {"base", "constraints", "meta_params", "records", "rule", "visit"}
CHAIN = {"base", "blocks", "chain"}
CHAIN_VISIT = VISIT | {"chain", "layer_step", "chain_run"}

# What each file of the core may import of ours; less is always allowed.
ALLOWED = {
    "base": set(),
    "first_use": {"base"},
    "block_rules": set(),
    "blocks": {"base", "block_rules", "first_use"},
    "features": {"base"},
    "eta": {"base"},
    "granularity": {"base"},
    "step_size": {"base", "granularity"},
    "meta": {"base"},
    "meta_params": {"base", "features", "meta"},
    "records": {"base", "step_size"},
    "constraints": {"base", "step_size"},
    "rule": STAGES | {"base", "constraints"},
    "visit": STAGES | {"base", "constraints", "meta_params", "records", "rule"},
    "arguments": VISIT,
    "samt": VISIT | {"arguments"},
    "learned_step_size": VISIT | {"arguments"},
    "image_ops": set(),
    "chain": {"base", "blocks", "image_ops"},
    "layer_step": CHAIN | {"chain_run", "features", "meta", "step_size"},
    "chain_run": {"chain"},
    "chain_visit": CHAIN_VISIT,
    "equal_layers": CHAIN_VISIT | {"chain_visit"},
    "chain_sweep": CHAIN_VISIT | {"chain_visit", "equal_layers"},
    "engine": VISIT | {"chain", "layer_step", "chain_sweep", "arguments", "samt"},
    "manifest": set(),
    "packing": set(),
    "checkpoint": {"manifest", "packing"},
    "runs": set(),
    "__init__": set(),
}
SAMT = {
    "samt",
    "arguments",
    "records",
    "rule",
    "visit",
    "chain",
    "layer_step",
    "chain_sweep",
    "engine",
}
TERMINAL = {"rich", "tyro"}


def name_of(path):
    """`data/idx` for samt_jax/data/idx.py, `data` for its __init__."""
    name = path.relative_to(PACKAGE).with_suffix("").as_posix()
    return name.removesuffix("/__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_by(path):
    """Whole names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import."
            yield node.module
            # A name taken from a package may be one of its files.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """Our files that a file imports, as `FILES` names them."""
    names = (n for n in imported_by(path) if n.split(".")[0] == "samt_jax")
    as_paths = {"/".join(name.split(".")[1:]) for name in names}
    return {name for name in as_paths if name in FILES}


def theirs(path):
    return {name.split(".")[0] for name in imported_by(path)}


def within(folder):
    return [name for name in FILES if name == folder or name.startswith(folder + "/")]


def test_the_reader_sees_imports():
    assert {"base", "blocks", "meta", "rule", "step_size"} <= ours(FILES["visit"])
    assert {"jax", "optax"} <= theirs(FILES["visit"])
    assert {"samt", "baselines", "cli", "data"} <= FILES.keys()


@pytest.mark.parametrize("name", ALLOWED)
def test_core_files_import_what_the_table_allows(name):
    assert ours(FILES[name]) <= ALLOWED[name]


@pytest.mark.parametrize("name", within("baselines"))
def test_a_rival_knows_nothing_of_samt(name):
    folder = {n for n in FILES if n.startswith("baselines")}
    assert ours(FILES[name]) <= folder | {"base", "blocks"}


@pytest.mark.parametrize("name", within("data"))
def test_data_import_nothing_of_ours_but_base(name):
    assert ours(FILES[name]) <= {"base", *within("data")}


def test_networks_know_how_images_are_convolved_and_nothing_else_of_ours():
    assert ours(FILES["networks"]) <= {"base", "image_ops"}


def test_models_by_name_know_networks_and_their_description_as_chains():
    assert ours(FILES["models"]) <= {"base", "networks", "chain", "image_ops"}


@pytest.mark.parametrize("name", [n for n in FILES if n not in within("cli")])
def test_measuring_is_for_the_command_alone(name):
    if name not in within("bench"):
        assert not ours(FILES[name]) & set(within("bench"))


def test_pytorch_is_imported_by_the_file_that_compares_with_it_and_no_other():
    with_torch = {name for name, path in FILES.items() if "torch" in theirs(path)}
    assert with_torch == {"bench/torch_methods"}


@pytest.mark.parametrize("name", FILES)
def test_only_the_command_knows_the_terminal(name):
    if not (name.startswith("cli") or name == "__main__"):
        assert not theirs(FILES[name]) & TERMINAL
        assert not {n for n in ours(FILES[name]) if n.split("/")[0] == "cli"}


@pytest.mark.parametrize("name", FILES)
def test_the_library_never_imports_tests_or_benchmarks(name):
    assert not theirs(FILES[name]) & {"tests", "benchmarks", "pytest", "hypothesis"}


@pytest.mark.parametrize("name", FILES)
def test_nothing_read_from_a_file_is_ever_run(name):
    """No pickle, which runs what it reads, and nothing else that does."""
    path = FILES[name]
    running = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
    assert not theirs(path) & running
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"eval", "exec", "compile"}
            called = {keyword.arg: keyword.value for keyword in node.keywords}
            allowed = called.get("allow_pickle", ast.Constant(False))
            assert isinstance(allowed, ast.Constant) and allowed.value is False


@pytest.mark.parametrize("module", ["samt_jax", "samt_jax.cli"])
def test_importing_the_package_starts_neither_jax_nor_tensorflow(module):
    code = (
        f"import sys, {module}; "
        "heavy = {'jax', 'tensorflow', 'flax', 'optax', 'orbax', 'matplotlib', "
        "'tensorboardX'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_a_public_name_is_found_and_another_is_refused():
    assert "samt" in dir(samt_jax)
    assert samt_jax.__all__ == sorted(samt_jax.__all__)
    for name in samt_jax.__all__:
        assert getattr(samt_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'sammt'"):
        _ = samt_jax.sammt


def test_the_function_samt_is_not_shadowed_by_its_file():
    code = (
        "import samt_jax.samt, samt_jax.visit, samt_jax; "
        "from samt_jax import samt; print(samt is samt_jax.samt, callable(samt))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "True True"


@pytest.mark.parametrize("name", within("plots"))
def test_pictures_are_made_of_numbers_alone(name):
    assert ours(FILES[name]) <= {*within("plots")}
    assert not theirs(FILES[name]) & {"jax", "flax", "optax"}
