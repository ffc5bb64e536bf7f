"""What keeping a run safe costs: the guards of a visit, and a checkpoint."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from samt_jax import chain_visit, checkpoint, visit
from samt_jax.manifest import Identity
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import supervised
from samt_jax.trainer import prepare

# The first ones load what is needed, and have nothing old to remove.
SAVES, UNCOUNTED = 20, 5


@contextlib.contextmanager
def no_guards() -> Iterator[None]:
    """Has visits that are traced in here check nothing, and take what they computed."""

    def take_new(ok: Any, new: Any, old: Any) -> Any:
        return new

    with contextlib.ExitStack() as stack:
        for home, name, instead in (
            # No check is worked out whose answer is not asked for.
            (visit, "first_failure", lambda *_: jnp.array(-1)),
            (visit, "keep_if", take_new),
            (chain_visit, "keep_if", take_new),
        ):
            stack.enter_context(mock.patch.object(home, name, instead))
        yield


def measure_checkpoint(dataset: Any, folder: Path) -> dict[str, Any]:
    """Milliseconds of a checkpoint of a run, durable when the call returns.

    Args:
      dataset: Images as `measure_network` takes them; the run is SAMT-S on 784-400-10.
      folder: Where to write, for a disk decides; what is written is removed.

    Returns:
      Size, and medians and quartiles of saving and of restoring.
    """
    model = build_model("mlp", num_outputs=dataset.num_outputs, hidden=(400,))
    trainer = prepare(supervised(dataset, model), make_optimizer("samt-s"), epochs=1)
    progress, _ = trainer.advance(trainer.init(), 2)
    identity = Identity({}, [], {})
    saves, restores = [], []
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as home:
        place = Path(home, "checkpoints")
        for step in range(SAVES + UNCOUNTED):
            saves.append(
                _milliseconds(checkpoint.save, place, step, progress, identity)
            )
            restores.append(
                _milliseconds(checkpoint.restore, place, progress, identity)
            )
    saves, restores = saves[UNCOUNTED:], restores[UNCOUNTED:]
    return {
        "checkpoint": "SAMT-S on 784-400-10",
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(progress)),
        "saves": SAVES,
        "save_ms": statistics.median(saves),
        "save_ms_quartiles": statistics.quantiles(saves, n=4)[::2],
        "restore_ms": statistics.median(restores),
        "restore_ms_quartiles": statistics.quantiles(restores, n=4)[::2],
    }


def _milliseconds(call: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    call(*arguments)
    return 1e3 * (time.perf_counter() - started)
