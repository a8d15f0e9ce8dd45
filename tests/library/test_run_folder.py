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
from small_run import CONFIG, contents, run, weights

from flash_tutorial import LanguageModel, files
from flash_tutorial.corpora import load_file
from flash_tutorial.training import devices, run_folder

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[2]
LONGER = replace(CONFIG, steps=16)


def put(folder, *names):
    """A file of somebody else's by each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


def remove(folder, *patterns):
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def alter(path, place=-9):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def refuses_and_changes_nothing(folder, *parts, **options):
    before = contents(folder)
    assert_one_line(lambda: run(out=folder, resume=True, **options), *parts)
    assert contents(folder) == before


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
OURS = (
    ".step_000006.part/model.safetensors",
    ".step_000006.part/.log.csv.77.part",
    ".model.safetensors.77.part",
    ".result.json.8.part",
    ".step_000006.part/.tmpThy1Wt",  # of safetensors
)


def test_resume_removes_what_it_left_and_nothing_else(corpus, tmp_path, whole):
    run(corpus, tmp_path, stop_at=4)
    remove(tmp_path, "step_000003")
    put(tmp_path, *FOREIGN, *OURS)
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)
    assert all((tmp_path / name).read_text() == "mine" for name in FOREIGN)
    assert not any((tmp_path / name).exists() for name in OURS)


@pytest.mark.parametrize(
    "name", [*run_folder.FILES, "best", "step_000100/notes.txt", "step_1000000"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_a_file_of_a_run_s_names_is_refused(corpus, tmp_path, name, resume):
    put(tmp_path, name)
    before = contents(tmp_path)
    assert_one_line(lambda: run(corpus, tmp_path, resume=resume), str(tmp_path), name.split("/")[0])
    assert contents(tmp_path) == before


def test_a_folder_in_the_way_of_a_checkpoint_is_named_before_the_run_goes_on(corpus, tmp_path):
    run(corpus, tmp_path, stop_at=4)
    for name in ("step_000009", "best"):  # there a run with scores on the way keeps its best model
        put(tmp_path, f"{name}/model.safetensors")
        said = f"{name} is no checkpoint of this program: move it"
        refuses_and_changes_nothing(tmp_path, said, corpus=corpus)
        remove(tmp_path, name)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_one_that_comes_later_is_not_replaced(corpus, tmp_path, monkeypatch, kind):
    """Nor is a checkpoint removed into which somebody put a file of theirs."""
    out, target, append = tmp_path / "run", tmp_path / "run" / "step_000006", run_folder.Log.append
    (tmp_path / "elsewhere").mkdir()

    def foreign(self, **row):
        if row["step"] == 5:
            put(out, "step_000000/notes.txt")
            if kind == "folder":
                put(target, "notes.txt")
            elif kind == "file":
                put(out, target.name)
            else:
                target.symlink_to(tmp_path / "elsewhere")
        return append(self, **row)

    monkeypatch.setattr(run_folder.Log, "append", foreign)
    said = ("checkpoint of step 6 could not be written", "in the way and not of this program")
    assert_one_line(lambda: run(corpus, out), *said)
    mine = {"folder": target / "notes.txt", "file": target}.get(kind)
    assert mine.read_text() == "mine" if mine else target.is_symlink()
    assert (out / "step_000000" / "notes.txt").read_text() == "mine"


def test_a_folder_by_another_name_a_copy_of_it_and_one_that_is_none(corpus, tmp_path, whole):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run(corpus, tmp_path / "link", stop_at=5)
    shutil.copytree(tmp_path / "real", tmp_path / "copy")
    for name in ("real", "copy"):
        assert weights(run(corpus, tmp_path / name, resume=True).model) == weights(whole.model)
    put(tmp_path, "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out, said in (
        (tmp_path / "file", "in the way: choose another name"),
        (tmp_path / "dangling", "in the way: choose another name"),
        ("", "out='': expected the name of a folder"),
        (7, "out=7: expected the path of a folder"),
    ):
        assert_one_line(lambda: run(corpus, out), said)  # noqa: B023
    put(tmp_path, "step_by_step.md")
    run(corpus, tmp_path, stop_at=1)


# ---------------------------------------------------------------- what is altered


@pytest.mark.parametrize("checkpoints_there", [True, False])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "result.json", "log.csv"])
def test_an_altered_file_of_a_finished_run_is_named_and_kept(
    corpus, finished, name, checkpoints_there
):
    before = contents(finished)
    alter(finished / name)
    if not checkpoints_there:
        remove(finished, "step_*")
    advice = "move it" if checkpoints_there else ""
    said = (str(finished / name), "altered", advice)
    refuses_and_changes_nothing(finished, *said, corpus=corpus)
    if checkpoints_there:
        (finished / name).rename(finished.parent / "away")
        run(corpus, finished, resume=True)
        del before[finished / name]
        now = contents(finished)
        assert {path: now[path] for path in before} == before


def test_a_file_that_lost_its_head_is_altered_too(corpus, finished):
    for name in ("log.csv", "result.json"):
        raw = (finished / name).read_bytes()
        (finished / name).write_bytes(raw[len(raw) // 2 :])
        refuses_and_changes_nothing(finished, name, "altered", corpus=corpus)
        (finished / name).write_bytes(raw)


def test_a_model_that_somebody_put_there_is_not_replaced(corpus, unfinished, whole):
    LanguageModel(whole.model.config).save_pretrained(unfinished)  # whole, but another one
    refuses_and_changes_nothing(unfinished, "config.json", "not of this run", corpus=corpus)


def test_a_log_that_lost_its_end_is_mended(corpus, unfinished):
    path = unfinished / "log.csv"
    raw = path.read_bytes()
    path.write_bytes(raw[:-30])
    run(corpus, unfinished, resume=True)
    assert path.read_bytes() == raw


# ---------------------------------------------------------------- what is finished


@pytest.mark.parametrize("gone", ["", "log.csv", "step_*", "step_* log.csv", "step_000010"])
def test_a_finished_run_is_not_started_over(corpus, finished, gone, whole, capsys):
    remove(finished, *gone.split())
    before = contents(finished)
    again = run(corpus, finished, resume=True, say=True)
    assert "is finished: its 10 updates are done" in capsys.readouterr().out
    assert contents(finished) == before
    assert weights(again.model) == weights(whole.model)
    assert again.evaluation.bits_per_byte == whole.evaluation.bits_per_byte
    assert len(again.log) == (0 if "log.csv" in gone else 10)


def test_more_steps_without_a_checkpoint_are_refused(corpus, finished):
    remove(finished, "step_*")
    said = ("steps=16", "no checkpoint", "--start-from")
    refuses_and_changes_nothing(finished, *said, corpus=corpus, config=LONGER)


# ---------------------------------------------------------------- more updates


@pytest.mark.parametrize("first", [7, 10])
def test_a_longer_run_is_the_same_however_often_it_stops(corpus, tmp_path, first, capsys):
    """Before its end, or when it had ended already."""
    run(corpus, tmp_path / "one", stop_at=first)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    whole = run(corpus, tmp_path / "one", config=LONGER, resume=True, say=True)
    was = 0 if first == 10 else 0.01 * 3 / 8
    now = 0.01 * (16 - first) / 14
    said = f"10 updates become 16: the rate of the next one is {now:.3g} instead of {was:.3g}"
    assert said in capsys.readouterr().out
    rates = [row["learning_rate"] for row in whole.log]
    assert len(rates) == 16
    assert (rates[first], rates[-1]) == pytest.approx((now, 0.01 / 14))
    for stop in (first + 1, first + 4, 16):
        parts = run(corpus, tmp_path / "two", config=LONGER, resume=True, stop_at=stop)
    assert weights(parts.model) == weights(whole.model)
    for name in ("one", "two"):
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert result["train_config"]["steps"] == 16


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
    record = files.read_json(tmp_path / "two" / "step_000007" / "training.json")
    assert record["train_config"]["steps"] == 16
    parts = run(corpus, tmp_path / "two", config=LONGER, resume=True)
    assert weights(parts.model) == weights(whole.model)


def test_fewer_steps_than_are_done_are_refused(corpus, tmp_path):
    run(corpus, tmp_path, stop_at=7)
    for steps in (6, 3):
        config, said = replace(CONFIG, steps=steps), f"steps={steps}: 7 updates are done already"
        refuses_and_changes_nothing(tmp_path, said, corpus=corpus, config=config)


# ---------------------------------------------------------------- the text


def test_a_text_is_known_by_its_bytes(corpus, text, tmp_path, whole):
    run(corpus, tmp_path / "run", stop_at=5)
    renamed = Path(shutil.copy(text, tmp_path / "renamed.txt"))
    run(load_file(renamed), tmp_path / "run", resume=True, stop_at=6)
    validation = text.read_bytes().find(corpus.validation.tokens.tobytes())
    # in the text to learn from, and in the one that gives the score
    for place in (20, validation + 5):
        alter(renamed, place)
        said = ("trained on the text 'renamed.txt'", "--corpus")
        assert_one_line(lambda: run(load_file(renamed), tmp_path / "run", resume=True), *said)
        alter(renamed, place)  # back
    assert weights(run(corpus, tmp_path / "run", resume=True).model) == weights(whole.model)


# ---------------------------------------------------------------- a model from a run that has not ended


def test_the_newest_checkpoint_is_the_model_of_a_run_that_has_not_ended(unfinished, whole):
    with pytest.warns(UserWarning, match=r"this run has not ended: taking .*step_000010"):
        assert weights(LanguageModel.from_pretrained(unfinished)) == weights(whole.model)
    newest = unfinished / "step_000010"
    for name in ("config.json", "model.safetensors"):
        alter(newest / name, -20)
        assert_one_line(lambda: LanguageModel.from_pretrained(newest), name, "altered")
        alter(newest / name, -20)  # back


def test_a_finished_model_that_lacks_its_file_is_no_other_one(finished):
    (finished / "model.safetensors").unlink()
    assert_one_line(lambda: LanguageModel.from_pretrained(finished), "model.safetensors is missing")


# ---------------------------------------------------------------- killed, and on another machine


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_five_random_moments_it_ends_with_the_same_bits(tmp_path):
    script, out = ROOT / "experiments" / "timings" / "kill_runs.py", tmp_path / "result.json"
    command = [sys.executable, script, "--kills", "5", "--seed", "4", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    kills = json.loads(out.read_text())["kills"]
    assert [kill["same_bits"] for kill in kills] == [True] * 5
    assert {kill["signal"] for kill in kills} >= {"SIGKILL", "SIGTERM"}


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
    written = files.read_json(tmp_path / "run" / "result.json")["number_format"]
    assert written == ("bfloat16" if gain > 2 else "float32")


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
        console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", console)
            ended = run(corpus, out, say=True, **options)
        console.flush()
        assert out.name.encode(encoding, "replace") in console.buffer.getvalue()
    for model in (ended.model, LanguageModel.from_pretrained(out)):
        assert weights(model) == weights(whole.model)
