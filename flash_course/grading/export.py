"""The zip of a Gradescope autograder: the package, the held-out pool, and two scripts. There it has no sandbox."""

import io
import json
import zipfile
from pathlib import Path

from flash_tutorial.files import whole_file

from ..checks.exercise import load_set
from .grade import Pool, default_pool
from .reports import own_notes, shared_notes, state
from .sandbox import PACKAGES

UNPROTECTED = (
    "On Gradescope there is no sandbox: a submission that means to can read the held-out cases, use the network, and "
    "change the autograder's files. What `flash-tutorial grade` does on a Linux machine of yours it cannot."
)
SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, when the image is built.
set -e
SOURCE="${AUTOGRADER_SOURCE:-/autograder/source}"
PYTHON=python3
if ! "$PYTHON" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'; then
  apt-get update -qq && apt-get install -y -qq python3.11 python3.11-venv
  PYTHON=python3.11
fi
"$PYTHON" -m venv "$SOURCE/venv" ${AUTOGRADER_VENV_OPTIONS:-}
"$SOURCE/venv/bin/python" -c "import torch" 2>/dev/null || \\
  "$SOURCE/venv/bin/pip" install --quiet --extra-index-url https://download.pytorch.org/whl/cpu \\
    numpy torch safetensors matplotlib tqdm ipython
"""
RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission, and reads results/results.json.
HERE="${AUTOGRADER_HOME:-/autograder}"
SOURCE="${AUTOGRADER_SOURCE:-$HERE/source}"
export PYTHONPATH="$SOURCE" OMP_NUM_THREADS=1
"$SOURCE/venv/bin/python" -m flash_course.grading.gradescope \\
  NUMBER "$HERE/submission" "$SOURCE/pool" "$HERE/results" SEED
"""
# no HTML, no Markdown
AS_TEXT = {
    "output_format": "text",
    "test_output_format": "text",
    "test_name_format": "text",
}
NO_DATA = ("models", "corpora")  # no exercise needs what lies there, but the code is imported


def export_gradescope(number, path, pool=None, seed=1, only=None):
    """Write the zip, for sizes and values drawn from ``seed`` and what ``--only`` says; returns its size in bytes."""
    load_set(number)
    pool = default_pool() if pool is None else pool
    what = str(seed)
    if only:
        what += " " + only.replace(" ", "")
    files = {
        "setup.sh": SETUP,
        "run_autograder": RUN.replace("NUMBER", number).replace("SEED", what),
    }
    for package in PACKAGES:
        for source in sorted(package.rglob("*")):
            inside = source.relative_to(package.parent)
            if source.suffix in (".py", ".toml") or (
                source.suffix == ".json" and not set(inside.parts) & {*NO_DATA}
            ):
                files[inside.as_posix()] = source.read_text(encoding="utf-8")
    if pool:
        files[f"pool/right_{number}.py"] = "\n".join(pool.sources(number).values())
    with whole_file(Path(path)) as temporary:
        Path(temporary).write_bytes(zipped(files))
    return Path(path).stat().st_size


def zipped(files):
    """The same files give the same bytes; scripts may be executed."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            mode = 0o755 if name in ("setup.sh", "run_autograder") else 0o644
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return data.getvalue()


def gradescope_form(result, seconds):
    """results.json as Gradescope specifies it, from a student's result."""
    shared = shared_notes(result)
    facts = load_set(result["set"]) if result["set"] else {}
    tests = [
        {
            "name": f"{name} {facts[name].title}",
            "score": row["points"],
            "max_score": row["of"],
            "output": "\n".join([state(row), *row["said"], *own_notes(row, shared)]),
            "visibility": "visible",
            "name_format": "text",
            "output_format": "text",
        }
        for name, row in result["exercises"].items()
    ]
    return {
        "score": result["points"],
        "execution_time": round(seconds, 1),
        "output": "\n".join([*result["notes"], *shared]),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        **AS_TEXT,
    }


def pool_of(folder):
    if list(Path(folder).glob("right_*.py")):
        return Pool(folder)
    return Pool(None)


def write_json(path, value):
    Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
