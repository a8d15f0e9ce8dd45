"""Problem sets without their answers, for ``course_fork --without-answers``.

Of a set's module stays what its cases need; a case that names a right answer is refused. Of its table stays what a
student reads. What the answers give is stored beside them: ``flash_course/checks/expected.py`` tells how.
"""

import ast
import dis
import json
import re
import tomllib
from pathlib import Path

from flash_course.checks import expected
from flash_course.checks.exercise import load_set, there
from flash_course.checks.outcome import outcome_of

CHECKS = Path("flash_course/checks")
CURVES = Path("flash_course/bench/results/curves.json")
SHOWN_OF_A_CURVE = ("losses", "validation", "by_place", "writes")  # the others tell its cause
ANSWERS_OF_TABLES = ("model_answer", "rubric")
# What pages of the course say of answers, and what is true in a copy that has none.
TEXTS = {
    "exercises/*.ipynb": [
        (r" At home[^\"]*?, you get a model answer and three questions to ask of yours\.", ""),
        (
            r" At home you get a model answer and three questions to ask of yours, once you have written 30 words\.",
            "",
        ),
        (
            r"The causes stand in the stored file, but look at the curves first: in your own runs there will be no such"
            r" file\.",
            "Look at the curves first.",
        ),
    ],
}


def strip(out, numbers=None):
    """Take the answers out of a copy that lies at ``out``; ``numbers`` are those of the sets, by default all."""
    out = Path(out)
    (out / CHECKS / "expected").mkdir()
    for number in numbers or there():
        exercises = load_set(number)
        expected.write_set(
            out / CHECKS / "expected" / f"set_{number}.npz", what_is_expected(exercises)
        )
        module = out / CHECKS / "sets" / f"set_{number}.py"
        write(module, without_answers(number, module.read_text(encoding="utf-8"), exercises))
        table = module.with_suffix(".toml")
        write(table, as_toml(without_edits(tomllib.loads(table.read_text(encoding="utf-8")))))
    hide_causes(out / CURVES)
    for pattern, pairs in TEXTS.items():
        replace_texts(sorted(out.glob(pattern)), pairs)


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="\n")


# ---------------------------------------------------------------- what answers give
def what_is_expected(exercises):
    """{exercise: row}, as ``expected.write_set`` takes it."""
    rows = {}
    expected.heard = {}
    try:
        for name, exercise in exercises.items():
            exercise.numbers()  # what a draw asks of a right answer is heard
            if exercise.example:
                list(exercise.example())  # and what an example asks
            by_instructor = exercise.kind in expected.BY_INSTRUCTOR
            rows[name] = {"right": [], "wrong": []} if by_instructor else outcomes_of(exercise)
            rows[name]["by right"] = expected.heard.get(name, {})
    finally:
        expected.heard = None
    return rows


def outcomes_of(exercise):
    cases = exercise.list_cases(None, expected.SEED)
    right, wrong = [], []
    for case in cases:
        outcome = outcome_of(case, exercise.assemble(exercise.right, None))
        if not outcome.is_value:
            raise ValueError(
                f"{exercise.id}: the right answer gives no value in the case {case.name!r}: {outcome}"
            )
        right.append(outcome.value)
    for kept in exercise.wrong:
        answer = exercise.assemble(kept.answer, None, kept.of)
        wrong.append((kept.key, [expected.mark_of(outcome_of(case, answer)) for case in cases]))
    return {"right": right, "wrong": wrong}


# ---------------------------------------------------------------- the module of a set
def without_answers(number, source, exercises):
    """The text of a set's module with what its cases need, and nothing else."""
    statements = ast.parse(source).body
    holders = {}
    for statement in statements:
        for name in bound_by(statement):
            holders.setdefault(name, []).append(statement)
    answers = answers_in(holders, exercises)
    kept, names = [], set()
    open_names = [(root, root) for root in roots_of(exercises) if root in holders]
    while open_names:
        name, root = open_names.pop()
        if name in answers:
            raise ValueError(
                f"set_{number}.py: {root} needs the right answer {name}: ask for its value by `by_right`"
            )
        if name in names or name not in holders:
            continue
        names.add(name)
        for statement in holders[name]:
            kept.append(statement)
            if not is_import(statement):
                open_names += [(each, root) for each in names_read(statement)]
    lines = source.splitlines()
    texts = [text_of(statement, lines, names) for statement in statements if statement in kept]
    head = f'"""Problem set {number}: the cases. Its answers are not in this copy of the course."""\n\n'
    return head + "".join(texts)


def roots_of(exercises):
    """The names that a copy asks a set's module for."""
    for name, exercise in exercises.items():
        number = name.partition(".")[2]
        yield from (f"draw_{number}", f"given_{number}")
        if exercise.kind not in expected.BY_INSTRUCTOR:
            yield from (f"cases_{number}", f"example_{number}")


def answers_in(holders, exercises):
    """The names of right and wrong answers."""
    found = {name for name in holders if re.fullmatch(r"(right|wrong)_\d+", name)}
    for exercise in exercises.values():
        found |= {getattr(answer, "__name__", None) for answer in exercise.answers} & holders.keys()
    return found


def is_import(statement):
    return isinstance(statement, ast.Import | ast.ImportFrom)


def bound_by(statement):
    """The names that a statement of a module gives."""
    if is_import(statement):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)}


def names_read(statement):
    """The names of the module that a statement reads, also in the functions that it defines."""
    open_codes, found = [compile(ast.Module([statement], []), "set", "exec")], set()
    while open_codes:
        code = open_codes.pop()
        open_codes += [constant for constant in code.co_consts if hasattr(constant, "co_code")]
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                found.add(step.argval)
    return found


def text_of(statement, lines, names):
    """The text of a statement; of an import the names that are needed."""
    if is_import(statement):
        statement.names = [
            a for a in statement.names if (a.asname or a.name).partition(".")[0] in names
        ]
        return ast.unparse(statement) + "\n"
    decorators = getattr(statement, "decorator_list", [])
    first = min(node.lineno for node in (statement, *decorators))
    gap = "\n\n" if isinstance(statement, ast.FunctionDef | ast.ClassDef) else "\n"
    return gap + "\n".join(lines[first - 1 : statement.end_lineno]) + "\n"


# ---------------------------------------------------------------- the table of a set
def without_edits(tables):
    """Of wrong answers the sentences; nothing of what an instructor alone grades, and no model answers."""
    kept = {}
    for name, table in tables.items():
        left_out = {*ANSWERS_OF_TABLES}
        if table["facts"]["kind"] in expected.BY_INSTRUCTOR:
            left_out |= {"wrong", "says"}
        kept[name] = {key: value for key, value in table.items() if key not in left_out}
        if "wrong" in kept[name]:
            rows = kept[name]["wrong"].items()
            kept[name]["wrong"] = {
                key: row if isinstance(row, str) else row[0] for key, row in rows
            }
    return kept


def as_toml(tables):
    """{exercise: table} as text, which reads as the same again."""
    blocks = [
        "# What students read of this problem set. Its answers are not in this copy of the course.\n"
    ]
    for name, table in tables.items():
        inner = [key for key in ("wrong", "says", "words") if key in table]
        rows = [
            f"{quoted(key)} = {in_toml(value)}\n"
            for key, value in table.items()
            if key not in inner
        ]
        blocks.append(f"[{quoted(name)}]\n" + "".join(rows))
        for key in inner:
            rows = [f"{quoted(each)} = {in_toml(value)}\n" for each, value in table[key].items()]
            blocks.append(f"[{quoted(name)}.{key}]\n" + "".join(rows))
    text = "\n".join(blocks)
    if tomllib.loads(text) != tables:
        raise ValueError("a table of a set does not read as it was written: look at `in_toml`")
    return text


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def in_toml(value):
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{quoted(key)} = {in_toml(each)}" for key, each in value.items())
            + " }"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(in_toml, value)) + "]"
    return quoted(value)


# ---------------------------------------------------------------- other files
def hide_causes(path):
    """Of the stored curves that exercise 07.5 asks about, what it shows of them."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    for number, run in enumerate(stored["runs"]):
        run["arm"] = f"run {number}"
        run["measures"] = {key: run["measures"][key] for key in SHOWN_OF_A_CURVE}
    stored["arms"] = {run["arm"]: {} for run in stored["runs"]}
    write(path, json.dumps(stored) + "\n")


def replace_texts(paths, pairs):
    """Replace patterns; ValueError for one that stands in none of the files."""
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    for pattern, new in pairs:
        if not any(re.search(pattern, text) for text in texts.values()):
            raise ValueError(
                f"no file says {pattern!r} any more: change TEXTS in tools/without_answers.py"
            )
        texts = {path: re.sub(pattern, new, text) for path, text in texts.items()}
    for path, text in texts.items():
        write(path, text)
