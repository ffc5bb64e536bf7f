"""What a checkpoint says of itself, and how that is checked without reading arrays.

A manifest is one JSON file beside the arrays. It tells of which run they are, names
every leaf of the state and every file on disk with a SHA-256, and carries one of
itself. A checkpoint is refused in two ways: it is *damaged* (another one may be good),
or it is of *another run* (none will do).
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 3
MANIFEST = "manifest.json"
# A manifest of a network with a thousand leaves has some 200 kB.
LONGEST = 16 * 2**20


class CheckpointError(ValueError):
    """A checkpoint cannot be saved, or is damaged; one sentence says what it is."""


class MismatchError(CheckpointError):
    """A checkpoint is whole and belongs to another run."""


class Identity(NamedTuple):
    """Which run a checkpoint belongs to.

    Attributes:
      config: What decides the numbers of a run, as JSON has it. Another value of any of
        it is another run.
      blocks: The blocks in their order, which is part of the algorithm.
      environment: What may change the last digits: versions, threads, devices. Where it
        differs, the run goes on and says so.
    """

    config: Mapping[str, Any]
    blocks: Sequence[str]
    environment: Mapping[str, Any]


class Leaf(NamedTuple):
    """One array of a state: where it stands, what it is, and its fingerprint."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str


class File(NamedTuple):
    """One file below a checkpoint."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """All that a manifest holds.

    Attributes:
      step: Steps done.
      is_finite: Whether the state was finite, as far as its run could tell.
      identity: Whose it is.
      leaves: The arrays, in the order of the state's leaves.
      files: The files by their path below the checkpoint.
    """

    step: int
    is_finite: bool
    identity: Identity
    leaves: tuple[Leaf, ...]
    files: dict[str, File]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a checkpoint, and has it on the disk when it returns.

    Args:
      folder: The checkpoint.
      manifest: What to say.
    """
    content = {
        "format": FORMAT,
        "step": manifest.step,
        "is_finite": manifest.is_finite,
        **manifest.identity._asdict(),
        "config_sha256": digest_of(manifest.identity.config),
        "leaves": [leaf._asdict() for leaf in manifest.leaves],
        "files": {name: file._asdict() for name, file in manifest.files.items()},
    }
    content["sha256"] = digest_of(content)
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        # In one piece and on one line, which is ten times as fast.
        file.write(json.dumps(content))
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a checkpoint.

    Args:
      folder: The checkpoint.

    Returns:
      What it says, held against its own fingerprint.

    Raises:
      CheckpointError: It is missing, damaged or of another format.
    """
    path = folder / MANIFEST
    try:
        content = _read_json(path)
        stated = content.pop("sha256", None)
        if stated != digest_of(content):
            raise CheckpointError(f"{path} does not match its own SHA-256.")
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has format {content['format']!r}; this version reads {FORMAT}."
            )
        return _manifest_of(content)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from error
    # Nested too deep, not UTF-8, not JSON, not an object, a field of another kind.
    except (RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}).") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Holds every file below a checkpoint against its manifest.

    Nothing is decoded before this: who reads the arrays is native code, and given a
    damaged file it may end the process.

    Args:
      folder: The checkpoint.
      manifest: Its manifest.

    Raises:
      CheckpointError: A file is missing, is not known, or has another content.
    """
    found = list_files(folder)
    if odd := sorted(found ^ manifest.files.keys()):
        verb = "is not in its manifest" if odd[0] in found else "is missing"
        raise CheckpointError(f"{folder / odd[0]} {verb}.")
    for name, file in manifest.files.items():
        path = folder / name
        try:
            # The size first: a file that has grown is not read.
            is_whole = path.stat().st_size == file.size
            is_whole = is_whole and file_sha256(path) == file.sha256
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read ({error.strerror})."
            ) from error
        if not is_whole:
            raise CheckpointError(f"{path} is not what was written.")


def list_files(folder: Path) -> set[str]:
    """The regular files below a checkpoint, but for the manifest.

    Args:
      folder: The checkpoint.

    Returns:
      Their paths below it.

    Raises:
      CheckpointError: There is a link, a device or the like.
    """
    names = set()
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise CheckpointError(f"{path} is neither a file nor a folder.")
            if stat.S_ISREG(mode):
                names.add(path.relative_to(folder).as_posix())
    return names - {MANIFEST}


def file_sha256(path: Path) -> str:
    """The fingerprint of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: Any) -> str:
    """The fingerprint of what JSON can say, whatever the order of its keys.

    Example:
      >>> digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
      True
    """
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_identity(found: Identity, wanted: Identity) -> None:
    """Refuses the checkpoint of another run, with a list of what differs.

    Args:
      found: The checkpoint's.
      wanted: The run's.

    Raises:
      MismatchError: They differ in more than the environment.
    """
    differences = difference(found.config, wanted.config)
    if list(found.blocks) != list(wanted.blocks):
        differences.append(f"blocks: {list(found.blocks)} → {list(wanted.blocks)}")
    if differences:
        raise MismatchError(
            "the checkpoint is of another run (saved → asked for): "
            f"{'; '.join(differences)}."
        )


def check_leaves(found: Sequence[Leaf], wanted: Sequence[Leaf]) -> None:
    """Refuses a state of another structure, shape or dtype, with what differs.

    Args:
      found: The checkpoint's leaves.
      wanted: The leaves to restore; their fingerprints are not looked at.

    Raises:
      MismatchError: They differ.
    """
    one, other = (
        {leaf.path: f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves}
        for leaves in (found, wanted)
    )
    differences = difference(one, other)
    if differences:
        shown = "; ".join(differences[:5])
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise MismatchError(
            f"the checkpoint holds another state (saved → asked for): {shown}{more}."
        )
    if [leaf.path for leaf in found] != [leaf.path for leaf in wanted]:
        raise MismatchError("the checkpoint holds the leaves in another order.")


def difference(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs between two mappings, a line an entry.

    Args:
      saved: One.
      asked: The other.

    Returns:
      ``name: saved → asked``, sorted; a mapping inside is gone into.

    Example:
      >>> difference({"seed": 0, "net": {"width": 1}}, {"seed": 0, "net": {"width": 2}})
      ['net.width: 1 → 2']
      >>> difference({"a": 1}, {"b": None})
      ['a: 1 → absent', 'b: absent → None']
    """
    lines = []
    for name in sorted({*saved, *asked}):
        old, new = (each.get(name, _ABSENT) for each in (saved, asked))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{name}.{line}" for line in difference(old, new)]
        elif old != new or type(old) is not type(new):
            lines.append(f"{name}: {_shown(old)} → {_shown(new)}")
    return lines


_ABSENT = object()


def _shown(value: Any) -> str:
    text = "absent" if value is _ABSENT else str(value)
    return text if len(text) < 80 else text[:77] + "..."


def _read_json(path: Path) -> dict[str, Any]:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise CheckpointError(f"{path} is not a file.")
    with path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise CheckpointError(f"{path} is longer than {LONGEST:,} bytes.")
    content = json.loads(data)
    if not isinstance(content, dict):
        raise TypeError
    return content


def _manifest_of(content: Mapping[str, Any]) -> Manifest:
    step = content["step"]
    if not isinstance(step, int) or step < 0:
        raise TypeError
    leaves = tuple(Leaf(**leaf) for leaf in content["leaves"])
    files = {name: File(**file) for name, file in content["files"].items()}
    identity = Identity(*(content[field] for field in Identity._fields))
    kinds = (dict, list, dict)
    if not all(isinstance(*pair) for pair in zip(identity, kinds, strict=True)):
        raise TypeError
    leaves = tuple(leaf._replace(shape=tuple(leaf.shape)) for leaf in leaves)
    return Manifest(step, bool(content["is_finite"]), identity, leaves, files)
