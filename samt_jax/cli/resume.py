"""`samt resume`: goes on with a run, to the bits that it would have had unbroken."""

import dataclasses

from samt_jax.cli.options import Resume
from samt_jax.cli.saved import read_command, read_ending
from samt_jax.cli.train import end, go_on
from samt_jax.cli.values import UsageError
from samt_jax.manifest import CheckpointError
from samt_jax.runs import locked


def run(options: Resume) -> int:
    """Goes on with a run from its newest good checkpoint.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code.

    Raises:
      UsageError: The folder holds no run that could go on.
      RunFolderError: Another process is at work in it, or it cannot be written.
    """
    folder = options.run_dir
    assert folder is not None  # The check has seen to that.
    with locked(folder):
        train = read_command(folder)
        printing = dataclasses.replace(train.run, out=folder, json=options.json)
        train = dataclasses.replace(train, run=printing)
        # It has ended for good: there is only the same to say again.
        if ending := read_ending(folder):
            return end(train, folder, ending)
        try:
            return go_on(train, folder)
        except CheckpointError as error:
            raise UsageError(str(error)) from error
