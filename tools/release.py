#!/usr/bin/env python3
"""Build the sdist and the wheel, and try each where nothing else is: python tools/release.py [OUT]

`python -m build` makes them from what git knows of this checkout, as it lies here, and `twine check --strict` reads
them. Then each is installed into a new virtual environment and runs tools/smoke.py in an empty folder. What passed is
moved to OUT; nothing is uploaded.

Downloading torch takes minutes. So the environment has links to this one's libraries: to those that the metadata ask
for, and those that these ask for, and to no other. With --download pip fetches them, as a user's does.
"""

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SMOKE = ROOT / "tools" / "smoke.py"


class ReleaseError(Exception):
    """What has been built is not fit to be uploaded."""


def run(*command, **options):
    """A command's output; one that fails is a ReleaseError with the end of what it said."""
    how = dict(capture_output=True, text=True, timeout=1800) | options
    done = subprocess.run([*map(str, command)], **how)
    if done.returncode:
        called = " ".join(map(str, command))
        raise ReleaseError(f"{called}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def installed(name):
    """A library of this environment. An import would tell less: the site's folder build/ can be imported."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise ReleaseError(
            f"{name} is not installed here: pip install -r requirements.txt"
        ) from None


# ---------------------------------------------------------------- build


def known_files():
    """What git knows of this checkout, as it lies here."""
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def copy_known_files(folder):
    for name in known_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def build(source, out, isolated=True):
    """The sdist of ``source``, and the wheel that is made from it.

    Isolated, what builds them is fetched from the index; otherwise it is this environment's.
    """
    options = [] if isolated else ["--no-isolation"]
    run(sys.executable, "-m", "build", *options, "--outdir", out, source)
    (sdist,) = Path(out).glob("*.tar.gz")
    (wheel,) = Path(out).glob("*.whl")
    return sdist, wheel


# ---------------------------------------------------------------- try


def try_alone(path, folder, download=False):
    """Install a file into a new environment in ``folder``, and run the smoke test there."""
    venv.create(folder / "env", with_pip=False)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, *([] if download else ["--no-deps"]), path)
    if not download:
        place = run(python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        link_requirements(Path(place.strip()))
    (folder / "empty").mkdir()
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return run(python, "-I", SMOKE, cwd=folder / "empty", env=outside)


def link_requirements(place):
    """Link into ``place`` what the package there asks for, from this environment."""
    (package,) = metadata.Distribution.discover(name="flash-tutorial", path=[str(place)])
    wanted = [(line, [""]) for line in package.requires]
    linked = set()
    while wanted:
        line, extras = wanted.pop()
        requirement = Requirement(line)
        marker = requirement.marker
        is_asked_for = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
        key = (requirement.name, *requirement.extras)
        if is_asked_for and key not in linked:
            linked.add(key)
            library = installed(requirement.name)
            link_library(library, place)
            wanted += [(line, ["", *requirement.extras]) for line in library.requires or []]


def link_library(library, place):
    """Links to a library's files and folders at the top of its site-packages."""
    for top in {file.parts[0] for file in library.files}:
        if top not in ("..", "__pycache__") and not (place / top).exists():
            (place / top).symlink_to(library.locate_file(top))


# ---------------------------------------------------------------- say


def check_address(addresses, version):
    """A tag that names another version would send Colab's readers to that one."""
    tag = addresses["TAG"]
    if re.match(r"v\d", tag) and tag != f"v{version}":
        repository = addresses["REPOSITORY"]
        raise ReleaseError(
            f"the addresses name the tag {tag}, and this is version {version}: "
            f"python tools/stamp.py {repository} v{version}"
        )
    if not addresses["is_stamped"]():
        print("no address yet (tools/stamp.py): the metadata name none, README's links are words")


def check_is_committed():
    if changes := run("git", "status", "--porcelain", cwd=ROOT):
        print(f"not committed:\n{changes}", end="")


def release(out, download=False):
    """Build, check and try; returns the two files in ``out``."""
    for tool in ("build", "twine", "pip"):
        installed(tool)
    check_is_committed()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".untried-") as folder:
        folder = Path(folder)
        copy_known_files(folder / "source")
        built = build(folder / "source", folder / "built")
        addresses = runpy.run_path(str(folder / "source" / "flash_course" / "addresses.py"))
        check_address(addresses, built[0].name.removesuffix(".tar.gz").rpartition("-")[2])
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        for path in built:
            print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")
            (folder / f"try {path.name}").mkdir()
            print(try_alone(path, folder / f"try {path.name}", download), end="")
        return [path.replace(out / path.name) for path in built]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "dist", metavar="OUT")
    parser.add_argument("--download", action="store_true", help="what it needs comes by pip")
    args = parser.parse_args(arguments)
    try:
        passed = release(args.out.resolve(), args.download)
    except ReleaseError as error:
        print(f"tools/release.py: {error}", file=sys.stderr)
        return 1
    print("twine upload", *passed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
