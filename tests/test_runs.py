import json
import os
from pathlib import Path

import pytest

from samt_jax.runs import (
    RunFolderError,
    append_line,
    check_run_folder,
    keep_epochs,
    locked,
    new_run_folder,
    read_lines,
    to_json,
    write_json,
)


def test_default_folder_is_new_even_within_one_second(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "20260101-000000")
    folders = [new_run_folder(None, "digits-sgd") for _ in range(3)]
    stem = "runs/digits-sgd-20260101-000000"
    assert [str(f) for f in folders] == [stem, f"{stem}-2", f"{stem}-3"]


def test_given_folder_is_made_with_its_parents(tmp_path):
    assert new_run_folder(tmp_path / "a" / "b", "name").is_dir()


def test_empty_folder_is_taken(tmp_path):
    assert new_run_folder(tmp_path, "name") == tmp_path


def test_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "kept").write_text("precious")
    with pytest.raises(RunFolderError, match="nothing is overwritten"):
        new_run_folder(tmp_path, "name")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_file_in_the_way_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for out in (file, file / "below"):
        with pytest.raises(RunFolderError, match=f"{file} is a file"):
            check_run_folder(out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="not writable"):
        check_run_folder(tmp_path / "new")


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunFolderError, match=r"\(No space left on device\); give"):
        new_run_folder(tmp_path / "new", "name")


def test_json_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_json(path, {"epochs": 1})

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"epochs": 2})
    assert json.loads(path.read_text()) == {"epochs": 1}


def test_json_leaves_no_temporary_file(tmp_path):
    write_json(tmp_path / "a.json", {"path": Path("x"), "pair": (1, 2)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "path": "x",
        "pair": [1, 2],
    }


def test_numbers_that_json_has_not_become_null():
    content = {"a": float("inf"), "b": [float("nan"), {"c": -float("inf")}], "d": 1.5}
    assert json.loads(to_json(content)) == {
        "a": None,
        "b": [None, {"c": None}],
        "d": 1.5,
    }


def test_lines_are_read_back_in_order(tmp_path):
    lines = [{"epoch": 1, "loss": [0.5]}, {"epoch": 2, "loss": [0.25]}]
    for line in lines:
        append_line(tmp_path / "metrics.jsonl", line)
    assert read_lines(tmp_path / "metrics.jsonl") == lines


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n', 2),
        ('{"epoch": 1}\n{"epoch": 2}\n{"ep', 2),
        ('{"epoch": 1, "name": "a\u2028b"}\n{"epoch": 2}\n', 2),
        ('{"half a line', 0),
        ("", 0),
    ],
)
def test_metrics_are_cut_back_to_whole_epochs(tmp_path, text, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    assert [line["epoch"] for line in keep_epochs(path, kept)] == [1, 2][:kept]
    assert path.read_text() == "".join(f"{line}\n" for line in text.split("\n")[:kept])


@pytest.mark.parametrize(
    "text",
    ["", '{"epoch": 1}\n', '{"epoch": 2}\n{"epoch": 1}\n', '3\n{"epoch": 2}', "{\n{\n"],
)
def test_metrics_that_are_not_all_there_are_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(RunFolderError, match="the metrics of epochs 1 to 2"):
        keep_epochs(path, 2)
    assert path.read_text() == text


def test_one_lock_a_folder_which_names_its_owner(tmp_path):
    with locked(tmp_path):
        with (
            pytest.raises(RunFolderError, match=rf"at work in .*{os.getpid()}"),
            locked(tmp_path),
        ):
            raise AssertionError
        # Whoever was refused has not taken the owner's name away.
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    with locked(tmp_path):
        pass


def test_lock_of_a_new_run_wants_the_folder_empty(tmp_path):
    with locked(tmp_path, new=True):
        (tmp_path / "kept").touch()
    # A lock alone is nothing that could be lost.
    with (
        pytest.raises(RunFolderError, match="is not empty"),
        locked(tmp_path, new=True),
    ):
        raise AssertionError


def test_folder_that_cannot_be_locked_is_refused(tmp_path):
    with (
        pytest.raises(RunFolderError, match="cannot be written"),
        locked(tmp_path / "x"),
    ):
        raise AssertionError
