"""Trained eta models: taken out of a run, kept in a file, started from in another.

What an eta model has learned is its weights, `meta_params`, a dictionary with one entry
a block. A file has them as plain arrays, with the names of the features that they
expect.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import PyTree

from samt_jax.base import State, state_fields
from samt_jax.features import FEATURE_NAMES
from samt_jax.meta import MetaState

_NAMES, _FEATURES = "names", "features"


def trained_meta_params(state: State, seed: int | None = None) -> dict[str, PyTree]:
    """The weights of the eta models in a state, to start another run from.

    Args:
      state: A state of :func:`samt`, :func:`samt_sweep`, :func:`samt_algorithm` or
        :func:`scale_by_learned_step_size`, or
        one that holds it (of `optax.chain`, or `record.state` of :func:`fit`).
      seed: Place of a run among the several of :func:`fit`, from 0; `None` where the
        state is of one run, without a leading axis.

    Returns:
      The weights by block; one entry `"shared"` where all blocks share one eta model.
      They are what `meta_params=` takes.

    Raises:
      ValueError: The state has no eta models.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax import samt_sweep, trained_meta_params
      >>> params = {"a": {"w": jnp.ones(2)}, "b": {"w": jnp.ones(3)}}
      >>> state = samt_sweep(0.1).init(params)
      >>> meta_params = trained_meta_params(state)
      >>> list(meta_params)
      ['a', 'b']
      >>> state = samt_sweep(0.01, meta_params=meta_params, seed=1).init(params)
    """
    # Every method keeps them under this name, and so may somebody's own state.
    for meta in state_fields(state, "meta"):
        if isinstance(meta, dict) and all(
            isinstance(each, MetaState) for each in meta.values()
        ):
            weights = {name: each.params for name, each in meta.items()}
            return weights if seed is None else jax.tree.map(lambda w: w[seed], weights)
    raise ValueError(
        f"a {type(state).__name__} without eta models was given; give the state of "
        "samt, samt_sweep, samt_algorithm or scale_by_learned_step_size."
    )


def start_from(
    given: Mapping[str, PyTree] | None, fresh: dict[str, PyTree]
) -> dict[str, PyTree]:
    """The weights that eta models start from: those given, if they fit, or fresh ones.

    Args:
      given: Weights by block, or `None`.
      fresh: What they would be, of the right shapes.

    Returns:
      One of the two.

    Raises:
      ValueError: The names of the blocks differ, or the shapes of an eta model.

    Example:
      >>> import jax.numpy as jnp
      >>> start_from({"a": {"w": jnp.ones(2)}}, {"a": {"w": jnp.zeros(2)}})
      {'a': {'w': Array([1., 1.], dtype=float32)}}
    """
    if given is None:
        return fresh
    if given.keys() != fresh.keys():
        raise ValueError(
            f"meta_params has eta models for {sorted(given)}, and the eta models here "
            f"are for {sorted(fresh)}; give those of a run with the same blocks."
        )
    for name, weights in fresh.items():
        found, wanted = _shapes(given[name]), _shapes(weights)
        for path in sorted(wanted.keys() | found.keys()):
            if (was := found.get(path, "none")) != (want := wanted.get(path, "none")):
                raise ValueError(
                    f"meta_params has for {name!r} an eta model with {path} {was}, and "
                    f"here it is {want}; give those of a run with the same eta_model, "
                    "granularity and, unless that is 'scalar', sizes of layers."
                )
    return {
        name: jax.tree.map(lambda _, leaf: jnp.asarray(leaf), weights, given[name])
        for name, weights in fresh.items()
    }


def save_meta_params(path: Path | str, meta_params: Mapping[str, PyTree]) -> None:
    """Keeps the weights of eta models in a file, as plain arrays.

    Args:
      path: A file, which is put in place whole; by custom it ends in `.npz`.
      meta_params: Weights by block, each a nested dictionary of arrays.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> with tempfile.TemporaryDirectory() as home:
      ...     path = Path(home) / "eta_models.npz"
      ...     save_meta_params(path, {"Dense_0": {"kernel": jnp.ones((5, 2))}})
      ...     load_meta_params(path)["Dense_0"]["kernel"].shape
      (5, 2)
    """
    flat = traverse_util.flatten_dict(dict(meta_params))
    arrays: dict[str, Any] = {str(i): leaf for i, leaf in enumerate(flat.values())}
    arrays[_NAMES] = [json.dumps(keys) for keys in flat]
    arrays[_FEATURES] = FEATURE_NAMES
    content = io.BytesIO()
    np.savez(content, **arrays)
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content.getvalue())
    temporary.replace(path)


def load_meta_params(path: Path | str) -> dict[str, PyTree]:
    """The weights of eta models that :func:`save_meta_params` has kept.

    Args:
      path: The file.

    Returns:
      Weights by block.

    Raises:
      ValueError: There is no such file, it is damaged or another kind of file, or it is
        of another version of the features.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> from samt_jax import samt_sweep
      >>> params = {"Dense_0": {"kernel": jnp.ones((2, 2))}}
      >>> learned = trained_meta_params(samt_sweep().init(params))
      >>> with tempfile.TemporaryDirectory() as home:
      ...     save_meta_params(Path(home) / "eta_models.npz", learned)
      ...     meta_params = load_meta_params(Path(home) / "eta_models.npz")
      >>> tx = samt_sweep(meta_params=meta_params)
    """
    try:
        # Of a damaged file NumPy leaves open what it has opened itself.
        content = io.BytesIO(Path(path).read_bytes())
        with np.load(content, allow_pickle=False) as file:
            features = tuple(file[_FEATURES].tolist())
            names = [tuple(json.loads(name)) for name in file[_NAMES].tolist()]
            flat = {keys: file[str(index)] for index, keys in enumerate(names)}
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror or error}); give a file that "
            "save_meta_params has written."
        ) from error
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged, or no file of eta models ({type(error).__name__}); "
            "give one that save_meta_params has written."
        ) from error
    if features != FEATURE_NAMES:
        raise ValueError(
            f"{path} has eta models that expect the features {list(features)}, and "
            f"they are {list(FEATURE_NAMES)} here; train them anew."
        )
    loaded: dict[str, Any] = traverse_util.unflatten_dict(flat)
    return loaded


def _shapes(weights: PyTree) -> dict[str, str]:
    """Shape and dtype of each array of an eta model, by its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    }
