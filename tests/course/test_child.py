"""A child process with limits: what comes back of it, and what it cannot do."""

import contextlib
import multiprocessing
import os
import subprocess
import time

import pytest
from submissions import forks

from flash_course.grading import processes
from flash_course.grading.child import Limits, in_child

pytestmark = forks


def test_of_two_copies_the_first_one_speaks():
    def answer():
        if os.fork() == 0:
            return "a copy"
        time.sleep(1)
        return "the answer"

    assert in_child(answer, Limits()).message == "the answer"


def test_a_flood_ends_long_before_the_limits():
    def answer():
        while True:
            for pipe in range(3, 60):
                with contextlib.suppress(OSError):
                    os.write(pipe, b"x" * 65536)

    ended = in_child(answer, Limits(seconds=60))
    assert ended.why.startswith("It sent more than a verdict") and ended.seconds < 20


def burn():
    while True:
        pass


def compute(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return True


@pytest.mark.nightly
def test_a_second_of_computing_on_a_machine_with_much_to_do_is_in_time():
    others = [multiprocessing.Process(target=burn, daemon=True) for _ in range(8)]
    for other in others:
        other.start()
    try:
        ended = in_child(lambda: compute(1.0), Limits(seconds=3))
    finally:
        for other in others:
            other.kill()
    assert ended.message is True, ended


@pytest.mark.skipif(not processes.LINUX, reason="limits of others are Linux's")
def test_an_answer_sets_no_limits_of_others():
    import resource

    def tried(pid):
        same = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, same)
        except PermissionError:
            return "refused"
        return "done"

    with subprocess.Popen(["sleep", "20"]) as beside:
        # its own it may set
        ended = in_child(lambda: [*map(tried, (0, os.getppid(), beside.pid))], Limits())
        beside.kill()
    assert ended.message == ["done", "refused", "refused"], ended
