"""An epoch of a run as a line of numbers, for run folders, pictures and people."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from samt_jax.base import state_fields
from samt_jax.meta import CAUSES
from samt_jax.training import EpochRecord

Line = dict[str, Any]


def metrics_line(record: EpochRecord, block_names: Sequence[str] = ()) -> Line:
    """One epoch as a line of `metrics.jsonl`, which the pictures are made from.

    Args:
      record: The epoch, from :func:`~samt_jax.training.fit`.
      block_names: The network's blocks in forward order; by default the order of their
        names, in which `Dense_10` comes before `Dense_2`.

    Returns:
      Numbers, one a seed where seeds differ; what an algorithm reports stands under its
      own names, by block where it does so by block.

    Example:
      >>> from samt_jax import build_model, fit, make_optimizer, supervised
      >>> from samt_jax.data import load
      >>> digits = load("digits")
      >>> model = build_model("mlp", num_outputs=10, hidden=(8,))
      >>> runs = fit(supervised(digits, model), make_optimizer("sgd"), epochs=1)
      >>> line = metrics_line(next(runs))
      >>> line["epoch"], line["step"], len(line["test_accuracy"])
      (1, 20, 1)
    """
    metrics, fields = record.metrics, _fields(record.metrics.info.detail, block_names)
    line: Line = {
        "epoch": record.epoch,
        "step": record.step,
        "status": list(record.status),
        "train_loss": metrics.info.value.tolist(),
        "nonfinite_losses": metrics.nonfinite_losses.tolist(),
    }
    for part, measured in record.evaluation.items():
        for name, values in sorted(measured.items()):
            line[f"{part}_{name}"] = values.tolist()
    line["train_seconds"] = record.train_seconds
    line["evaluate_seconds"] = record.evaluate_seconds
    line["step_sizes"] = _step_sizes(fields)
    skipped = _skipped_visits(record.state.algorithm_state, block_names)
    if not skipped:
        return line | fields
    line["status"] = _stuck_diverged(line["status"], line["step_sizes"])
    return line | fields | {"skipped": skipped}


def _stuck_diverged(
    status: Sequence[str], step_sizes: Mapping[str, Sequence[float]]
) -> list[str]:
    """Calls a seed diverged that has skipped every visit of an epoch.

    Its losses may well be finite: skipping is what keeps them so.
    """
    taken = np.sum(list(step_sizes.values()), axis=0)
    return [
        "diverged" if total == 0 else word
        for word, total in zip(status, taken, strict=True)
    ]


def _fields(detail: Any, block_names: Sequence[str]) -> dict[str, Any]:
    """An algorithm's record by field, and each field by block where it has blocks."""
    fields: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(detail):
        blocks = [p.key for p in path if isinstance(p, jax.tree_util.DictKey)]
        others = [p for p in path if not isinstance(p, jax.tree_util.DictKey)]
        name = jax.tree_util.keystr(tuple(others), simple=True, separator=".")
        if not np.issubdtype(leaf.dtype, np.inexact):
            continue  # The last step's code of an event says nothing of an epoch.
        if blocks:
            fields.setdefault(name, {})["/".join(map(str, blocks))] = leaf.tolist()
        else:
            fields[name] = leaf.tolist()
    return {
        name: in_forward_order(values, block_names)
        if isinstance(values, dict)
        else values
        for name, values in fields.items()
    }


def _step_sizes(fields: Line) -> dict[str, list[float]]:
    """Step sizes by block; one learned rate is the whole network's."""
    if "step_size" in fields:
        steps = fields.pop("step_size")
        return steps if isinstance(steps, dict) else {"network": steps}
    if isinstance(fields.get("learning_rate"), list):
        return {"network": fields["learning_rate"]}
    return {}


def _skipped_visits(
    algorithm_state: Any, block_names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Visits that SAMT skipped so far, all seeds together, by block and cause."""
    found = state_fields(algorithm_state, "skipped")
    counts: dict[str, dict[str, int]] = {}
    for block, by_seed in found[0].items() if found else ():
        total = np.asarray(by_seed).reshape(-1, len(CAUSES)).sum(axis=0)
        causes = {c: int(n) for c, n in zip(CAUSES, total, strict=True) if n}
        counts |= {block: causes} if causes else {}
    return in_forward_order(counts, block_names)


def in_forward_order(
    by_block: Mapping[str, Any], block_names: Sequence[str]
) -> dict[str, Any]:
    """Undoes that JAX sorts the keys of a dict: `Dense_10` before `Dense_2`.

    Args:
      by_block: Anything by block.
      block_names: The network's blocks in forward order.

    Returns:
      The same in that order, and after it what is by no block.
    """
    known = [name for name in block_names if name in by_block]
    names = known + [name for name in by_block if name not in known]
    return {name: by_block[name] for name in names}
