"""A digest of the code that decides an arm's numbers: by it a result is known to belong to other
code.
"""

import ast
import functools
import hashlib
import inspect
import io
import json
import sys
import textwrap
import tokenize
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

LAMBDA = (lambda: None).__name__
LIBRARY = Path(__file__).resolve().parent.parent
# What cannot change a number that is trained and measured on a CPU: files, words, the twins in NumPy, kernels.
NOT_COUNTED = (
    "experiments",
    "hf",
    "gpu",
    "check.py",
    "clock.py",
    "errors.py",
    "files.py",
    "names.py",
    "probing.py",
    "reference.py",
    "corpora/online.py",
    "training/checkpoints.py",
    "training/keeper.py",
    "training/lock.py",
    "training/progress.py",
    "training/run_folder.py",
    "training/stopping.py",
)


def digest(experiment, arm, measured=True):
    """Eight letters for the library and for the declaration's own code: the arm's model, its text
    and the measures; without these, for what a checkpoint depends on.
    """
    if experiment.anew:
        found = made_of(experiment, arm)
    else:
        found = {"library": library()}
    architecture = getattr(arm.model, "architecture", None)
    measures = ()
    if measured:
        measures = (experiment.measure, experiment.at_start, *choosing(experiment, arm))
    for thing in (
        arm.model,
        architecture,
        arm.corpus,
        experiment.make,
        experiment.train,
        *measures,
    ):
        follow(thing, found)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:8]


def choosing(experiment, arm):
    """What decides an arm's rate: the measure and the score of its search, where these are functions."""
    search = experiment.search_of(arm)
    return () if search is None else (search.measure, search.score)


def made_of(experiment, arm):
    """Of a project's arm the settings and the text."""
    steps = max(arm.steps or experiment.steps or (1000,))  # a run of seconds may have any number
    train = experiment.settings_of(arm, 1.0, 0, steps).to_dict()
    corpus = experiment.corpus_of(arm)
    texts = [corpus.train.sha256, corpus.validation.sha256]
    return {"made of": json.dumps([arm.model.to_dict(), train, texts], sort_keys=True)}


@cache
def library():
    """A digest of the library's code."""
    hashed = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if not name.startswith(NOT_COUNTED):
            hashed.update(name.encode() + bare(path.read_text(encoding="utf-8")).encode())
    return hashed.hexdigest()


def follow(thing, found):
    """Add the source of a function or a class of the user's, and of all that it names, to
    ``found``.
    """
    if isinstance(thing, functools.partial):
        for part in (thing.func, thing.args, thing.keywords):
            follow(part, found)
    elif isinstance(thing, dict):
        follow(list(thing.values()), found)
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            follow(part, found)
    elif isinstance(thing, ModuleType) and is_own(thing):
        follow_module(thing, found)
    elif isinstance(thing, (FunctionType, type)) and is_own(sys.modules.get(thing.__module__)):
        follow_names(inspect.unwrap(thing), found)


def follow_module(module, found):
    """A module that is named as a whole, and those that it imports."""
    if module.__name__ not in found:
        found[module.__name__] = bare(Path(module.__file__).read_text(encoding="utf-8"))
        for value in list(vars(module).values()):
            follow(value, found)


def follow_names(thing, found):
    source = source_of(thing)
    name = source if thing.__name__ == LAMBDA else thing.__qualname__
    if name in found:
        return
    found[name] = bare(source)
    around = vars(sys.modules[thing.__module__])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in around:
            value = around[node.id]
            if isinstance(value, (int, float, str, bytes, tuple, list, dict, set, frozenset)):
                found[node.id] = plain(value)
            follow(value, found)


def source_of(thing):
    """Its own lines; of a lambda, which has none, all lambdas that begin in its line."""
    if thing.__name__ != LAMBDA:
        return textwrap.dedent(inspect.getsource(thing))
    lines, _ = inspect.findsource(thing)
    nodes = ast.walk(ast.parse("".join(lines)))
    lambdas = [node for node in nodes if isinstance(node, ast.Lambda)]
    return "\n".join(
        ast.unparse(node) for node in lambdas if node.lineno == thing.__code__.co_firstlineno
    )


def plain(value):
    """A constant as text, the same in each process: sets have an order of their own in each,
    functions an address.
    """
    if isinstance(value, (set, frozenset)):
        return plain(sorted(value, key=repr))
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(plain, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{plain(item)}" for key, item in value.items()) + "}"
    return getattr(value, "__qualname__", None) or repr(value).split(" at 0x")[0]


def is_own(module):
    """Whether a module is neither the library nor installed beside it."""
    path = getattr(module, "__file__", None)
    if path is None:
        return False
    path = Path(path).resolve()
    return (
        LIBRARY not in path.parents
        and "site-packages" not in path.parts
        and not in_standard_library(path)
    )


def in_standard_library(path):
    return Path(inspect.__file__).resolve().parent in path.parents


def bare(source):
    """A source without comments, docstrings, spaces and trailing commas, so that a formatter does
    not change it.
    """
    kept, before = [], tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        is_statement = before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        before = token.type
        if token.type == tokenize.STRING and is_statement:
            continue
        if token.string in tuple(")]}") and kept and kept[-1] == ",":
            kept.pop()
        kept.append("".join(token.string.split()) or tokenize.tok_name[token.type])
    return "".join(kept)
