"""Which Triton the kernels need, asked before one of them is started."""

import importlib
import importlib.util
import re
from functools import cache

# A kernel is handed strides and heads as tuples. Tried with 3.1 and 3.2, which fail at the first start of `mix`, and
# with 3.3 to 3.9, which compile all kernels; 3.3 none with a product for a card before 8.0, as a T4.
FLOOR, FLOOR_BEFORE_8 = (3, 3), (3, 4)
BROUGHT_BY = {FLOOR: "torch 2.7", FLOOR_BEFORE_8: "torch 2.8"}


def lacking():
    """What keeps this Python from starting the kernels, in words; None if nothing does."""
    return found_out()


# torch.compile follows no import, and takes the answer as it is. This is what torch.compiler.assume_constant_result
# does; to call that would load the compiler wherever the package is imported.
lacking._dynamo_marked_constant = True


@cache
def found_out():
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        version = str(importlib.import_module("triton").__version__)
    except Exception as error:  # of a damaged installation, whatever it raises
        return f"Triton cannot be imported ({error})"
    return too_old(version)


def too_old(version, capability=(8, 0)):
    """The same for a version of Triton, as "3.2.0" or "3.4.0+git1234", and a card of that capability or a later one."""
    needed = FLOOR if capability >= (8, 0) else FLOOR_BEFORE_8
    parts = re.match(r"(\d+)\.(\d+)", version)
    if parts and tuple(map(int, parts.groups())) >= needed:
        return None
    number = ".".join(map(str, needed))
    return f"Triton is {version} here, and they need {number} ({BROUGHT_BY[needed]} brings it)"
