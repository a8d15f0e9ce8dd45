#!/usr/bin/env python3
"""Run the notebooks in an environment with Colab's versions, and store what came out. It is simulated, not Colab.

    python tools/colab_environment.py                        every notebook; needs a Python 3.13 and about 8 GB
    python tools/colab_environment.py 00 02 --folder DIR     some of them, the others stay as they are stored; the
                                                             environment is kept in DIR and used again

The versions are those of ``tests/data/colab_gpu_*.txt``: of what the project needs and of all that this needs in turn.
Then the first cell of a notebook runs beside a zip of the project (of what is committed), as on Colab after an upload:
``pip freeze`` before and after must differ by this package alone. And each notebook is executed from top to bottom:
lectures, and problem sets with their solutions. What a lecture's tagged cells and a problem set's checks print is
compared with what is stored.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from building.execution import BuildError, execute
from building.sources import code_hash, read_source, sources, tags_of
from lecture_faults import judge, stored_text

from flash_course.addresses import first_cell

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "colab_environment.json"
PYTHON = "3.13"
WANTED = (
    "numpy",
    "torch",
    "matplotlib",
    "safetensors",
    "tqdm",
    "ipython",
    "ipykernel",
    "jupyter_client",
    "pytest",
)
# Built for one CUDA or another; Colab's own builds are not in the registry.
OTHER_BUILDS = ("torch", "triton", "nvidia", "cuda")


def colab_list(root=ROOT):
    """The newest of the stored lists."""
    return sorted((root / "tests" / "data").glob("colab_gpu_*.txt"))[-1]


def colab_versions(path):
    """{name: version}, without what stands behind a + (Colab's own builds)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {
        name.strip().lower().replace("_", "-"): version.split("+")[0] for name, version in pairs
    }


def constraints(versions):
    """The lines that hold pip to Colab's versions."""
    return [
        f"{name}=={version}"
        for name, version in versions.items()
        if not name.startswith(OTHER_BUILDS)
    ]


# ---------------------------------------------------------------- the environment


def make_environment(folder, python, versions):
    """A virtual environment with Colab's versions in ``folder``; one that is there already is kept. Its Python."""
    place = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    inside = folder / place
    ready = folder / "flash-tutorial-ready"
    wanted = [f"{name}=={versions[name.replace('_', '-')]}" for name in WANTED]
    if not ready.exists():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary, "constraints.txt")
            file.write_text("\n".join(constraints(versions)), encoding="utf-8")
            pip(inside, "install", "--quiet", "--constraint", file, *wanted)
        ready.touch()
    return inside


def pip(python, *arguments):
    command = [str(part) for part in (python, "-m", "pip", *arguments)]
    run = subprocess.run(command, check=False, stdout=subprocess.PIPE, encoding="utf-8")
    if run.returncode:
        raise RuntimeError(f"pip {' '.join(command[3:])} failed")
    return run.stdout


def freeze(python):
    """What is installed, a line each, addresses left out."""
    return sorted(
        line.split(" @ ")[0] for line in pip(python, "freeze", "--all").splitlines() if line
    )


def run_first_cell(python, root=ROOT):
    """In an empty folder with a zip of the project. Returns (what is new, what has changed or gone)."""
    pip(python, "uninstall", "--quiet", "--yes", "flash-tutorial")
    before = freeze(python)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "project.zip")
        subprocess.run(
            ["git", "archive", "--prefix=project/", "-o", archive, "HEAD"], cwd=root, check=True
        )
        on_colab = (
            "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"
        )
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run(
            [python, "-c", on_colab + first_cell()], cwd=folder, env=environment, check=True
        )
    after = freeze(python)
    return sorted(set(after) - set(before)), sorted(set(before) - set(after))


# ---------------------------------------------------------------- the notebooks


def run_notebook(source, python):
    """Execute one notebook: what is stored of it."""
    stored = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    notebook = read_source(source)
    result = {"code": code_hash(notebook)[:12], "ok": False}
    start = time.monotonic()
    try:
        execute(notebook, python)
    except BuildError as error:
        result["error"] = str(error)[-1000:]
    else:
        compared = [
            judge(None, stored_text(new.outputs), tags_of(new), stored_text(old.outputs))[1]
            for new, old in zip(notebook.cells, stored.cells)
            if "nbval-check-output" in tags_of(new) or "\ncheck(" in f"\n{new.source}"
        ]
        result["compared_cells"] = len(compared)
        result["other_outputs"] = [said for said in compared if said]
        result["ok"] = not result["other_outputs"]
    result["seconds"] = round(time.monotonic() - start, 1)
    return result


def machine():
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


# ---------------------------------------------------------------- command line


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NN", help="the start of a notebook's name; all without one"
    )
    parser.add_argument(
        "--python", default=shutil.which(f"python{PYTHON}"), help=f"a Python {PYTHON}"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the environment is kept; a temporary folder without it"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the file that is written")
    args = parser.parse_args(arguments)
    if args.python is None:
        parser.error(
            f"there is no python{PYTHON} on this machine: install one, or give its path by --python"
        )
    chosen = sources(ROOT, args.names)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary, "environment")).resolve()
        listed = colab_list()
        versions = colab_versions(listed)
        python = make_environment(folder, args.python, versions)
        new, changed = run_first_cell(python)
        print(
            f"installed: {', '.join(new)}; changed: {', '.join(changed) or 'nothing'}", flush=True
        )
        done = {}
        if args.names and args.out.exists():
            done = json.loads(args.out.read_text(encoding="utf-8"))["notebooks"]
        for source in chosen:
            name = source.relative_to(ROOT).with_suffix("").as_posix()
            done[name] = run_notebook(source, python)
            print(name, json.dumps(done[name]), flush=True)
        ok = not changed and len(new) == 1 and all(each["ok"] for each in done.values())
        store(args.out, listed, python, new, changed, done, ok)
    return not ok


def store(path, listed, python, new, changed, done, ok):
    from flash_tutorial.files import write_text

    installed = dict(line.split("==") for line in freeze(python) if "==" in line)
    lower = {name.lower().replace("_", "-"): version for name, version in installed.items()}
    running = subprocess.run(
        [python, "-V"], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout.split()[1]
    result = {
        "what": "simulated: Colab's versions in a virtual environment on another machine, not a run on Colab",
        "command": "python tools/colab_environment.py",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions_from": listed.name,
        "versions": {"python": running} | {name: lower[name.replace("_", "-")] for name in WANTED},
        "installed_by_the_first_cell": [line.split("==")[0] for line in new],
        "changed_by_it": changed,
        "notebooks": done,
        "ok": ok,
    }
    write_text(path, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
