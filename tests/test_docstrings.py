"""Every public name explains itself with an example, and every example runs."""

import doctest
import importlib
import pkgutil
import types

import pytest

import samt_jax
import samt_jax.baselines

PUBLIC = [(package, name) for package in (samt_jax, samt_jax.baselines)
          for name in package.__all__]  # fmt: skip
# Files that read data sets or packages that are not everywhere, or are the command.
ELSEWHERE = (
    "samt_jax.cli", "samt_jax.data", "samt_jax.__main__",
    "samt_jax.bench.torch_methods",
)  # fmt: skip
MODULES = [
    module.name
    for module in pkgutil.walk_packages(samt_jax.__path__, "samt_jax.")
    if not module.name.startswith(ELSEWHERE)
]


@pytest.fixture(params=PUBLIC, ids=lambda found: found[1])
def public(request):
    package, name = request.param
    return name, getattr(package, name)


def test_a_public_name_has_a_docstring_of_its_own(public):
    _, value = public
    if callable(value):
        assert value.__doc__
        # What NamedTuple writes by itself.
        assert not value.__doc__.startswith(f"{value.__name__}(")


def test_a_public_name_has_an_example(public):
    name, value = public
    # A rival's records are explained by their attributes.
    is_record = hasattr(value, "_fields") and not hasattr(samt_jax, name)
    if callable(value) and not is_record:
        assert ">>> " in value.__doc__, f"{name} has no example."


def examples(module_name):
    module = importlib.import_module(module_name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(module, module_name, module=module)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module_name", MODULES)
def test_examples_run_and_answer_as_written(module_name):
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    report = []
    for test in examples(module_name):
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


def test_the_finder_finds_examples():
    assert isinstance(samt_jax, types.ModuleType)
    names = {test.name for test in examples("samt_jax.samt")}
    assert {"samt_jax.samt.samt", "samt_jax.samt.samt_sweep"} <= names
