"""Checkpoints: a pytree on disk that comes back to the bit, or is refused.

    checkpoints/step_0000000120/state/          the arrays, as Orbax writes them
    checkpoints/step_0000000120/manifest.json   what they are, see `manifest.py`

A checkpoint is written under another name, with every file and folder of it on the disk
before it is renamed: a name that looks like a step is a whole checkpoint, however the
process ended. Older ones are removed after that. The directory is the only truth: which
steps there are is read from it, never remembered.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint
from jaxtyping import PyTree

from samt_jax.manifest import (
    CheckpointError,
    File,
    Identity,
    Leaf,
    Manifest,
    MismatchError,
    check_files,
    check_identity,
    check_leaves,
    difference,
    file_sha256,
    list_files,
    read_manifest,
    write_manifest,
)
from samt_jax.packing import as_array, pack, unpack

STATE = "state"
# The newest may turn out to be damaged; two in reserve.
KEEP = 3
PATIENCE = 20
_STEP, _UNFINISHED, _DAMAGED = "step_", ".unfinished-", "damaged-"


class Restored(NamedTuple):
    """What came back.

    Attributes:
      state: The state.
      step: Its step.
      path: The checkpoint.
      refused: Newer checkpoints that are damaged, each with a sentence that says how.
      changes: What has changed in the environment since it was saved.
    """

    state: PyTree
    step: int
    path: Path
    refused: tuple[tuple[Path, str], ...]
    changes: tuple[str, ...]


def save(
    folder: Path,
    step: int,
    state: PyTree,
    identity: Identity,
    *,
    is_finite: bool = True,
    keep: int = KEEP,
) -> Path:
    """Saves a state; when this returns, it is on the disk.

    Args:
      folder: Where the checkpoints of a run are; made in a folder that is there.
      step: Steps done.
      state: Any pytree of arrays.
      identity: Which run it belongs to.
      is_finite: Whether the state is worth going on from. The newest checkpoint of
        which this was said is never removed.
      keep: How many of the newest are kept.

    Returns:
      The checkpoint.

    Raises:
      CheckpointError: It cannot be saved; what was saved before is untouched.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> state, identity = {"w": jnp.arange(3.0)}, Identity({"seed": 0}, ["w"], {})
      >>> with tempfile.TemporaryDirectory() as home:
      ...     path = save(Path(home), 120, state, identity)
      ...     restored = restore(Path(home), state, identity)
      ...     path.name, restored.step, restored.state["w"].tolist()
      ('step_0000000120', 120, [0.0, 1.0, 2.0])
    """
    unfinished = folder / f"{_UNFINISHED}{step}"
    try:
        # Not with its parents: a run's folder that has vanished is not made again.
        folder.mkdir(exist_ok=True)
        remove_unfinished(folder)
        unfinished.mkdir()
        leaves = _write_state(unfinished / STATE, state)
        files = _sync_files(unfinished)
        manifest = Manifest(step, is_finite, identity, leaves, files)
        write_manifest(unfinished, manifest)
        _sync_folder(unfinished)
        path = _publish(unfinished, folder / f"{_STEP}{step:010d}")
        remove_old(folder, keep)
    # Orbax and TensorStore raise `ValueError` for what the disk refuses.
    except (OSError, ValueError) as error:
        _give_up(unfinished)
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"step {step} cannot be saved in {folder} ({reason}); make room or mend "
            "the folder, and take the run up again."
        ) from error
    return path


def restore(folder: Path, like: PyTree, identity: Identity) -> Restored:
    """Restores the newest checkpoint that is whole.

    Args:
      folder: Where the checkpoints of a run are.
      like: A state, or its shapes and dtypes, of the same structure.
      identity: Which run it must belong to.

    Returns:
      The state, and what was wrong with newer ones.

    Raises:
      MismatchError: A checkpoint is whole, and of another run, network or dtype.
      CheckpointError: There is none, or none is whole.
    """
    refused: list[tuple[Path, str]] = []
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            manifest = read_manifest(path)
            state = restore_one(path, manifest, like, identity)
        except MismatchError:
            raise
        except CheckpointError as error:
            refused.append((path, str(error)))
            continue
        changes = difference(manifest.identity.environment, identity.environment)
        return Restored(state, manifest.step, path, tuple(refused), tuple(changes))
    if not paths:
        raise CheckpointError(f"there is no checkpoint in {folder}.")
    raise CheckpointError(
        f"none of the {len(paths)} checkpoints in {folder} is whole: "
        f"{' '.join(sentence for _, sentence in refused)}"
    )


def restore_one(
    path: Path, manifest: Manifest, like: PyTree, identity: Identity
) -> PyTree:
    """Restores one checkpoint.

    Args:
      path: The checkpoint.
      manifest: What it says of itself.
      like: A state, or its shapes and dtypes, of the same structure.
      identity: Which run it must belong to.

    Returns:
      The state, bit for bit what was saved.

    Raises:
      MismatchError: It is of another run, network or dtype.
      CheckpointError: It is damaged.
    """
    if path.name != f"{_STEP}{manifest.step:010d}":
        raise CheckpointError(f"{path} says that it is of step {manifest.step}.")
    check_identity(manifest.identity, identity)
    wanted = [_leaf_of(where, leaf) for where, leaf in _leaves_of(like)]
    check_leaves(manifest.leaves, wanted)
    check_files(path, manifest)
    templates, structure = jax.tree.flatten(like)
    leaves = _read_state(path / STATE, templates)
    for known, leaf in zip(manifest.leaves, leaves, strict=True):
        if _leaf_of(known.path, leaf) != known:
            raise CheckpointError(f"{path} has {known.path} with another content.")
    return jax.tree.unflatten(structure, leaves)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not, oldest first.

    The order is that of the steps; no clock has a say in it.
    """
    if not folder.is_dir():
        return []
    paths = (path for path in folder.iterdir() if path.name.startswith(_STEP))
    return sorted(path for path in paths if path.name[len(_STEP) :].isdecimal())


def newest_finite(folder: Path) -> Path | None:
    """The newest checkpoint that can be read and whose state was finite."""
    for path in reversed(list_checkpoints(folder)):
        with contextlib.suppress(CheckpointError):
            if read_manifest(path).is_finite:
                return path
    return None


def set_aside(path: Path) -> Path:
    """Takes a damaged checkpoint out of the list, and keeps it for whoever asks why.

    Left there, its higher step would have better ones removed as the older.
    """
    aside = path.with_name(f"{_DAMAGED}{path.name}")
    if aside.exists():
        shutil.rmtree(aside)
    return path.rename(aside)


def remove_old(folder: Path, keep: int) -> None:
    """Removes all but the newest checkpoints and the newest finite one."""
    paths = list_checkpoints(folder)
    if len(paths) <= keep:
        return
    kept = {*paths[-keep:], newest_finite(folder)}
    for path in paths:
        if path not in kept:
            _remove(path)


def remove_unfinished(folder: Path) -> None:
    """Removes what writers that were killed have left behind."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path)


def _give_up(unfinished: Path) -> None:
    """Removes what a failed save has written, so that the disk is not left full."""
    for _ in range(PATIENCE):
        with contextlib.suppress(OSError):
            shutil.rmtree(unfinished)
        # When one of its writers has failed, Orbax does not wait for the others.
        time.sleep(0.05)
        if not unfinished.exists():
            return


def _remove(path: Path) -> None:
    # Renamed first, so that a half removed checkpoint is never taken for a whole one.
    doomed = path.with_name(f"{_UNFINISHED}{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _publish(unfinished: Path, path: Path) -> Path:
    """Gives a checkpoint its name; it counts as saved from then on."""
    if path.exists():
        # Of the same step, and refused when the run was taken up.
        _remove(path)
    unfinished.rename(path)
    _sync_folder(path.parent)
    _sync_folder(path.parent.parent)
    return path


def _write_state(path: Path, state: PyTree) -> tuple[Leaf, ...]:
    with _orbax() as checkpointer:
        checkpointer.save(path.absolute(), pack(jax.tree.leaves(state)))
    return tuple(_leaf_of(where, leaf) for where, leaf in _leaves_of(state))


def _read_state(path: Path, like: list[Any]) -> list[Any]:
    try:
        with _orbax() as checkpointer:
            return unpack(checkpointer.restore(path.absolute()), like)
    # The files are what was written; whatever is raised here, they cannot be used.
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__})."
        ) from error


@contextlib.contextmanager
def _orbax() -> Iterator[orbax.checkpoint.PyTreeCheckpointer]:
    # Synchronous: a save has succeeded or raised when it returns.
    # A file an array: for so few arrays the common file takes longer than it saves. So
    # does compression: of weights it leaves nine tenths.
    checkpointer = orbax.checkpoint.PyTreeCheckpointer(
        use_ocdbt=False, use_compression=False
    )
    # It also logs what it raises, with traces from its threads; we say it once.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield checkpointer
    finally:
        logger.setLevel(level)
        checkpointer.close()


def _leaves_of(state: PyTree) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _leaf_of(where: str, leaf: Any) -> Leaf:
    """Describes a leaf; one of which only the shape is known has no fingerprint."""
    is_known = not isinstance(leaf, jax.ShapeDtypeStruct)
    digest = hashlib.sha256(as_array(leaf).tobytes()).hexdigest() if is_known else ""
    return Leaf(where, tuple(leaf.shape), str(leaf.dtype), digest)


def _sync_files(folder: Path) -> dict[str, File]:
    """Has all that was written on the disk, and takes its fingerprints."""
    files = {}
    for name in sorted(list_files(folder)):
        path = folder / name
        files[name] = File(path.stat().st_size, file_sha256(path))
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for root, _, _ in os.walk(folder, topdown=False):
        _sync_folder(Path(root))
    return files


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
