"""Checkpoints: nothing is lost when a run stops, wherever it stops, and it goes on bit by bit."""

import errno
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from refusals import assert_one_line
from small_run import CONFIG, MODEL, Killed, contents, run, weights

from flash_tutorial import LanguageModel, files
from flash_tutorial.training import checkpoints, devices, run_folder
from flash_tutorial.training.checkpoints import checkpoint_folders, last_checkpoint
from flash_tutorial.training.run_folder import read_log

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = ("training.json", *checkpoints.FILES)


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def names_of_checkpoints(folder):
    return [path.name for path in checkpoint_folders(folder)]


# ---------------------------------------------------------------- what is written


def test_folder_of_a_run(corpus, tmp_path, whole):
    out = tmp_path / "new" / "run"
    result = run(corpus, out)
    assert names_of_checkpoints(out) == ["step_000009", "step_000010"]  # the last two
    assert not list(out.glob(".*"))
    assert weights(result.model) == weights(whole.model)
    for folder in (out, out / "step_000010"):
        assert weights(LanguageModel.from_pretrained(folder)) == weights(whole.model)
    assert read_log(out / "log.csv") == result.log and len(result.log) == 10
    assert (out / "step_000010" / "log.csv").read_bytes() == (out / "log.csv").read_bytes()
    saved = json.loads((out / "result.json").read_text())
    assert saved["validation_bits_per_byte"] == result.evaluation.bits_per_byte
    kinds = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors", ".csv"}


@pytest.mark.parametrize("gone", ["model.safetensors", "step_*"])
def test_a_run_is_not_written_over(corpus, finished, gone):
    """Neither one that was stopped nor the model of one that has ended."""
    for path in finished.glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(finished)
    with pytest.raises(ValueError, match="already holds a run"):
        run(corpus, finished)
    assert before == contents(finished)


# ---------------------------------------------------------------- killed


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


@pytest.mark.parametrize("every", [17, pytest.param(3, marks=pytest.mark.nightly)])
def test_killed_at_any_write_it_goes_on_to_the_same_weights(corpus, tmp_path, whole, every):
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 0)
        run(corpus, tmp_path / "count")
        writes = len(calls)
    assert writes > 60
    for count in range(1, writes + 1, every):
        out = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, count)
            with pytest.raises(Killed):
                run(corpus, out)
        for path in checkpoint_folders(out):
            checkpoints.read_checkpoint(path)  # whole, or not there
        result = run(corpus, out, resume=True)
        assert weights(result.model) == weights(whole.model), count
        for log in (result.log, read_log(out / "log.csv")):
            assert without_seconds(log) == without_seconds(whole.log), count
        assert not list(out.glob(".*")), count


def test_a_run_cut_short_is_the_first_part_of_the_whole_one(corpus, tmp_path, whole):
    """Its rates fall as if nothing were cut, and it goes on to the same weights; another run is refused as before."""
    cut = run(corpus, tmp_path, stop_at=4)
    for log in (cut.log, run(corpus, stop_at=4).log):
        assert without_seconds(log) == without_seconds(whole.log[:4])
    assert cut.evaluation is None and not (tmp_path / "model.safetensors").exists()
    assert names_of_checkpoints(tmp_path) == ["step_000003", "step_000004"]
    run(corpus, tmp_path, resume=True, stop_at=7)
    with pytest.raises(ValueError, match="already holds a run"):
        run(corpus, tmp_path, stop_at=9)
    resumed = run(corpus, tmp_path, resume=True, stop_at=10)
    assert weights(resumed.model) == weights(whole.model) != weights(cut.model)
    assert without_seconds(resumed.log) == without_seconds(whole.log)
    assert resumed.evaluation.bits_per_byte == whole.evaluation.bits_per_byte


def test_the_scaling_of_the_loss_goes_on_too(corpus, tmp_path, monkeypatch):
    """In float16 it grows every few updates: a run that forgot it would begin again with the first."""
    monkeypatch.setattr(
        torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=16.0, growth_interval=2)
    )
    monkeypatch.setattr(devices, "pick_dtype", lambda *_: (torch.float16, ""))  # on a CPU too
    run(corpus, tmp_path / "stopped", stop_at=5)
    run(corpus, tmp_path / "stopped", resume=True)
    run(corpus, tmp_path / "whole")
    scales = [
        json.loads((tmp_path / name / "step_000010" / "training.json").read_text())["scaler"]
        for name in ("stopped", "whole")
    ]
    assert scales[0] == scales[1] and scales[0]["scale"] > 16


def test_a_stop_that_cannot_be_is_named(corpus, tmp_path):
    run(corpus, tmp_path, stop_at=4)
    for stop_at in (0, 11, 2.0, True, 3):
        expected = f"stop_at={stop_at!r}: expected an integer from 4 to 10, since 4 updates"
        with pytest.raises(ValueError, match=expected):
            run(corpus, tmp_path, resume=True, stop_at=stop_at)
    with pytest.raises(ValueError, match=r"stop_at=0: expected an integer from 1 to 10$"):
        run(corpus, stop_at=0)


def test_resume_without_a_checkpoint_starts(corpus, tmp_path, whole):
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)
    with pytest.raises(ValueError, match="resume=True without out"):
        run(corpus, resume=True)


# ---------------------------------------------------------------- damaged


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
def test_a_damaged_checkpoint_is_passed_over_and_named(unfinished, name, how):
    damage(unfinished / "step_000010" / name, how)
    said = []
    assert last_checkpoint(unfinished, said.append)[1]["step"] == 9
    if (name, how) != ("training.json", "gone"):  # whose folder is it?
        assert len(said) == 1 and f"step_000010/{name}" in said[0] and "\n" not in said[0]


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(corpus, unfinished, whole):
    damage(unfinished / "step_000010" / "model.safetensors", "altered")
    assert weights(run(corpus, unfinished, resume=True).model) == weights(whole.model)
    assert names_of_checkpoints(unfinished) == ["step_000009", "step_000010"]
    assert last_checkpoint(unfinished, pytest.fail)[1]["step"] == 10


def test_a_checkpoint_without_its_record_is_named_and_not_touched(corpus, unfinished):
    damage(unfinished / "step_000010" / "training.json", "gone")
    before, said = contents(unfinished), "step_000010 is no checkpoint of this program: move it"
    assert_one_line(lambda: run(corpus, unfinished, resume=True), said)
    assert contents(unfinished) == before


def test_no_whole_checkpoint_is_one_line(unfinished):
    for path in checkpoint_folders(unfinished):
        damage(path / "optimizer.safetensors", "altered")
    said = ("step_000009", "altered", "no earlier checkpoint is whole")
    assert_one_line(lambda: last_checkpoint(unfinished, lambda line: None), *said)


def test_a_later_damaged_checkpoint_does_not_push_a_whole_one_out(corpus, unfinished):
    shutil.copytree(unfinished / "step_000010", unfinished / "step_000011")
    for step in (10, 11):
        path = unfinished / f"step_{step:06d}" / "training.json"
        path.write_text(path.read_text().replace('"step": 10', f'"step": {step}'))
        damage(path, "cut")
    run(corpus, unfinished, resume=True)
    assert names_of_checkpoints(unfinished) == ["step_000009", "step_000010"]


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_at(monkeypatch, module, function, name, place):
    """``function(..., path, ...)`` fails where the path, its argument at ``place``, is that file of step 6."""
    original = getattr(module, function)

    def call(*args, **kwargs):
        if name in Path(args[place]).name and "step_000006" in str(args[place]):
            raise FULL
        return original(*args, **kwargs)

    monkeypatch.setattr(module, function, call)


def full_at_the_log(monkeypatch):
    append = run_folder.Log.append

    def no_file(*args, **kwargs):
        raise FULL

    def refuse(self, **row):
        if row["step"] == 6:
            monkeypatch.setattr("builtins.open", no_file)
        return append(self, **row)

    monkeypatch.setattr(run_folder.Log, "append", refuse)


@pytest.mark.parametrize(
    "where", ["model.safetensors", "optimizer.safetensors", "training.json", "log.csv"]
)
def test_full_disk_is_one_line_and_loses_nothing(corpus, tmp_path, whole, where):
    with pytest.MonkeyPatch.context() as patch:
        if where == "log.csv":
            full_at_the_log(patch)
        elif where == "training.json":
            full_at(patch, files, "write_json", where, 0)
        else:
            full_at(patch, files, "save_tensors", where, 1)
        said = ("No space left on device", "free some space")
        assert_one_line(lambda: run(corpus, tmp_path), *said)
    assert names_of_checkpoints(tmp_path) == ["step_000000", "step_000003"]
    assert not list(tmp_path.glob(".step*"))
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)


# ---------------------------------------------------------------- another run


def test_resume_with_another_setting_model_or_text_names_it(corpus, unfinished):
    for key, value in dict(
        learning_rate=0.02,
        batch=8,
        length=10,
        warmup=3,
        seed=1,
        clip=None,
        accumulate=2,
        optimizer="muon",
        weight_decay=0.5,
        dtype="bfloat16",
        eval_every=2,
    ).items():
        said = f"{key}={getattr(CONFIG, key)!r}, now {key}={value!r}"
        config = replace(CONFIG, **{key: value})
        assert_one_line(lambda: run(corpus, unfinished, config=config, resume=True), said)  # noqa: B023
    wider = replace(MODEL, dim=32)
    assert_one_line(lambda: run(corpus, unfinished, wider, resume=True), "dim=16, now dim=32")
    other = corpus.__class__(corpus.name, corpus.validation, corpus.train, corpus.test)
    said = ("trained on the text 'text.txt' as it was then", "has other bytes")
    assert_one_line(lambda: run(other, unfinished, resume=True), *said)
    # no part in it
    run(corpus, unfinished, config=replace(CONFIG, eval_bytes=100, checkpoint_every=5), resume=True)
