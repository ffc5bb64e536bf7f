import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samt_jax.manifest import (
    MANIFEST,
    CheckpointError,
    File,
    Identity,
    Leaf,
    Manifest,
    MismatchError,
    check_files,
    check_identity,
    check_leaves,
    digest_of,
    read_manifest,
    write_manifest,
)

IDENTITY = Identity({"seed": 0, "hidden": [5]}, ["Dense_0", "Dense_1"], {"jax": "1"})
LEAF = Leaf("['w']", (2, 3), "float32", "ab" * 32)
WRITTEN = Manifest(120, True, IDENTITY, (LEAF,), {"state/d/x": File(3, "cd" * 32)})
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def text(tmp_path):
    write_manifest(tmp_path, WRITTEN)
    return (tmp_path / MANIFEST).read_bytes()


def test_it_is_read_as_written(tmp_path, text):
    assert read_manifest(tmp_path) == WRITTEN
    assert json.loads(text)["config_sha256"] == digest_of(IDENTITY.config)


def read_or_refusal(folder):
    """What is read, or `None` where it is refused in one sentence."""
    try:
        return read_manifest(folder)
    except CheckpointError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return None


@in_one_folder
@given(st.data())
def test_damaged_it_is_read_right_or_refused(tmp_path, text, data):
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                text[:place],
                text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :],
                text[:place] + text[place + 1 :],
                text[:place] + b"9" + text[place:],
                text[place:],
            ]
        )
    )
    (tmp_path / MANIFEST).write_bytes(damaged)
    assert read_or_refusal(tmp_path) in (None, WRITTEN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@in_one_folder
@given(st.sampled_from([*Manifest._fields, *Identity._fields, "format"]), json_values)
def test_a_field_of_another_kind_is_refused_even_with_the_right_hash(
    tmp_path, text, field, value
):
    content = json.loads(text) | {field: value}
    del content["sha256"]
    content["sha256"] = digest_of(content)
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    read_or_refusal(tmp_path)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"[" * 100_000,
        b"null",
        b"[]",
        b'{"sha256": NaN}',
        b"\xff\xfe",
        b'{"step": ' + b"9" * 10_000 + b"}",
        b" " * (17 * 2**20),
    ],
    ids=lambda data: str(data[:12]),
)
def test_hostile_files_are_refused(tmp_path, hostile):
    (tmp_path / MANIFEST).write_bytes(hostile)
    assert read_or_refusal(tmp_path) is None


def test_what_is_not_a_file_is_refused(tmp_path):
    assert read_or_refusal(tmp_path) is None
    (tmp_path / MANIFEST).symlink_to("/dev/zero")
    assert read_or_refusal(tmp_path) is None


def test_files_are_those_that_were_written(tmp_path):
    content = {"a/b": b"xyz", "c": b""}
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    hashes = {
        "a/b": "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282",
        "c": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    files = {name: File(len(content[name]), hashes[name]) for name in content}
    written = WRITTEN._replace(files=files)
    check_files(tmp_path, written)

    def refused(sentence):
        with pytest.raises(CheckpointError, match=sentence):
            check_files(tmp_path, written)

    (tmp_path / "c").write_bytes(b"!")
    refused("c is not what was written")
    (tmp_path / "c").unlink()
    refused("c is missing")
    (tmp_path / "c").symlink_to("a/b")
    refused("neither a file nor a folder")
    (tmp_path / "c").unlink()
    (tmp_path / "c").touch()
    (tmp_path / "d").touch()
    refused("d is not in its manifest")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"seed": 1, "hidden": [5]}, "seed: 0 → 1"),
        ({"seed": 0, "hidden": [6]}, r"hidden: \[5\] → \[6\]"),
        ({"seed": 0}, r"hidden: \[5\] → absent"),
        ({"seed": False, "hidden": [5]}, "seed: 0 → False"),
    ],
)
def test_another_run_is_refused_with_what_differs(other, sentence):
    with pytest.raises(MismatchError, match=sentence):
        check_identity(IDENTITY, IDENTITY._replace(config=other))


def test_another_order_of_the_blocks_is_another_run():
    with pytest.raises(MismatchError, match="blocks"):
        check_identity(IDENTITY, IDENTITY._replace(blocks=IDENTITY.blocks[::-1]))
    check_identity(IDENTITY, IDENTITY._replace(environment={"jax": "2"}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": (3, 2)}, r"float32\[2, 3\] → float32\[3, 2\]"),
        ({"dtype": "bfloat16"}, r"float32\[2, 3\] → bfloat16\[2, 3\]"),
        ({"path": "['v']"}, "absent"),
    ],
)
def test_another_leaf_is_refused_with_what_differs(change, sentence):
    with pytest.raises(MismatchError, match=sentence):
        check_leaves([LEAF], [LEAF._replace(sha256="", **change)])
