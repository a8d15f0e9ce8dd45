"""One writer for a folder: the second is refused and told of the first, and a dead one holds nothing."""

import errno
import json
import multiprocessing
import os

import pytest
from small_run import run

from flash_tutorial import files
from flash_tutorial.training import lock
from flash_tutorial.training.lock import LOCK, OWNER, SOFT_LOCK, locked

METHOD = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
PROCESSES = multiprocessing.get_context(METHOD)


def hold(folder, pipe):
    with locked(folder):
        pipe.send("held")
        pipe.recv()


def race(folder, barrier, pipe):
    barrier.wait()
    try:
        with locked(folder):
            pipe.send("has it")
            barrier.wait()  # it keeps it until all have tried
    except ValueError as error:
        pipe.send(str(error))
        barrier.wait()


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.poll(60) and ours.recv() == "held"
    yield process
    process.kill()
    process.join()


def refused(folder, *words):
    with pytest.raises(ValueError) as error, locked(folder):
        pytest.fail("two of them")
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), (
        error.value
    )


def test_a_second_process_is_refused_in_a_line_that_names_the_first(tmp_path, holder, corpus):
    us = f"{tmp_path} is in use by process {holder.pid} on "
    refused(tmp_path, us, "which began at 20", "choose another folder")
    for resume in (False, True):
        with pytest.raises(ValueError, match=f"in use by process {holder.pid}"):
            run(corpus, tmp_path, resume=resume)
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, OWNER}


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_dead_process_holds_nothing(tmp_path, holder, end):
    getattr(holder, end)()
    holder.join()
    said = []
    with locked(tmp_path, said.append):
        assert (tmp_path / OWNER).exists()
    assert not said and not list(tmp_path.iterdir())


def test_a_process_number_that_is_used_again_holds_nothing(tmp_path):
    """After a new start of the machine it may be anybody's, here our own."""
    (tmp_path / LOCK).touch()
    (tmp_path / OWNER).write_text(
        json.dumps({"pid": os.getpid(), "host": lock.socket.gethostname(), "since": "then"})
    )
    with locked(tmp_path, pytest.fail):
        pass
    assert not list(tmp_path.iterdir())


def test_one_that_died_on_another_machine_is_named(tmp_path):
    (tmp_path / OWNER).write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "yesterday"}))
    said = []
    with locked(tmp_path, said.append):
        pass
    (line,) = said
    assert "process 7 on elsewhere, which began at yesterday did not end in order" in line


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", '{"pid": '])
def test_an_owner_s_file_may_hold_anything(tmp_path, text):
    (tmp_path / OWNER).write_text(text)
    with locked(tmp_path, lambda line: None):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()


def test_of_those_that_begin_in_the_same_moment_one_gets_it(tmp_path):
    folder, barrier = tmp_path / "new" / "folder", PROCESSES.Barrier(4, timeout=60)
    pipes = [PROCESSES.Pipe() for _ in range(4)]
    racers = [PROCESSES.Process(target=race, args=(folder, barrier, theirs)) for _, theirs in pipes]
    for racer in racers:
        racer.start()
    said = [ours.recv() if ours.poll(60) else "nothing" for ours, _ in pipes]
    for racer in racers:
        racer.join()
    assert said.count("has it") == 1 and sum("in use by" in line for line in said) == 3, said
    assert not list(folder.iterdir())


def test_one_that_goes_takes_no_other_s_lock_along(tmp_path, monkeypatch):
    """Between opening and locking its last owner may have removed the file: a lock on that would be nobody's."""
    original, gone = lock.lock_descriptor, []

    def slow(handle, **options):
        if not gone:
            gone.append((tmp_path / LOCK).unlink())
        return original(handle, **options)

    monkeypatch.setattr(lock, "lock_descriptor", slow)
    with locked(tmp_path):
        assert gone and (tmp_path / LOCK).exists()
        refused(tmp_path, "in use by")


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def without(*args, **options):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "lock_descriptor", without)
    said = []
    with locked(tmp_path):
        assert (tmp_path / SOFT_LOCK).exists()
        with (
            pytest.raises(ValueError, match=f"in use by process {os.getpid()}"),
            locked(tmp_path, said.append),
        ):
            pytest.fail("two of them")
    assert said == [
        f"this file system has no locks: if that process is gone, remove {tmp_path / SOFT_LOCK} and start again"
    ]
    assert not list(tmp_path.iterdir())
    dead = PROCESSES.Process()
    dead.start()
    dead.join()
    (tmp_path / SOFT_LOCK).write_text(f"{dead.pid}\n{lock.socket.gethostname()}\n")
    os.utime(tmp_path / SOFT_LOCK, (0, 0))
    with locked(tmp_path, said.append):
        pass
    assert len(said) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "folder that you may write to"),
        (errno.EACCES, "may write to"),
    ],
)
@pytest.mark.parametrize("owner, name", [(os, "open"), (os, "fsync"), (files.Path, "mkdir")])
def test_a_folder_that_cannot_be_locked_is_one_line(
    tmp_path, monkeypatch, number, advice, owner, name
):
    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    folder = tmp_path / "new" if name == "mkdir" else tmp_path
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        refused(folder, advice, str(folder))
    assert not list(tmp_path.glob("**/*.json"))
