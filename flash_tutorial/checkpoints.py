"""What a run keeps on disk: checkpoints, each there as a whole or not at all, and a log. No pickle.

    runs/first/step_000200/   config.json, model.safetensors: a model that LanguageModel.from_pretrained reads
                              optimizer.safetensors: AdamW's moments and step counts
                              training.json: the step, the settings, the sha256 of the files and of itself
    runs/first/log.csv        a row for each update

The order of the data is not kept: it follows from the seed and the step.
"""

import csv
import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from .config import check_format
from .devices import Group, describe_device
from .files import disk_said, save_tensors, write_text
from .model import load_weights

KEEP = 2  # checkpoints left after each new one
FILES = ("config.json", "model.safetensors", "optimizer.safetensors")


# ---------------------------------------------------------------- writing
def save_checkpoint(folder, step, model, optimizer, facts):
    """Write the checkpoint of ``step`` (updates done) into ``folder`` and keep the last two.

    ``facts`` are plain values that go into training.json. Everything is written into a hidden folder first, which
    then takes its name in one rename: a process that is killed leaves a checkpoint or none, never half of one.
    """
    folder = Path(folder)
    target = folder / f"step_{step:06d}"
    part = folder / f".{target.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir(parents=True)
        model.save_pretrained(part)
        save_tensors(optimizer_tensors(model, optimizer), part / "optimizer.safetensors")
        values = {"step": step} | facts | {"sha256": {name: file_sha256(part / name) for name in FILES}}
        write_text(part / "training.json", json.dumps(values | {"checksum": checksum(values)}, indent=1) + "\n")
        _remove(target)  # a damaged one of the same step, which nobody resumed from
        os.replace(part, target)
        _sync(folder)
    except (OSError, ValueError) as error:
        shutil.rmtree(part, ignore_errors=True)
        what = f"the checkpoint of step {step} could not be written to {folder} ({disk_said(error)})"
        saved = "what was saved before is untouched, and --resume goes on from it"
        raise ValueError(f"{what}: free some space or choose another folder; {saved}") from error
    _keep_last(folder, step)


def optimizer_tensors(model, optimizer):
    """AdamW's numbers by parameter name: ``embedding.weight.exp_avg`` and so on."""
    names = [name for name, _ in model.named_parameters()]
    entries = optimizer.state_dict()["state"].items()
    return {f"{names[i]}.{key}": t.detach().cpu().contiguous() for i, entry in entries for key, t in entry.items()}


def _remove(folder):
    """Take a folder away in one step; its name is free even if the process dies before all its files are gone."""
    if folder.exists():
        gone = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _keep_last(folder, step):
    """Keep ``step`` and the one before it. A later one can only be damaged: this run went on from an earlier one."""
    folders = checkpoint_folders(folder)
    kept = [path for path in folders if step_of(path) <= step][-KEEP:]
    with suppress(OSError):  # what cannot be removed does no harm
        for path in set(folders) - set(kept):
            _remove(path)


def clear_leftovers(folder):
    """Remove the hidden files and folders that a killed process left half written or half removed."""
    for path in (*Path(folder).glob(".*.part"), *Path(folder).glob(".*.old")):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _sync(folder):
    """Make the rename itself last through a power cut, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def file_sha256(path):
    """The sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(values):
    """The sha256 of plain values, in hex."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------- reading
def checkpoint_folders(folder):
    """The checkpoints in a run's folder, oldest first."""
    return sorted((path for path in Path(folder).glob("step_*") if path.name[5:].isdigit()), key=step_of)


def step_of(path):
    """The step in a checkpoint's name."""
    return int(path.name[5:])


def read_checkpoint(path):
    """training.json of a checkpoint whose files are all as they were written; otherwise a ValueError."""
    try:
        values = json.loads((path / "training.json").read_text(encoding="utf-8"))
        if values.pop("checksum") != checksum(values):
            raise ValueError(f"{path / 'training.json'} is cut off or altered (its checksum does not match)")
        for name, expected in values["sha256"].items():
            if file_sha256(path / name) != expected:
                raise ValueError(f"{path / name} is cut off or altered (its checksum does not match)")
    except OSError as error:
        raise ValueError(f"{error.filename or path} cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path / 'training.json'} is cut off or altered (not what this package wrote)") from None
    return values


def last_checkpoint(folder, say=print):
    """``(path, values)`` of the newest checkpoint that is whole, or None if there is no checkpoint at all.

    One that is damaged is named by ``say`` and passed over; if none is whole, that is a ValueError.
    """
    folders = checkpoint_folders(folder)
    for path in reversed(folders):
        try:
            return path, read_checkpoint(path)
        except ValueError as error:
            if path == folders[0]:
                raise ValueError(f"{error} and no earlier checkpoint is whole: start again in another folder") from None
            say(f"{error}: trying the checkpoint before it")
    return None


def load_optimizer(path, model, optimizer):
    """Put the numbers of ``optimizer_tensors`` back."""
    places, state = {name: i for i, (name, _) in enumerate(model.named_parameters())}, {}
    for key, tensor in load_weights(path / "optimizer.safetensors").items():
        name, _, what = key.rpartition(".")
        # a copy has torch's own alignment in memory: where a tensor starts can change the last bit of a sum
        state.setdefault(places[name], {})[what] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


# ---------------------------------------------------------------- what a run is, and how it goes on


# settings that may change when a run goes on: they have no part in the weights, or show elsewhere (the text's hash)
MAY_DIFFER = {"train_config": {"corpus", "compile", "eval_bytes", "checkpoint_every"}}


def describe_run(model_config, config, corpus, device, group=Group()):  # noqa: B008 (it never changes)
    """What decides the weights, as plain values."""
    text = hashlib.sha256(corpus.train.tokens.tobytes() + corpus.train.offsets.tobytes()).hexdigest()
    return {
        "model_config": json.loads(json.dumps(model_config.to_dict())),
        "train_config": asdict(config),
        "text": {"corpus": corpus.name, "train_sha256": text},
        "machine": describe_device(device, config.dtype) + (f", {group.size} processes" if group.size > 1 else ""),
    }


def open_folder(out, resume, facts, say):
    """The folder as a Path, and the checkpoint to go on from, if any: ``(path, values)``."""
    if out is None:
        if resume:
            raise ValueError("resume=True without out: name the folder of the run that is to go on")
        return None, None
    out = Path(out)
    if not resume:
        if any(out.glob("step_*")) or (out / "model.safetensors").exists():
            other = "go on with --resume (resume=True), or choose another folder (--out)"
            raise ValueError(f"{out} already holds a run: {other}")
        return out, None
    clear_leftovers(out)
    found = last_checkpoint(out, say)
    if found is None:
        say(f"{out} has no checkpoint yet: starting from the beginning")
        return out, None
    path, saved = found
    refuse_another_run(path, saved, facts)
    if saved["machine"] != facts["machine"]:
        say(f"this run began elsewhere ({saved['machine']}): its weights will be the same up to rounding only")
    say(f"going on after step {saved['step']}, from {path}")
    return out, found


def refuse_another_run(path, saved, facts):
    """A run goes on with the settings that it began with; the first that differs is named."""
    check_format(saved["model_config"], path)
    for part in ("model_config", "train_config", "text"):
        for key in sorted((set(saved[part]) | set(facts[part])) - MAY_DIFFER.get(part, set())):
            before, now = (values[part].get(key, "absent") for values in (saved, facts))
            if before != now:
                advice = "give the same value to go on, or choose another folder for a new run"
                raise ValueError(f"{path} was trained with {key}={before!r}, now {key}={now!r} is asked for: {advice}")


def save_results(out, model, rows, score, facts):
    """The trained model and its score."""
    model.save_pretrained(out)
    last = [row["bits_per_byte"] for row in rows[-25:]]
    result = facts | {
        "train_bits_per_byte": sum(last) / len(last),
        "validation_bits_per_byte": None if score is None else score.bits_per_byte,
        "validation_bytes": 0 if score is None else score.n_bytes,
    } | {key: rows[-1][key] for key in ("seconds", "tokens")}  # fmt: skip
    write_text(out / "result.json", json.dumps(result, indent=1) + "\n")


# ---------------------------------------------------------------- the log


COLUMNS = ("step", "loss", "bits_per_byte", "learning_rate", "gradient_norm", "tokens", "seconds")


class Log:
    """A row for each update, in memory (``rows``) and, given a path, in a CSV file."""

    def __init__(self, path=None, step=0):
        """Go on after ``step``: later rows of the file are dropped, they will be written again."""
        self.path, self.rows = path, []
        if path is None:
            return
        if step and path.exists():
            self.rows = [row for row in read_log(path) if row["step"] <= step]
        lines = [",".join(COLUMNS)] + [_line(row) for row in self.rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "\n".join(lines) + "\n")

    def append(self, **row):
        """Add a row; it is in the file when this returns."""
        self.rows.append(row)
        if self.path is not None:
            try:
                with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                    file.write(_line(row) + "\n")
            except OSError as error:
                advice = "free some space, then go on with --resume"
                raise ValueError(f"{self.path} could not be written ({error.strerror}): {advice}") from error


def _line(row):
    return ",".join(repr(row[name]) for name in COLUMNS)  # repr gives a float back bit by bit


def read_log(path):
    """The rows of a log as numbers; a last line that is cut off is left out."""
    rows = []
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        for values in csv.DictReader(file):
            try:
                rows.append({name: (int if name in ("step", "tokens") else float)(values[name]) for name in COLUMNS})
            except (TypeError, ValueError, KeyError):
                break
    return rows
