"""What a setting may be: default, kind, bounds and words in one place; errors, help and flags are made of it."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")
ABSENT = ...  # what a configuration holds for an option that its architecture does not have
FROM_THE_START = object()  # of an option that every stored configuration of this format has


def check_counts(least=1, **counts):
    """Refuse what is no integer of at least 1, or ``least``."""
    for name, value in counts.items():
        Rule(1, int, least=least).check(name, value)


@dataclass(frozen=True)
class Rule:
    """A field's default and kind, the smallest number that it may be, or a list of all that it may be.

    ``words`` are what the command calls values that cannot be typed, or have a name: ``{"none": None}``. ``flag`` is
    None where the command has none for it. ``of`` names the architectures that have the option; without, all do.
    ``before`` is given with an option that is added later: the value in force before it existed. A stored configuration
    without the option means that value, and one with that value is stored without it, so that older files stay usable.
    """

    default: object
    kind: type
    text: str = ""
    least: float = 1
    above: float | None = None
    choices: tuple = ()
    words: dict = field(default_factory=dict)
    flag: str | None = None
    of: tuple = ()
    before: object = FROM_THE_START

    def check(self, name, value):
        """Refuse a value in one line that says what is expected."""
        if not self.allows(value):
            own = ""
            if (
                self.kind in (int, float)
                and getattr(value, "shape", None) == ()
                and self.allows(value.item())
            ):
                own = f", of Python: {self.kind.__name__}({name})"
            raise ValueError(f"{name}={value!r}: expected {self.expected()}{own}")

    def allows(self, value):
        """Whether it may be the field's value."""
        if value in self.words.values() or (value is None and self.default is None):
            return True
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if self.kind in (int, float):
            return self.allows_number(value)
        return isinstance(value, self.kind)

    def allows_number(self, value):
        """Whether it is a number of the kind asked for, finite and within the bound."""
        kinds = int if self.kind is int else int | float
        if not isinstance(value, kinds) or not value < math.inf:
            return False
        if self.above is not None:
            return value > self.above
        return value >= self.least

    def expected(self):
        """What it may be, in words."""
        bound = f" of at least {self.least}" if self.above is None else f" above {self.above}"
        kinds = {
            bool: "True or False",
            int: "an integer" + bound,
            float: "a number" + bound,
            str: "a text",
        }
        these = list(map(repr, self.choices)) or [kinds.get(self.kind, f"a {self.kind.__name__}")]
        these += map(repr, self.words.values())
        if self.default is None and "None" not in these:
            these.append("None")
        if len(these) == 1:
            return these[0]
        return f"{', '.join(these[:-1])} or {these[-1]}"


def setting(default: Any, text: str, *, kind: type | None = None, **rule: Any) -> Any:
    """A field of a configuration; an option of some architectures only is absent until they ask for its default."""
    kind = kind or type(default)
    least = {"least": 0} if kind is float else {}
    made = Rule(default, kind, text, **{"flag": "", **least, **rule})
    at_first = ABSENT if made.of else default
    return field(default=at_first, metadata={"rule": made})


def rules(config):
    """The fields of a configuration, or of its class: name -> Rule."""
    return {f.name: f.metadata["rule"] for f in fields(config)}


def before_they_existed(config):
    """What a missing key of a stored configuration means: option -> the value in force before it existed."""
    return {
        name: rule.before
        for name, rule in rules(config).items()
        if rule.before is not FROM_THE_START
    }


def stored(config, values):
    """``values`` as they are stored: without the options that have the value in force before they existed."""
    before = before_they_existed(config)
    return {
        name: value for name, value in values.items() if name not in before or value != before[name]
    }


def explained(cls: type[T]) -> type[T]:
    """Add the fields to the docstring, for those who ask ``help`` and not this file."""
    lines = [cls.__doc__ or ""]
    for name, rule in rules(cls).items():
        of = f" ({', '.join(rule.of)})" if rule.of else ""
        # the text is the command's too, which has words for what cannot be typed
        words = [f"; {word} is {value!r}" for word, value in rule.words.items() if value != word]
        lines.append(f"    {name} = {rule.default!r}: {rule.text}{of}{''.join(words)}")
    cls.__doc__ = "\n".join([*lines, ""])
    return cls


def check_format(values, expected, where):
    """Refuse a stored configuration of another format than the ``expected`` one."""
    found = values.get("format", 1)
    if found != expected:
        advice = "another version of this package wrote it, so train the model again, or use that version"
        raise ValueError(f"{where} has format {found}, expected {expected}: {advice}")
