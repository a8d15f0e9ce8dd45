"""Scores while a run trains, the best model, which a stop does not change, and the callback."""

import shutil
from dataclasses import replace

import pytest
from refusals import assert_refused
from small_run import CONFIG, Killed, run, weights

from flash_tutorial import LanguageModel
from flash_tutorial.corpora import Corpus, Split, load_file
from flash_tutorial.files import read_json
from flash_tutorial.training import TrainConfig, best, checkpoints, evaluate, first_bytes, job
from flash_tutorial.training.checkpoints import checkpoint_folders
from flash_tutorial.training.run_folder import read_log, read_result

pytestmark = pytest.mark.usefixtures("one_thread")

SCORED = replace(CONFIG, steps=24, learning_rate=0.03, eval_every=4)
KEY = "validation_bits_per_byte"


@pytest.fixture(scope="module")
def corpus(text):
    """Learning the words of the one text makes the other, with its strange characters, the more surprising."""
    learnt = load_file(text)
    strange = b"Anne had XYZ been 123 forced QQ into 77 prudence " * 5
    return Corpus("strange", learnt.train, Split.from_documents([strange]), learnt.test)


@pytest.fixture(scope="module")
def scored(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "run"
    return run(corpus, out, config=SCORED), out


def files_of_best(out):
    return {path.name: path.read_bytes() for path in (out / "best").iterdir()}


# ---------------------------------------------------------------- scores and the best model


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
    plain = run(corpus, config=replace(SCORED, eval_every=None))
    assert weights(plain.model) == weights(scored[0].model) and plain.best is None
    assert all(KEY not in row for row in plain.log)


def test_rarer_than_the_updates_it_is_one_score_at_the_end(corpus, tmp_path):
    for every in (10, 11):
        out = tmp_path / str(every)
        result = run(corpus, out, config=replace(CONFIG, eval_every=every))
        assert [row["step"] for row in result.log if KEY in row] == [10]
        assert result.best["step"] == 10
        assert weights(LanguageModel.from_pretrained(out / "best")) == weights(result.model)


@pytest.mark.parametrize(
    "module, name, count, before",
    [
        (best, "save_best", 2, True),
        (checkpoints.os, "replace", 2, True),
        (checkpoints.os, "replace", 3, True),
        (checkpoints.os, "replace", 3, False),
    ],
)
def test_killed_at_any_write_of_the_best_it_ends_with_the_same(
    corpus, tmp_path, scored, monkeypatch, module, name, count, before
):
    """Before, inside and after the save of a best model."""
    result, out = scored
    original, calls = getattr(module, name), []

    def dies(path, *args, **kwargs):
        of_best = "best" in str(path).removeprefix(str(tmp_path))
        calls.extend([path] * of_best)
        if not of_best or len(calls) != count:
            return original(path, *args, **kwargs)
        if not before:
            original(path, *args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, dies)
        run(corpus, tmp_path / "run", config=SCORED)
    again = run(corpus, tmp_path / "run", config=SCORED, resume=True)
    assert weights(again.model) == weights(result.model) and again.best == result.best
    assert files_of_best(tmp_path / "run") == files_of_best(out)
    assert not list((tmp_path / "run").glob(".best*"))


def test_resumed_from_before_the_best_it_is_the_same(corpus, tmp_path, scored):
    """Also where the best was written just before the process died."""
    result, out = scored
    run(corpus, tmp_path / "run", config=SCORED, stop_at=3)
    shutil.copytree(out / "best", tmp_path / "run" / "best")
    again = run(corpus, tmp_path / "run", config=SCORED, resume=True)
    assert again.best == result.best and files_of_best(tmp_path / "run") == files_of_best(out)


def test_an_altered_best_is_named_and_another_one_is_not_written_over(corpus, tmp_path, scored):
    ours, foreign = shutil.copytree(scored[1], tmp_path / "run"), tmp_path / "foreign"
    for path in checkpoint_folders(ours)[1:]:
        shutil.rmtree(path)
    record = ours / "best" / "model.safetensors"
    record.write_bytes(record.read_bytes()[:-1] + b"\x01")
    longer = replace(SCORED, steps=30)
    message = assert_refused("altered", run, corpus, ours, config=longer, resume=True)
    assert "best" in message and "move" in message
    (foreign / "best").mkdir(parents=True)
    (foreign / "best" / "novel.txt").write_text("mine")
    assert_refused("best", run, corpus, foreign, config=SCORED)
    assert (foreign / "best" / "novel.txt").read_text() == "mine"


def test_settings_of_scores_that_cannot_be_are_named():
    assert_refused("eval_every=10 with eval_bytes=0", TrainConfig, eval_every=10, eval_bytes=0)
    for wrong in (0, -1, 2.0, True):
        expected = f"eval_every={wrong!r}: expected an integer of at least 1 or None"
        assert_refused(expected, TrainConfig, eval_every=wrong)


def test_seconds_are_those_of_training(corpus, monkeypatch):
    clock = [0.0]

    def taking(seconds, function):
        def call(*args):
            clock[0] += seconds
            return function(*args)

        return call

    monkeypatch.setattr(job, "evaluate", taking(1000, job.evaluate))
    monkeypatch.setattr(job, "train_step", taking(1, job.train_step))
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    result = run(corpus, config=replace(CONFIG, eval_every=2))
    assert [row["seconds"] for row in result.log] == list(range(1, 11))


# ---------------------------------------------------------------- the callback


def test_a_callback_gets_the_log_row_by_row_when_it_is_written(corpus, tmp_path):
    seen = []

    def callback(row):
        last = (tmp_path / "log.csv").read_text().splitlines()[-1]
        assert last.startswith(f"{row['step']},")
        seen.append(dict(row))
        row.clear()  # its own copy

    result = run(corpus, tmp_path, config=replace(CONFIG, eval_every=4), callback=callback)
    assert seen == result.log and KEY in seen[3] and len(seen) == 10


def test_a_callback_stops_the_run_and_it_goes_on(corpus, tmp_path, scored):
    result, seen = scored[0], []
    cut = run(corpus, tmp_path, config=SCORED, callback=lambda row: row["step"] < 10)
    assert len(cut.log) == 10 and cut.evaluation is None and cut.best["step"] in (4, 8)
    assert [p.name for p in checkpoint_folders(tmp_path)] == ["step_000009", "step_000010"]
    go_on = dict(config=SCORED, resume=True, callback=lambda row: seen.append(row["step"]))
    again = run(corpus, tmp_path, **go_on)
    assert seen == list(range(11, 25)) and weights(again.model) == weights(result.model)
    assert again.best == result.best


def test_what_a_callback_raises_loses_nothing(corpus, tmp_path, scored):
    def callback(row):
        if row["step"] == 9:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(corpus, tmp_path, config=SCORED, callback=callback)
    assert read_json(checkpoint_folders(tmp_path)[-1] / "training.json")["step"] == 9
    again = run(corpus, tmp_path, config=SCORED, resume=True)
    assert weights(again.model) == weights(scored[0].model)


def test_seconds_go_on_after_a_stop(corpus, tmp_path, monkeypatch):
    clock = [0.0]
    train_step = job.train_step

    def takes_a_second(*args):
        clock[0] += 1
        return train_step(*args)

    monkeypatch.setattr(job, "train_step", takes_a_second)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    run(corpus, tmp_path, stop_at=4)
    clock[0] = 1000.0
    whole = run(corpus, tmp_path, resume=True)
    assert [row["seconds"] for row in whole.log] == [*range(1, 11)]
