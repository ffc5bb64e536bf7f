"""Every notebook runs from top to bottom, in a small size, and is kept without outputs.

The cells run as plain Python in this process: a kernel for each notebook would start
and compile everything again.
"""

import json
import pathlib

import jax
import matplotlib
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = {path.stem[:2]: path for path in sorted(FOLDER.glob("*.ipynb"))}

# What a reader of each notebook is told, as it must hold in the small size too.
CLAIMS = {
    "01": lambda names: names["difference"] < 1e-6 and names["accuracies"][-1] > 0.5,
    "02": lambda names: (
        len(names["accuracies"]) == 3
        and min(names["accuracies"].values()) > 0.3
        and names["moved"] == [["Dense_0"], ["Dense_1"]] * 2
    ),
    "03": lambda names: (
        abs(float(names["step_size"]) - 0.225) < 1e-6
        and names["runs"].keys() == {"same", "strided", "next"}
        and all(
            0 < step <= 0.5
            for lines in names["runs"].values()
            for steps in lines[-1]["step_sizes"].values()
            for step in steps
        )
    ),
    "04": lambda names: (
        names["gradients"] == {"samt-s": 5, "adam": 1} and not names["left_out"]
    ),
    "05": lambda names: (
        names["column_steps"].shape == (64, 1) and np.ptp(names["row_steps"]) > 0
    ),
    "06": lambda names: (
        len(names["runs"]) == 3 and names["choose_engine"](names["chain"])[0] == "chain"
    ),
}


def code_of(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run(path):
    """The names that a notebook leaves behind."""
    names: dict = {}
    for index, cell in enumerate(code_of(path)):
        # Magics tell Jupyter how to show a picture.
        lines = [line for line in cell["source"] if not line.startswith("%")]
        exec(compile("".join(lines), f"{path.name}, cell {index}", "exec"), names)
    return names


def test_there_is_a_claim_for_every_notebook():
    assert NOTEBOOKS.keys() == CLAIMS.keys()


@pytest.mark.parametrize("number", CLAIMS)
def test_a_notebook_runs_and_shows_what_it_says(number, monkeypatch, tmp_path):
    monkeypatch.setenv("SAMT_JAX_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    # Its reader's JAX broadcasts as it likes, and there is no screen here.
    with jax.numpy_rank_promotion("allow"), matplotlib.rc_context({"backend": "agg"}):
        names = run(NOTEBOOKS[number])
    assert CLAIMS[number](names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", CLAIMS)
def test_a_notebook_is_kept_without_outputs(number):
    for cell in code_of(NOTEBOOKS[number]):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("number", CLAIMS)
def test_a_notebook_opens_with_its_question_and_ends_with_what_was_seen(number):
    cells = json.loads(NOTEBOOKS[number].read_text())["cells"]
    assert "**The question:**" in "".join(cells[0]["source"])
    assert "".join(cells[-1]["source"]).startswith("## What was seen\n")


@pytest.mark.parametrize("number", list(CLAIMS)[1:])
def test_a_notebook_uses_what_the_library_promises(number):
    source = "".join(line for c in code_of(NOTEBOOKS[number]) for line in c["source"])
    imports = [line for line in source.splitlines() if line.startswith("from samt_jax")]
    modules = {line.split()[1] for line in imports}
    assert modules <= {"samt_jax", "samt_jax.data", "samt_jax.plots"}


def test_a_size_without_the_variable_is_the_readers():
    for path in NOTEBOOKS.values():
        source = "".join(line for c in code_of(path) for line in c["source"])
        assert 'QUICK = "SAMT_JAX_QUICK" in os.environ' in source
