"""What eta models will take, said before any of it is allocated."""

import sys

import jax

from samt_jax.base import Batches
from samt_jax.loop import MakeAlgorithm
from samt_jax.problem import Problem
from samt_jax.records import eta_model_bytes


def eta_model_sizes(problem: Problem, make_algorithm: MakeAlgorithm) -> dict[str, int]:
    """The memory of SAMT's eta models with their optimizers, from shapes alone.

    Args:
      problem: What is trained.
      make_algorithm: Makes SAMT.

    Returns:
      Bytes by block; one entry `"shared"` where all blocks share one eta model.
    """
    key = jax.random.key(0)
    params, _ = jax.eval_shape(problem.init, key)
    batch = jax.tree.map(lambda leaf: leaf[:2], problem.train)
    algorithm = make_algorithm(problem.loss_fn, key, 1)
    state = jax.eval_shape(algorithm.init, params, Batches(batch, batch), key)
    return eta_model_bytes(state)


def in_units(num_bytes: int | None) -> str:
    """A number of bytes in the unit that suits it; `None` is not known."""
    if num_bytes is None:
        return "an unknown amount"
    if num_bytes >= 2**30:
        return f"{num_bytes / 2**30:,.2f} GiB"
    return f"{num_bytes / 2**20:.2f} MiB"


def print_memory(name: str, problem: Problem, make_algorithm: MakeAlgorithm) -> None:
    """Says what the eta models of a run will take, a seed.

    Args:
      name: What to call the run.
      problem: What is trained.
      make_algorithm: Makes SAMT.
    """
    total = sum(eta_model_sizes(problem, make_algorithm).values())
    print(
        f"note: {name}'s eta models with their optimizers take {in_units(total)} a "
        "seed.",
        file=sys.stderr,
    )
