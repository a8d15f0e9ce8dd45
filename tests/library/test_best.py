"""Scores while a run trains, and the best model, which a stop does not change."""

import json
import shutil
from dataclasses import replace

import pytest
from refusals import assert_refused
from small_run import CONFIG, run, weights

from flash_tutorial import LanguageModel
from flash_tutorial.corpora import Corpus, Split, load_file
from flash_tutorial.training import TrainConfig, checkpoints, evaluate, first_bytes, job
from flash_tutorial.training.checkpoints import checkpoint_folders
from flash_tutorial.training.run_folder import read_log, read_result

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("one_thread")]

SCORED = replace(CONFIG, steps=24, warmup=2, learning_rate=0.03, eval_every=4, checkpoint_every=3)
KEY = "validation_bits_per_byte"


@pytest.fixture(scope="module")
def corpus(text):
    """Learning the words of the one text makes the other, with its strange characters, the more surprising."""
    learnt, strange = (
        load_file(text),
        Split.from_documents([b"Anne had XYZ been 123 forced QQ into 77 prudence " * 5]),
    )
    return Corpus("strange", learnt.train, strange, learnt.test)


@pytest.fixture(scope="module")
def scored(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "run"
    return run(corpus, out, config=SCORED), out


def test_the_log_holds_the_scores_and_best_the_model_of_the_best(corpus, scored):
    result, out = scored
    scores = {row["step"]: row[KEY] for row in result.log if KEY in row}
    assert list(scores) == [4, 8, 12, 16, 20, 24] and scores[24] == result.evaluation.bits_per_byte
    step = min(scores, key=scores.get)
    assert 4 < step < 24, "the first or the last model is the best one, so little is shown"
    assert result.best == {"step": step, "score": scores[step]}
    kept = LanguageModel.from_pretrained(out / "best")
    split = first_bytes(corpus.validation, SCORED.eval_bytes)
    assert evaluate(kept, split, SCORED.length, SCORED.batch).bits_per_byte == scores[step]
    assert weights(kept) == weights(run(corpus, config=SCORED, stop_at=step).model)
    assert read_log(out / "log.csv") == result.log
    saved = read_result(out)
    assert (saved["best_step"], saved[f"best_{KEY}"]) == (step, scores[step])
    assert not list(out.glob(".*"))


def test_scores_change_no_weight(corpus, scored):
    result, _ = scored
    plain = run(corpus, config=replace(SCORED, eval_every=None))
    assert weights(plain.model) == weights(result.model) and plain.best is None
    assert all(KEY not in row for row in plain.log)


@pytest.mark.parametrize("every", [25, 24, 1000])
def test_rarer_than_the_updates_it_is_one_score_at_the_end(corpus, tmp_path, every):
    result = run(corpus, tmp_path / "run", config=replace(SCORED, eval_every=every))
    assert [row["step"] for row in result.log if KEY in row] == [24] and result.best["step"] == 24
    assert weights(LanguageModel.from_pretrained(tmp_path / "run" / "best")) == weights(
        result.model
    )


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_at_any_write_of_the_best_it_ends_with_the_same(
    corpus, tmp_path, scored, monkeypatch
):
    """Before, inside and after each save of a best model."""
    result, out = scored
    points = [
        (name, count)
        for name in ("save_best", "put_aside", "replace", "after")
        for count in (1, 2, 3)
    ]
    replace_file = checkpoints.os.replace
    for name, count in points:
        folder, calls = tmp_path / f"{name}{count}", []

        def dies(original, name=name, count=count, calls=calls):
            def call(*args, **kwargs):
                if "best" in str(args[0]):
                    calls.append(args)
                    if len(calls) == count:
                        if name == "after":
                            original(*args, **kwargs)
                        raise Killed
                return original(*args, **kwargs)

            return call

        with pytest.MonkeyPatch.context() as patch:
            if name == "replace":
                patch.setattr(checkpoints.os, "replace", dies(replace_file))
            elif name == "put_aside":
                patch.setattr(checkpoints, "put_aside", dies(checkpoints.put_aside))
            else:
                patch.setattr("flash_tutorial.training.best.save_best", dies(checkpoints.save_best))
            try:
                run(corpus, folder, config=SCORED)
                died = False
            except Killed:
                died = True
        assert died or count == 3, name
        if died:
            again = run(corpus, folder, config=SCORED, resume=True)
            assert weights(again.model) == weights(result.model) and again.best == result.best
        assert files_of(folder / "best") == files_of(out / "best"), (name, count)
        assert not list(folder.glob(".best*")), (name, count)


def test_resumed_from_before_the_best_it_is_the_same(corpus, tmp_path, scored):
    result, out = scored
    run(corpus, tmp_path / "run", config=SCORED, stop_at=3)
    shutil.copytree(tmp_path / "run", tmp_path / "later")
    # written just before the process died
    shutil.copytree(out / "best", tmp_path / "later" / "best")
    for folder in ("run", "later"):
        again = run(corpus, tmp_path / folder, config=SCORED, resume=True)
        assert again.best == result.best and files_of(tmp_path / folder / "best") == files_of(
            out / "best"
        )


def test_an_altered_best_is_named_and_another_run_is_not_written_over(corpus, tmp_path, scored):
    _, out = scored
    shutil.copytree(out, tmp_path / "run")
    for path in checkpoint_folders(tmp_path / "run")[1:]:
        shutil.rmtree(path)
    record = tmp_path / "run" / "best" / "model.safetensors"
    record.write_bytes(record.read_bytes()[:-1] + b"\x01")
    message = assert_refused(
        "altered", run, corpus, tmp_path / "run", config=replace(SCORED, steps=30), resume=True
    )
    assert "best" in message and "move" in message
    (tmp_path / "foreign" / "best").mkdir(parents=True)
    (tmp_path / "foreign" / "best" / "novel.txt").write_text("mine")
    assert_refused("best", run, corpus, tmp_path / "foreign", config=SCORED)
    assert (tmp_path / "foreign" / "best" / "novel.txt").read_text() == "mine"


def test_settings_of_scores_that_cannot_be_are_named():
    assert_refused("eval_every=10 with eval_bytes=0", TrainConfig, eval_every=10, eval_bytes=0)
    for wrong in (0, -1, 2.0, True):
        assert_refused(
            f"eval_every={wrong!r}: expected an integer of at least 1 or None",
            TrainConfig,
            eval_every=wrong,
        )


# ---------------------------------------------------------------- the callback


def test_a_callback_gets_the_log_row_by_row(corpus, tmp_path):
    seen = []

    def callback(row):
        assert (
            (tmp_path / "run" / "log.csv")
            .read_text()
            .splitlines()[-1]
            .startswith(f"{row['step']},")
        )
        seen.append(dict(row))
        row.clear()  # its own copy

    result = run(corpus, tmp_path / "run", config=SCORED, callback=callback)
    assert seen == result.log and KEY in seen[3] and len(seen) == 24


def test_a_callback_stops_the_run_and_it_goes_on(corpus, tmp_path, scored):
    result, _ = scored
    cut = run(corpus, tmp_path / "run", config=SCORED, callback=lambda row: row["step"] < 10)
    assert len(cut.log) == 10 and cut.evaluation is None and cut.best["step"] in (4, 8)
    assert [path.name for path in checkpoint_folders(tmp_path / "run")] == [
        "step_000009",
        "step_000010",
    ]
    seen = []
    again = run(
        corpus,
        tmp_path / "run",
        config=SCORED,
        resume=True,
        callback=lambda row: seen.append(row["step"]),
    )
    assert seen == list(range(11, 25)) and weights(again.model) == weights(result.model)
    assert again.best == result.best


def test_what_a_callback_raises_loses_nothing(corpus, tmp_path, scored):
    result, _ = scored

    def callback(row):
        if row["step"] == 9:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(corpus, tmp_path / "run", config=SCORED, callback=callback)
    assert (
        json.loads((checkpoint_folders(tmp_path / "run")[-1] / "training.json").read_text())["step"]
        == 9
    )
    assert weights(run(corpus, tmp_path / "run", config=SCORED, resume=True).model) == weights(
        result.model
    )


def test_seconds_are_those_of_training(corpus, monkeypatch):
    clock, evaluate_, step_ = [0.0], job.evaluate, job.train_step

    def slow(*args):
        clock[0] += 1000
        return evaluate_(*args)

    def a_second(*args):
        clock[0] += 1
        return step_(*args)

    monkeypatch.setattr(job, "evaluate", slow)
    monkeypatch.setattr(job, "train_step", a_second)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    result = run(corpus, config=replace(SCORED, eval_every=2))
    assert [row["seconds"] for row in result.log] == list(range(1, 25))
