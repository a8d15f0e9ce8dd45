"""What code in the sandbox can see and do."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from marks import needs_solutions
from submissions import FULL, ROOT, graded, needs_sandbox, points, run, source, with_body

from flash_course.grading import processes, sandbox

MINE = f"4321.{os.getpid()}"  # seconds that no other test sleeps
TRIES = """
import os, socket, sys

def tried(call, *args):
    try:
        return call(*args)
    except BaseException as error:
        return type(error).__name__

def network():
    with socket.create_connection(("1.1.1.1", 53), timeout=3):
        return "reached"

def fill(folder):
    with open(f"{folder}/big", "wb") as file:
        for _ in range(150):
            file.write(bytes(1_000_000))

print({
    "home": tried(os.listdir, HOME), "checkout": tried(os.listdir, ROOT), "network": tried(network),
    "solutions": tried(os.listdir, ROOT + "/solutions"), "etc": tried(open, "/etc/passwd"),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "write": [tried(open, path + "/x", "w") for path in ("/", "/usr", ROOT + "/flash_course", sys.prefix, "/dev")],
    "full": [tried(fill, folder) for folder in ("/tmp", "/dev/shm")], "parent": tried(os.kill, 1, 9),
    "variables": sorted(set(os.environ) - {"PWD", "LC_CTYPE"}), "mount": os.system("mount -t tmpfs x /usr 2>/dev/null"),
})
"""


@needs_sandbox
def test_the_sandbox_shows_python_and_the_packages_alone(monkeypatch):
    monkeypatch.setenv("SECRET", "of the grader")
    code = f"HOME = {str(Path.home())!r}\nROOT = {str(ROOT)!r}\n{TRIES}"
    done = subprocess.run(sandbox.command("-c", code), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = eval(done.stdout)
    prefix = Path(sys.prefix)
    inside = prefix.relative_to(ROOT).parts[:1] if prefix.is_relative_to(ROOT) else ()
    # an environment may lie in it
    assert set(seen["checkout"]) == {"flash_course", "flash_tutorial", *inside}
    assert seen["solutions"] == "FileNotFoundError" and seen["etc"] == "FileNotFoundError"
    private = {".ssh", ".bashrc", ".flash-tutorial", ".netrc"}
    assert seen["home"] == "FileNotFoundError" or not set(seen["home"]) & private
    assert seen["network"] == "OSError" and seen["processes"] <= 4 and seen["mount"] != 0
    assert set(seen["write"]) == {"OSError"} and seen["full"] == ["OSError", "OSError"]
    assert "SECRET" not in seen["variables"] and "HOME" in seen["variables"]


@needs_sandbox
def test_the_sandbox_and_all_in_it_die_with_who_started_it(tmp_path):
    inside = (
        f"import subprocess; subprocess.Popen(['sleep', {MINE!r}], start_new_session=True).wait()"
    )
    code = "import subprocess\nfrom flash_course.grading import sandbox as s\n"
    code += f"subprocess.run(s.command('-c', {inside!r}))"
    outer = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: sleeping(MINE))
    assert sleeping(MINE)
    outer.kill()
    outer.wait()
    wait_for(lambda: not sleeping(MINE))
    assert not sleeping(MINE)


def sleeping(seconds):
    found = []
    for pid in processes.table():
        with contextlib.suppress(OSError):
            found += [pid] * (seconds in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return found


def wait_for(happened):
    until = time.monotonic() + 60
    while not happened() and time.monotonic() < until:
        time.sleep(0.05)


@needs_sandbox
@needs_solutions
def test_an_answer_is_right_in_the_sandbox(tmp_path):
    result = graded(tmp_path, source().partition("# ## 05.3")[0], mode="bwrap")
    assert result["points"] == 25 and result["sandbox"]


IN_THE_SANDBOX = {
    "kills all": "import os, time\ntime.sleep(0.3)\nos.kill(-1, 9)",
    "kills all, below Python": "import ctypes, time\nctypes.CDLL(None).kill(-1, 9)\ntime.sleep(60)",
    "a session of its own": f"import subprocess as s\ns.Popen(['sleep', {MINE!r}], start_new_session=True)",
    "ends": "import os\nos._exit(3)",
}


@needs_sandbox
@needs_solutions
@pytest.mark.nightly
@pytest.mark.parametrize("name", IN_THE_SANDBOX)
def test_what_it_does_in_the_sandbox_costs_one_exercise(name, tmp_path):
    result = graded(tmp_path, with_body(IN_THE_SANDBOX[name]), mode="bwrap")
    assert result["points"] == FULL - 10, points(result)
    assert not sleeping(MINE)


def test_a_sandbox_that_does_not_work_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "trouble", lambda: "bubblewrap is not installed")
    (tmp_path / "ada.py").write_text("check('05.1', 0)")
    assert run("grade", tmp_path / "ada.py", "--out", tmp_path / "out", "--sandbox", "bwrap") == 2
    assert "--sandbox bwrap: bubblewrap is not installed; --sandbox none" in capsys.readouterr().err
    assert run("grade", tmp_path / "ada.py", "--out", tmp_path / "out", "--sandbox", "auto") == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith(
        "1 of 1 submissions were graded without the sandbox (bubblewrap is not installed): "
    )


def test_why_it_does_not_work_is_asked_of_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sandbox.trouble.__wrapped__() == "bubblewrap is not installed"
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: no permission to create new namespaces' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    said = sandbox.trouble.__wrapped__()
    assert said == "bubblewrap is refused: bwrap: no permission to create new namespaces"
