#!/usr/bin/env python3
"""Make a corpus of program text, the same bytes on every machine: the modules of NetworkX 3.4.2 (BSD licence).

    python tools/code_corpus.py runs/code.txt        3.8 MB; pip fetches the wheel, which is checked by its sha256

Program text has long dependencies: a name is bound once and used hundreds of lines later. Tests are left out, and the
modules come in an order that is drawn once, so that training, validation and test text are of one kind.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from flash_tutorial.files import file_sha256, write_text

WHEEL = "networkx-3.4.2-py3-none-any.whl"
WHEEL_SHA256 = "df5d4365b724cf81b8c6a7312509d0c22386097011ad1abe274afd5e9d3bbc5f"
TEXT_SHA256 = "43515040de36aa34e827be952e11b16493e32880c26dd93a43db29d9fe6778b9"


def fetch(folder):
    """The wheel, in ``folder``."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    if subprocess.run([*pip, "--dest", str(folder), "networkx==3.4.2"]).returncode:
        sys.exit(
            "pip could not fetch networkx 3.4.2: is there a network, or a registry that pip knows?"
        )
    path = folder / WHEEL
    if file_sha256(path) != WHEEL_SHA256:
        sys.exit(
            f"{WHEEL} is not the file that was pinned (sha256 {WHEEL_SHA256}): nothing is written"
        )
    return path


def text_of(wheel):
    """The modules, each behind a line with its name, and the licence before them."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".py") and "/tests/" not in n)
        random.Random(0).shuffle(names)
        read = lambda name: archive.read(name).decode("utf-8").replace("\r\n", "\n")  # noqa: E731
        licence = read("networkx-3.4.2.dist-info/LICENSE.txt")
        return licence + "".join(f"\n# {name}\n{read(name)}" for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = text_of(fetch(Path(folder)))
    if hashlib.sha256(text.encode("utf-8")).hexdigest() != TEXT_SHA256:
        sys.exit("the text came out with other bytes than elsewhere: nothing is written")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.out, text)
    print(f"{args.out}: {len(text.encode('utf-8')):,} bytes, sha256 {TEXT_SHA256}")


if __name__ == "__main__":
    main()
