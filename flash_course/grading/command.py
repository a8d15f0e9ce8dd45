"""The commands ``flash-tutorial check``, ``grade`` and ``export``: what they take, and what they print."""

import argparse
from pathlib import Path

MODES = ("auto", "bwrap", "none")

EXAMPLES = """\
examples:
  flash-tutorial grade submissions --out graded
  flash-tutorial grade submissions --out graded --held-out ../staff/solutions --seed 2027
  flash-tutorial grade submissions --out graded           again: takes the points that a person wrote into texts.csv
  flash-tutorial grade submissions --out graded --canvas gradebook.csv

On Linux each submission runs in a sandbox, if bubblewrap is installed (apt-get install bubblewrap). Without it a
submission runs as you, on your files, and is kept from accidents only (docs/instructors.md).
"""


def seed(text):
    """An argument type: a seed that NumPy, which takes none below 0, and torch can take."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(
            f"{value}: expected an integer of at least 0 and below 2**63"
        )
    return value


def add_commands(commands, raw):
    """Put the three commands into the parser."""
    add_check(commands)
    add_grade(commands, raw)
    add_export(commands, raw)


def add_check(commands):
    check = commands.add_parser("check", help="the verdicts on a problem set that you work on")
    check.add_argument("file", help="your notebook or .py file")
    check.set_defaults(run=run_check)


def add_grade(commands, raw):
    grade = commands.add_parser(
        "grade",
        help="points for one submission or a class",
        formatter_class=raw,
        epilog=EXAMPLES,
        description="Grade notebooks or .py files. Each exercise runs in a process of its own with limits of time and\n"
        "memory. Writes results.json, results.csv, texts.csv and a page for each student. Run it again to go on.",
    )
    grade.add_argument("paths", nargs="+", metavar="PATH", help="files, or folders of them")
    grade.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="folder of the results, one for each problem set",
    )
    grade.add_argument(
        "--set",
        dest="number",
        metavar="NN",
        help="number of the problem set (default: seen in each file)",
    )
    add_what_counts(grade)
    grade.add_argument(
        "--marks",
        metavar="TEXTS.csv",
        help="more points that a person gave (those in --out always count)",
    )
    grade.add_argument(
        "--canvas",
        metavar="GRADEBOOK.csv",
        help="your own export; filled in as canvas.csv in --out",
    )
    grade.add_argument(
        "--column", help="the gradebook's column (default: the one with the set's number)"
    )
    grade.add_argument(
        "--seconds", type=float, default=10.0, help="of computing, for each exercise (default: 10)"
    )
    grade.add_argument(
        "--workers", type=int, help="submissions at a time (default: one for each core)"
    )
    grade.add_argument(
        "--sandbox",
        choices=MODES,
        default="auto",
        help="auto: bwrap where it works (default); bwrap: nothing without it",
    )
    grade.set_defaults(run=run_grade)


def add_export(commands, raw):
    export = commands.add_parser(
        "export", help="a problem set for another grader", formatter_class=raw
    )
    export.add_argument("form", choices=("gradescope",))
    export.add_argument("number", metavar="NN", help="number of the problem set")
    export.add_argument("--out", help="the zip (default: gradescope_NN.zip)")
    add_what_counts(export)
    export.set_defaults(run=run_export)


def add_what_counts(parser):
    """What a grading and an exported grader have in common."""
    parser.add_argument(
        "--only",
        metavar="EXERCISES",
        help="what counts: core, or 05.1,05.3 (default: all of the set)",
    )
    parser.add_argument(
        "--seed", type=seed, default=1, help="of sizes and values; `check` has 0 (default: 1)"
    )
    parser.add_argument(
        "--held-out",
        metavar="FOLDER",
        help="folder with the held-out faults (default: solutions/ of this checkout)",
    )


def needs_answers():
    """Grading needs the answers; a copy of the course without them says so."""
    from ..checks.expected import is_copy
    from ..checks.texts import say

    if is_copy():
        raise ValueError(say("all", "no answers here"))


def run_check(args):
    """``flash-tutorial check``: as ``grade`` sees it, without held-out faults, with the numbers of ``check``."""
    import tempfile

    from .grade import Pool, grade
    from .reports import heading, own_notes, shared_notes, state

    if Path(args.file).is_dir():
        raise ValueError(f"{args.file} is a folder: give one notebook or .py file")
    with tempfile.TemporaryDirectory() as out:
        (result,) = grade([args.file], out, seed=0, pool=Pool(), quiet=True, mode="none")
    print(heading(result))
    shared = shared_notes(result)
    for line in [*result["notes"], *shared]:
        print(f"  {line}")
    for name, row in result["exercises"].items():
        print(f"{name}: {state(row)}")
        for line in [*row["said"], *own_notes(row, shared)]:
            print(f"  {line}")
    return 0 if result["exercises"] else 1


def run_grade(args):
    """``flash-tutorial grade``: 0 also where a submission could not be read; it is named."""
    from flash_tutorial.shown import clean

    from ..checks.exercise import load_set
    from . import sandbox
    from .child import Limits
    from .due import due, read_due
    from .files import find_submissions
    from .grade import Pool, default_pool, grade, last_line
    from .marks import CHANGES, merge_changes, merge_marks, read_changes
    from .reports import isolation, summary, write_reports

    needs_answers()
    if args.seconds <= 0 or (args.workers is not None and args.workers < 1):
        raise ValueError(
            f"--seconds {args.seconds:g}, --workers {args.workers}: both must be positive"
        )
    if args.number:
        load_set(args.number)  # or an error that names the sets
    pool = Pool(args.held_out) if args.held_out else default_pool()
    limits = Limits(seconds=args.seconds)
    only = read_due(args.only, args.number)
    own = Path(args.out) / "texts.csv"
    marks = marks_of_persons(own, args.marks)
    changes_path = Path(args.out) / CHANGES
    changes = read_changes(changes_path)
    results = grade(
        args.paths,
        args.out,
        number=args.number,
        seed=args.seed,
        pool=pool,
        limits=limits,
        workers=args.workers,
        mode=args.sandbox,
    )
    results = due(results, only)
    trouble = None if args.sandbox == "none" else sandbox.trouble()
    print(isolation(results, trouble))
    marked = merge_marks(results, marks, args.marks or own)
    if marked or args.marks:
        print(f"{marked} texts were marked by a person")
    for line in merge_changes(results, changes, changes_path):
        print(line)
    write_reports(results, args.out, pool, args.seed, marks)
    if args.canvas:
        write_gradebook(results, args)
    for result in results:
        if result["exercises"]:
            print(f"{result['name']}: {result['points']:g} of {result['of']}")
    for line in summary(results, limits):
        print(line)
    if others := find_submissions(args.paths).others:
        print(f"left out, neither .ipynb nor .py: {', '.join(clean(str(path)) for path in others)}")
    print(last_line(results, pool, args.out))
    return 0


def marks_of_persons(kept, handed_in):
    """The marks that the results have from before, and over them those of ``--marks``."""
    from .marks import read_marks

    marks = {}
    if kept.is_file():
        marks |= read_marks(kept)
    if handed_in:
        marks |= read_marks(handed_in)
    return marks


def write_gradebook(results, args):
    """Canvas's gradebook with the points filled in, as canvas.csv, and what was done."""
    from flash_tutorial.files import write_text

    from .canvas import fill_gradebook

    text, (count, *left) = fill_gradebook(results, args.canvas, args.column)
    path = Path(args.out) / "canvas.csv"
    write_text(path, text)
    print(f"{path}: {count}")
    for line in left:
        print(f"  {line}")


def run_export(args):
    """``flash-tutorial export``"""
    from .due import read_due
    from .export import UNPROTECTED, export_gradescope
    from .grade import Pool, default_pool

    needs_answers()
    pool = Pool(args.held_out) if args.held_out else default_pool()
    print(UNPROTECTED)
    path = args.out or f"gradescope_{args.number}.zip"
    read_due(args.only, args.number)
    size = export_gradescope(args.number, path, pool, args.seed, args.only)
    faults = "with the held-out faults" if pool else "with the practice pool only"
    print(f"{path}: {size / 1e6:.2f} MB, {faults}, seed {args.seed}")
