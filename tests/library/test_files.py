"""Files that are written whole or not at all; what is said where that fails; and altered bytes."""

import errno
import json
import os

import pytest
import torch
from refusals import assert_one_line

from flash_tutorial import files

ADVICE = {
    "ENOSPC": "free some space",
    "EDQUOT": "free some space",
    "EROFS": "choose a folder that you may write to",
    "EACCES": "choose a folder that you may write to",
    "ENOTDIR": "in the way: choose another name",
    "EEXIST": "in the way: choose another name",
    "ENAMETOOLONG": "choose a shorter name",
    "EIO": "another folder",
}


@pytest.mark.parametrize("name", ADVICE)
@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_the_advice_is_for_what_is_wrong(tmp_path, monkeypatch, name, where):
    number = getattr(errno, name)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, where, fail)
    said = ("a could not be written", os.strerror(number), ADVICE[name])
    message = assert_one_line(lambda: files.write_text(tmp_path / "a", "text"), *said)
    assert ("free some space" in message) == (ADVICE[name] == "free some space")
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert_one_line(lambda: files.make_folder(tmp_path / "file"), "in the way")
    for name, advice in (
        ("file/a", "in the way"),
        ("folder", "in the way"),
        ("x" * 300, "choose a shorter name"),
    ):
        assert_one_line(lambda: files.write_text(tmp_path / name, "text"), advice)  # noqa: B023


def test_files_that_belong_together_change_together(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "abc"]

    def write(text):
        with files.whole_files(*paths) as parts:
            for part in parts:
                part.write_text(text)

    write("first")
    calls, fsync = [], os.fsync
    for at in (1, 2, 3):

        def fail(handle, at=at):
            calls.append(handle)
            if len(calls) == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", fail)
        calls.clear()
        assert_one_line(lambda: write("second"), "a and ", "c could not be written", "untouched")
        assert sorted(tmp_path.iterdir()) == paths and {path.read_text() for path in paths} == {
            "first"
        }


def test_any_altered_byte_of_plain_values_is_noticed(tmp_path):
    path = tmp_path / "values.json"
    values = {"steps": 10, "rate": 0.01, "name": "Anne", "of": {"a": [1, None, True]}}
    files.write_json(path, values)
    assert files.read_json(path) == values
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert_one_line(lambda: files.read_json(path), "values.json is cut off or altered")
    for text in (raw[:-20], b"", b"[]", b"{}", b"[" * 100_000, json.dumps(values).encode()):
        path.write_bytes(text)
        assert_one_line(lambda: files.read_json(path), "values.json is cut off or altered")
    path.unlink()
    assert_one_line(lambda: files.read_json(path), "values.json is missing")


@pytest.fixture
def odd_name(tmp_path):
    """A folder whose name is not in UTF-8, as Linux allows and other systems do not."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this system takes names in UTF-8 only")
    return folder


def test_tensors_are_read_from_a_folder_whose_name_is_not_utf8(odd_name):
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "none": torch.zeros(0, 2),
        "half": torch.ones(3).bfloat16(),
    }
    with files.whole_file(odd_name / "a.safetensors") as temporary:
        files.save_tensors(tensors, temporary)
    found = files.load_tensors(odd_name / "a.safetensors")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], t) and found[name].dtype == t.dtype for name, t in tensors.items()
    )
    found["a"] += 1  # it is not the bytes of the file
    (odd_name / "a.safetensors").write_bytes(b"no tensors")
    for name in ("a.safetensors", "b.safetensors"):  # of which there is none
        assert_one_line(lambda: files.load_tensors(odd_name / name), f"{name} cannot be read")  # noqa: B023
