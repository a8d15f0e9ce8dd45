"""What a learner keeps from lecture to lecture: guesses, a scoreboard, verdicts. One small JSON file.

The file is ``$FLASH_TUTORIAL_PROGRESS``, or ``progress.json`` in ``~/.flash-tutorial``. ``export_progress`` and
``restore_progress`` carry it over where the home folder does not last, as on Colab.
"""

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flash_tutorial.files import advising, make_folder, reading, write_text

from .cards import BLUE, Bar, Card, show
from .checks.compare import as_array
from .checks.in_rows import numbers_of, rows_beside
from .checks.texts import say
from .wrong_call import WrongCall

FORMAT = 1
FEW = 3  # guesses; less say nothing of who guesses
ANOTHER = "name another file in the variable FLASH_TUTORIAL_PROGRESS"


def progress_path() -> Path:
    """Where the file lies."""
    try:
        return Path(
            os.environ.get("FLASH_TUTORIAL_PROGRESS")
            or Path.home() / ".flash-tutorial" / "progress.json"
        )
    except RuntimeError:  # as in a container, of a user that the system does not know
        raise ValueError(f"there is no home folder for the progress file: {ANOTHER}") from None


def my_flash_path() -> Path:
    """Where the reader's own file lies, beside it."""
    return progress_path().with_name("my_flash.py")


def load_progress() -> dict:
    """What is stored; empty tables where nothing is. A damaged file is a ValueError and stays as it is."""
    empty = {"format": FORMAT, "guesses": {}, "scoreboard": {}, "verdicts": {}}
    path = progress_path()
    raw = b""
    with reading(path):
        if path.exists():
            raw = path.read_bytes()
    if not raw:
        return empty
    return _read(raw, path)


def _read(text, where):
    try:
        stored = json.loads(text)
        tables = [
            *(stored[k] for k in ("guesses", "scoreboard", "verdicts")),
            *(stored.get(key, {}) for key in ("exercises", "measured")),
        ]
        if stored["format"] != FORMAT or not all(isinstance(table, dict) for table in tables):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WrongCall(
            f"{where} is not a progress file of this course: move it away to start anew"
        ) from None
    return stored


def store_progress(progress):
    """Write the file; a ValueError says in one line why it cannot be."""
    path = progress_path()
    with advising(ANOTHER):
        make_folder(path.parent)
        write_text(path, json.dumps(progress, indent=1) + "\n")


@contextmanager
def or_a_line(said):
    """Print the ValueError of a block behind what it means: the rest of a cell is worth more than the file."""
    try:
        yield
    except ValueError as error:
        print(f"{said}: {error}")


def predict(name: str, guess: Any = None) -> None:
    """Store a guess before a surprising result. Without one nothing is stored or said.

    >>> from flash_course import predict
    >>> predict("05.a", 8)
    05.a: your guess is stored.
    """
    if guess is None or guess is ...:
        return
    try:
        value = float(guess)
    except (TypeError, ValueError):
        print(
            f"{name}: {guess!r} is no number, so nothing is stored. A guess is a number, such as 8 or 0.5."
        )
        return
    progress = load_progress()
    progress["guesses"][name] = value
    with or_a_line(f"{name}: your guess is not stored"):
        store_progress(progress)
        print(f"{name}: your guess is stored.")


def reveal(name: str, value: float, unit: str = "") -> None:
    """What came out, and beside it the guess if there is one.

    >>> from flash_course import predict, reveal
    >>> predict("05.a", 8)
    05.a: your guess is stored.
    >>> reveal("05.a", 7.25, "ms")
    05.a: you guessed 8; it is 7.25 ms.
    """
    guess = None
    with or_a_line(f"{name}: your guess cannot be read"):
        guess = load_progress()["guesses"].get(name)
    number = f"{value:.4g} {unit}" if unit else f"{value:.4g}"
    if guess is None:
        show(Card(name, headline=say("all", "revealed", value=number)))
        return
    card = Card(name, headline=say("all", "guessed", guess=f"{guess:g}", value=number))
    card.text = f"{name}: {card.headline}"
    longest = max(guess, value)
    if min(guess, value) >= 0 and longest > 0:
        behind = f" {unit}" if unit else ""
        card.bars = [
            Bar(say("all", "guess bar"), guess / longest, f"{guess:g}{behind}"),
            Bar(say("all", "value bar"), value / longest, number, colour=BLUE),
        ]
    show(card)
    keep_measured(name, value)


def keep_measured(name, value):
    """Store what came out, for the line on all guesses."""
    with or_a_line(f"{name}: what came out is not stored"):
        progress = load_progress()
        progress.setdefault("measured", {})[name] = float(value)
        store_progress(progress)


def calibration() -> str:
    """One line on all guesses whose result was shown: how far off, and to which side. Empty for fewer than three."""
    stored = load_progress()
    pairs = [
        (guess, stored.get("measured", {}).get(name)) for name, guess in stored["guesses"].items()
    ]
    ratios = [
        guess / value for guess, value in pairs if guess > 0 and value is not None and value > 0
    ]
    if len(ratios) < FEW:
        return ""
    off = float(np.median([max(ratio, 1 / ratio) for ratio in ratios]))
    high = sum(ratio > 1 for ratio in ratios)
    low = sum(ratio < 1 for ratio in ratios)
    return say("all", "calibration", count=len(ratios), off=f"{off:.2g}", high=high, low=low)


def your_line(name, function, *cases):
    """Try a line that the reader wrote: ``your_line("05.b", first_token, ((5, 4), 4), ((7, 4), 4))``.

    Each case is ``(arguments, what is expected)``, a number or an array. Shows that nothing is written yet (the
    function returns ``...``), how far off the answer is and where, or that it is right.
    """
    worst = 0.0
    for arguments, expected in cases:
        off, card = tried(name, function, arguments, expected)
        if card is not None:
            show(card)
            return
        worst = max(worst, off)
    said = say("all", "your line right", count=len(cases))
    if len(cases) == 1:
        said = say("all", "your line right once")
    if worst:
        said += say("all", "your line off", off=f"{worst:.1g}")
    show(Card(name, "right", headline=f"{said}."))


def tried(name, function, arguments, expected):
    """(how far off the answer is in a case, None); or (None, a card that says what is wrong)."""
    try:
        got = function(*arguments)
    except Exception as error:
        if isinstance(error, TypeError) and "ellipsis" in str(error):
            return None, unwritten(name)
        return None, Card(name, "raises", headline=f"{type(error).__name__}: {error}")
    if got is ... or got is None:
        return None, unwritten(name)
    said, off = compared(got, expected)
    if said is None:
        return off, None
    card = Card(name, "wrong", headline=say("all", said[0], **said[1]))
    card.rows = rows_beside(named(function, arguments), numbers_of(expected), numbers_of(got))
    return None, card


def unwritten(name):
    return Card(name, "not attempted", headline=say("all", "your line unwritten"))


def compared(got, expected):
    """((the key of what is wrong, its fields), None); or (None, how far off the answer is)."""
    kind = type(got).__name__
    try:
        got, expected = as_array(got).astype(float), as_array(expected).astype(float)
    except (TypeError, ValueError):
        return ("your line kind", {"got": kind}), None
    if got.shape != expected.shape:
        return ("your line shape", {"got": got.shape, "expected": expected.shape}), None
    off = np.array(abs(got - expected))
    off[np.isnan(off)] = np.inf
    off[got == expected] = 0  # two infinities
    if (off <= 1e-9 + 1e-6 * np.abs(expected)).all():
        return None, float(off.max(initial=0))
    place = np.unravel_index(np.argmax(off), off.shape)
    where = f" at [{', '.join(map(str, map(int, place)))}]" if off.ndim else ""
    fields = {"got": f"{got[place]:.4g}", "where": where, "expected": f"{expected[place]:.4g}"}
    return ("your line wrong", fields), None


def named(function, arguments):
    """Arguments by the names that the function has for them."""
    code = getattr(function, "__code__", None)
    names = [] if code is None else [*code.co_varnames[: code.co_argcount]]
    names += [f"argument {number}" for number in range(len(names) + 1, len(arguments) + 1)]
    return dict(zip(names, arguments))


def score(lecture, mixer, *, bits_per_byte, step_ms=None, state_numbers=None):
    """Write one line of the scoreboard: the same tiny model with another mixer."""
    progress = load_progress()
    progress["scoreboard"][f"{lecture} {mixer}"] = dict(
        lecture=lecture,
        mixer=mixer,
        bits_per_byte=bits_per_byte,
        step_ms=step_ms,
        state_numbers=state_numbers,
    )
    with or_a_line(f"{lecture} {mixer}: this line of the scoreboard is not stored"):
        store_progress(progress)


def score_run(lecture, mixer, run, state_numbers):
    """Write the line of what ``training.train`` returned: its bits, and the median time of an update."""
    ends = [row["seconds"] for row in run.log]
    score(
        lecture,
        mixer,
        bits_per_byte=run.evaluation.bits_per_byte,
        step_ms=1000 * float(np.median(np.diff(ends))),
        state_numbers=state_numbers,
    )


def verdict(claim, text):
    """Store what you conclude about a claim of the paper."""
    progress = load_progress()
    progress["verdicts"][claim] = str(text)
    with or_a_line(f"{claim}: your verdict is not stored"):
        store_progress(progress)


def report() -> str:
    """Scoreboard, guesses and verdicts as one page of text."""
    progress = load_progress()
    lines = [
        "scoreboard",
        f"{'lecture':<8}{'mixer':<24}{'bits/byte':>10}{'ms a step':>11}{'state':>12}",
    ]
    for row in progress["scoreboard"].values():
        step = "-" if row["step_ms"] is None else f"{row['step_ms']:.0f}"
        state = "-" if row["state_numbers"] is None else f"{row['state_numbers']:,}"
        lines.append(
            f"{row['lecture']:<8}{row['mixer']:<24}{row['bits_per_byte']:>10.2f}{step:>11}{state:>12}"
        )
    for title, table in (("guesses", progress["guesses"]), ("verdicts", progress["verdicts"])):
        lines += ["", title, *(f"{name}: {value}" for name, value in table.items())]
        if title == "guesses" and (calibrated := calibration()):
            lines.append(calibrated)
    return "\n".join(lines)


def export_progress() -> str:
    """The whole file as one line of text, to keep somewhere; ``my_flash.py`` is in it too."""
    own = my_flash_path()
    text = own.read_text(encoding="utf-8") if own.is_file() else ""
    return json.dumps(load_progress() | {"my_flash": text})


def restore_progress(text):
    """Take over what ``export_progress`` gave. What is stored here now is replaced."""
    stored = _read(text, "the text")
    own = stored.pop("my_flash", "")
    store_progress(stored)
    if own:
        write_text(my_flash_path(), own)
