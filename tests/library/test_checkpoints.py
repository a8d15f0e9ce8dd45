"""Checkpoints: nothing is lost when a run stops, wherever it stops, and it goes on bit by bit."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import CONFIG, MODEL, run, run_all_but_the_end, weights

from flash_tutorial import LanguageModel, files
from flash_tutorial.training import checkpoints, run_folder
from flash_tutorial.training.checkpoints import checkpoint_folders, last_checkpoint
from flash_tutorial.training.run_folder import read_log

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("one_thread")]

FILES = ("training.json", *checkpoints.FILES)


class Killed(BaseException):
    """Stands for the end of the process: no handler of the package catches it."""


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_folder_of_a_run(corpus, tmp_path, whole):
    result = run(corpus, tmp_path / "new" / "run")
    out = tmp_path / "new" / "run"
    # the last two
    assert [path.name for path in checkpoint_folders(out)] == [
        "step_000009",
        "step_000010",
    ]
    assert not list(out.glob(".*"))
    assert (
        weights(LanguageModel.from_pretrained(out)) == weights(result.model) == weights(whole.model)
    )
    assert weights(LanguageModel.from_pretrained(out / "step_000010")) == weights(result.model)
    assert read_log(out / "log.csv") == result.log and len(result.log) == 10
    assert (
        json.loads((out / "result.json").read_text())["validation_bits_per_byte"]
        == result.evaluation.bits_per_byte
    )
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {
        ".json",
        ".safetensors",
        ".csv",
    }


@pytest.mark.parametrize("gone", ["model.safetensors", "step_*"])
def test_a_run_is_not_written_over(corpus, tmp_path, gone):
    """Neither one that was stopped nor the model of one that has ended."""
    run(corpus, tmp_path)
    for path in tmp_path.glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="already holds a run"):
        run(corpus, tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def kill_at(monkeypatch, count):
    """Raise ``Killed`` at the ``count``-th write, rename or removal. Returns the list of what was called."""
    calls = []

    def watch(module, name):
        original = getattr(module, name)

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == count:
                raise Killed
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    for module, name in (
        (files, "save_tensors"),
        (files, "write_text"),
        (run_folder.Log, "append"),
        (run_folder, "write_json"),
        (os, "replace"),
        (os, "fsync"),
        (os, "rmdir"),
        (os, "unlink"),
        (Path, "write_bytes"),
    ):
        watch(module, name)
    return calls


def test_killed_at_any_write_it_goes_on_to_the_same_weights(corpus, tmp_path, whole):
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 0)
        run(corpus, tmp_path / "count")
        writes = len(calls)
    assert writes > 60
    for count in range(1, writes + 1, 5):
        out = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, count)
            with pytest.raises(Killed):
                run(corpus, out)
        for path in checkpoint_folders(out):
            checkpoints.read_checkpoint(path)  # whole, or not there
        result = run(corpus, out, resume=True)
        assert weights(result.model) == weights(whole.model), count
        assert without_seconds(result.log) == without_seconds(whole.log), count
        assert without_seconds(read_log(out / "log.csv")) == without_seconds(whole.log), count
        assert not list(out.glob(".*")), count


def damage(path, how):
    raw = bytearray(path.read_bytes())
    if how == "cut":
        raw = raw[: len(raw) // 2]
    elif how == "altered":
        if path.suffix == ".json":
            raw = raw.replace(b'"dim": 16', b'"dim": 17')  # still JSON
        else:
            raw[-3] ^= 1
        assert raw != path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(raw)


@pytest.mark.parametrize("how", ["cut", "altered", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_checkpoint_is_passed_over_and_named(corpus, tmp_path, whole, name, how, capsys):
    run_all_but_the_end(corpus, tmp_path)
    damage(tmp_path / "step_000010" / name, how)
    said = []
    assert last_checkpoint(tmp_path, said.append)[1]["step"] == 9
    if (name, how) == ("training.json", "gone"):  # whose folder is it? It is named, and not touched
        with pytest.raises(
            ValueError, match=r"step_000010 is no checkpoint of this program: move it"
        ):
            run(corpus, tmp_path, resume=True)
        (tmp_path / "step_000010").rename(tmp_path / "away")
    else:
        assert len(said) == 1 and f"step_000010/{name}" in said[0] and "\n" not in said[0]
    result = run(corpus, tmp_path, resume=True)
    assert weights(result.model) == weights(whole.model)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000009", "step_000010"]
    assert last_checkpoint(tmp_path, pytest.fail)[1]["step"] == 10


def test_no_whole_checkpoint_is_one_line(corpus, tmp_path):
    run_all_but_the_end(corpus, tmp_path)
    for path in checkpoint_folders(tmp_path):
        damage(path / "optimizer.safetensors", "altered")
    with pytest.raises(
        ValueError, match=r"step_000009.*altered.*no earlier checkpoint is whole"
    ) as error:
        last_checkpoint(tmp_path, lambda line: None)
    assert "\n" not in str(error.value)


def test_a_later_damaged_checkpoint_does_not_push_a_whole_one_out(corpus, tmp_path):
    run_all_but_the_end(corpus, tmp_path)
    shutil.copytree(tmp_path / "step_000010", tmp_path / "step_000011")
    for step in (10, 11):
        path = tmp_path / f"step_{step:06d}" / "training.json"
        path.write_text(path.read_text().replace('"step": 10', f'"step": {step}'))
        damage(path, "cut")
    run(corpus, tmp_path, resume=True)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000009", "step_000010"]


@pytest.mark.parametrize(
    "where", ["model.safetensors", "optimizer.safetensors", "training.json", "log.csv"]
)
def test_full_disk_is_one_line_and_loses_nothing(corpus, tmp_path, monkeypatch, whole, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def on(name, original, module):
        def call(first, second, *args, **kwargs):
            path = Path(second if name == "save_tensors" else first)
            if where in path.name and ("step_000006" in str(path) or where == "log.csv"):
                raise full
            return original(first, second, *args, **kwargs)

        monkeypatch.setattr(module, name, call)

    if where == "log.csv":
        append = run_folder.Log.append

        def refuse(self, **row):
            if row["step"] == 6:
                monkeypatch.setattr(
                    "builtins.open", lambda *args, **kwargs: (_ for _ in ()).throw(full)
                )
            return append(self, **row)

        monkeypatch.setattr(run_folder.Log, "append", refuse)
    elif where == "training.json":
        on("write_json", files.write_json, files)
    else:
        on("save_tensors", files.save_tensors, files)
    with pytest.raises(ValueError, match=r"No space left on device.*free some space") as error:
        run(corpus, tmp_path)
    monkeypatch.undo()
    assert "\n" not in str(error.value)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000000", "step_000003"]
    assert not list(tmp_path.glob(".step*"))
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)


@pytest.mark.parametrize(
    "key, value",
    [
        ("learning_rate", 0.02),
        ("batch", 8),
        ("warmup", 3),
        ("seed", 1),
        ("clip", None),
        ("accumulate", 2),
    ],
)
def test_resume_with_another_setting_names_it(corpus, tmp_path, key, value):
    run(corpus, tmp_path)
    with pytest.raises(
        ValueError, match=f"{key}={getattr(CONFIG, key)!r}, now {key}={value!r}"
    ) as error:
        run(corpus, tmp_path, config=replace(CONFIG, **{key: value}), resume=True)
    assert "\n" not in str(error.value)


def test_resume_with_another_model_or_text_names_it(corpus, tmp_path):
    run(corpus, tmp_path)
    with pytest.raises(ValueError, match="dim=16, now dim=32"):
        run(corpus, tmp_path, replace(MODEL, dim=32), resume=True)
    other = corpus.__class__(corpus.name, corpus.validation, corpus.train, corpus.test)
    with pytest.raises(
        ValueError, match=r"trained on the text 'text.txt' as it was then.*has other bytes"
    ):
        run(other, tmp_path, resume=True)
    # no part in it
    run(corpus, tmp_path, config=replace(CONFIG, eval_bytes=100, checkpoint_every=5), resume=True)


def test_a_run_cut_short_is_the_first_part_of_the_whole_one(corpus, tmp_path, whole):
    """Its rates fall as if nothing were cut, and it goes on to the same weights; another run is refused as before."""
    cut = run(corpus, tmp_path, stop_at=4)
    assert (
        without_seconds(cut.log)
        == without_seconds(whole.log[:4])
        == without_seconds(run(corpus, stop_at=4).log)
    )
    assert cut.evaluation is None and not (tmp_path / "model.safetensors").exists()
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000003", "step_000004"]
    run(corpus, tmp_path, resume=True, stop_at=7)
    with pytest.raises(ValueError, match="already holds a run"):
        run(corpus, tmp_path, stop_at=9)
    resumed = run(corpus, tmp_path, resume=True, stop_at=10)
    assert weights(resumed.model) == weights(whole.model) != weights(cut.model)
    assert without_seconds(resumed.log) == without_seconds(whole.log)
    assert resumed.evaluation.bits_per_byte == whole.evaluation.bits_per_byte


@pytest.mark.parametrize("stop_at", [0, 11, 2.0, True, 3])
def test_a_stop_that_cannot_be_is_named(corpus, tmp_path, stop_at):
    run(corpus, tmp_path, stop_at=4)
    with pytest.raises(
        ValueError, match=f"stop_at={stop_at!r}: expected an integer from 4 to 10, since 4 updates"
    ):
        run(corpus, tmp_path, resume=True, stop_at=stop_at)
    with pytest.raises(ValueError, match=r"stop_at=0: expected an integer from 1 to 10$"):
        run(corpus, stop_at=0)


def test_resume_without_a_checkpoint_starts(corpus, tmp_path, whole):
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)
    with pytest.raises(ValueError, match="resume=True without out"):
        run(corpus, resume=True)
