"""The README's promises: its examples run, its command is the checks' own."""

import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import optax
import pytest
import settings_table

from samt_jax import EtaMLP, samt, samt_sweep, step_layout

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_optax_example_lowers_its_loss():
    names: dict = {}
    # A user's own network may broadcast as it likes.
    with jax.numpy_rank_promotion("allow"):
        exec(compile(EXAMPLES[0], "README.md", "exec"), names)
    assert names["after"] < 0.5 * names["before"]


def test_the_example_in_one_pass_trains_the_network_of_the_first():
    names: dict = {}
    with jax.numpy_rank_promotion("allow"):
        exec(compile(EXAMPLES[0], "README.md", "exec"), names)
        everything = names["inputs"], names["targets"]
        names["params"] = optax.tree.scale(0.5, names["params"])
        before = names["loss_fn"](names["params"], everything)
        exec(compile(EXAMPLES[1], "README.md", "exec"), names)
        after = names["loss_fn"](names["params"], everything)
    assert after < 0.5 * before


def test_the_chain_example_runs():
    names: dict = {}
    exec(compile(EXAMPLES[2], "README.md", "exec"), names)
    assert names["algorithm"].batch_spec.meta == "next"


def test_the_checks_are_the_command_that_the_readme_names():
    assert "```bash\nbash .ci/run\n```" in README
    assert (ROOT / ".ci" / "run").exists()


def test_the_tables_are_those_of_the_code():
    assert settings_table.updated(README) == README, (
        "README.md's tables are not those of the code; make them anew with "
        "`python tests/settings_table.py`."
    )


def test_every_setting_has_a_row_an_explanation_and_an_origin():
    assert (
        set(inspect.signature(samt_sweep).parameters) <= settings_table.ORIGINS.keys()
    )
    assert settings_table.settings().keys() == settings_table.ORIGINS.keys()
    for row in settings_table.settings_table().splitlines()[2:]:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4
        assert all(cells), row


def test_a_table_that_has_no_place_is_an_error():
    with pytest.raises(ValueError, match="0 places for the table 'settings'"):
        settings_table.updated("no table here")


def test_the_picture_of_the_code_names_files_that_are_there():
    picture = re.search(
        r"## How the code is laid out\n\n```\n(.*?)```", README, re.DOTALL
    )
    names = set(re.findall(r"[a-z_]+(?:\.py|/)", picture.group(1)))
    assert len(names) > 20
    for name in names:
        places = [ROOT / name, ROOT / "samt_jax" / name]
        assert any(place.exists() for place in places), name


def test_every_notebook_is_introduced_by_its_question():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"](notebooks/{path.name})" in README


def test_the_guide_s_sizes_of_eta_models_are_right():
    def kibibytes(granularity, head="factored"):
        shapes = {"kernel": (784, 400), "bias": (400,)}
        values = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in shapes.items()}
        layout = step_layout(values, granularity, element_head=head)
        model = EtaMLP(layout.num_steps)
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones(5))
        # Adam keeps two more numbers for every weight, of four bytes each.
        return 3 * 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1024

    guide = {
        "55 KiB (scalar)": kibibytes("scalar"),
        "660 KiB (row)": kibibytes("row"),
        "1.2 MiB (column)": kibibytes("column") / 1024,
        "2.4 MiB (element, factored)": kibibytes("element") / 1024,
        "467 MiB (element,": kibibytes("element", "dense") / 1024,
    }
    for said, size in guide.items():
        assert said in " ".join(README.split())
        assert float(said.split()[0]) == pytest.approx(size, rel=0.03)


def test_both_doors_have_the_same_settings_and_defaults():
    assert inspect.signature(samt) == inspect.signature(samt_sweep)
