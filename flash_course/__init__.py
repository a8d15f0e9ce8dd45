"""What teaches and grades: checks of exercises, grading, drawing, benchmarks, the template and the command.

from flash_course import check, hint, progress, personal, predict, reveal
"""

from importlib import import_module

TYPE_CHECKING = False  # as typing has it, whose import would cost more than all else here
if TYPE_CHECKING:  # the same names, for those who read types and run nothing
    from .asking import check as check
    from .asking import hint as hint
    from .asking import progress as progress
    from .checks.exercise import personal as personal
    from .learner import predict as predict
    from .learner import reveal as reveal

# Where each public name lives. It is imported at its first use: a lecture that only draws needs no checks.
_HOMES = {
    "check": "asking",
    "hint": "asking",
    "personal": "checks.exercise",
    "predict": "learner",
    "progress": "asking",
    "reveal": "learner",
}
__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # beside it, any name would be one

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__():
    return sorted({*globals(), *_HOMES})
