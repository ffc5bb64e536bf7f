"""The `samt` command: parses, calls the library, prints.

Exit codes: 0 good; 1 the run diverged or failed; 2 bad usage or bad input, with one
sentence on standard error and nothing written; 75 stopped by SIGTERM with its state
saved; 130 interrupted. What is only for people goes to standard error; standard output
carries the result.
"""

import contextlib
import dataclasses
import difflib
import importlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from samt_jax.cli.checks import check
from samt_jax.cli.options import Bench, Compare, Doctor, Explain, Resume, Train
from samt_jax.cli.values import UsageError
from samt_jax.runs import RunFolderError

VERBS = {
    "train": Train,
    "resume": Resume,
    "compare": Compare,
    "explain": Explain,
    "bench": Bench,
    "doctor": Doctor,
}
Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Explain, tyro.conf.subcommand("explain")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)
DESCRIPTION = """Alternating minimisation with trainable step sizes, and its rivals.

`samt train` trains on digits, which need no download; `samt VERB --help` lists options;
`samt --version` says the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: What stands after the command's name; `sys.argv` by default.

    Returns:
      The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(version())
        return 0
    try:
        verb, options = parse(arguments)
        check(options)
        # Only now JAX, for what the verb does: a wrong option is refused in a moment.
        return importlib.import_module(f"samt_jax.cli.{verb}").run(options)
    except (UsageError, RunFolderError) as error:
        print(f"samt: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has gone, and Python need not say so when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("samt: interrupted before there was anything to keep.", file=sys.stderr)
        return 130


def version() -> str:
    """The installed version of the library."""
    try:
        return importlib.metadata.version("samt-jax")
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run from its source"


def parse(arguments: Sequence[str]) -> tuple[str, Any]:
    """Parses arguments into a verb and its options.

    Args:
      arguments: What stands after the command's name.

    Returns:
      A key of `VERBS` and a value of that kind.

    Raises:
      UsageError: They cannot be parsed; one sentence says why.
      SystemExit: Help was asked for, and printed.
    """
    verb = arguments[0] if arguments else ""
    if verb not in VERBS and verb not in ("-h", "--help"):
        given = f"there is no command {verb!r}" if verb else "no command was given"
        raise UsageError(
            f"{given}; give one of {', '.join(VERBS)}, and see `samt --help`."
        )
    try:
        # What tyro would say in a box on standard error is said in a sentence instead.
        with contextlib.redirect_stderr(io.StringIO()):
            options, unknown = tyro.cli(
                Command,  # type: ignore[arg-type]
                prog="samt",
                args=list(arguments),
                description=DESCRIPTION,
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(
            f"the options of {verb} cannot be read; see `samt {verb} --help`."
        ) from None
    if unknown:
        raise UsageError(_no_such_option(verb, unknown[0]))
    return verb, options


def _no_such_option(verb: str, word: str) -> str:
    flag = word.partition("=")[0]
    close = difflib.get_close_matches(flag, _flags(VERBS[verb]), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{verb} has no option {flag!r}; {hint}see `samt {verb} --help`."


def _flags(options: Any) -> list[str]:
    """The flags of a group of options and of the groups inside it."""
    flags: list[str] = []
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(field.default):
            flags += _flags(field.default)
        elif field.name != "run_dir":  # The one that has no flag.
            negative = "no-" if field.default is True else ""
            flags.append(f"--{negative}{field.name}".replace("_", "-"))
    return flags
