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
from samt_jax.bench.cells import Method, Network
from samt_jax.bench.measure import jax_subject, num_steps, take_turns
from samt_jax.manifest import Identity
from samt_jax.models import build_model
from samt_jax.optimizers import make_optimizer
from samt_jax.problem import supervised
from samt_jax.trainer import prepare

# The first ones load what is needed, and have nothing old to remove.
SAVES, UNCOUNTED = 20, 5
# A few per cent want many rounds, in turns quick enough that both meet the same noise.
GUARD_ROUNDS, GUARD_STEPS = 200, 20


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


def measure_guards(network: Network, dataset: Any) -> dict[str, Any]:
    """What the guards add to a step of SAMT-S, in turns with one that has none.

    Both work out what a training loop reports of a step, which some of the checks look
    at: without a reader it would be left out of the step without guards.

    Args:
      network: The network.
      dataset: Images as :func:`~samt_jax.bench.measure.measure_network` takes them.

    Returns:
      The share of a step without guards that they add, its median over rounds and
      quartiles, and microseconds a step with and without.
    """
    network = network._replace(steps=GUARD_STEPS)
    method = Method("SAMT-S", "next", "chain")
    guarded = jax_subject(network, method, dataset, keeps_records=True)
    with no_guards():
        bare = jax_subject(network, method, dataset, keeps_records=True)
    rounds = take_turns([guarded, bare], GUARD_ROUNDS)
    with_guards, without = (each.seconds for each in rounds)
    shares = [a / b - 1 for a, b in zip(with_guards, without, strict=True)]
    steps = num_steps(network, dataset)
    return {
        "guards": f"SAMT-S on {network.name}",
        "rounds": GUARD_ROUNDS,
        "share": statistics.median(shares),
        "share_quartiles": statistics.quantiles(shares, n=4)[::2],
        "microseconds_per_step": 1e6 * statistics.median(with_guards) / steps,
        "microseconds_without": 1e6 * statistics.median(without) / steps,
    }


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
