"""What an answer does to files, seen by Python's audit events, under whatever name it imported `os.replace`."""

import os
import pickle
import pickletools
import shutil
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

from .exercise import Case, Said, reject_if

HERE = os.path.dirname(__file__)
LIBRARIES = ("<frozen", os.path.dirname(os.__file__), sysconfig.get_path("purelib"))
watching = []  # the watches that are on: an audit hook can be set, and never be taken away


@cache
def set_hook():
    sys.addaudithook(
        lambda event, arguments: [watch.look(event, arguments) for watch in tuple(watching)]
    )


def from_a_library():
    """Whether a library runs text, and not the answer: an import does, and so does what makes a dataclass."""
    frame = sys._getframe()
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    name = frame.f_code.co_filename
    return name.startswith(LIBRARIES) and not name.startswith(HERE)


class Watch:
    """Notes what happens to a file while it is on: moves to it, whether it was removed, whether a pickle was read, or
    text was run as code."""

    def __init__(self, path):
        self.path = Path(path)
        self.moves = []
        self.removed = False
        self.unpickled = False
        self.executed = False
        self.busy = False

    @contextmanager
    def on(self):
        set_hook()
        watching.append(self)
        try:
            yield self
        finally:
            watching.remove(self)

    def look(self, event, arguments):
        if event == "exec":
            self.executed |= not self.busy and not from_a_library()
        if self.busy or event not in ("os.rename", "os.remove", "pickle.find_class"):
            return
        self.busy = True  # what is done here is no act of the answer
        try:
            if event == "pickle.find_class":
                self.unpickled = True
            elif event == "os.remove":
                self.removed |= self.is_it(arguments[0]) and self.path.exists()
            elif self.is_it(arguments[1]):
                self.moved(Path(os.fsdecode(arguments[0])))
            else:
                self.removed |= self.is_it(arguments[0])
        finally:
            self.busy = False

    def is_it(self, path):
        return os.path.abspath(os.fsdecode(path)) == str(self.path)

    def moved(self, source):
        """A copy of what came, or None; whether an old file was there; whether it came from the same folder."""
        copy = self.path.with_name(f"came {len(self.moves)}{self.path.suffix}")
        beside = source.resolve().parent == self.path.resolve().parent
        came = None
        if source.is_file():
            came = Path(shutil.copyfile(source, copy))
        self.moves.append({"came": came, "old there": self.path.exists(), "beside": beside})


def second_name(path, name):
    """Another name for a file: what is written into it shows there, what takes its place does not."""
    try:
        os.link(path, name)
    except (OSError, NotImplementedError, AttributeError):
        shutil.copyfile(path, name)  # no second names on this disk: nothing shows


@contextmanager
def no_pickle(error):
    """Within it, writing or reading a pickle raises the error."""

    def refuse(*args, **kwargs):
        raise error

    kinds = {
        kind: type(kind, (getattr(pickle, kind),), {"__init__": refuse})
        for kind in ("Pickler", "Unpickler")
    }
    with mock.patch.multiple(pickle, dump=refuse, dumps=refuse, load=refuse, loads=refuse, **kinds):
        yield


def in_folder(file, name, part, work, sizes):
    """A case in a new folder: ``work(answers, path)`` gets the path of a file there."""

    def run(answers):
        with tempfile.TemporaryDirectory() as folder:
            return work(answers, Path(folder).resolve() / file)

    return Case(name, part, run, sizes)


@contextmanager
def pickles_refused(exercise, path):
    """Within it a pickle is refused with the exercise's sentence; behind it, one that was read or written all the
    same, under names that the answer had imported before."""
    pickled = Said(exercise, "pickle")
    with no_pickle(pickled), Watch(path).on() as watch:
        yield
    if watch.unpickled or is_pickle(path):
        raise pickled
    reject_if(watch.executed, exercise, "run as code")


def is_pickle(path):
    """Whether a file is one pickle from its first byte to its last; nothing in it is run."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    try:
        *_, (operation, _, place) = pickletools.genops(data)
    except ValueError:
        return False
    return operation.name == "STOP" and place == len(data) - 1


def carried(exercise, path, load):
    """What is loaded from a file alone, in another folder: nothing is left of what lay beside it."""
    reject_if(not path.is_file(), exercise, "no file")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(shutil.move(path, Path(folder).resolve() / path.name))
        shutil.rmtree(path.parent)
        try:
            return load(there)
        except FileNotFoundError:
            raise Said(exercise, "two files") from None


def saved_over(exercise, path, save, load):
    """What is loaded from the old file, and from the one that took its place at ``path``, whole and in one step."""
    kept = path.with_name(f"kept{path.suffix}")
    second_name(path, kept)  # what is written into the old file is seen here
    with Watch(path).on() as watch:
        save()
    last = watch.moves[-1] if watch.moves else {}
    for seen, key in (("came", "in place"), ("old there", "removed"), ("beside", "elsewhere")):
        reject_if(not last.get(seen), exercise, key)
    try:
        return {"the old file": load(kept), "the new file": load(last["came"])}
    except Exception:
        raise Said(exercise, "not whole") from None
