"""The README's promises: its examples run, its command is the checks' own."""

import inspect
import pathlib
import re

import jax

from samt_jax import samt, samt_sweep

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_optax_example_lowers_its_loss():
    names: dict = {}
    # A user's own network may broadcast as it likes.
    with jax.numpy_rank_promotion("allow"):
        exec(compile(EXAMPLES[0], "README.md", "exec"), names)
    assert names["after"] < 0.5 * names["before"]


def test_the_chain_example_runs():
    names: dict = {}
    exec(compile(EXAMPLES[1], "README.md", "exec"), names)
    assert names["algorithm"].batch_spec.meta == "next"


def test_the_checks_are_the_command_that_the_readme_names():
    assert "```bash\nbash .ci/run\n```" in README
    assert (ROOT / ".ci" / "run").exists()


def test_the_table_names_every_setting():
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    for door in (samt, samt_sweep):
        assert set(inspect.signature(door).parameters) <= named


def test_both_doors_have_the_same_settings_and_defaults():
    assert inspect.signature(samt) == inspect.signature(samt_sweep)
