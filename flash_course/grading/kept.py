"""What a grader keeps: results with a seal, and a journal of what it was at, so that a killed one goes on where it was.

A result that was changed, or made elsewhere, is not taken. The key of the seal lies in the home folder of whoever
grades: in the sandbox nothing can read it, without the sandbox a submission that looks for it can.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
from pathlib import Path

from flash_tutorial.files import write_text

from ..learner import progress_path

DEATHS = 3  # as often may graders end at an exercise


def key_path():
    return progress_path().with_name("grading.key")


def own_key():
    """The key of this person's seals; made when there is none."""
    path = key_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(secrets.token_hex(32))
        return path.read_bytes()
    except OSError:  # no home that can be written: then no result outlives the run
        return secrets.token_hex(32).encode()


class Results:
    """The stored results in a folder."""

    def __init__(self, out):
        self.folder = Path(out) / "students"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = own_key()
        self.changed = []  # names whose stored result had another seal

    def path(self, name):
        return self.folder / f"{name}.json"

    def seal(self, result):
        text = json.dumps({k: v for k, v in result.items() if k != "seal"}, sort_keys=True)
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def load(self, submission, key):
        """The result of an earlier run on the same file, or None."""
        try:
            result = json.loads(self.path(submission.name).read_text(encoding="utf-8"))
            facts = (result["key"], result["digest"])
            seal = str(result["seal"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not hmac.compare_digest(seal.encode(), self.seal(result).encode()):
            self.changed.append(submission.name)
            return None
        return result if facts == (key, submission.digest) else None

    def store(self, result):
        write_text(
            self.path(result["name"]),
            json.dumps(result | {"seal": self.seal(result)}, indent=1) + "\n",
        )


class Journal:
    """Which exercise of a submission is being judged, written before it begins; gone when the submission is done.

    A grader that was killed from outside ended at some exercise too. So it is set aside after the third time only.
    """

    def __init__(self, out, name, digest):
        self.folder, self.digest = Path(os.path.abspath(out), "unfinished", name), digest
        self.ended = self.read()  # {exercise: how often a grader ended at it}

    def read(self):
        try:
            entry = json.loads((self.folder / "at.json").read_text(encoding="utf-8"))
            ended = {str(at): int(times) for at, times in entry["ended"].items()}
            same = entry["digest"] == self.digest
            if not same:
                return {}
            return ended | {entry["at"]: ended.get(entry["at"], 0) + 1}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def begin(self, exercise):
        """It is at an exercise now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = {"digest": self.digest, "at": exercise, "ended": self.ended}
        write_text(self.folder / "at.json", json.dumps(entry) + "\n")

    def set_aside(self):
        """{exercise: how often a grader ended at it} of those that are not run again."""
        return {at: times for at, times in self.ended.items() if times >= DEATHS}

    def finish(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # this was the last one
