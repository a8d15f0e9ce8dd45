"""The rows of an experiment in one JSON file: each is added as soon as its run is finished, and
never made again.
"""

import hashlib
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..clock import machine
from ..config import ModelConfig, TrainConfig
from ..files import make_folder, write_text
from ..settings import before_they_existed
from ..training.devices import pick_device
from .code import digest
from .declaration import Experiment
from .trained import Trained

KEY = ("arm", "settings", "rate", "seed", "steps")  # what a run is known by


def matching(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """The rows that have these values, in their key or in their settings.

    >>> from flash_tutorial.experiments import matching
    >>> rows = [{"arm": "flash", "seed": seed, "settings": {"C": 16}} for seed in (0, 1)]
    >>> [row["seed"] for row in matching(rows, arm="flash", C=16)]
    [0, 1]
    """
    return [row for row in rows if wanted.items() <= (row | row["settings"]).items()]


def measured(rows: list[dict[str, Any]], measure: str, **wanted: Any) -> list[Any]:
    """What was measured in the rows that have these values, by seed; who timed arms has no seed.

    >>> from flash_tutorial.experiments import measured
    >>> row = {"arm": "flash", "seed": 0, "settings": {}, "measures": {"bits_per_byte": 2.1}}
    >>> measured([row], "bits_per_byte", arm="flash")
    [2.1]
    """
    found = [row for row in matching(rows, **wanted) if measure in row["measures"]]
    found.sort(key=lambda row: -1 if row["seed"] is None else row["seed"])
    return [row["measures"][measure] for row in found]


class StoredRows:
    """The rows of ``experiment`` in ``folder``. Several processes may add to them.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm, Experiment, StoredRows
    >>> config = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8)
    >>> experiment = Experiment(
    ...     "mine",
    ...     "Does it learn?",
    ...     arms=(Arm("flash", config, rates=(0.01,)),),
    ...     steps=(2,),
    ...     seeds=(0,),
    ...     train={"batch": 2, "length": 16, "eval_bytes": 100},
    ... )
    >>> rows = StoredRows(experiment, "results")
    >>> rows.path.name, rows.load()
    ('mine.json', [])
    """

    def __init__(self, experiment: Experiment, folder: str | Path) -> None:
        self.experiment = experiment
        self.path = Path(folder) / f"{experiment.name}.json"
        self.locks = Path("runs") / "locks" / experiment.name

    def whole(self):
        """All that is stored: facts, the arms' settings, and the runs."""
        if not self.path.exists():
            return {"experiment": self.experiment.name, "about": {}, "arms": {}, "runs": []}
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{self.path} holds no whole JSON ({error}): restore it, or move it away to begin anew"
            ) from None

    @cached_property
    def codes(self):
        """{arm: its digest}, taken once: who edits a file while runs are going has the old code in them."""
        return {arm.label: digest(self.experiment, arm) for arm in self.experiment.arms}

    @cached_property
    def trained_by(self):
        """{arm: the digest of what trains it}: a measure that is mended finds the finished training."""
        return {
            arm.label: digest(self.experiment, arm, measured=False) for arm in self.experiment.arms
        }

    def load(self) -> list[dict[str, Any]]:
        """The rows in the order in which they were finished; of a project those of today's code and settings."""
        rows = self.whole()["runs"]
        if self.experiment.anew:
            rows = [row for row in rows if self.is_todays(row)]
        return rows

    def is_todays(self, row):
        """Whether a row was made by the code that its arm has now, or by code that is named as the same."""
        arm = self.arm_of(row)
        return arm is None or row["code"] in (self.codes[arm.label], *self.experiment.same_code)

    def find(self, **key):
        """The row of a key, or None."""
        return next(
            (row for row in self.load() if all(row[name] == key[name] for name in KEY)), None
        )

    # ------------------------------------------------------------ adding
    def make_once(self, make, wait=True, **key):
        """The row of a key; if there is none, ``make()`` gives its measures. None where another
        process makes it.
        """
        if found := self.find(**key):
            return found
        make_folder(self.locks)
        said = "_".join(str(key[name]) for name in KEY if key[name] not in ({}, None))
        name = re.sub(r"[^\w.-]", "-", said)
        seconds = -1 if wait else 0  # -1: as long as it takes
        try:
            with FileLock(self.locks / f"{name}.lock", timeout=seconds):
                return self.find(**key) or self.add(key, make())
        except Timeout:
            return None

    def add(self, key, measures):
        """Store a finished run."""
        arm = self.arm_of(key)
        code = self.codes[arm.label] if arm else None
        row = key | {"measures": measures, "machine": machine(pick_device()), "code": code}
        row = json.loads(json.dumps(row))
        make_folder(self.path.parent)
        with FileLock(self.path.with_suffix(".lock")):
            whole = self.whole()
            whole["runs"].append(row)
            if arm:
                whole["arms"][arm.label] = settings_of(self.experiment, arm)
            self.write(whole)
        return row

    def write(self, whole):
        """One line for each arm and each run, so that a new one is a new line."""
        arms = ",\n  ".join(
            f"{json.dumps(label)}: {json.dumps(of)}" for label, of in whole["arms"].items()
        )
        runs = ",\n  ".join(json.dumps(row) for row in whole["runs"])
        head = f' "experiment": {json.dumps(whole["experiment"])},\n "about": {json.dumps(whole["about"])},\n'
        write_text(
            self.path, f'{{\n{head} "arms": {{\n  {arms}\n }},\n "runs": [\n  {runs}\n ]\n}}\n'
        )

    def arm_of(self, key):
        """The arm of a row; None for a row of all arms, or of one that is no longer declared."""
        return next((arm for arm in self.experiment.arms if arm.owns(key)), None)

    # ------------------------------------------------------------ refusing
    def refuse_others(self):
        """Refuse rows of other code, or of other settings than the declared ones: what is added
        would not compare.
        """
        if self.experiment.anew:
            return
        whole = self.whole()
        for arm in self.experiment.arms:
            refuse_settings(
                self.path.name, arm, whole["arms"].get(arm.label), settings_of(self.experiment, arm)
            )
        others = [row for row in whole["runs"] if not self.is_todays(row)]
        if others:
            label = self.arm_of(others[0]).label
            codes = sorted({row["code"] for row in others})
            raise ValueError(
                f"{self.path.name} holds runs of {label} that were made by other code ({', '.join(codes)}; here "
                f"{self.codes[label]}): new ones might not compare with them. Move the file away to begin anew; or, "
                "if a run that is made again gives its stored losses, name that code in same_code"
            )


def settings_of(experiment, arm):
    """All settings that an arm's rows share, as plain values: of the model, and of its training."""
    steps = max(arm.steps or experiment.steps or (1000,))
    train = {}
    if experiment.make is None:
        train = experiment.settings_of(arm, 1.0, 0, max(steps, 1)).to_dict()
    # of the single run
    for name in (
        "learning_rate",
        "seed",
        "steps",
        "warmup",
        "eval_every",
        "checkpoint_every",
    ):
        train.pop(name, None)
    model = {}
    if isinstance(arm.model, ModelConfig | Trained):
        model = {name: named(value, experiment) for name, value in arm.model.to_dict().items()}
    found = {"model": model, "train": train}
    path = Path(train.get("corpus", ""))
    if path.is_file():  # its name does not say what is in it
        found["text"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return json.loads(json.dumps(found))


def named(value, experiment):
    """A class of the script that runs has the name that it has where it is imported."""
    if isinstance(value, str):
        return value.replace("__main__.", f"{experiment.name}.", 1)
    return value


def refuse_settings(file, arm, stored, asked):
    """Refuse an arm whose settings changed; an option that did not exist yet had the value in force before."""
    if stored is None:
        return
    texts = {stored.get("text"), asked.get("text")} - {None}
    if len(texts) > 1:
        raise ValueError(
            f"{file} holds {arm.label} on another text than {asked['train']['corpus']} holds now: give the arm "
            "another name, or move the file away to begin anew"
        )
    for part, config in (("model", ModelConfig), ("train", TrainConfig)):
        before = before_they_existed(config)
        was = before | stored[part]
        now = before | asked[part]
        changed = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
        if changed and stored[part]:
            name = changed[0]
            raise ValueError(
                f"{file} holds {arm.label} with {name}={was.get(name)!r}, and {name}={now.get(name)!r} "
                "is declared: give the arm another name, or move the file away to begin anew"
            )
