"""tools/gpu_evidence: jobs that hang, fail or are cut off, what comes home, and a try on a pretended card."""

import json
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain

import pytest
import torch
from house.scripts import ROOT, script

from flash_tutorial.gpu import tiles

TOOL = ROOT / "tools" / "gpu_evidence"
CARD = {"card": "Card 1", "driver": "1.2", "torch": "2.0", "commit": "abc", "missing": []}


@pytest.fixture
def evidence(monkeypatch, tmp_path):
    """The tool as a module, with a card, and with places of its own for what it stores."""
    module = script("gpu_evidence")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setattr(module, "facts_of", lambda environment: dict(CARD))
    monkeypatch.setattr(module, "LEAST", 0.0)
    for name in ("RESULTS", "TILES", "WORK"):
        monkeypatch.setattr(module, name, tmp_path / name)
    module.RESULTS.mkdir()
    module.TILES.mkdir()
    yield module
    tiles.forget()


@pytest.fixture
def jobs(evidence, monkeypatch):
    """Gives the tool jobs that run so much Python each: code, or (minutes, code)."""

    def give(**commands):
        found = {}
        for name, code in commands.items():
            minutes, code = code if isinstance(code, tuple) else (5, code)
            command = (sys.executable, "-S", "-c", code, "{out}")
            found[name] = evidence.Job(minutes, command, needs=(), code=("conftest.py",))
        monkeypatch.setattr(evidence, "JOBS", found)

    return give


def noted(evidence, card="card_1"):
    """What stands of the jobs in the card's folder, and comes home in the archive."""
    folder = evidence.WORK / card
    here = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    with tarfile.open(folder.with_suffix(".tar.gz")) as file:
        assert json.loads(file.extractfile(f"{card}/evidence.json").read()) == here
    assert (here["driver"], here["commit"]) == ("1.2", "abc") and here["card"].startswith("Card 1")
    return here["jobs"]


def states(evidence):
    return {name: job["state"] for name, job in noted(evidence).items()}


def ran(evidence):
    return (evidence.WORK / "card_1" / "ran").read_text()


APPEND = "import sys; open(sys.argv[1] + '/ran', 'a').write('{}')"
HANGS = "import time; print('so far', flush=True); time.sleep(99)"
SLOW_ONCE = """
import os, sys, time
path = sys.argv[1] + "/seen"
if not os.path.exists(path):
    open(path, "w").close()
    time.sleep(99)
"""


def test_a_job_that_hangs_or_fails_loses_only_itself_and_is_not_tried_for_ever(
    evidence, jobs, capsys
):
    jobs(hangs=(0.02, HANGS), fails="raise SystemExit('broken')", fine=APPEND.format("x"))
    assert evidence.main([]) == 1
    found = noted(evidence)
    assert {name: (job["state"], job["starts"]) for name, job in found.items()} == {
        "hangs": ("stopped at its limit", 2),
        "fails": ("failed", 2),
        "fine": ("done", 1),
    }
    assert [found[name]["last_line"] for name in ("hangs", "fails")] == ["so far", "broken"]
    capsys.readouterr()
    assert evidence.main([]) == 1 and ran(evidence) == "x"
    said = capsys.readouterr().out
    assert "hangs: not run again: stopped at its limit 2 times" in said
    assert "fine: done before" in said


@pytest.mark.nightly
def test_a_call_that_is_too_short_stops_by_itself_and_the_next_one_goes_on(
    evidence, jobs, monkeypatch, capsys
):
    jobs(first=APPEND.format("a"), slow=SLOW_ONCE, last=APPEND.format("b"))
    monkeypatch.setattr(evidence, "LEAST", 0.01)
    assert evidence.main(["--minutes", "0.05"]) == 1
    assert "slow: no time left in this call; the next one goes on here" in capsys.readouterr().out
    assert states(evidence) == {"first": "done", "slow": "stopped by the end of the call"}
    assert evidence.main([]) == 0 and ran(evidence) == "ab"
    assert states(evidence) == dict.fromkeys(("first", "slow", "last"), "done")


def test_what_was_done_with_other_code_is_done_again(evidence, jobs, monkeypatch):
    jobs(first=APPEND.format("a"), second=APPEND.format("b"))
    assert evidence.main([]) == 0
    monkeypatch.setattr(evidence, "digest", lambda places: "changed")
    assert evidence.main(["--only", "first"]) == 0 and ran(evidence) == "aba"


def test_what_is_missing_is_said_and_without_a_card_nothing_is_run(
    evidence, jobs, monkeypatch, capsys
):
    jobs(fine="pass")
    lectures = evidence.Job(1, ("no-such-program",), needs=("json", "nbformat"), code=())
    monkeypatch.setitem(evidence.JOBS, "lectures", lectures)
    monkeypatch.setattr(evidence, "facts_of", lambda environment: CARD | {"missing": ["nbformat"]})
    assert evidence.main([]) == 1 and [*noted(evidence)] == ["fine"]
    assert "lectures: left out, since nbformat cannot be imported here" in capsys.readouterr().out
    monkeypatch.setattr(evidence, "facts_of", lambda environment: CARD | {"card": None})
    assert evidence.main(["--out", str(evidence.WORK / "other")]) == 2
    assert "no CUDA card" in capsys.readouterr().err
    assert not [*(evidence.WORK / "other").iterdir()]


ROWS = """
import json, sys
row = {"card": "Card 1", "triton": TRITON, "kernel": "mix", "format": "float16", "C": 256, "S": 64, "E": 512}
row |= {"tile": [64, 64, 8, 2], "T": 512}
for name in ("card_steps", "card_tiles"):
    with open(f"{sys.argv[1]}/{name}.json", "w") as file:
        json.dump({"about": {"commands": ["so"], "grid": {}}, "runs": [row]}, file)
"""


@pytest.mark.parametrize("at_home", [False, True])
def test_rows_go_among_the_projects_results_and_leave_other_cards_alone(
    at_home, evidence, jobs, monkeypatch, tmp_path, capsys
):
    """Where the card is, and at home from the archive, after which a later call goes on."""
    jobs(steps=ROWS.replace("TRITON", repr(version("triton"))))
    file = tmp_path / "out" / "home.tar.gz"
    if at_home:
        assert evidence.main(["--file", str(file)]) == 0
        for name in ("WORK", "RESULTS", "TILES"):
            (tmp_path / name).rename(tmp_path / f"away {name}")
        evidence.RESULTS.mkdir()
        evidence.TILES.mkdir()
    others = [{"card": "Card 2", "T": 512}, {"card": "Card 1", "T": 4}]
    stored = evidence.RESULTS / "card_steps.json"
    about = {"commands": ["so"], "grid": {}}
    stored.write_text(json.dumps({"about": about, "runs": others}), encoding="utf-8")
    assert evidence.main(["--home", str(file)] if at_home else []) == 0
    runs = json.loads(stored.read_text(encoding="utf-8"))["runs"]
    assert [(run["card"], run["T"]) for run in runs] == [("Card 2", 512), ("Card 1", 512)]
    kept = json.loads((evidence.RESULTS / "gpu_evidence.json").read_text(encoding="utf-8"))
    assert kept["Card 1"]["jobs"]["steps"]["state"] == "done"
    monkeypatch.setattr(tiles, "MEASURED", evidence.TILES / "tiles.json")
    tiles.forget()
    found = [
        tiles.measured_tile("mix", card, torch.float16, 256, 64, 512)
        for card in ("Card 1", "Card 2")
    ]
    assert found == [tiles.Tile(64, 64, 8, 2), None]
    capsys.readouterr()
    assert evidence.main([]) == 0 and "steps: done before" in capsys.readouterr().out


def test_as_a_t4_a_card_has_its_limits_before_a_job_begins_and_a_place_of_its_own(evidence, jobs):
    """Python runs the first ``sitecustomize`` on its path before anything else."""
    jobs(limits="import os; print(os.environ['PYTHONPATH'].split(os.pathsep)[0])")
    limits = evidence.WORK / "as_t4"
    assert evidence.main(["--as-t4"]) == evidence.main([]) == 0
    found = noted(evidence, "card_1_as_a_t4"), noted(evidence, "card_1")
    assert [jobs["limits"]["last_line"] == str(limits) for jobs in found] == [True, False]
    assert (limits / "sitecustomize.py").read_text(encoding="utf-8") == evidence.AS_T4


LARGER_CARD = """
from types import SimpleNamespace
import torch
torch.cuda.is_available = lambda: True
torch.cuda.get_device_capability = lambda device=None: (9, 0)
torch.cuda.get_device_properties = lambda device=None: SimpleNamespace(total_memory=80e9)
torch.cuda.set_per_process_memory_fraction = lambda fraction: None
"""
ASKED = """
from torch._dynamo.device_interface import CudaInterface
from triton.backends.nvidia.driver import CudaDriver
driver = object.__new__(CudaDriver)
super(CudaDriver, driver).__init__()
driver.get_current_device = lambda: 0
print(torch.cuda.get_device_capability(0), CudaInterface.get_compute_capability(0))
print(driver.get_current_target().arch)
"""


@pytest.mark.nightly
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_as_a_t4_a_card_still_gets_code_that_it_can_load(evidence):
    """The package takes it for a T4; what torch.compile and Triton make for a T4 no other card loads."""
    code = LARGER_CARD + evidence.AS_T4 + ASKED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["(7, 5) 90", "90"], done.stderr


# ---------------------------------------------------------------- tests, each as it ends

TESTS = """
import os, pytest
def test_fine(): pass
def test_wrong(): assert 1 == 2
@pytest.mark.skip
def test_not_here(): pass
def test_ends_the_process(): os._exit(9)
def test_behind_it(): pass
"""


def test_the_outcome_of_each_test_survives_and_a_later_run_goes_on(tmp_path):
    """What ends the process is tried once more, behind all others, and then no more."""
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    path = tmp_path / "each.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "each_test"]
    command += ["--each-test", path, "test_some.py"]
    alone = {"PYTHONPATH": str(ROOT / "tools"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    how = dict(cwd=tmp_path, env=os.environ | alone, capture_output=True)
    assert [subprocess.run(command, **how).returncode for _ in range(3)] == [9, 9, 5]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["test"].split("::test_")[1], row["outcome"]) for row in rows] == [
        ("fine", "begun"),
        ("fine", "passed"),
        ("wrong", "begun"),
        ("wrong", "failed"),
        ("not_here", "begun"),
        ("not_here", "skipped"),
        ("ends_the_process", "begun"),
        ("behind_it", "begun"),
        ("behind_it", "passed"),
        ("ends_the_process", "begun"),
    ]
    assert "assert 1 == 2" in rows[3]["why"]


# ---------------------------------------------------------------- all of it


def tried(folder, environment, *options):
    """(what the command said, what it noted of its jobs) of a try on a pretended card."""
    command = [sys.executable, TOOL, "--dry-run", "--out", folder, "--minutes", "60", *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    path = folder / "pretended_card" / "evidence.json"
    return done.stdout + done.stderr, json.loads(path.read_text(encoding="utf-8"))["jobs"]


def measured(folder, name):
    return json.loads((folder / f"card_{name}.json").read_text(encoding="utf-8"))["runs"]


@pytest.mark.nightly
def test_from_beginning_to_end_on_a_pretended_card(with_card, tmp_path):
    said, found = tried(tmp_path, with_card)
    names = ("tests", "steps", "decoding", "mixing", "kernels", "training", "formats", "bench")
    names += ("lectures",)
    states = {name: job["state"] for name, job in found.items()}
    assert states == dict.fromkeys(names, "done"), said
    assert found["tests"]["outcomes"]["passed"] >= 3 and found["tests"]["not_passed"] == []
    folder = tmp_path / "pretended_card"
    for row in chain.from_iterable(measured(folder, name) for name in names[1:4]):
        assert row["complete"] and row["card"] == "pretended card"
        # nothing is compiled for the pretended card
        ways = {name: way for name, way in row["ways"].items() if ", compiled" not in name}
        assert not [name for name, way in ways.items() if "failed" in way]
        assert any("seconds" in way for way in ways.values())
    for row in measured(folder, "kernels"):
        assert all(each["microseconds"][0] > 0 for each in row.get("tiles", [row]))
    backends = {row["backend"] for row in measured(folder, "training")}
    assert backends == {"torch", "triton"} and measured(folder, "tiles")
    with tarfile.open(folder.with_suffix(".tar.gz")) as file:
        assert "pretended_card/tests.jsonl" in file.getnames()
    said, _ = tried(tmp_path, with_card)
    assert said.count("done before") == len(names), said


@pytest.mark.nightly
def test_a_machine_with_torch_triton_and_pytest_alone(with_card, tmp_path):
    missing = "nbformat,nbclient,jupytext,ipykernel,IPython,nbval,matplotlib,safetensors,tqdm"
    missing += ",hypothesis,xdist,pytest_timeout"
    poor = with_card | {"PRETENDED_MISSING": missing, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said, found = tried(tmp_path, poor, "--only", "tests", "training", "bench", "lectures")
    assert {name: job["state"] for name, job in found.items()} == {
        "tests": "done",
        "training": "done",
    }, said
    # others may need what is missing
    kernels = ("tests/library/test_fused.py", "tests/library/test_kernels.py")
    assert found["tests"]["outcomes"]["passed"] >= 3
    assert not [test for test in found["tests"]["not_passed"] if test.startswith(kernels)]
    assert "bench: left out, since matplotlib cannot be imported here" in said
    assert "lectures: left out, since nbformat, nbclient, jupytext, ipykernel" in said
