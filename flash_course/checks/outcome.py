"""One case asked of one answer: a value, an error in plain words, or a sentence that rejects."""

import os
import sysconfig
import traceback
from dataclasses import dataclass

from .closed_book import CHECKS, PACKAGE, PackageShut, package_shut
from .exercise import Said, Unable
from .surroundings import same_surroundings
from .texts import say

NOT_OWN = (
    *map(os.path.dirname, (CHECKS, os.__file__)),
    str(PACKAGE),
    sysconfig.get_path("purelib"),
    "site-packages",
    "dist-packages",
)


@dataclass
class Outcome:
    """What one case gave: a value, or an error, or a sentence that rejects."""

    value: object = None
    error: BaseException | None = None
    said: str | None = None
    unable: bool = False  # this machine cannot run it
    fickle: bool = False  # a test that says another thing of a version when it is asked again
    why: str = ""  # what was said, in no language

    @property
    def is_value(self):
        return self.error is None and self.said is None and not self.unable


def outcome_of(case, answer, shut=None, answers=()):
    """``shut``: whether the package is; None for the course's own answers, which may call what they like."""
    try:
        with same_surroundings():
            if shut is None:
                return Outcome(value=case.run(answer))
            with package_shut(shut, answers):
                return Outcome(value=case.run(answer))
    except Unable as error:
        return Outcome(said=say(error.exercise, error.key, **error.fields), unable=True)
    except Said as said:
        why = f"{said.exercise} {said.key} {said.fields}"
        return Outcome(said=say(said.exercise, said.key, **said.fields), why=why)
    except PackageShut as error:
        return Outcome(said=say("all", "shut", function=error.function))
    except EOFError:
        return Outcome(said=say("all", "asks"))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an `exit()` too
        return Outcome(error=error)


def in_words(error):
    """An exception in one line, and the student's own line that raised it."""
    text = say(
        "all",
        "error",
        kind=type(error).__name__,
        said=str(error).partition("\n")[0][:300] or "no message",
    )
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.line and not any(folder in f.filename for folder in NOT_OWN)]
    if own:
        text += f" ({say('all', 'at line', line=own[-1].line.strip())})"
    return text


def same_outcome(a, b, same_value):
    """Whether two answers came to the same: one sentence, one error, or values that ``same_value`` finds the same."""
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error) and str(a.error) == str(b.error)
    if a.said is not None or b.said is not None:
        return a.said == b.said
    return a.is_value and b.is_value and same_value(a.value, b.value)
