"""Signals: the update at hand ends and a checkpoint is written; a second one stops at once; all is as before."""

import os
import signal
import sys
import threading
from contextlib import contextmanager

import pytest
from small_run import run, weights

from flash_tutorial.training import job, run_folder, stopping
from flash_tutorial.training.checkpoints import checkpoint_folders

pytestmark = pytest.mark.usefixtures("one_thread")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
CODES = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": None}


@contextmanager
def in_update(step, call):
    """Call something in the middle of an update."""
    append = run_folder.Log.append

    def watched(self, **row):
        if row["step"] == step:
            call()
        return append(self, **row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder.Log, "append", watched)
        yield


def send(*numbers):
    return lambda: [os.kill(os.getpid(), number) for number in numbers]


@pytest.fixture(autouse=True)
def handlers():
    """Those that Python starts with, also where ``nohup`` runs the suite; each test leaves them as they were."""
    found = [signal.getsignal(number) for number in stopping.SIGNALS]
    usual = [
        signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        for number in stopping.SIGNALS
    ]
    for number, handler in zip(stopping.SIGNALS, usual):
        signal.signal(number, handler)
    yield
    left = [signal.getsignal(number) for number in stopping.SIGNALS]
    for number, handler in zip(stopping.SIGNALS, found):
        signal.signal(number, handler)
    assert left == usual


def ends(code, call):
    """The call ends as that signal has it end; gives what it said."""
    with pytest.raises(SystemExit if code else KeyboardInterrupt) as end:
        call()
    assert end.value.code == code if code else True
    return str(end.value)


def stopped(code, call, capsys):
    line = ends(code, call)
    return capsys.readouterr().out.splitlines()[-1] if code else line


@posix
@pytest.mark.parametrize(
    "name, step", [("SIGTERM", 1), ("SIGTERM", 10), ("SIGHUP", 5), ("SIGINT", 5)]
)
def test_a_signal_ends_the_update_and_leaves_a_checkpoint(
    corpus, tmp_path, capsys, name, step, whole
):
    with in_update(step, send(getattr(signal, name))):
        line = stopped(CODES[name], lambda: run(corpus, tmp_path, say=True), capsys)
    assert (
        f"stopped after update {step} of 10, with a checkpoint; go on with --resume (resume=True)"
        in line
    )
    assert line.startswith(name) == bool(CODES[name])
    assert checkpoint_folders(tmp_path)[-1].name == f"step_{step:06d}"
    assert {path.name[0] for path in tmp_path.iterdir()} <= {"s", "l"}  # no lock, nothing hidden
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_second_signal_stops_at_once(corpus, tmp_path, name, whole):
    with in_update(5, send(getattr(signal, name), getattr(signal, name))):
        ends(CODES[name], lambda: run(corpus, tmp_path))
    assert checkpoint_folders(tmp_path)[-1].name == "step_000003"
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)


@posix
def test_with_nothing_to_write_there_is_nothing_to_wait_for(corpus):
    ended = []
    with in_update(5, send(signal.SIGINT)), in_update(6, lambda: ended.append(6)):
        ends(None, lambda: run(corpus))
    assert not ended


@posix
def test_a_signal_in_the_score_stops_at_once_and_the_score_is_taken_on_resume(
    corpus, tmp_path, monkeypatch, whole
):
    with monkeypatch.context() as patch:
        patch.setattr(job, "evaluate", lambda *_: send(signal.SIGTERM)())
        ends(CODES["SIGTERM"], lambda: run(corpus, tmp_path))
    resumed = run(corpus, tmp_path, resume=True)
    assert resumed.evaluation.bits_per_byte == whole.evaluation.bits_per_byte


@posix
@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_a_handler_of_the_caller_s_stays(corpus, tmp_path, handler):
    """``nohup`` ignores SIGHUP, and a cluster's own wrapper may listen to SIGTERM."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with in_update(5, send(signal.SIGTERM)):
            assert len(run(corpus, tmp_path).log) == 10
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_takes_no_signals_and_trains(corpus, tmp_path, whole):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(corpus, tmp_path)))
    thread.start()
    thread.join()
    assert weights(results[0].model) == weights(whole.model)


def test_a_run_under_torchrun_takes_no_second_signal():
    """torchrun sends one more of its own."""
    stop = stopping.Stop()
    stop.can_wait = stop.patient = True
    stop(2, None), stop(15, None)
    assert stop.asked == 2
    stop.patient = False
    with pytest.raises(stopping.Stopped):
        stop(15, None)
