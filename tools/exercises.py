#!/usr/bin/env python3
"""Make the student's problem sets from the masters in ``solutions/``.

    python tools/exercises.py build          every set; seconds, nothing is executed
    python tools/exercises.py build 05
    python tools/exercises.py check          are they in step, and does no answer show?
    python tools/exercises.py kill           build/kill_table.md: what the checks say to every kept wrong answer
    python tools/exercises.py kill 05        the same of one set, printed
    python tools/exercises.py rubrics        what docs/rubrics.md quotes from the sets, written anew

In a master, lines between ``# BEGIN SOLUTION`` and ``# END SOLUTION`` are the answer. The student's file has in their
place the text of the lines ``# STUB ...`` among them, or ``raise NotImplementedError`` where there is none. A cell with
the tag ``solution`` is left out.
"""

import argparse
import ast
import functools
import inspect
import re
import sys
import textwrap
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import nbformat
from building.sources import METADATA, ROOT, named, read_source, tags_of

BEGIN, END, STUB = "# BEGIN SOLUTION", "# END SOLUTION", "# STUB "
LETTERS = 12  # a shorter line gives nothing away


def masters(root=ROOT, prefixes=()):
    found = sorted((Path(root) / "solutions").glob("[0-9][0-9]_*.py"))
    return [path for path in found if not prefixes or path.name.startswith(tuple(prefixes))]


def student_file(master):
    return master.parent.parent / "exercises" / named(master, "set")


def split_code(source):
    """(the student's text, the lines of the answer) of a code cell; ValueError where the marks do not pair."""
    kept, answer, block = [], [], None
    for line in source.split("\n"):
        mark = line.strip()
        if mark == BEGIN and block is None:
            block, indent, stubs = [], line[: len(line) - len(line.lstrip())], []
        elif mark == END and block is not None:
            kept += [
                indent + stub for stub in stubs or ['raise NotImplementedError("your code here")']
            ]
            answer += block
            block = None
        elif mark in (BEGIN, END):
            raise ValueError(f"{mark} without its partner")
        elif block is None:
            kept.append(line)
        elif mark.startswith(STUB):
            stubs.append(line.strip()[len(STUB) :])
        else:
            block.append(line)
    if block is not None:
        raise ValueError(f"{BEGIN} without {END}")
    return "\n".join(kept), answer


def student_notebook(master):
    """The notebook of a problem set without its answers, and without outputs."""
    notebook = read_source(master)
    notebook.metadata = nbformat.from_dict(METADATA)
    cells = []
    for cell in notebook.cells:
        if "solution" in tags_of(cell):
            continue
        if cell.cell_type == "code":
            cell.source, _ = split_code(cell.source)
        cells.append(cell)
    notebook.cells = cells
    return notebook


def answer_lines(master):
    """Lines of the answers that stand nowhere outside them: those that a student must not find."""
    cells = [cell for cell in read_source(master).cells if "solution" not in tags_of(cell)]
    open_text, answers = [], []
    for cell in cells:
        if cell.cell_type != "code":
            open_text.append(cell.source)
            continue
        kept, answer = split_code(cell.source)
        open_text.append(kept)
        answers += answer
    text = "\n".join(open_text)
    lines = {line.strip() for line in answers}
    return sorted(
        line for line in lines if len(re.sub(r"\W", "", line)) >= LETTERS and line not in text
    )


def text_of(notebook):
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def build(master):
    from flash_tutorial.files import write_text

    path = student_file(master)
    path.parent.mkdir(exist_ok=True)
    write_text(path, text_of(student_notebook(master)))


def check(root=ROOT, prefixes=()):
    """What is wrong, a line each. A course's fork has no masters, and nothing to compare with."""
    if not (Path(root) / "solutions").is_dir():
        return []
    found = check_rubrics(root)
    for master in masters(root, prefixes):
        path = student_file(master)
        if not path.is_file() or path.read_text(encoding="utf-8") != text_of(
            student_notebook(master)
        ):
            found.append(f"{path.name} is out of step with {master.name}: build again")
        if path.is_file():
            cells = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
            found += [
                f"{path.name} shows a line of the answer: {line}"
                for line in answer_lines(master)
                if line in cells
            ]
    known = {student_file(master) for master in masters(root)}
    stray = sorted((Path(root) / "exercises").glob("*.ipynb"))
    return found + [
        f"{path.name} has no master in solutions/"
        for path in stray
        if path not in known and not prefixes
    ]


# ---------------------------------------------------------------- the rubrics


# it ends at the next empty line
QUOTED = re.compile(r"(<!-- (rubric|model answer): (\d\d\.\d) -->\n)(?:.+\n)*")


def with_rubrics(page):
    """The text of docs/rubrics.md with what it quotes from the sets."""
    from flash_course.checks.exercise import load_exercise

    def quoted(match):
        mark, what, name = match.groups()
        exercise = load_exercise(name)
        if what == "rubric":
            lines = [f"{number}. {line}" for number, line in enumerate(exercise.rubric, 1)]
        else:
            lines = [f"> {exercise.model_answer}"]
        return mark + "".join(f"{' '.join(line.split())}\n" for line in lines)

    return QUOTED.sub(quoted, page)


def rubrics_page(root):
    return Path(root) / "docs" / "rubrics.md"


def build_rubrics(root=ROOT):
    from flash_tutorial.files import write_text

    path = rubrics_page(root)
    write_text(path, with_rubrics(path.read_text(encoding="utf-8")))


def check_rubrics(root=ROOT):
    path = rubrics_page(root)
    if not path.is_file() or with_rubrics(text := path.read_text(encoding="utf-8")) == text:
        return []
    return [f"{path.name} does not say what the sets say: python tools/exercises.py rubrics"]


# ---------------------------------------------------------------- the kill table


KILL_HEAD = """\
# What the checks reject

Made by `python tools/exercises.py kill`. Besides these, every code
exercise rejects its stub, a constant, and the input as it came. An answer that is wrong in one part keeps the points of
the others. Under each wrong answer stands what it is: the lines of the right answer that it changes, its text where it
is short, or its name in the set's file.
"""
MOST_LINES = 12  # of a wrong answer's text on the page; a longer one is named


def kill_table(numbers=()):
    """(the page, how many wrong answers there are, those that survive), of some sets or of all."""
    found = [kill_section(exercise) for exercise in with_wrong_answers(numbers)]
    survived = [*chain.from_iterable(names for _, names in found)]
    count = sum(len(exercise.wrong) for exercise in with_wrong_answers(numbers))
    return (
        "\n".join([kill_head(count, len(survived)), *(text for text, _ in found)]),
        count,
        survived,
    )


def with_wrong_answers(numbers=()):
    from flash_course.checks.exercise import load_set, there

    exercises = chain.from_iterable(load_set(number).values() for number in numbers or there())
    return [exercise for exercise in exercises if exercise.wrong]


def kill_head(count, survivors=0):
    return f"{KILL_HEAD}\n{count - survivors} of {count} kept wrong answers are rejected with their own sentence.\n"


def kill_section(exercise):
    """(the page's part on one exercise, names of the wrong answers that survive)."""
    from flash_course.checks.texts import say
    from flash_course.checks.verdict import RIGHT, judge

    title = f"## {exercise.id} {exercise.title} ({exercise.kind}, {exercise.points} points)\n"
    blocks, survived, known = [title], [], {}
    for wrong in exercise.wrong:
        said, answer = say(exercise.id, wrong.key), exercise.handed_in(wrong)
        verdict = judge(exercise, answer, kept=True, known=known)
        if verdict.status == RIGHT or said not in " ".join([*verdict.likely, *verdict.lines]):
            survived.append(f"{exercise.id} {wrong.key}: {verdict}")
        of = f" (`{wrong.of}`)" if wrong.of else ""
        blocks.append(
            f"**{wrong.key}**{of}, points left: {verdict.points:g}. {said}\n\n{shown(exercise, wrong)}\n"
        )
    return "\n".join(blocks), survived


def shown(exercise, wrong):
    """What a wrong answer is: its edits, its value, its text where that is short, or where it is written out."""
    if wrong.edits:
        return fenced("diff", edits_as_diff(wrong.edits))
    if exercise.kind == "predict":
        value = wrong.answer(exercise.numbers())
        if isinstance(value, dict) and not wrong.of:
            value = written(value)
        return f"Predicted: `{value}`"
    if isinstance(wrong.answer, dict):
        return "Functions: " + ", ".join(
            f"`{name}={written(answer)}`" for name, answer in wrong.answer.items()
        )
    text = source_of(wrong.answer)
    if text and text.count("\n") < MOST_LINES:
        return fenced("python", text)
    return f"Written out in set_{exercise.id[:2]}.py: `{written(wrong.answer)}`"


def fenced(language, text):
    return f"```{language}\n{text}\n```"


def edits_as_diff(edits):
    """Lines of the old texts behind -, of the new ones behind +, both from the margin."""
    lines = []
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        for mark, text in (("-", old), ("+", new)):
            margin = re.match(r"\s*", text.lstrip("\n"))[0]
            lines += [
                f"{mark} {line.removeprefix(margin)}".rstrip() for line in text.strip().split("\n")
            ]
    return "\n".join(lines)


def source_of(answer):
    """The text of a function or class; of a lambda where it is the only one of its line; else None."""
    if (
        not (inspect.isfunction(answer) or inspect.isclass(answer))
        or "<locals>" in answer.__qualname__
    ):
        return None  # what a function made has its text for all that it makes
    if answer.__name__ != "<lambda>":
        return textwrap.dedent(inspect.getsource(answer)).rstrip()
    first, tree = (
        answer.__code__.co_firstlineno,
        ast.parse(Path(inspect.getsourcefile(answer)).read_text("utf-8")),
    )
    found = [
        node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == first
    ]
    return ast.unparse(found[0]) if len(found) == 1 else None


def written(value, depth=2):
    """A value in short, the same on every machine: functions by their names, made ones with what they were made of."""
    if isinstance(value, functools.partial):
        named = [written(each, depth - 1) for each in value.args] + [
            written(value.keywords, depth - 1)
        ]
        return f"{written(value.func, depth - 1)}({', '.join(filter(None, named))})"
    if isinstance(value, dict):
        return ", ".join(f"{key}={written(each, depth - 1)}" for key, each in value.items())
    if depth and inspect.isfunction(value) and "<locals>" in value.__qualname__:
        of = inspect.getclosurevars(value).nonlocals.items()
        others = {key: each for key, each in of if not isinstance(each, dict)}
        named = [written({key: each}, depth - 1) for key, each in others.items()]
        named += [written(each, depth - 1) for _, each in of if isinstance(each, dict)]
        return f"{value.__qualname__.partition('.<locals>')[0]}({', '.join(filter(None, named))})"
    name = getattr(value, "__name__", None)
    if name == "<lambda>":
        name = source_of(value) or name
    if name:
        return name
    plain = value is None or isinstance(value, str | int | float | tuple)
    return repr(value) if plain else type(value).__name__


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "check", "kill", "rubrics"))
    parser.add_argument("names", nargs="*", metavar="NN", help="numbers of sets; all without one")
    args = parser.parse_args(arguments)
    if args.command == "kill":
        from flash_tutorial.files import write_text

        page, count, survived = kill_table(args.names)
        if args.names:
            print(page)
        else:
            out = Path(root) / "build" / "kill_table.md"
            out.parent.mkdir(exist_ok=True)
            write_text(out, page)
            print(f"{out.relative_to(root)} has the text of each")
        print(f"{count - len(survived)} of {count} wrong answers rejected with their own sentence")
        for line in survived:
            print(line)
        return 1 if survived else 0
    if args.command == "rubrics":
        build_rubrics(root)
    chosen = masters(root, args.names)
    if args.command == "build":
        for master in chosen:
            build(master)
    found = check(root, args.names)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{len(chosen)} problem sets in step")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
