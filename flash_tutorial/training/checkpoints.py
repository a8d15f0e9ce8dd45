"""Checkpoints of a run, each there as a whole or not at all. No pickle.

    runs/first/step_000200/   config.json, model.safetensors, tokenizer.json where there is one: a model that
                              LanguageModel.from_pretrained reads
                              optimizer.safetensors: the optimizer's moments and step counts
                              log.csv: a row for each update so far
                              training.json: the step, the settings, the sha256 of the files and of itself

The order of the data is not kept: it follows from the seed and the step. What else lies in the folder of a run is
written, and looked after, by ``run_folder``. Nothing is ever removed but files that this module wrote, by their names.
"""

import os
import re
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import files

KEEP = 2  # checkpoints left after each new one
FILES = ("config.json", "model.safetensors", "optimizer.safetensors", "log.csv")
NAMES = (*FILES, "tokenizer.json", "training.json")
# What a checkpoint's folder may hold: its files, half written ones, and those that safetensors once wrote itself.
OURS = re.compile(
    "|".join([*(rf"\.?{re.escape(name)}(\.\d+\.part)?" for name in NAMES), r"\.tmp\w{6}"])
)
STEP = re.compile(r"step_\d{6,}")
HALF = re.compile(r"\.(step_\d{6,}|best)\.(part|old)")  # half written and half removed


# ---------------------------------------------------------------- writing
def save_checkpoint(folder, step, save_model, tensors, log, facts):
    """Write the checkpoint of ``step`` (updates done) into ``folder`` and keep the last two.

    ``save_model(folder)`` writes the model; ``tensors`` are those of the optimizer, ``log`` is the text of the log so
    far; ``facts`` are plain values that go into training.json.
    """
    folder = Path(folder)
    record = {"step": step} | facts
    with whole_folder(
        folder / f"step_{step:06d}", f"the checkpoint of step {step}", record
    ) as part:
        save_model(part)
        with files.whole_file(part / "optimizer.safetensors") as temporary:
            files.save_tensors(tensors, temporary)
        files.write_text(part / "log.csv", log)
    _keep_last(folder, step)


def save_best(target, save_model, record):
    """Write the best model so far, with its record, in place of the one before it."""
    with whole_folder(target, f"the best model, of step {record['step']},", record) as part:
        save_model(part)


@contextmanager
def whole_folder(target, what, record):
    """A hidden folder that gets its ``record`` and the name ``target``, in one rename, when the block ends well, else
    goes away: a process that is killed leaves the whole of it or none, never half of one."""
    part = target.with_name(f".{target.name}.part")
    try:
        remove(part)  # of a process that was killed
        files.make_folder(part)
        yield part
        sums = {path.name: files.file_sha256(path) for path in sorted(part.iterdir())}
        files.write_json(part / "training.json", record | {"sha256": sums})
        # a damaged one of the same step, which nobody resumed from, or a best one no longer
        put_aside(target)
        os.replace(part, target)
        _sync(target.parent)
    except (OSError, ValueError) as error:
        with suppress(ValueError):
            remove(part)
        said = f"{what} could not be written to {target.parent}"
        saved = "; what was saved before is untouched, and --resume goes on from it"
        raise files.refused(said, error, saved) from error


def optimizer_tensors(model, optimizer):
    """The optimizer's numbers by parameter name: ``embedding.weight.exp_avg`` and so on."""
    names = [name for name, _ in model.named_parameters()]
    tensors = {}
    for i, entry in optimizer.state_dict()["state"].items():
        for key, t in entry.items():
            tensors[f"{names[i]}.{key}"] = t.detach().cpu().contiguous()
    return tensors


def _keep_last(folder, step):
    """Keep ``step`` and the one before it. A later one can only be damaged: this run went on from an earlier one."""
    folders = checkpoint_folders(folder)
    kept = [path for path in folders if step_of(path) <= step][-KEEP:]
    for path in set(folders) - set(kept):
        with suppress(OSError, ValueError):  # what cannot be removed does no harm
            put_aside(path)


def _sync(folder):
    """Make the rename itself last through a power cut, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---------------------------------------------------------------- removing
def put_aside(path):
    """Take a folder of ours away in one step: its name is free even if the process dies before all of it is gone."""
    if os.path.lexists(path):
        refuse_foreign(path, whole=True)
        gone = path.with_name(f".{path.name}.old")
        remove(gone)
        os.replace(path, gone)
        remove(gone)


def remove(path):
    """Remove a folder that holds nothing but files of a checkpoint, by their names; anything else is a ValueError."""
    if os.path.lexists(path):
        refuse_foreign(path)
        shutil.rmtree(path)


def refuse_foreign(path, whole=False):
    """A folder of a checkpoint's name may be somebody else's, and then it is not touched; a ``whole`` one says so."""
    if path.is_dir() and not path.is_symlink():
        inside = (p for p in path.iterdir() if not OURS.fullmatch(p.name) or p.is_dir())
        foreign = next(inside, None)
    else:
        foreign = path
    if foreign or (whole and not is_ours(path)):
        raise ValueError(
            f"{foreign or path} is in the way and not of this program: move it, or choose another folder"
        )


# ---------------------------------------------------------------- reading
def checkpoint_folders(folder):
    """The checkpoints in a run's folder, oldest first. What only has the name of one does not count."""
    return [path for path in named_as_ours(Path(folder)) if path.name != "best" and is_ours(path)]


def named_as_ours(folder):
    """What has the name of a checkpoint, oldest first, or of the best model, whoever wrote it."""
    steps = [path for path in folder.glob("step_*") if STEP.fullmatch(path.name)]
    return sorted(steps, key=step_of) + [
        path for path in [folder / "best"] if os.path.lexists(path)
    ]


def is_ours(path):
    """Whether this program wrote a folder: its training.json begins with a step, the one that its name says."""
    step = f"{step_of(path)}," if STEP.fullmatch(path.name) else ""
    try:
        with open(path / "training.json", "rb") as file:
            return file.read(40).startswith(f'{{\n "step": {step}'.encode())
    except OSError:
        return False


def step_of(path):
    """The step in a checkpoint's name."""
    return int(path.name[5:])


def read_checkpoint(path):
    """training.json of a checkpoint, or of a best model, whose files are all as they were written; or a ValueError."""
    values = files.read_json(path / "training.json")
    files.check_sha256(path, values["sha256"])
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
                raise ValueError(
                    f"{error} and no earlier checkpoint is whole: start again in another folder"
                ) from None
            say(f"{error}: trying the checkpoint before it")
    return None


def load_optimizer(path, model, optimizer):
    """Put the numbers of ``optimizer_tensors`` back."""
    parameters = dict(model.named_parameters())
    places = {name: i for i, name in enumerate(parameters)}
    state = {}
    for key, tensor in files.load_tensors(path / "optimizer.safetensors").items():
        name, _, what = key.rpartition(".")
        if what != "step":  # older versions kept one number as (), where it is (1,) today
            tensor = tensor.reshape(parameters[name].shape)
        # a copy has torch's own alignment in memory: where a tensor starts can change the last bit of a sum
        state.setdefault(places[name], {})[what] = tensor.clone()
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
