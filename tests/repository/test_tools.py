"""The scripts that run all lectures elsewhere: on a GPU, and with Colab's versions. Tried on small notebooks here."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest
import torch

from flash_course import figures
from flash_course.addresses import first_cell

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    """A script of tools/ as a module, which may import its neighbours."""
    path = ROOT / "tools" / name
    loader = importlib.machinery.SourceFileLoader(f"tool_{path.stem}", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.path.insert(0, str(path.parent))
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # run_on_gpu has no .py, and its bytecode would lie beside it
    try:
        loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        sys.dont_write_bytecode = before
    return module


run_on_gpu, colab, evidence = tool("run_on_gpu"), tool("colab_environment.py"), tool("gpu_evidence")

# ---------------------------------------------------------------- run_on_gpu


def project(root, **lectures):
    (root / "notebooks").mkdir()
    for name, code in lectures.items():
        (root / "notebooks" / f"{name.strip('_')}.py").write_text(f"# %%\n{code}\n", encoding="utf-8")
    return root


def run(root, *arguments):
    out = root / "out.json"
    code = run_on_gpu.main([*arguments, "--device", "cpu", "--out", str(out)], root)
    (stored,) = json.loads(out.read_text(encoding="utf-8")).values()  # of the one card
    return code, stored


OUT_OF_MEMORY = "import torch\nraise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GB')"


def test_lectures_are_run_and_stored_and_not_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    project(tmp_path, _01_full=OUT_OF_MEMORY, _02_fine="x = 1", _03_wrong="assert 1 == 2, 'not so'")
    code, stored = run(tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert code == 1 and [line.split()[0] for line in said] == ["01_full", "02_fine", "03_wrong"]
    assert "out of memory" in said[0] and " s" in said[1] and "not so" in said[2]
    assert [(row["ok"], row.get("out_of_memory")) for row in stored.values()] == [
        (False, True), (True, None), (False, False),
    ]  # fmt: skip
    fine = stored["02_fine"]
    assert fine["torch"] == torch.__version__ and fine["card"].startswith("CPU") and fine["date"].startswith("2")
    assert fine["seconds"] > 0 and fine["peak_gb"] is None

    (tmp_path / "notebooks" / "01_full.py").write_text("# %%\nx = 2\n", encoding="utf-8")
    code, again = run(tmp_path, "01", "02")
    said = capsys.readouterr().out.splitlines()
    assert code == 0 and again["01_full"]["ok"] and said[1].startswith("02_fine: done on")
    assert (again["02_fine"], again["03_wrong"]) == (fine, stored["03_wrong"])


@pytest.mark.quick
def test_a_lecture_is_done_with_this_code_on_this_card_only(tmp_path):
    source = project(tmp_path, _01_a="x = 1") / "notebooks" / "01_a.py"
    code = run_on_gpu.code_hash(run_on_gpu.read_source(source))
    row = {"ok": True, "code": code}
    assert run_on_gpu.is_done({"T4": {"01_a": row}}, source, "T4")
    assert not run_on_gpu.is_done({"L4": {"01_a": row}}, source, "T4")
    for other in ({"ok": False}, {"code": "older"}):
        assert not run_on_gpu.is_done({"T4": {"01_a": row | other}}, source, "T4")
    assert not run_on_gpu.is_done({}, source, "T4")


def test_within_the_limits_of_another_card_its_name_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    project(tmp_path, _01_a="x = 1")
    for suffix in ("", " as a T4"):
        arguments = ["--device", "cpu", "--suffix", suffix, "--out", str(tmp_path / "out.json")]
        assert run_on_gpu.main(arguments, tmp_path) == 0
    plain, limited = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert limited == plain + " as a T4"


@pytest.mark.quick
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so nothing is missing")
def test_without_a_gpu_one_line_says_so(tmp_path, capsys):
    assert run_on_gpu.main([], project(tmp_path, _01_a="x = 1")) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "no CUDA device" in said.err and said.out == ""
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.quick
@pytest.mark.parametrize("arguments, said", [(["--device", "cpu"], "needs --out"), (["77"], "no notebook starts")])
def test_wrong_arguments(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit) as stop:
        run_on_gpu.main(arguments, project(tmp_path, _01_a="x = 1"))
    assert stop.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.quick
def test_a_peak_is_kept_when_a_lecture_resets_it(monkeypatch):
    peak = [0]
    memory = types.SimpleNamespace()
    fake = types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            memory=memory, is_available=lambda: True, max_memory_allocated=lambda *_: peak[0],
            reset_peak_memory_stats=lambda *_: peak.__setitem__(0, 1),
        )
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", fake)
    names = {}
    exec(run_on_gpu.PRELUDE, names)
    peak[0] = 5
    fake.cuda.reset_peak_memory_stats("cuda")
    assert peak == [1] and names["_peak_bytes"]() == 5
    peak[0] = 7
    assert names["_peak_bytes"]() == 7
    memory.reset_peak_memory_stats()
    assert names["_peak_bytes"]() == 7


@pytest.mark.quick
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: peak memory cannot be measured")
def test_peak_memory_on_a_gpu(tmp_path):
    code = "import torch\nx = torch.zeros(250_000_000, device='cuda')\ndel x\ntorch.cuda.reset_peak_memory_stats()"
    out = tmp_path / "out.json"
    assert run_on_gpu.main(["--out", str(out)], project(tmp_path, _01_a=code)) == 0
    (of_card,) = json.loads(out.read_text(encoding="utf-8")).values()
    assert 1.0 <= of_card["01_a"]["peak_gb"] < 1.2


# ---------------------------------------------------------------- gpu_evidence


def collect(out, *arguments):
    code = evidence.main(["--dry-run", "--out", str(out), *arguments])
    return code, json.loads((out / "gpu_evidence.json").read_text(encoding="utf-8"))


def test_a_dry_run_tries_every_job_in_small_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, stored = collect(tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in said] == [f"{name} ... done" for name in evidence.JOBS]
    assert code == 0 and [*stored["no card"]] == [*evidence.JOBS]
    tried = {"mixing": ("T", {64, 128}), "steps": ("T", {64, 128}), "decoding": ("position", {32, 64})}
    for name, (size, values) in tried.items():
        rows = json.loads((tmp_path / f"card_{name}.json").read_text(encoding="utf-8"))["runs"]
        assert {row[size] for row in rows} == values
        assert all(row["complete"] and row["card"] == "no card" for row in rows)
        ways = [way for row in rows for name, way in row["ways"].items() if name != "FLASH-pytorch, not compiled"]
        assert all(way["seconds"]["median"] > 0 for way in ways)  # that one need not be installed
    assert json.loads((tmp_path / "bench_no_card.json").read_text(encoding="utf-8"))["training"]
    (lectures,) = json.loads((tmp_path / "lectures_gpu.json").read_text(encoding="utf-8")).values()
    assert lectures["90_refresher"]["ok"]
    assert (tmp_path / "work" / "no_card" / "run" / "model.safetensors").exists()
    assert "1 passed" in said[0] or "1 skipped" in said[0]  # the one test that says whether a card is there
    assert collect(tmp_path) == (0, stored) and capsys.readouterr().out == ""


def test_a_try_as_a_t4_is_not_taken_for_the_cards_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, stored = collect(tmp_path, "--as-t4", "--only", "mixing")
    assert code == 0 and list(stored) == ["no card as a T4"]
    rows = json.loads((tmp_path / "card_mixing.json").read_text(encoding="utf-8"))["runs"]
    assert {row["card"] for row in rows} == {"no card as a T4"}
    assert {row["format"] for row in rows} == {"float32"}  # a T4 has no bfloat16


def pretended(monkeypatch, tmp_path, card="H100", seconds=0):
    """The jobs' names, commands, minutes and logs: none is run, and each takes so many seconds of a pretended clock."""
    jobs, clock = {}, [0.0]

    def run_job(command, minutes, log, environment):
        jobs[log.stem] = types.SimpleNamespace(command=command, minutes=minutes, log=log)
        clock[0] += seconds
        return {"ok": True, "seconds": seconds, "last_line": ""}

    monkeypatch.setattr(evidence, "run_job", run_job)
    monkeypatch.setattr(evidence, "card_of", lambda environment: card)
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(evidence, "WORK", tmp_path / "work")
    monkeypatch.setattr(evidence, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    return jobs


def place(job):
    return Path(job.command[job.command.index("--out") + 1])


@pytest.mark.quick
def test_no_card_writes_over_anothers_results(tmp_path, monkeypatch):
    of_cards = {}
    for card, more in (("NVIDIA H100", []), ("NVIDIA L4", []), ("NVIDIA H100", ["--as-t4"])):
        jobs = pretended(monkeypatch, tmp_path, card)
        evidence.main(["--out", str(tmp_path / "results"), *more])
        of_cards[card, *more] = jobs
    for name in ("bench", "training"):
        assert len({place(jobs[name]) for jobs in of_cards.values()}) == 3
    assert len({job.log for jobs in of_cards.values() for job in jobs.values()}) == 3 * len(evidence.JOBS)
    assert place(of_cards["NVIDIA H100", "--as-t4"]["bench"]).name == "bench_nvidia_h100_as_a_t4.json"
    for name, word in {
        "mixing": "--t4",
        "steps": "--t4",
        "decoding": "--t4",
        "bench": "t4",
        "lectures": " as a T4",
    }.items():
        assert [word in jobs[name].command for jobs in of_cards.values()] == [False, False, True], name


@pytest.mark.quick
def test_results_and_what_is_none_lie_apart_and_git_ignores_the_latter(tmp_path, monkeypatch):
    ignored = subprocess.run(["git", "check-ignore", "-q", "--no-index", str(evidence.WORK / "x.log")], cwd=ROOT)
    assert ignored.returncode in (0, 128)  # 128: a copy without git
    jobs = pretended(monkeypatch, tmp_path)
    evidence.main(["--as-t4"])
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["gpu_evidence.json"]
    assert (tmp_path / "work" / "as_t4" / "sitecustomize.py").exists()
    for name, job in jobs.items():
        assert job.log.is_relative_to(tmp_path / "work")
        if "--out" in job.command:
            assert place(job).is_relative_to(tmp_path / ("work" if name == "training" else "results"))


@pytest.mark.quick
def test_a_folder_keeps_its_name_whatever_it_is(tmp_path, monkeypatch):
    out = tmp_path / "OUT" / "OUTPUTS"
    jobs = pretended(monkeypatch, tmp_path)
    evidence.main(["--out", str(out)])
    assert place(jobs["training"]) == out / "work" / "h100" / "run"
    assert place(jobs["steps"]) == out and place(jobs["lectures"]) == out / "lectures_gpu.json"


@pytest.mark.quick
def test_a_job_gets_at_most_the_minutes_that_are_left(tmp_path, monkeypatch, capsys):
    jobs = pretended(monkeypatch, tmp_path, seconds=600)
    evidence.main(["--out", str(tmp_path / "results"), "--minutes", "25.5"])
    assert {name: job.minutes for name, job in jobs.items()} == {"tests": 15, "mixing": 10, "steps": 5.5}
    assert capsys.readouterr().out.endswith("decoding: no time left\n")


def test_a_job_that_fails_or_never_ends_stops_no_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    jobs = {
        "tests": "raise SystemExit('a broken card')",
        "mixing": "import time; time.sleep(99)",
        "bench": "print('fine')",
    }
    monkeypatch.setattr(
        evidence, "JOBS", {name: (0.02 if name == "mixing" else 9, ["-c", code], []) for name, code in jobs.items()}
    )
    monkeypatch.setattr(evidence, "command_of", lambda name, args, card: [sys.executable, *evidence.JOBS[name][1]])
    monkeypatch.setattr(evidence, "LEAST", 0)
    code, stored = collect(tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert code == 1 and [job["ok"] for job in stored["no card"].values()] == [False, False, True]
    assert "a broken card" in said[0] and "failed" in said[1] and said[2].endswith("fine")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so nothing is missing")
def test_without_a_card_nothing_is_stored(tmp_path, capsys):
    assert evidence.main(["--out", str(tmp_path)]) == 2
    assert "no CUDA card" in capsys.readouterr().err and not list(tmp_path.glob("*.json"))
    with pytest.raises(SystemExit):
        evidence.main(["--dry-run"])
    assert "--dry-run needs --out" in capsys.readouterr().err


def test_a_t4s_limits_are_set_before_a_job_begins_and_not_in_a_later_call_without_them(tmp_path):
    code = "import sys; print('sitecustomize' in sys.modules and sys.modules['sitecustomize'].__file__)"
    for as_t4 in (True, False):
        args = types.SimpleNamespace(work=tmp_path, wheels=None, as_t4=as_t4)
        environment = evidence.environment_of(args)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        limits = tmp_path / "as_t4" / "sitecustomize.py"
        assert (done.stdout.strip() == str(limits)) == as_t4, done.stderr
    assert limits.read_text(encoding="utf-8") == evidence.AS_T4


# ---------------------------------------------------------------- colab_environment


@pytest.mark.quick
def test_pip_is_held_to_colabs_versions():
    versions = colab.colab_versions(colab.colab_list())
    assert versions["numpy"] == "2.1.3" and versions["ipython"] == "7.34.0" and versions["torch"] == "2.11.0"
    lines = colab.constraints(versions)
    assert "numpy==2.1.3" in lines and "typing-extensions" in " ".join(lines)
    assert not [line for line in lines if line.startswith(("torch=", "triton", "nvidia"))]


@pytest.mark.quick
@pytest.mark.parametrize(
    "after, expected",
    [
        (["flash-tutorial @ file", "numpy==2.1.3"], (["flash-tutorial"], [])),
        (["flash-tutorial @ file", "numpy==2.5.5"], (["flash-tutorial", "numpy==2.5.5"], ["numpy==2.1.3"])),
        (["flash-tutorial @ file"], (["flash-tutorial"], ["numpy==2.1.3"])),
    ],
)
def test_what_an_install_changes_is_found(after, expected, monkeypatch):
    states, commands = iter([["numpy==2.1.3"], after]), []

    def pip(python, *arguments):
        commands.append(arguments)
        return "\n".join(next(states)) if arguments[0] == "freeze" else ""

    monkeypatch.setattr(colab, "pip", pip)
    monkeypatch.setattr(colab.subprocess, "run", lambda command, **how: commands.append(command))
    assert colab.run_first_cell("python") == expected
    assert any(command[1] == "-c" and command[-1].endswith(first_cell()) for command in commands)


@pytest.mark.quick
def test_pictures_are_shown_by_what_colabs_ipython_has(monkeypatch):
    from IPython import display

    class Image(display.Image):  # as in IPython 7.34
        def __init__(
            self, data=None, url=None, filename=None, format=None, embed=None, width=None, height=None,
            retina=False, unconfined=False, metadata=None,
        ):  # fmt: skip
            super().__init__(data, url, filename, format, embed, width, height, retina, unconfined, metadata)

    shown = []
    monkeypatch.setattr(display, "Image", Image)
    monkeypatch.setattr(display, "display", lambda *args, **kwargs: shown.append((args, kwargs)))
    figures.show(figures.new_axes()[0], "An empty pair of axes.")
    assert len(shown) == 2 and "An empty pair of axes." in shown[1][0][0].data


@pytest.mark.quick
def test_other_outputs_are_found(tmp_path, monkeypatch):
    source = project(tmp_path, _01_a='print(42)\n\n# %% tags=["nbval-check-output"]\nprint(43)') / "notebooks/01_a.py"
    notebook = colab.read_source(source)
    for cell, text in zip(notebook.cells, ("other, not compared", "43")):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    result = colab.run_notebook(source, sys.executable)
    assert result["ok"] and result["compared_cells"] == 1 and result["seconds"] > 0

    notebook.cells[1].outputs[0].text = "44"
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    result = colab.run_notebook(source, sys.executable)
    assert not result["ok"] and result["other_outputs"] == ["printed '43', stored is '44'"]

    def fails(notebook, python):
        raise colab.BuildError("KeyError: lost")

    monkeypatch.setattr(colab, "execute", fails)
    result = colab.run_notebook(source, sys.executable)
    assert not result["ok"] and "KeyError" in result["error"]


@pytest.mark.quick
def test_what_is_stored_says_that_it_was_simulated():
    stored = json.loads(colab.OUT.read_text(encoding="utf-8"))
    assert stored["what"].startswith("simulated") and stored["ok"] and stored["changed_by_it"] == []
    assert stored["installed_by_the_first_cell"] == ["flash-tutorial"]
    listed = colab.colab_versions(ROOT / "tests" / "data" / stored["versions_from"])
    assert stored["versions"]["python"].startswith(colab.PYTHON)
    for name in colab.WANTED:
        assert stored["versions"][name] == listed[name.replace("_", "-")], name
    assert len(stored["notebooks"]) >= 3 and all(row["ok"] for row in stored["notebooks"].values())
