"""What a statement is, which global names it reads, and which it gives a value or changes.

Reads and writes are what Python's compiler makes of the statement. What changes in place (``a["b"] = ...``,
``a.append(...)``, ``fill(a)``, a call of a function that does so) is seen in its tree.
"""

import ast
import dis
import inspect
from itertools import chain

PLAIN_CALLS = {
    "dict",
    "list",
    "tuple",
    "set",
    "frozenset",
    "float",
    "int",
    "str",
    "bool",
    "complex",
    "range",
    "round",
    "len",
    "min",
    "max",
    "sum",
    "abs",
    "personal",
    "sorted",
    "zip",
    "enumerate",
    "map",
    "filter",
    "reversed",
    "divmod",
    "pow",
}
PLAIN_MODULES = {"math", "np", "numpy", "torch"}
# a call such as np.seterr(...) alone
SETTINGS = PLAIN_MODULES | {
    "random",
    "warnings",
    "sys",
    "locale",
    "logging",
}
SHOWS = {
    "print",
    "display",
    "exit",
    "quit",
    "plt",
    "flash_course",
    "check",
    "hint",
    "progress",
    "predict",
    "reveal",
}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
IMPORT = ast.Import | ast.ImportFrom
# what it calls may change what it is given
COMPUTES = ast.Expr | ast.Assign | ast.AnnAssign | ast.AugAssign
IN_PLACE = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}  # code that runs where it stands
ROUNDS = 3  # a function that calls one that calls one


# ---------------------------------------------------------------- what it is


def is_definition(tree):
    """An import, a function, a class, a value without a call of the student's own functions, a setting of a library."""
    if isinstance(tree, IMPORT | FUNCTION | ast.ClassDef):
        return True
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if isinstance(tree, ast.Expr):
        setting = isinstance(tree.value, ast.Call) and is_of(tree.value.func, SETTINGS)
        return setting and tree.value.func.attr != "exit" and all(map(is_plain, calls[1:]))
    return isinstance(tree, ast.Assign | ast.AnnAssign | ast.AugAssign) and all(
        map(is_plain, calls)
    )


def is_plain(function):
    if isinstance(function, ast.Name):
        return function.id in PLAIN_CALLS
    # "a b".split()
    return is_of(function, PLAIN_MODULES) or isinstance(
        getattr(function, "value", None), ast.Constant
    )


def is_of(function, modules):
    return isinstance(function, ast.Attribute) and base(function) in modules


def base(node):
    """The name that an expression such as ``a.b["c"].d()`` begins with, or None."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def only_shows(tree):
    """Whether nothing comes of a statement but what a person sees; also what a notebook's first cell installs."""
    if isinstance(tree, ast.Expr):
        acts = any(
            isinstance(node, ast.Call | ast.Await | ast.NamedExpr) for node in ast.walk(tree.value)
        )
        return not acts or base(tree.value) in SHOWS
    installs = isinstance(tree, ast.If) and "google.colab" in ast.unparse(tree.test)
    return installs or isinstance(tree, ast.Assert | ast.Pass)


# ---------------------------------------------------------------- what the compiler makes of it


def codes_in(code):
    """A code object, and all within it."""
    yield code
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from codes_in(constant)


def names_with(code, *verbs):
    """The names of which one code object does something that goes beyond its own: ``LOAD``, ``STORE``, ``DELETE``."""
    steps = [step for step in dis.get_instructions(code) if step.opname.startswith(verbs)]
    return {step.argval for step in steps if step.opname.endswith(("_NAME", "_GLOBAL", "_GLOBALS"))}


def globals_read(code):
    """The global names that a statement reads, now or when a function in it is called."""
    found = set()
    for inside in codes_in(code):
        of_class = inside is not code and not inside.co_flags & inspect.CO_OPTIMIZED
        read = names_with(inside, "LOAD")
        if of_class:
            read = read - names_with(inside, "STORE")
        found |= read
    return found


def globals_given(code):
    """The global names that a statement gives a value, or removes."""
    here = [inside for inside in codes_in(code) if inside is code or inside.co_name in IN_PLACE]
    return set().union(*(names_with(inside, "STORE", "DELETE") for inside in here))


# ---------------------------------------------------------------- what changes in place


def by_name(codes, names_of):
    """{function: what is found in the code of all functions of that name}"""
    found = {}
    for code in codes:
        found[code.co_name] = found.get(code.co_name, set()) | names_of(code)
    return found


class Effects:
    """Which global names each of some statements gives a value, or may change."""

    def __init__(self, trees, codes):
        nodes = [*chain.from_iterable(map(ast.walk, trees))]
        functions = [node for node in nodes if isinstance(node, FUNCTION)]
        imports = [node.names for node in nodes if isinstance(node, IMPORT)]
        self.fixed = {
            node.name for node in nodes if isinstance(node, FUNCTION | ast.ClassDef)
        } | SHOWS
        for alias in chain.from_iterable(imports):
            self.fixed.add((alias.asname or alias.name).partition(".")[0])
        inside = [*chain.from_iterable(map(codes_in, codes))]
        declared = by_name(inside, lambda code: names_with(code, "STORE_GLOBAL"))
        known = by_name(inside, globals_read)
        self.effects = {}  # {function: global names that a call of it changes}
        for _ in range(ROUNDS):
            self.effects = {
                node.name: declared[node.name] | self.changed(node) & known[node.name]
                for node in functions
            }

    def of(self, tree, code):
        """The names that a statement at the top changes."""
        given = globals_given(code)
        if isinstance(tree, FUNCTION | ast.ClassDef):
            return given.union(*(self.effects.get(base(one), ()) for one in tree.decorator_list))
        return given | self.changed(tree)

    def changed(self, tree):
        """The names whose value changes in place."""
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(
                node.ctx, ast.Load
            ):
                found.add(base(node))
            if isinstance(node, ast.Call):
                found |= self.effects.get(base(node.func), set())
            if isinstance(node, COMPUTES) and node.value and base(node.value) not in SHOWS:
                found |= self.touched(node.value)
        return found - {None}

    def touched(self, expression):
        """The names whose values the calls of an expression get, or are methods of."""
        found = set()
        for call in ast.walk(expression):
            if isinstance(call, ast.Call):
                given = [*call.args, *(keyword.value for keyword in call.keywords), call.func]
                found |= {base(one) for one in given if not isinstance(one, ast.Call)}
        return found - self.fixed
