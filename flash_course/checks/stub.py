"""What counts as not attempted: the stub as it was given, a missing name, a table or a text that is empty."""

import dis
import inspect

SAYS = "your code here"  # as every stub of a problem set raises it


def is_blank(exercise, answer):
    """Whether nothing was written under any of an exercise's names."""
    if len(exercise.names) == 1:
        return is_blank_object(answer, exercise.given)
    given = exercise.given or {}
    return all(is_blank_object(answer.get(name), given.get(name)) for name in exercise.names)


def is_blank_object(one, given=None):
    if isinstance(one, dict):
        return all(value is None for value in one.values())
    if isinstance(one, str):
        return not one.strip()
    return (
        one is None or one is ... or is_stub(one) or (given is not None and same_code(one, given))
    )


def is_stub(one):
    """A function that never returns and raises the stub's own words, or has no body; a class of such methods."""
    if isinstance(one, type):
        methods = [method for method in vars(one).values() if inspect.isfunction(method)]
        return bool(methods) and all(map(is_stub, methods))
    code = getattr(one, "__code__", None)
    if code is None:
        return False
    if SAYS in code.co_consts:
        return not any(step.opname.startswith("RETURN_") for step in dis.get_instructions(code))
    return code.co_name != "<lambda>" and instructions(code) == instructions(no_body.__code__)


def no_body(): ...


def same_code(a, b):
    """Whether two functions or classes were compiled from the same text, wherever it stood."""
    if isinstance(a, type) and isinstance(b, type):
        a, b = ({n: f for n, f in vars(each).items() if hasattr(f, "__code__")} for each in (a, b))
        return a.keys() == b.keys() and all(same_code(f, b[n]) for n, f in a.items())
    a = getattr(a, "__code__", a)
    b = getattr(b, "__code__", b)
    if not (hasattr(a, "co_code") and hasattr(b, "co_code")):
        return type(a) is type(b) and a == b
    return instructions(a) == instructions(b) and all(map(same_code, inner(a), inner(b)))


def instructions(code):
    """What a function does, step by step. How an attribute is called depends on where the text was compiled."""
    steps = []
    for step in dis.get_instructions(code):
        name = step.opname.replace("LOAD_METHOD", "LOAD_ATTR")
        if name not in ("PRECALL", "PUSH_NULL", "CACHE", "RESUME", "NOP"):
            plain = hasattr(step.argval, "co_code") or step.opcode in (*dis.hasjrel, *dis.hasjabs)
            said = "" if plain else step.argrepr.replace("NULL + ", "").partition(" + NULL")[0]
            steps.append((name, said))
    return steps


def inner(code):
    return [constant for constant in code.co_consts if hasattr(constant, "co_code")]
