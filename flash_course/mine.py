"""The reader's own file: what they built in the lectures, kept as ``my_flash.py`` and used by later lectures.

It lies beside the progress file. Only the work copies of the lectures write it, with ``keep=True``.
"""

import ast
import builtins
import inspect
import linecache
import re
import textwrap
import types

from flash_tutorial.files import advising, make_folder, write_text

from .builds import all_builds, find
from .cards import Card, show
from .checks.compare import difference
from .checks.in_rows import numbers_of, rows_beside
from .checks.outcome import in_words, outcome_of, same_outcome
from .learner import ANOTHER, my_flash_path, named

TODO = "...  # your code"  # the work copies have it in place of each answer
MARKS = ("# BUILD", "# END")
HEAD = '''"""My FLASH, function by function, as I built it in the lectures. Edit it as you like."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
'''
SECTION = re.compile(r"^# %% (\w+) \(lecture \d\d\)$", flags=re.M)
BORROWED = "# not built yet: the course's own"


# ---------------------------------------------------------------- in a lecture
def check(answer, *, keep=False):
    """Show whether a build is right, and give back what the page is to run on with.

    That is the reader's version if it is right, and the course's own if not. ``keep``: what is right goes into
    ``my_flash.py``; the work copies say so.
    """
    lecture, build = find(answer.__name__)
    card = judge(build, answer)
    if keep and card.status == "right":
        keep_it(lecture, build, answer, card)
    if card.status != "right":
        card.said.append("Meanwhile the page runs on with the course's own.")
    show(card)
    return answer if card.status == "right" else build.right


def use(*names):
    """What later lectures run: of each name the reader's version where it is there and right, else the course's own.

    One line says which. One name gives one function, several give a tuple.
    """
    found, own, course, wrong = [], [], [], []
    mine = load()
    for name in names:
        build = find(name)[1]
        version = getattr(mine, name, None) if name in built() else None
        if version is None:
            course.append(name)
        elif judge(build, version).status != "right":
            wrong.append(name)
        else:
            own.append(name)
        found.append(version if name in own else build.right)
    said = []
    if own:
        said.append(f"yours: {', '.join(own)}")
    if course:
        said.append(f"the course's own: {', '.join(course)}")
    if wrong:
        names = ", ".join(wrong)
        said.append(f"yours is wrong by now, so the course's own runs: {names}")
    print("; ".join(said))
    return found[0] if len(found) == 1 else tuple(found)


# ---------------------------------------------------------------- a verdict
def judge(build, answer):
    """The card of an answer, from the first case that it fails."""
    title = f"{find(build.called)[0]} {build.called}"
    blanks = (text_of(answer) or "").count(TODO)
    if blanks and not isinstance(answer, type):
        return Card(title, "not attempted", said=["Write your lines in place of the dots."])
    criteria, failed = [], None
    for case in build.cases:
        expected, got = outcome_of(case, build.right), outcome_of(case, answer)
        said = problem(expected, got, build.tolerance)
        criteria.append((case.label, said is None))
        if said is not None and failed is None:
            failed = (case, expected, got, said)
    if failed is None:
        return Card(title, "right", criteria=criteria, why=build.why)
    if blanks and not any(passed for _, passed in criteria):
        return Card(title, "not attempted", said=["Write your lines in place of the dots."])
    card = wrong_card(title, build, answer, criteria, *failed)
    if blanks:  # of a class, method by method
        card.said.append(f"Places with dots, still to be written: {blanks}.")
    return card


def problem(expected, got, tolerance):
    """What is wrong with an outcome, in a sentence, or None."""
    if got.error is not None:
        return in_words(got.error)
    return got.said or difference(expected.value, got.value, tolerance)


def wrong_card(title, build, answer, criteria, case, expected, got, said):
    """What an answer gave in the first case that it fails, and which mistake gives the same."""
    yours = numbers_of(got.value) if got.is_value else ""
    rows = rows_beside(named(answer, case.given) | case.how, numbers_of(expected.value), yours)
    if case.shown:
        rows[0] = (rows[0][0], case.shown)
    rows = [(label, text) for label, text in rows if text]
    likely = [text for text, wrong in build.likely if gives_the_same(build, case, wrong, got)]
    status = "wrong" if got.error is None else "raises"
    said = [f"in the case {case.label!r}: {said}"]
    return Card(title, status, criteria=criteria, rows=rows, said=said, likely=likely[:1])


def gives_the_same(build, case, wrong, got):
    def same(a, b):
        return difference(a, b, build.tolerance) is None

    return same_outcome(outcome_of(case, wrong), got, same)


# ---------------------------------------------------------------- my_flash.py
def text():
    """The reader's file, or nothing."""
    path = my_flash_path()
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def built():
    """The names that the reader's file has a section of."""
    return SECTION.findall(text())


def load(source=None):
    """The reader's file as a module; where it cannot be run, an empty one, and a line that says why."""
    source = text() if source is None else source
    module = types.ModuleType("my_flash")
    name = str(my_flash_path())
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        exec(compile(source, name, "exec"), module.__dict__)
    except Exception as error:
        print(f"{name} cannot be run, so none of it is used: {type(error).__name__}: {error}")
        return types.ModuleType("my_flash")
    return module


def keep_it(lecture, build, answer, card):
    """Put an answer's text into the file, if it is right there too, where it has nothing of the notebook around it."""
    section = text_of(answer)
    if section is None:
        card.said.append("Its text cannot be found, so it is not kept: run its cell once more.")
        return
    written = with_section(text(), build.called, lecture, section)
    alone = getattr(load(written), build.called, None)
    if alone is None or judge(build, alone).status != "right":
        outside = ", ".join(f"`{name}`" for name in outside_names(section))
        card.said.append(
            f"It is not kept: it reads {outside or 'something'} of this notebook. Make that a parameter, or "
            "define it inside."
        )
        return
    store(written)
    card.said.append("Kept in my_flash.py.")


def store(source):
    """Write the file, whole or not at all."""
    with advising(ANOTHER):
        make_folder(my_flash_path().parent)
        write_text(my_flash_path(), source)


def with_section(source, name, lecture, section):
    """The file with a new section in place of one of this name, in the order of the course."""
    head, sections = split(source or HEAD)
    sections[name] = f"# %% {name} (lecture {lecture})\n{section.strip()}\n"
    order = [*all_builds()]
    ordered = sorted(sections, key=lambda each: order.index(each) if each in order else len(order))
    parts = [head.rstrip() + "\n", *borrowed(sections), *(sections[each] for each in ordered)]
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)


def split(source):
    """What stands above the first section, without what is borrowed; and {name: section}."""
    starts = [*SECTION.finditer(source)]
    ends = [match.start() for match in starts[1:]] + [len(source)]
    head = source[: starts[0].start()] if starts else source
    head = head.partition(BORROWED)[0]
    pairs = zip(starts, ends)
    return head, {start[1]: source[start.start() : end].rstrip() + "\n" for start, end in pairs}


def borrowed(sections):
    """The imports of builds that others use and that are not there."""
    used = set()
    for section in sections.values():
        used |= names_read(section)
    missing = [name for name in all_builds() if name in used - {*sections}]
    if not missing:
        return []
    lines = [f"{name} = find({name!r})[1].right" for name in missing]
    return ["\n".join([BORROWED, "from flash_course.builds import find", "", *lines])]


def names_read(section):
    """The global names that a text reads."""
    tree = ast.parse(section)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
    return read - {node.id for node in nodes if isinstance(node.ctx, ast.Store)}


def outside_names(section):
    """The names that a text reads and that are neither its own nor the file's, a build or Python's."""
    tree = ast.parse(section)
    own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.name for node in ast.walk(tree) if hasattr(node, "name")}
    there = own | {*all_builds()} | {*vars(builtins)} | {"math", "np", "torch", "F", "nn"}
    return sorted(names_read(section) - there)


# ---------------------------------------------------------------- the text of an answer
def text_of(answer):
    """The text of a function or class, without the marks; None where it cannot be found.

    `inspect.getsource` finds no class of a notebook, so it is looked for by the file of its code.
    """
    code = code_of(answer)
    if code is None:
        return None
    source = "".join(linecache.getlines(code.co_filename))
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == answer.__name__:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            # an earlier attempt of the same name may stand above
            if not first <= code.co_firstlineno <= node.end_lineno:
                continue
            lines = source.splitlines()[first - 1 : node.end_lineno]
            kept = [line for line in lines if line.strip() not in MARKS]
            return textwrap.dedent("\n".join(kept)) + "\n"
    return None


def code_of(answer):
    """The code of a function, or of a class's first method."""
    if isinstance(answer, type):
        members = [getattr(value, "__func__", value) for value in vars(answer).values()]
        methods = [value for value in members if inspect.isfunction(value)]
        answer = methods[0] if methods else None
    return getattr(inspect.unwrap(answer), "__code__", None) if answer is not None else None
