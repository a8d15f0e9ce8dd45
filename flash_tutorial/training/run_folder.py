"""The folder of a run: whose it is, how a run begins in it, goes on and ends; and the log.

    runs/first/step_000200/     the newest two checkpoints: see ``checkpoints``
    runs/first/log.csv          a row for each update
    runs/first/best/            with eval_every, the model of the best score: see ``best``
    runs/first/config.json      and model.safetensors (and tokenizer.json): at the end, the model
    runs/first/result.json      at the end, its score, the settings, and the sha256 of the other files
    runs/first/training.png     at the end of ``flash-tutorial train``, the curve

A file of these names that no run wrote, or that is not as it was written, is named, and stays as it is.
"""

import csv
import os
import re
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..config import of_today
from ..files import (
    advising,
    altered,
    check_sha256,
    file_sha256,
    read_json,
    reading,
    refused,
    write_json,
    write_text,
)
from ..settings import check_format
from .checkpoints import HALF, is_ours, last_checkpoint, named_as_ours, remove
from .lock import locked

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "result.json",
    "log.csv",
    "training.png",
)
# half written, of a process that was killed
LEFT = re.compile(rf"\.({'|'.join(map(re.escape, FILES))})\.\d+\.part")
# settings that may change when a run goes on: they have no part in the weights, show elsewhere (the text's hash), or
# are dealt with where they change (steps)
MAY_DIFFER = {"corpus", "compile", "eval_bytes", "checkpoint_every", "steps"}


@dataclass
class Found:
    """What a run goes on from: a checkpoint with the values of its training.json, or the end of a finished run."""

    path: Path
    values: dict
    finished: bool = False


# ---------------------------------------------------------------- how a run begins and goes on
@contextmanager
def run_folder(out, resume, facts, group, say, before=None):
    """Keep the folder to this run while the block lasts, and give what the run goes on from: a ``Found``, or None.

    Rank 0 does it, and all ranks learn what came out, a refusal too. ``before``: for each configuration in ``facts``
    what a missing key means, since the option did not exist when the run began.
    """
    with ExitStack() as stack:

        def enter():
            if out is None:
                if resume:
                    raise ValueError(
                        "resume=True without out: name the folder of the run that is to go on"
                    )
                return None
            if not str(out):
                raise ValueError("out='': expected the name of a folder")
            if not os.path.lexists(out):  # a run that is refused leaves none behind
                stack.callback(remove_if_empty, Path(out))
            stack.enter_context(locked(Path(out), say))
            return open_folder(Path(out), resume, facts, say, before or {})

        yield group.of_first(enter)


def open_folder(out, resume, facts, say, before):
    """What the run goes on from, if anything. Refuses a folder that holds another run, or what no run has written."""
    if not resume:
        refuse_occupied(out, "already holds a run, or files with the names of one")
        return None
    clear_up(out)
    refuse_foreign_steps(out)
    checkpoint = last_checkpoint(out, say)
    found = Found(*checkpoint) if checkpoint else None
    result = read_result(out)
    if found is None and result is None:
        refuse_occupied(out, "has no checkpoint to go on from, but files with the names of a run's")
        say(f"{out} has no checkpoint yet: starting from the beginning")
        return None
    if found:
        refuse_another_run(found.path, found.values, facts, before)
    else:
        refuse_another_run(out, result, facts, before)
    refuse_altered(out, found, result)
    asked = facts["train_config"]["steps"]
    if result and asked == result["step"] and is_finished(out, result):
        say(f"{out} is finished: its {asked} updates are done (more of them with --steps)")
        return Found(out, result, finished=True)
    if not found:
        rest = f"take its model as a start in another folder (--start-from {out})"
        raise ValueError(
            f"steps={asked}: {out} has no checkpoint to go on from, it ended at {result['step']}: {rest}"
        )
    refuse_fewer_steps(asked, found.values["step"])
    if found.values["machine"] != facts["machine"]:
        elsewhere = f"this run began elsewhere ({found.values['machine']})"
        say(f"{elsewhere}: its weights will be the same up to rounding only")
    say(f"going on after step {found.values['step']}, from {found.path}")
    return found


def remove_if_empty(folder):
    """Remove a folder with nothing in it."""
    with suppress(OSError):
        folder.rmdir()


def clear_up(out):
    """Remove what a killed process left half written, by this package's own names for it, and nothing else."""
    for path in out.iterdir():
        with suppress(OSError, ValueError):  # a folder with a foreign file in it is foreign
            if HALF.fullmatch(path.name):
                remove(path)
            elif LEFT.fullmatch(path.name) and path.is_file():
                path.unlink()


# ---------------------------------------------------------------- what is refused
def refuse_occupied(out, why):
    """A run is not written over, and neither is a file that has a name of a run's."""
    there = [name for name in FILES if os.path.lexists(out / name)] + [
        path.name for path in named_as_ours(out)
    ]
    if there:
        others = f" and {len(there) - 1} more" if there[1:] else ""
        go_on = "go on with --resume (resume=True), or choose another folder (--out)"
        raise ValueError(f"{out} {why} ({there[0]}{others}): {go_on}")


def refuse_foreign_steps(out):
    """A folder that only has the name of a checkpoint would be in the way at that step."""
    for path in named_as_ours(out):
        if not is_ours(path):
            raise ValueError(
                f"{path} is no checkpoint of this program: move it, or choose another folder (--out)"
            )


def refuse_another_run(path, saved, facts, earlier):
    """A run goes on with the settings that it began with; the first that differs is named."""
    check_format(saved["model_config"], facts["model_config"]["format"], path)
    saved = saved | {"model_config": of_today(saved["model_config"])}
    for part in ("model_config", "train_config"):
        missing = earlier.get(part, {})
        for key in sorted({*saved[part], *facts[part]} - MAY_DIFFER):
            before, now = (
                values[part].get(key, missing.get(key, "absent")) for values in (saved, facts)
            )
            if key == "weights" and "absent" not in (before, now):
                before = shapes_of_today(before, now)
            if before != now:
                advice = "give the same value to go on, or choose another folder for a new run"
                raise ValueError(
                    f"{path} was trained with {key}={before!r}, now {key}={now!r} is asked for: {advice}"
                )
    before, now = (values["text"] | {"corpus": "any name"} for values in (saved, facts))
    if before != now:
        names = f"{saved['text']['corpus']!r} as it was then, and {facts['text']['corpus']!r} has other bytes"
        raise ValueError(
            f"{path} was trained on the text {names}: give that text (--corpus), or choose another folder"
        )


def shapes_of_today(before, now):
    """Shapes of weights by name, as they were stored; [] for one number is what is [1] today."""
    return {n: [1] if shape == [] and now.get(n) == [1] else shape for n, shape in before.items()}


def refuse_altered(out, found, result):
    """Files of a run that are not as it wrote them, or that somebody else put there, are neither used nor replaced."""
    ours = set()
    for values in (found and found.values, result):
        if values:
            ours.add(values["sha256"]["model.safetensors"])
    anew = "no checkpoint is left to mend it"
    if found:
        anew = f"move it away, and --resume writes it anew from {found.path}"
    with advising(anew), reading(out / "log.csv"):
        if (out / "config.json").exists() and read_json(out / "config.json")["sha256"][
            "model.safetensors"
        ] not in ours:
            raise altered(out / "config.json", "it is not of this run")
        if (out / "model.safetensors").exists() and file_sha256(
            out / "model.safetensors"
        ) not in ours:
            raise altered(out / "model.safetensors")
        if (out / "log.csv").exists():
            if found:
                there = (out / "log.csv").read_bytes()
                saved = (found.path / "log.csv").read_bytes()
                whole = there.startswith(saved) or saved.startswith(there)
            else:
                whole = file_sha256(out / "log.csv") == result["sha256"]["log.csv"]
            if not whole:
                raise altered(out / "log.csv")


def refuse_fewer_steps(asked, done):
    """What is done is done."""
    if asked < done:
        raise ValueError(
            f"steps={asked}: {done} updates are done already, expected at least so many"
        )


# ---------------------------------------------------------------- its end
def save_results(out, save_model, rows, scores, facts):
    """The trained model, which ``save_model(folder)`` writes, and its scores."""
    save_model(out)
    (bits,) = (name for name in rows[-1] if name.startswith("bits_per_"))
    last = [row[bits] for row in rows[-25:]]
    result = {"step": rows[-1]["step"]} | facts | {f"train_{bits}": sum(last) / len(last)} | scores
    result |= {key: rows[-1][key] for key in ("seconds", "tokens")}
    sums = {
        name: file_sha256(out / name) for name in ("config.json", "model.safetensors", "log.csv")
    }
    write_json(out / "result.json", result | {"sha256": sums})


def read_result(out):
    """result.json of a finished run, or None where there is none; a ValueError if it is not as it was written."""
    if not (out / "result.json").exists():
        return None
    with advising("move it away, and --resume writes it anew if a checkpoint is left"):
        result = read_json(out / "result.json")
        if not {"step", "model_config", "train_config", "text", "sha256"} <= set(result):
            raise altered(out / "result.json", "not what this package wrote")
    return result


def is_finished(out, result):
    """Whether the model is there that ``result`` is about."""
    try:
        check_sha256(
            out, {name: result["sha256"][name] for name in ("config.json", "model.safetensors")}
        )
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- the log
WHOLE = ("step", "tokens")  # columns of integers


class Log:
    """A row for each update, in memory (``rows``) and, once it is told where, in a CSV file."""

    def __init__(self, rows=(), unit="byte", scored=False):
        """``unit`` is what a bit is counted by, a byte or a token; ``scored``: some rows have a score."""
        self.path, self.rows = None, list(rows)
        self.columns = [
            "step",
            "loss",
            f"bits_per_{unit}",
            "learning_rate",
            "gradient_norm",
            "tokens",
            "seconds",
        ]
        if scored:
            self.columns.append(f"validation_bits_per_{unit}")

    def text(self):
        """The file."""
        return "".join(line + "\n" for line in (",".join(self.columns), *map(self.line, self.rows)))

    def line(self, row):
        """A row of the file; repr gives a float back bit by bit."""
        cells = {name: repr(value) for name, value in row.items()}
        return ",".join(cells.get(name, "") for name in self.columns)

    def write_to(self, path):
        """Write the rows there are, and from now on each new one."""
        write_text(path, self.text())
        self.path = path

    def append(self, **row):
        """Add a row; it is in the file when this returns."""
        self.rows.append(row)
        if self.path is not None:
            try:
                with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                    file.write(self.line(row) + "\n")
            except OSError as error:
                raise refused(
                    f"{self.path} could not be written", error, "; then go on with --resume"
                ) from error


def read_log(path):
    """The rows of a log as numbers, none of a log that is not there; without empty cells and a line that is cut off."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = []
    for values in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        try:
            cells = {key: cell for key, cell in values.items() if cell != ""}
            rows.append({key: number(key, cell) for key, cell in cells.items()})
        except (TypeError, ValueError):
            break
    return rows


def number(column, cell):
    """The number in a cell of a column."""
    return int(cell) if column in WHOLE else float(cell)
