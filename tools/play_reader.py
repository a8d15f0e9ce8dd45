#!/usr/bin/env python3
"""Play a reader of the course: fill the builds of the work copies, run them in turn, on one my_flash.py.

python tools/play_reader.py                        lectures 01 to 14, each build by the answer of its fold
python tools/play_reader.py 05 06                  those alone
python tools/play_reader.py --wrong                each build by a likely mistake: none is kept, and each page runs on
python tools/play_reader.py --spoil mixed_chunk    right answers, and the file spoilt by a mistake once it is kept
"""

import argparse
import copy
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
from building.execution import BuildError, execute
from building.sources import ROOT, code_cells

CODE = re.compile(r"^```python\n(.*?)^```$", flags=re.M | re.S)
KEPT = re.compile(r"mine\.check\((?P<name>\w+), keep=True\)")
WRONG = """from flash_course.builds import find

{name} = find("{name}")[1].likely[0][1]
{name}.__name__ = "{name}"
"""
SPOILT = """def {name}(*given, **how):
    from flash_course.builds import find

    return find("{name}")[1].likely[0][1](*given, **how)
"""
LAST = "14"


def filled(notebook, wrong=False):
    """A work copy with each build written: by the answer of its fold, or by a likely mistake."""
    played = copy.deepcopy(notebook)
    for cell, fold in zip(played.cells, played.cells[1:]):
        if not fold.id.startswith("fold-"):
            continue
        names = KEPT.findall(cell.source)
        start = cell.source.rfind("\n", 0, KEPT.search(cell.source).start()) + 1
        answer = CODE.search(fold.source)[1]
        if wrong:
            answer = "\n".join(WRONG.format(name=name) for name in names)
        cell.source = f"{answer.rstrip()}\n\n\n{cell.source[start:]}"
    return played


def said_by(notebook):
    """All that a notebook's cells have said, as text."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            found.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(found)


def play(names, progress, wrong=False, blank=False, spoil=None):
    """Run the work copies; {lecture: what its cells said}."""
    said = {}
    for path in sorted((ROOT / "notebooks" / "work").glob("[0-9][0-9]_*.ipynb")):
        lecture = path.name[:2]
        if not "01" <= lecture <= LAST or (names and lecture not in names):
            continue
        begun = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        if not blank:
            notebook = filled(notebook, wrong)
        execute(notebook, progress=progress)
        said[lecture] = said_by(notebook)
        print(
            f"{lecture}: {summary(said[lecture])}, {time.perf_counter() - begun:.0f} s", flush=True
        )
        spoil = spoilt(spoil)
    return said


def summary(said):
    """What a lecture said of the reader's own versions, in one line."""
    kept = len(re.findall(r"Kept in my_flash\.py", said))
    uses = re.findall(r"^(?:yours|the course's own|.*yours is wrong by now).*$", said, flags=re.M)
    return "; ".join([f"{kept} builds kept", *uses])


def spoilt(name):
    """Put a mistake into the reader's file, if the build is there already; the name, if it is still to be spoilt."""
    from flash_course import mine

    if name is None or name not in mine.built():
        return name
    lecture = mine.find(name)[0]
    mine.store(mine.with_section(mine.text(), name, lecture, SPOILT.format(name=name)))
    print(f"    {name} is spoilt now", flush=True)
    return None


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NN")
    parser.add_argument("--wrong", action="store_true", help="each build by a likely mistake")
    parser.add_argument("--blank", action="store_true", help="nothing is written")
    parser.add_argument("--spoil", metavar="NAME", help="a build to be spoilt once it is kept")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress.json"
        os.environ["FLASH_TUTORIAL_PROGRESS"] = str(progress)
        try:
            play(args.names, progress, args.wrong, args.blank, args.spoil)
        except BuildError as error:
            print(error, file=sys.stderr)
            return 1
        from flash_course import mine

        print(f"my_flash.py: {len(mine.built())} builds, {len(mine.text().splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
