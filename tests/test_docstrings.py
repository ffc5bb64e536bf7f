"""Every public name explains itself with an example, and every example runs."""

import doctest
import importlib
import inspect
import pkgutil
import re
import types

import pytest

import samt_jax
import samt_jax.baselines
import samt_jax.data
import samt_jax.plots

PACKAGES = (samt_jax, samt_jax.baselines, samt_jax.data, samt_jax.plots)
PUBLIC = [(package, name) for package in PACKAGES for name in package.__all__]
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
    is_error = isinstance(value, type) and issubclass(value, Exception)
    if callable(value) and not is_record and not is_error:
        assert ">>> " in value.__doc__, f"{name} has no example."


def sections(value):
    """The sections of a docstring, and what stands in each."""
    parts = re.split(r"^(\w+):$", inspect.getdoc(value), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_public_function_says_what_it_takes_and_what_it_returns(public):
    name, value = public
    if not inspect.isfunction(value):
        return
    # A signature that is another's stands in that one's docstring.
    said = sections(value)
    whole = inspect.getdoc(value)
    for parameter in inspect.signature(value).parameters:
        named = re.search(
            rf"^ *\*{{0,2}}{parameter}(, |: | )", said.get("Args", ""), re.M
        )
        assert named or "Args are those of" in whole, (
            f"{name} does not say {parameter}."
        )
    returns = inspect.signature(value).return_annotation
    if returns not in (None, "None"):
        assert {"Returns", "Yields"} & said.keys(), f"{name} does not say its result."


def raises_itself(function):
    """Whether a `raise` stands in the function, not in one that it calls."""
    return bool(re.search(r"^\s+raise \w", inspect.getsource(function), re.MULTILINE))


def test_a_public_function_that_raises_says_what(public):
    name, value = public
    if inspect.isfunction(value) and raises_itself(value):
        # Of a function that is returned, it stands where that is described.
        assert re.search("Raises:|raises a", value.__doc__), f"{name} raises what?"


def test_a_public_record_explains_every_field(public):
    name, value = public
    fields = getattr(value, "_fields", ())
    attributes = sections(value).get("Attributes", "") if fields else ""
    for field in fields:
        assert re.search(rf"^ +{field}(, |: )", attributes, re.MULTILINE), (
            f"{name}.{field}"
        )


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
