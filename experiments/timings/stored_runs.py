"""Runs of an experiment, each stored as soon as it is finished: one that is there is not made again.

    runs = StoredRuns("parts", __doc__)     # whose lines "    python ..." are the commands that make them
    row = runs.find_or_make(dict(model="FLASH", seed=0), make)     # make() gives a dictionary of what came out

They lie in flash_course/bench/results, one line for each run, with its machine, versions and date; above them stand the
commands that make them and all values that were tried. Several processes may add to one file.
"""

import json

from filelock import FileLock

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_tutorial.files import write_text


class StoredRuns:
    """The runs in ``name.json`` of the results, or of another folder, made by the commands in a script's ``doc``."""

    def __init__(self, name, doc, folder=RESULTS):
        self.path, self.commands = folder / f"{name}.json", commands_in(doc)

    def load(self):
        """All runs, in the order in which they were finished."""
        if not self.path.exists():
            return []
        return json.loads(self.path.read_text(encoding="utf-8"))["runs"]

    def where(self, **key):
        """The runs that agree with ``key``."""
        return [run for run in self.load() if key.items() <= run.items()]

    def find_or_make(self, key, make):
        """The stored run of that key; else ``make()`` makes it, and it is stored beside its key and printed."""
        if found := self.where(**key):
            return found[0]
        run = key | make()
        self.put(key, run)
        print({name: value for name, value in run.items() if name != "losses"}, flush=True)
        return run

    def put(self, key, run):
        """Store the run of that key, in place of the one that is there."""
        self._replace([run | {"machine": machine()}], key)

    def take_over(self, path, **key):
        """The runs of another file, as they are, in place of those that agree with ``key``."""
        other = json.loads(path.read_text(encoding="utf-8"))
        self.commands = self.commands or other["about"]["commands"]
        self._replace(other["runs"], key)

    def _replace(self, new, key):
        with FileLock(self.path.with_suffix(".lock")):
            others = [stored for stored in self.load() if not key.items() <= stored.items()]
            runs = [*others, *new]
            about = json.dumps({"commands": self.commands, "grid": grid(runs)})
            rows = ",\n  ".join(json.dumps(row) for row in runs)
            write_text(self.path, f'{{\n "about": {about},\n "runs": [\n  {rows}\n ]\n}}\n')

    def best(self, score="bits_per_byte", **key):
        """Of the runs that agree with ``key``, the one with the lowest score."""
        return min(self.where(**key), key=lambda run: run[score])


def commands_in(doc):
    """The commands of a docstring, one in each line that is indented; but not the one that prints what is stored."""
    lines = (
        line.split("#")[0].strip() for line in doc.splitlines() if line.startswith("    python ")
    )
    return [line for line in lines if not line.endswith(" table")]


def grid(runs):
    """{setting: the values that it has in the runs}, of those by which runs are told apart."""
    settings = (
        "model",
        "corpus",
        "T",
        "size",
        "chunk_size",
        "bias",
        "start",
        "dtype",
        "steps",
        "budget",
        "after",
        "learning_rate",
        "dropout",
        "weight_decay",
        "seed",
    )
    values = {name: {run[name] for run in runs if name in run} for name in settings}
    return {name: sorted(found) for name, found in values.items() if found}
