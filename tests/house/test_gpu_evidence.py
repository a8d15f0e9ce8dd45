"""tools/gpu_evidence: jobs that hang, fail or are cut off, what comes home, and a try on a pretended card."""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "gpu_evidence"
CARD = {"card": "Card 1", "driver": "1.2", "torch": "2.0", "commit": "abc", "missing": []}


@pytest.fixture
def evidence(monkeypatch, tmp_path, benchmark_script):
    """The tool as a module, with a card, with other jobs, and with places of its own for what it stores."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    loader = importlib.machinery.SourceFileLoader("gpu_evidence", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    monkeypatch.setattr(module, "facts_of", lambda environment: dict(CARD))
    monkeypatch.setattr(module, "LEAST", 0.0)
    for name in ("RESULTS", "TILES"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module, "WORK", tmp_path / "work")
    return module


def jobs(evidence, monkeypatch, **commands):
    """Jobs that run so much Python each: code, or (minutes, code)."""
    found = {}
    for name, code in commands.items():
        minutes, code = code if isinstance(code, tuple) else (5, code)
        found[name] = evidence.Job(
            minutes, (sys.executable, "-c", code, "{out}"), needs=(), code=("conftest.py",)
        )
    monkeypatch.setattr(evidence, "JOBS", found)


def noted(evidence):
    """What stands in the folder, and what comes home."""
    folder = evidence.WORK / "card_1"
    here = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    with tarfile.open(folder.with_suffix(".tar.gz")) as file:
        assert json.loads(file.extractfile("card_1/evidence.json").read()) == here
    return here


SLOW_ONCE = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1], "seen")
if not path.exists():
    path.touch()
    time.sleep(99)
"""
APPEND = "import sys, pathlib; pathlib.Path(sys.argv[1], 'ran').open('a').write('{}')"


@pytest.mark.quick
def test_a_job_that_hangs_or_fails_loses_only_itself_and_is_not_tried_for_ever(
    evidence, monkeypatch, capsys
):
    hangs = "import time; print('so far', flush=True); time.sleep(99)"
    jobs(
        evidence,
        monkeypatch,
        hangs=(0.02, hangs),
        fails="raise SystemExit('a broken card')",
        fine=APPEND.format("x"),
    )
    assert evidence.main([]) == 1
    found = noted(evidence)
    states = {name: (job["state"], job["starts"]) for name, job in found["jobs"].items()}
    assert states == {
        "hangs": ("stopped at its limit", 2),
        "fails": ("failed", 2),
        "fine": ("done", 1),
    }
    assert (
        found["jobs"]["hangs"]["last_line"] == "so far"
        and found["jobs"]["fails"]["last_line"] == "a broken card"
    )
    assert (found["card"], found["driver"], found["commit"]) == ("Card 1", "1.2", "abc")
    capsys.readouterr()
    assert evidence.main([]) == 1
    said = capsys.readouterr().out
    assert (
        "hangs: not run again: stopped at its limit 2 times" in said and "fine: done before" in said
    )
    assert (evidence.WORK / "card_1" / "ran").read_text() == "x"


@pytest.mark.quick
def test_a_call_that_is_too_short_stops_by_itself_and_the_next_one_goes_on(
    evidence, monkeypatch, capsys
):
    jobs(evidence, monkeypatch, first=APPEND.format("a"), slow=SLOW_ONCE, last=APPEND.format("b"))
    monkeypatch.setattr(evidence, "LEAST", 0.01)
    assert evidence.main(["--minutes", "0.05"]) == 1
    assert (
        capsys.readouterr().out.splitlines()[-2]
        == "slow: no time left in this call; the next one goes on here"
    )
    assert {name: job["state"] for name, job in noted(evidence)["jobs"].items()} == {
        "first": "done",
        "slow": "stopped by the end of the call",
    }
    assert evidence.main([]) == 0
    assert {job["state"] for job in noted(evidence)["jobs"].values()} == {"done"}
    assert (evidence.WORK / "card_1" / "ran").read_text() == "ab"


@pytest.mark.quick
def test_what_was_done_with_other_code_is_done_again(evidence, monkeypatch):
    jobs(evidence, monkeypatch, first=APPEND.format("a"), second=APPEND.format("b"))
    assert evidence.main([]) == 0
    monkeypatch.setattr(evidence, "digest", lambda places: "changed")
    assert evidence.main(["--only", "first"]) == 0
    assert (evidence.WORK / "card_1" / "ran").read_text() == "aba"


@pytest.mark.quick
def test_a_job_for_which_something_is_missing_is_left_out_with_a_sentence(
    evidence, monkeypatch, capsys
):
    monkeypatch.setattr(evidence, "facts_of", lambda environment: CARD | {"missing": ["nbformat"]})
    fine = evidence.Job(1, (sys.executable, "-c", "pass"), needs=(), code=())
    lectures = evidence.Job(
        1, (sys.executable, "-c", "raise SystemExit(9)"), needs=("json", "nbformat"), code=()
    )
    monkeypatch.setattr(evidence, "JOBS", {"lectures": lectures, "fine": fine})
    assert evidence.main([]) == 1
    assert "lectures: left out, since nbformat cannot be imported here" in capsys.readouterr().out
    assert list(noted(evidence)["jobs"]) == ["fine"]


ROWS = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for name in ("card_steps", "card_tiles"):
    rows = [{"card": "Card 1", "format": "float16", "S": 64, "tile": [64, 64, 8, 2], "T": 512}]
    (folder / f"{name}.json").write_text(json.dumps({"about": {"commands": ["so"], "grid": {}}, "runs": rows}))
"""


@pytest.mark.quick
def test_rows_go_among_the_projects_results_and_leave_other_cards_alone(
    evidence, monkeypatch, tmp_path, capsys
):
    """Where the card is, and at home from the archive, after which a later call goes on."""
    from flash_tutorial.gpu import tiles

    jobs(evidence, monkeypatch, steps=ROWS)
    others = [{"card": "Card 2", "T": 512}, {"card": "Card 1", "T": 4}]
    stored = evidence.RESULTS / "card_steps.json"
    stored.write_text(
        json.dumps({"about": {"commands": ["so"], "grid": {}}, "runs": others}), encoding="utf-8"
    )
    assert evidence.main(["--file", str(tmp_path / "out" / "home.tar.gz")]) == 0
    for at_home in (False, True):
        if at_home:
            for folder in ("work", "RESULTS", "TILES"):
                (tmp_path / folder).rename(tmp_path / f"away {folder}")
                (tmp_path / folder).mkdir()
            stored.write_text(
                json.dumps({"about": {"commands": ["so"], "grid": {}}, "runs": others}),
                encoding="utf-8",
            )
            assert evidence.main(["--home", str(tmp_path / "out" / "home.tar.gz")]) == 0
        runs = json.loads(stored.read_text(encoding="utf-8"))["runs"]
        assert [(run["card"], run["T"]) for run in runs] == [("Card 2", 512), ("Card 1", 512)]
        assert json.loads((evidence.RESULTS / "gpu_evidence.json").read_text(encoding="utf-8"))[
            "Card 1"
        ]["jobs"]
        monkeypatch.setattr(tiles, "MEASURED", evidence.TILES / "tiles.json")
        tiles._measured.cache_clear()
        assert tiles.measured_tile("Card 1", torch.float16, 64) == tiles.Tile(64, 64, 8, 2)
        assert tiles.measured_tile("Card 2", torch.float16, 64) is None
    tiles._measured.cache_clear()
    capsys.readouterr()
    assert evidence.main([]) == 0 and "steps: done before" in capsys.readouterr().out


@pytest.mark.quick
def test_no_card_writes_over_anothers_results(evidence, monkeypatch):
    jobs(evidence, monkeypatch, first=APPEND.format("a"))
    for card, more in (("NVIDIA H100", []), ("NVIDIA L4", []), ("NVIDIA H100", ["--as-t4"])):
        monkeypatch.setattr(
            evidence, "facts_of", lambda environment, card=card: CARD | {"card": card}
        )
        assert evidence.main(more) == 0
    folders = {path.name for path in evidence.WORK.iterdir() if (path / "evidence.json").exists()}
    assert folders == {"nvidia_h100", "nvidia_l4", "nvidia_h100_as_a_t4"}


@pytest.mark.quick
def test_git_does_not_look_where_results_of_a_card_lie():
    asked = [
        "git",
        "check-ignore",
        "-q",
        "--no-index",
        str(ROOT / "runs" / "gpu_evidence" / "x.log"),
    ]
    assert subprocess.run(asked, cwd=ROOT).returncode in (0, 128)  # 128: a copy without git


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is a CUDA device, so nothing is missing"
)
def test_without_a_card_nothing_is_run(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TOOL), "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2 and "no CUDA card" in done.stderr and not list(tmp_path.iterdir())


def test_a_t4s_limits_are_set_before_a_job_begins_and_not_in_a_later_call_without_them(
    evidence, tmp_path
):
    code = "import sys; print('sitecustomize' in sys.modules and sys.modules['sitecustomize'].__file__)"
    for options in (["--as-t4"], []):
        environment = evidence.environment_of(evidence.parse([*options, "--out", str(tmp_path)]))
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        limits = tmp_path / "as_t4" / "sitecustomize.py"
        assert (done.stdout.strip() == str(limits)) == bool(options), done.stderr
    assert limits.read_text(encoding="utf-8") == evidence.AS_T4


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


@pytest.mark.quick
def test_the_outcome_of_each_test_survives_and_a_later_run_goes_on(tmp_path):
    """What ends the process is tried once more, behind all others, and then no more."""
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    path = tmp_path / "each.jsonl"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "each_test",
        "--each-test",
        str(path),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tools")}
    exits = []
    for _ in range(3):
        done = subprocess.run(
            [*command, "test_some.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        exits.append(done.returncode)
    assert exits == [9, 9, 5]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    said = [(row["test"].split("::test_")[1], row["outcome"]) for row in rows]
    assert said == [
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
@pytest.mark.nightly
def test_from_beginning_to_end_on_a_pretended_card(with_card, tmp_path):
    def call(*options):
        command = [
            sys.executable,
            str(TOOL),
            "--dry-run",
            "--out",
            str(tmp_path),
            "--minutes",
            "60",
            *options,
        ]
        return subprocess.run(command, env=with_card, cwd=ROOT, capture_output=True, text=True)

    done = call()
    folder = tmp_path / "pretended_card"
    found = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: job["state"] for name, job in found["jobs"].items()} == dict.fromkeys(
        ("tests", "steps", "decoding", "mixing", "training", "formats", "bench", "lectures"), "done"
    )
    assert (
        found["jobs"]["tests"]["outcomes"]["passed"] >= 3
        and found["jobs"]["tests"]["not_passed"] == []
    )
    for name in ("steps", "decoding", "mixing"):
        rows = json.loads((folder / f"card_{name}.json").read_text(encoding="utf-8"))["runs"]
        assert rows and all(row["complete"] and row["card"] == "pretended card" for row in rows)
        ways = {way: measured for row in rows for way, measured in row["ways"].items()}
        failed = {
            way: why for way, why in ways.items() if "failed" in why and ", compiled" not in way
        }
        assert failed == {}  # nothing is compiled for the pretended card
        assert any("seconds" in measured for measured in ways.values())
    rows = json.loads((folder / "card_training.json").read_text(encoding="utf-8"))["runs"]
    assert {row["backend"] for row in rows} == {"torch", "triton"}
    assert json.loads((folder / "card_tiles.json").read_text(encoding="utf-8"))["runs"]
    with tarfile.open(folder.with_suffix(".tar.gz")) as file:
        assert {"pretended_card/evidence.json", "pretended_card/tests.jsonl"} <= set(
            file.getnames()
        )
    again = call()
    assert again.returncode == 0 and again.stdout.count("done before") == 8, again.stdout


@pytest.mark.nightly
def test_a_machine_with_torch_triton_and_pytest_alone(with_card, tmp_path):
    jupyter, others = (
        "nbformat,nbclient,jupytext,ipykernel,IPython,nbval",
        "matplotlib,safetensors,tqdm,hypothesis",
    )
    missing = f"{jupyter},{others},xdist,pytest_timeout"
    command = [sys.executable, str(TOOL), "--dry-run", "--out", str(tmp_path)]
    command += ["--only", "tests", "training", "bench", "lectures", "--minutes", "60"]
    environment = with_card | {"PRETENDED_MISSING": missing, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    found = json.loads((tmp_path / "pretended_card" / "evidence.json").read_text(encoding="utf-8"))[
        "jobs"
    ]
    assert {name: job["state"] for name, job in found.items()} == {
        "tests": "done",
        "training": "done",
    }, done.stdout
    assert found["tests"]["outcomes"]["passed"] >= 3
    # others may need what is missing
    kernels = (
        "tests/library/test_fused.py",
        "tests/library/test_kernels.py",
    )
    assert not [test for test in found["tests"]["not_passed"] if test.startswith(kernels)]
    assert "bench: left out, since matplotlib cannot be imported here" in done.stdout
    assert (
        "lectures: left out, since nbformat, nbclient, jupytext, ipykernel, matplotlib cannot"
        in done.stdout
    )
