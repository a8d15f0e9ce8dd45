"""Flags for the fields of a configuration, and messages of the package in the words of these flags."""

import argparse
import re

from flash_tutorial.names import called, nearest
from flash_tutorial.settings import rules


def add_settings(parser, config, title, defaults=None):
    """Flags of a configuration's fields, in a group for all models and one for each set of architectures.

    What is not given is absent, so that a resumed run knows what was asked for anew; a wrong value is refused by the
    configuration itself. ``defaults`` are what the command takes in place of the configuration's own, in words.
    """
    defaults = defaults or {}
    groups = {title: parser.add_argument_group(title)}
    for name, rule in rules(config).items():
        if rule.flag is None:
            continue
        of = f"options of {', '.join(rule.of)}" if rule.of else title
        if of not in groups:
            groups[of] = parser.add_argument_group(of)
        flag = rule.flag or "--" + name.replace("_", "-")
        if rule.kind is bool:
            switch = "store_false" if rule.default else "store_true"
            how = {"action": switch}
        else:
            how = {
                "type": reader(rule),
                "metavar": "|".join([*(rule.choices or [name.upper()]), *rule.words]),
            }
        action = groups[of].add_argument(
            flag,
            dest=name,
            default=argparse.SUPPRESS,
            help=help_of(rule, defaults.get(name)),
            **how,
        )
        action.words = rule.words


def reader(rule):
    """An argument type: the field's kind, or a word that stands for a value."""

    def read(text):
        return rule.words[text] if text in rule.words else rule.kind(text)

    # argparse shows this name
    read.__name__ = " or ".join([rule.kind.__name__, *map(repr, rule.words)])
    return read


def help_of(rule, default=None):
    """What a flag does; a switch says what it switches off, and a value its default, or that of the command."""
    if rule.kind is bool:
        return f"without {rule.text}" if rule.default else rule.text
    default = rule.default if default is None else default
    return rule.text if default is None else f"{rule.text} (default: {default})"


# names that a message of the package may have for what a flag sets, beside the flag's own
OTHER_NAMES = {
    "train": {"max_length": "length"},
    "evaluate": {"n": "bytes"},
    "generate": {"max_new_tokens": "bytes"},
}


def in_flags(message, parser, command):
    """A message of the package with the command's flags for the arguments: ``--lr 0`` for ``learning_rate=0``."""
    flags = flags_of(parser, command)

    def flag(match):
        action, value = flags[match[1]], match[2]
        name = action.option_strings[-1]
        if action.nargs == 0:  # a switch
            return name if value == str(action.const) else f"no {name}"
        words = {repr(meant): word for word, meant in getattr(action, "words", {}).items()}
        if value == "None" and value not in words:
            return f"no {name}"
        return f"{name} {words.get(value) or value.strip(chr(39)) or value}"

    message = as_typed(message.replace(" (resume=True)", ""), flags)
    message = re.sub(rf"\b({'|'.join(flags)})=('[^']*'|[^\s,:;)]+)", flag, message)
    options = re.search(r"(?<=no such option, it has )[\w, ]+", message)
    if options:
        names = options[0].split(", ")
        typed = [flags[name].option_strings[-1] if name in flags else name for name in names]
        message = message.replace(options[0], ", ".join(typed))
    return message


def flags_of(parser, command):
    """{name in a message of the package: the command's flag for it}."""
    commands = next(action for action in parser._actions if action.dest == "command").choices
    flags = {action.dest: action for action in commands[command]._actions if action.option_strings}
    return flags | {name: flags[dest] for name, dest in OTHER_NAMES.get(command, {}).items()}


def about_unknown(words, parser, command):
    """The sentence about words that a command does not take, with the flag that the first of them may mean."""
    flag = next((word for word in words if word.startswith("--") and word != "--"), None)
    help_ = f"(see {parser.prog} {command} --help)"
    if flag is None:
        return f"{command} does not take {' '.join(words)} {help_}"
    foreign = flag.partition("=")[0]
    flags = flags_of(parser, command)
    name = foreign.lstrip("-").replace("-", "_")
    own = called(name, flags) or nearest(name, flags)
    meant = f", did you mean {flags[own].option_strings[-1]}?" if own else ""
    return f"{foreign}: {command} has no such option{meant} {help_}"


def as_typed(message, flags):
    """What was expected of a flag, in what can be typed: texts without quotes, and for None the flag's word if it has
    one. A class, and None where no word stands for it, are for scripts."""
    found = re.search(
        rf"\b({'|'.join(flags)})=('[^']*'|[^\s,:;)]+): expected (?P<what>.*)", message
    )
    if not found:
        return message
    words = getattr(flags[found[1]], "words", {})
    none = next(
        (f" or {word}" for word, meant in words.items() if meant is None), ", or leave it out"
    )
    what = re.sub(r",? or None\b", none, found["what"].replace(", or a class", ""))
    return message[: found.start("what")] + re.sub("'([^']*)'", r"\1", what)
