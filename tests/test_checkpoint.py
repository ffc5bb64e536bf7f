import os
import resource
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import OneLayerEta, assert_same_bits, init_mlp

from samt_jax import checkpoint, samt_sweep
from samt_jax.checkpoint import list_checkpoints, newest_finite, restore, save
from samt_jax.loop import state_sha256
from samt_jax.manifest import CheckpointError, Identity, MismatchError

IDENTITY = Identity({"seed": 0}, ["Dense_0"], {"jax": "0.10"})


def state_of(step):
    """A small state; each step has one of its own."""
    rng = np.random.default_rng(step)
    return {"w": rng.normal(size=(4, 3)).astype(np.float32), "step": np.int32(step)}


def assert_restores(folder, *steps):
    """The newest checkpoint is that of one of these steps, whole."""
    found = restore(folder, state_of(0), IDENTITY)
    assert found.step in steps
    assert_same_bits(found.state, state_of(found.step))
    return found


def steps_in(folder):
    return [int(path.name[5:]) for path in list_checkpoints(folder)]


def test_every_kind_of_leaf_comes_back_to_the_bit(tmp_path):
    state = {
        "float": np.array([0.0, -0.0, np.nan, np.inf, 1e-45], np.float32),
        "bfloat16": jnp.arange(3, dtype=jnp.bfloat16),
        "float64": np.float64(0.1),
        # Not a number that float32 has.
        "count": np.int32(16_777_217),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "large": np.arange(2_400_000, dtype=np.float32).reshape(3, 800_000)[:, ::2],
        "nothing": ((), None, optax.EmptyState()),
        "key": jax.random.key(3),
        "layer_10": jnp.ones(1),
        "layer_2": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    save(tmp_path, 1, state, IDENTITY)
    for like in (state, shapes):
        restored = restore(tmp_path, like, IDENTITY).state
        assert state_sha256(restored) == state_sha256(state)
        assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_the_newest_are_kept_and_the_newest_finite_one(tmp_path):
    for step in range(1, 8):
        save(tmp_path, step, state_of(step), IDENTITY, is_finite=step <= 3)
    assert steps_in(tmp_path) == [3, 5, 6, 7]
    assert newest_finite(tmp_path).name == "step_0000000003"


def test_order_is_that_of_the_steps_whatever_the_clock_says(tmp_path):
    for step in (9, 10):
        save(tmp_path, step, state_of(step), IDENTITY)
    os.utime(tmp_path / "step_0000000010", (0, 0))
    assert_restores(tmp_path, 10)


def test_a_damaged_checkpoint_gives_way_to_the_newest_good_one(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, state_of(step), IDENTITY)
    for path in list_checkpoints(tmp_path)[1:]:
        with (path / "state" / "_METADATA").open("r+b") as file:
            file.write(b"!")
    found = assert_restores(tmp_path, 1)
    assert [path.name[-1] for path, _ in found.refused] == ["3", "2"]
    assert all("is not what was written" in reason for _, reason in found.refused)
    for path, _ in found.refused:
        checkpoint.set_aside(path)
    # Damaged ones in the list would have had the good one removed as the oldest.
    for step in (4, 5):
        save(tmp_path, step, state_of(step), IDENTITY)
    assert steps_in(tmp_path) == [1, 4, 5]


def test_where_none_is_good_nothing_is_restored(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        restore(tmp_path / "nowhere", state_of(0), IDENTITY)
    save(tmp_path, 1, state_of(1), IDENTITY)
    (tmp_path / "step_0000000001" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        restore(tmp_path, state_of(0), IDENTITY)


def test_what_orbax_reads_wrongly_is_refused(tmp_path, monkeypatch):
    save(tmp_path, 1, state_of(1), IDENTITY)
    inner = checkpoint._read_state

    def misread(path, like):
        step, w = inner(path, like)
        return [step, np.nextafter(w, 9)]

    monkeypatch.setattr(checkpoint, "_read_state", misread)
    with pytest.raises(CheckpointError, match=r"\['w'\] with another content"):
        restore(tmp_path, state_of(0), IDENTITY)


@pytest.mark.parametrize("change", ["shape", "dtype", "missing", "more"])
def test_another_network_or_precision_is_refused(tmp_path, change):
    save(tmp_path, 1, state_of(1), IDENTITY)
    like = state_of(1)
    like |= {
        "shape": {"w": np.zeros((4, 4), np.float32)},
        "dtype": {"w": jnp.zeros((4, 3), jnp.bfloat16)},
        "missing": {},
        "more": {"v": np.zeros(2)},
    }[change]
    if change == "missing":
        del like["w"]
    with pytest.raises(MismatchError, match="another state"):
        restore(tmp_path, like, IDENTITY)


def test_another_granularity_is_refused(tmp_path, key):
    params = init_mlp(key, (3, 2))

    def shapes(granularity):
        tx = samt_sweep(granularity=granularity, eta_model=OneLayerEta)
        return jax.eval_shape(tx.init, params)

    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes("scalar"))
    save(tmp_path, 1, state, IDENTITY)
    for granularity in ("row", "column", "element"):
        with pytest.raises(MismatchError, match=r"float32\[.*\] → float32\["):
            restore(tmp_path, shapes(granularity), IDENTITY)


def test_another_run_is_refused_and_another_environment_is_told(tmp_path):
    save(tmp_path, 1, state_of(1), IDENTITY)
    with pytest.raises(MismatchError, match="seed: 0 → 1"):
        restore(tmp_path, state_of(1), IDENTITY._replace(config={"seed": 1}))
    moved = IDENTITY._replace(environment={"jax": "0.11"})
    assert restore(tmp_path, state_of(1), moved).changes == ("jax: 0.10 → 0.11",)


def test_a_step_under_another_name_is_refused(tmp_path):
    save(tmp_path, 1, state_of(1), IDENTITY)
    (tmp_path / "step_0000000001").rename(tmp_path / "step_0000000002")
    with pytest.raises(CheckpointError, match="says that it is of step 1"):
        restore(tmp_path, state_of(1), IDENTITY)


class Died(BaseException):
    """The process is gone: nothing after it runs, and no `except` tidies up."""


def die_at(number, monkeypatch):
    """Dies at the n-th operation of ours on the file system; counts them."""
    count = [0]

    def wrap(home, name, *, after=False):
        inner = getattr(home, name)

        def wrapped(*args, **kwargs):
            # Orbax has files of its own, in threads and in the call before this one.
            if threading.current_thread() is not threading.main_thread() or inside[0]:
                return inner(*args, **kwargs)
            count[0] += 1
            if count[0] == number:
                raise Died
            if not after:
                return inner(*args, **kwargs)
            inside[0] = True
            try:
                return inner(*args, **kwargs)
            finally:
                inside[0] = False

        monkeypatch.setattr(home, name, wrapped)

    inside = [False]
    for name in ("fsync", "mkdir", "rename", "unlink", "rmdir"):
        wrap(os, name)
    wrap(checkpoint, "_write_state", after=True)
    return count


@pytest.mark.parametrize("again", [False, True], ids=["a new step", "the same again"])
def test_dying_at_any_operation_of_a_save_leaves_the_old_or_the_new(
    tmp_path, monkeypatch, again
):
    before = tmp_path / "before"
    for step in (1, 2, 3):
        save(before, step, state_of(step), IDENTITY)
    number, finished = 0, False
    while not finished:
        number += 1
        folder = tmp_path / "checkpoints"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        with monkeypatch.context() as patch:
            die_at(number, patch)
            try:
                save(folder, 3 if again else 4, state_of(3 if again else 4), IDENTITY)
                finished = True
            except Died:
                pass
        # A checkpoint that is made again has to go before it can come back.
        found = assert_restores(folder, *((2, 3) if again else (3, 4)))
        assert found.refused == ()
        save(folder, 5, state_of(5), IDENTITY)
        assert_restores(folder, 5)
        assert not list(folder.glob(".unfinished*"))
    assert number > 15


# Orbax's event loops complain when they are collected after a write was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_one_sentence_and_leaves_what_was_saved(tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder, 1, state_of(1), IDENTITY)
    large = state_of(2) | {"w": np.random.default_rng(0).normal(size=(200, 200))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="step 2 cannot be saved in") as error:
            save(folder, 2, large, IDENTITY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["step_0000000001"]
    assert_restores(folder, 1)
    save(folder, 2, state_of(2), IDENTITY)
    assert_restores(folder, 2)


@pytest.mark.parametrize("place", ["fsync", "rename"])
def test_a_refusal_of_the_file_system_leaves_what_was_saved(
    tmp_path, monkeypatch, place
):
    save(tmp_path, 1, state_of(1), IDENTITY)

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, place, refuse)
        with pytest.raises(CheckpointError, match="Read-only file system"):
            save(tmp_path, 2, state_of(2), IDENTITY)
    assert_restores(tmp_path, 1)


def test_a_folder_that_has_vanished_is_not_made_again(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be saved"):
        save(tmp_path / "gone" / "checkpoints", 1, state_of(1), IDENTITY)
    assert not (tmp_path / "gone").exists()


def test_what_dead_writers_left_is_removed(tmp_path):
    (tmp_path / ".unfinished-7" / "state").mkdir(parents=True)
    save(tmp_path, 8, state_of(8), IDENTITY)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["step_0000000008"]
