"""A run's folder: nothing foreign is touched, nothing altered is used, and what is finished stays."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import assert_one_line
from small_run import CONFIG, run, run_all_but_the_end, weights

from flash_tutorial import LanguageModel, files
from flash_tutorial.corpora import load_file
from flash_tutorial.training import checkpoints, devices, run_folder
from flash_tutorial.training.checkpoints import checkpoint_folders
from flash_tutorial.training.run_folder import read_log

quick = pytest.mark.quick
pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[2]
LONGER = replace(CONFIG, steps=16)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- what is not ours


FOREIGN = (
    ".bashrc.old",
    ".vim.old/vimrc",
    ".x.part",
    ".step_000003.part/mine",
    ".step_000003.old/config.json/mine",
    ".model.safetensors.part",
    ".notes.12.part",
    ".step_3.old",
    "step_one/mine",
    "step_000003.txt",
    "notes.txt",
)


@quick
def test_resume_removes_what_it_left_and_nothing_else(corpus, tmp_path, whole):
    run(corpus, tmp_path, stop_at=4)
    ours = (
        ".step_000006.part/model.safetensors",
        ".step_000006.part/.log.csv.77.part",
        ".step_000003.old/config.json",
        ".model.safetensors.77.part",
        ".result.json.8.part",
        ".step_000006.part/.tmpThy1Wt",  # of safetensors, the last
    )
    shutil.rmtree(tmp_path / "step_000003")
    for name in FOREIGN + ours[:2] + ours[3:]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)
    assert all((tmp_path / name).read_text() == "mine" for name in FOREIGN)
    assert not any((tmp_path / name).exists() for name in ours if name != ours[2])


@quick
@pytest.mark.parametrize(
    "name", [*run_folder.FILES, "best", "step_000100/notes.txt", "step_1000000"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_a_file_of_a_run_s_names_is_refused(corpus, tmp_path, name, resume):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    assert_one_line(lambda: run(corpus, tmp_path, resume=resume), str(tmp_path), name.split("/")[0])
    assert contents(tmp_path) == before


@quick
def test_a_folder_in_the_way_of_a_checkpoint_is_named_before_the_run_goes_on(corpus, tmp_path):
    run(corpus, tmp_path, stop_at=4)
    (tmp_path / "step_000009").mkdir()
    (tmp_path / "step_000009" / "model.safetensors").write_text("mine")
    assert_one_line(
        lambda: run(corpus, tmp_path, resume=True),
        "step_000009 is no checkpoint of this program: move it",
    )
    assert (tmp_path / "step_000009" / "model.safetensors").read_text() == "mine"
    # where a run with scores on the way keeps its best model
    (tmp_path / "step_000009").rename(tmp_path / "best")
    assert_one_line(
        lambda: run(corpus, tmp_path, resume=True), "best is no checkpoint of this program: move it"
    )
    assert (tmp_path / "best" / "model.safetensors").read_text() == "mine"


@quick
@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_one_that_comes_later_is_not_replaced(corpus, tmp_path, monkeypatch, kind):
    """Nor is a checkpoint removed into which somebody put a file of theirs."""
    out, target, append = tmp_path / "run", tmp_path / "run" / "step_000006", run_folder.Log.append
    (tmp_path / "elsewhere").mkdir()

    def foreign(self, **row):
        if row["step"] == 5:
            (out / "step_000000" / "notes.txt").write_text("mine")
            if kind == "folder":
                target.mkdir()
                (target / "notes.txt").write_text("mine")
            elif kind == "file":
                target.write_text("mine")
            else:
                target.symlink_to(tmp_path / "elsewhere")
        return append(self, **row)

    monkeypatch.setattr(run_folder.Log, "append", foreign)
    assert_one_line(
        lambda: run(corpus, out),
        "checkpoint of step 6 could not be written",
        "in the way and not of this program",
    )
    assert target.is_symlink() == (kind == "link") and (
        target.is_dir() or target.read_text() == "mine"
    )
    assert (out / "step_000000" / "notes.txt").read_text() == "mine"


@quick
def test_a_folder_by_another_name_and_one_that_is_none(corpus, tmp_path, whole):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run(corpus, tmp_path / "link", stop_at=5)
    assert weights(run(corpus, tmp_path / "real", resume=True).model) == weights(whole.model)
    (tmp_path / "file").write_text("x")
    assert_one_line(lambda: run(corpus, tmp_path / "file"), "in the way: choose another name")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert_one_line(lambda: run(corpus, tmp_path / "dangling"), "in the way: choose another name")
    assert_one_line(lambda: run(corpus, ""), "out='': expected the name of a folder")
    assert_one_line(lambda: run(corpus, 7), "out=7: expected the path of a folder")
    (tmp_path / "step_by_step.md").write_text("mine")
    run(corpus, tmp_path, stop_at=1)


@quick
def test_a_copy_of_a_folder_goes_on_by_itself(corpus, tmp_path, whole):
    run(corpus, tmp_path / "one", stop_at=5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        assert weights(run(corpus, tmp_path / name, resume=True).model) == weights(whole.model)


# ---------------------------------------------------------------- what is altered


@quick
@pytest.mark.parametrize("checkpoints_there", [True, False])
@pytest.mark.parametrize("how", ["altered", "cut"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "result.json", "log.csv"])
def test_an_altered_file_of_a_finished_run_is_named_and_kept(
    corpus, tmp_path, name, how, checkpoints_there
):
    run(corpus, tmp_path)
    path, whole = tmp_path / name, contents(tmp_path)
    raw = path.read_bytes()
    # a log that is only too short is mended from the checkpoint: so this one is cut at its head
    path.write_bytes(
        raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:] if how == "altered" else raw[len(raw) // 2 :]
    )
    if not checkpoints_there:
        for folder in checkpoint_folders(tmp_path):
            shutil.rmtree(folder)
    before = contents(tmp_path)
    assert_one_line(
        lambda: run(corpus, tmp_path, resume=True),
        str(path),
        "altered",
        "move it" if checkpoints_there else "",
    )
    assert contents(tmp_path) == before
    if checkpoints_there:
        path.rename(tmp_path / "away")
        run(corpus, tmp_path, resume=True)
        del whole[path]
        assert {path: raw for path, raw in contents(tmp_path).items() if path in whole} == whole


@quick
def test_a_model_that_somebody_put_there_is_not_replaced(corpus, tmp_path, whole):
    run_all_but_the_end(corpus, tmp_path)
    LanguageModel(whole.model.config).save_pretrained(tmp_path)  # whole, but another one
    before = contents(tmp_path)
    assert_one_line(lambda: run(corpus, tmp_path, resume=True), "config.json", "not of this run")
    assert contents(tmp_path) == before


@quick
def test_a_log_that_lost_its_end_is_mended(corpus, tmp_path, whole):
    run_all_but_the_end(corpus, tmp_path)
    path = tmp_path / "log.csv"
    raw = path.read_bytes()
    path.write_bytes(raw[:-30])
    run(corpus, tmp_path, resume=True)
    assert path.read_bytes() == raw


# ---------------------------------------------------------------- what is finished


@quick
@pytest.mark.parametrize("gone", ["", "log.csv", "step_*", "step_* log.csv", "step_000010"])
def test_a_finished_run_is_not_started_over(corpus, tmp_path, gone, whole, capsys):
    run(corpus, tmp_path)
    for pattern in gone.split():
        for path in tmp_path.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(tmp_path)
    again = run(corpus, tmp_path, resume=True, say=True)
    assert "is finished: its 10 updates are done" in capsys.readouterr().out
    assert contents(tmp_path) == before
    assert weights(again.model) == weights(whole.model)
    assert again.evaluation.bits_per_byte == whole.evaluation.bits_per_byte
    assert len(again.log) == (0 if "log.csv" in gone else 10)


@quick
def test_more_steps_without_a_checkpoint_are_refused(corpus, tmp_path):
    run(corpus, tmp_path)
    for path in checkpoint_folders(tmp_path):
        shutil.rmtree(path)
    before = contents(tmp_path)
    assert_one_line(
        lambda: run(corpus, tmp_path, config=LONGER, resume=True),
        "steps=16",
        "no checkpoint",
        "--start-from",
    )
    assert contents(tmp_path) == before


# ---------------------------------------------------------------- more updates


@quick
@pytest.mark.parametrize("first", [7, 10])
def test_a_longer_run_is_the_same_however_often_it_stops(corpus, tmp_path, first, capsys):
    """Before its end, or when it had ended already."""
    for name in ("one", "two"):
        run(corpus, tmp_path / name, stop_at=first)
    capsys.readouterr()
    whole = run(corpus, tmp_path / "one", config=LONGER, resume=True, say=True)
    said = capsys.readouterr().out
    rates = [row["learning_rate"] for row in whole.log]
    was = 0 if first == 10 else 0.01 * 3 / 8
    now = 0.01 * (16 - first) / 14
    assert (
        f"10 updates become 16: the rate of the next one is {now:.3g} instead of {was:.3g}" in said
    )
    assert (
        rates[first] == pytest.approx(now)
        and rates[-1] == pytest.approx(0.01 / 14)
        and len(rates) == 16
    )
    run(corpus, tmp_path / "two", config=LONGER, resume=True, stop_at=first + 1)
    run(corpus, tmp_path / "two", config=LONGER, resume=True, stop_at=first + 4)
    parts = run(corpus, tmp_path / "two", config=LONGER, resume=True)
    assert weights(parts.model) == weights(whole.model)
    for name in ("one", "two"):
        assert (
            json.loads((tmp_path / name / "result.json").read_text())["train_config"]["steps"] == 16
        )


@quick
def test_a_process_that_dies_before_the_first_longer_update_has_said_it_for_good(
    corpus, tmp_path, monkeypatch
):
    run(corpus, tmp_path / "one", stop_at=7)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    whole = run(corpus, tmp_path / "one", config=LONGER, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(run_folder.Log, "append", lambda *_, **__: sys.exit(9))
        with pytest.raises(SystemExit):
            run(corpus, tmp_path / "two", config=LONGER, resume=True)
    assert (
        files.read_json(tmp_path / "two" / "step_000007" / "training.json")["train_config"]["steps"]
        == 16
    )
    assert weights(run(corpus, tmp_path / "two", config=LONGER, resume=True).model) == weights(
        whole.model
    )


@quick
@pytest.mark.parametrize("steps", [6, 3])
def test_fewer_steps_than_are_done_are_refused(corpus, tmp_path, steps):
    run(corpus, tmp_path, stop_at=7)
    before = contents(tmp_path)
    config = replace(CONFIG, steps=steps)
    assert_one_line(
        lambda: run(corpus, tmp_path, config=config, resume=True),
        f"steps={steps}: 7 updates are done already",
    )
    assert contents(tmp_path) == before


# ---------------------------------------------------------------- the text


@quick
def test_a_text_is_known_by_its_bytes(corpus, text, tmp_path, whole):
    run(corpus, tmp_path / "run", stop_at=5)
    renamed = Path(shutil.copy(text, tmp_path / "renamed.txt"))
    assert weights(run(load_file(renamed), tmp_path / "run", resume=True, stop_at=6).model)
    raw = bytearray(renamed.read_bytes())
    validation = raw.find(corpus.validation.tokens.tobytes())
    # in the text to learn from, and in the one that gives the score
    for place in (
        20,
        validation + 5,
    ):
        altered = bytearray(raw)
        altered[place] ^= 1
        renamed.write_bytes(altered)
        assert_one_line(
            lambda: run(load_file(renamed), tmp_path / "run", resume=True),
            "trained on the text 'renamed.txt'",
            "--corpus",
        )
    assert weights(run(corpus, tmp_path / "run", resume=True).model) == weights(whole.model)


# ---------------------------------------------------------------- a model from a run that has not ended


@quick
def test_the_newest_checkpoint_is_the_model_of_a_run_that_has_not_ended(corpus, tmp_path):
    cut = run(corpus, tmp_path, stop_at=7)
    with pytest.warns(UserWarning, match="this run has not ended: taking .*step_000007"):
        assert weights(LanguageModel.from_pretrained(tmp_path)) == weights(cut.model)
    for name in ("config.json", "model.safetensors"):
        path = tmp_path / "step_000007" / name
        raw = path.read_bytes()
        path.write_bytes(raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:])
        assert_one_line(
            lambda: LanguageModel.from_pretrained(tmp_path / "step_000007"), name, "altered"
        )
        path.write_bytes(raw)


@quick
def test_a_finished_model_that_lacks_its_file_is_no_other_one(corpus, tmp_path):
    run(corpus, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert_one_line(lambda: LanguageModel.from_pretrained(tmp_path), "model.safetensors is missing")


# ---------------------------------------------------------------- killed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_five_random_moments_it_ends_with_the_same_bits(tmp_path):
    command = [
        sys.executable,
        ROOT / "experiments" / "timings" / "kill_runs.py",
        "--kills",
        "5",
        "--seed",
        "4",
    ]
    done = subprocess.run(
        [*command, "--out", tmp_path / "result.json"], capture_output=True, text=True
    )
    result = (
        json.loads((tmp_path / "result.json").read_text())
        if not done.returncode
        else done.stdout + done.stderr
    )
    assert not done.returncode, result
    assert [kill["same_bits"] for kill in result["kills"]] == [True] * 5
    assert {kill["signal"] for kill in result["kills"]} >= {"SIGKILL", "SIGTERM"}


@pytest.mark.parametrize("gain", [2.4, 1.0])
def test_a_run_keeps_its_number_format_whatever_a_later_measurement_says(
    corpus, tmp_path, monkeypatch, gain
):
    monkeypatch.setattr(devices, "LARGE", 0)
    monkeypatch.setattr(devices, "bfloat16_gain", lambda threads: gain)
    whole = weights(run(corpus).model)
    run(corpus, tmp_path / "run", stop_at=4)
    # the other one of the two
    monkeypatch.setattr(devices, "bfloat16_gain", lambda threads: 3.4 - gain)
    assert weights(run(corpus).model) != whole
    assert weights(run(corpus, tmp_path / "run", resume=True).model) == whole
    assert files.read_json(tmp_path / "run" / "result.json")["number_format"] == (
        "bfloat16" if gain > 2 else "float32"
    )


def test_the_log_is_read_back_bit_by_bit(corpus, tmp_path):
    result = run(corpus, tmp_path)
    assert read_log(tmp_path / "log.csv") == result.log
    assert (checkpoint_folders(tmp_path)[-1] / "log.csv").read_bytes() == (
        tmp_path / "log.csv"
    ).read_bytes()
    assert checkpoints.FILES == (
        "config.json",
        "model.safetensors",
        "optimizer.safetensors",
        "log.csv",
    )


# ---------------------------------------------------------------- a name that not every console can show


@quick
@pytest.mark.parametrize(
    "name, encoding", [(b"caf\xe9", "utf-8"), ("Elinor_\u2665".encode(), "cp1252")]
)
def test_a_name_that_the_console_cannot_show_ends_no_run(
    corpus, tmp_path, whole, monkeypatch, name, encoding
):
    out = tmp_path / os.fsdecode(name)
    try:
        out.mkdir()
    except OSError:
        pytest.skip("this system takes names in UTF-8 only")
    for options in ({"stop_at": 4}, {"resume": True}):
        with monkeypatch.context() as patch:
            patch.setattr(
                sys, "stdout", console := io.TextIOWrapper(io.BytesIO(), encoding=encoding)
            )
            ended = run(corpus, out, say=True, **options)
        console.flush()
        assert out.name.encode(encoding, "replace") in console.buffer.getvalue()
    assert (
        weights(ended.model) == weights(LanguageModel.from_pretrained(out)) == weights(whole.model)
    )
