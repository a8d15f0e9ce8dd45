"""The scripts that run all lectures elsewhere: on a GPU, and with Colab's versions. Tried on small notebooks here."""

import importlib.machinery
import importlib.util
import json
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


run_on_gpu, colab = tool("run_on_gpu"), tool("colab_environment.py")

# ---------------------------------------------------------------- run_on_gpu


def project(root, **lectures):
    (root / "notebooks").mkdir()
    for name, code in lectures.items():
        (root / "notebooks" / f"{name.strip('_')}.py").write_text(
            f"# %%\n{code}\n", encoding="utf-8"
        )
    return root


def run(root, *arguments):
    out = root / "out.json"
    code = run_on_gpu.main([*arguments, "--device", "cpu", "--out", str(out)], root)
    (stored,) = json.loads(out.read_text(encoding="utf-8")).values()  # of the one card
    return code, stored


OUT_OF_MEMORY = (
    "import torch\nraise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GB')"
)


def test_lectures_are_run_and_stored_and_not_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    project(tmp_path, _01_full=OUT_OF_MEMORY, _02_fine="x = 1", _03_wrong="assert 1 == 2, 'not so'")
    code, stored = run(tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert code == 1 and [line.split()[0] for line in said] == ["01_full", "02_fine", "03_wrong"]
    assert "out of memory" in said[0] and " s" in said[1] and "not so" in said[2]
    assert [(row["ok"], row.get("out_of_memory")) for row in stored.values()] == [
        (False, True),
        (True, None),
        (False, False),
    ]
    fine = stored["02_fine"]
    assert (
        fine["torch"] == torch.__version__
        and fine["card"].startswith("CPU")
        and fine["date"].startswith("2")
    )
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
@pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is a CUDA device, so nothing is missing"
)
def test_without_a_gpu_one_line_says_so(tmp_path, capsys):
    assert run_on_gpu.main([], project(tmp_path, _01_a="x = 1")) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "no CUDA device" in said.err and said.out == ""
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.quick
@pytest.mark.parametrize(
    "arguments, said", [(["--device", "cpu"], "needs --out"), (["77"], "no notebook starts")]
)
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
            memory=memory,
            is_available=lambda: True,
            max_memory_allocated=lambda *_: peak[0],
            reset_peak_memory_stats=lambda *_: peak.__setitem__(0, 1),
        )
    )
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
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: peak memory cannot be measured"
)
def test_peak_memory_on_a_gpu(tmp_path):
    code = "import torch\nx = torch.zeros(250_000_000, device='cuda')\ndel x\ntorch.cuda.reset_peak_memory_stats()"
    out = tmp_path / "out.json"
    assert run_on_gpu.main(["--out", str(out)], project(tmp_path, _01_a=code)) == 0
    (of_card,) = json.loads(out.read_text(encoding="utf-8")).values()
    assert 1.0 <= of_card["01_a"]["peak_gb"] < 1.2


# ---------------------------------------------------------------- colab_environment


@pytest.mark.quick
def test_pip_is_held_to_colabs_versions():
    versions = colab.colab_versions(colab.colab_list())
    assert (
        versions["numpy"] == "2.1.3"
        and versions["ipython"] == "7.34.0"
        and versions["torch"] == "2.11.0"
    )
    lines = colab.constraints(versions)
    assert "numpy==2.1.3" in lines and "typing-extensions" in " ".join(lines)
    assert not [line for line in lines if line.startswith(("torch=", "triton", "nvidia"))]


@pytest.mark.quick
@pytest.mark.parametrize(
    "after, expected",
    [
        (["flash-tutorial @ file", "numpy==2.1.3"], (["flash-tutorial"], [])),
        (
            ["flash-tutorial @ file", "numpy==2.5.5"],
            (["flash-tutorial", "numpy==2.5.5"], ["numpy==2.1.3"]),
        ),
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
            self,
            data=None,
            url=None,
            filename=None,
            format=None,
            embed=None,
            width=None,
            height=None,
            retina=False,
            unconfined=False,
            metadata=None,
        ):
            super().__init__(
                data, url, filename, format, embed, width, height, retina, unconfined, metadata
            )

    shown = []
    monkeypatch.setattr(display, "Image", Image)
    monkeypatch.setattr(display, "display", lambda *args, **kwargs: shown.append((args, kwargs)))
    figures.show(figures.new_axes()[0], "An empty pair of axes.")
    assert len(shown) == 2 and "An empty pair of axes." in shown[1][0][0].data


@pytest.mark.quick
def test_other_outputs_are_found(tmp_path, monkeypatch):
    source = (
        project(tmp_path, _01_a='print(42)\n\n# %% tags=["nbval-check-output"]\nprint(43)')
        / "notebooks/01_a.py"
    )
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
