"""Files that are written whole or not at all, and that tell when a byte of them is altered."""

import errno
import hashlib
import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

ADVICE = {
    (errno.ENOSPC, errno.EDQUOT): "free some space or choose another folder",
    (errno.EACCES, errno.EPERM, errno.EROFS): "choose a folder that you may write to",
    (
        errno.ENOTDIR,
        errno.EEXIST,
        errno.EISDIR,
    ): "a file of this name, or a folder, is in the way: choose another name",
    (errno.ENAMETOOLONG,): "choose a shorter name",
}


# ---------------------------------------------------------------- writing
@contextmanager
def whole_file(path):
    """A temporary path beside ``path`` that takes its place when the block ends well, else goes away."""
    with whole_files(path) as (temporary,):
        yield temporary


@contextmanager
def whole_files(*paths):
    """``whole_file`` for files that belong together: each is whole on the disk before the first takes its place."""
    paths = [Path(path) for path in paths]
    temporaries = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        yield temporaries
        for temporary in temporaries:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())  # otherwise a power cut may leave a renamed, empty file
        for temporary, path in zip(temporaries, paths):
            os.replace(temporary, path)
    except OSError as error:
        said = f"{' and '.join(map(str, paths))} could not be written"
        raise refused(said, error, "; what stood there before is untouched") from error
    finally:
        with suppress(OSError):
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)


def refused(said, error, then=""):
    """The error of what could not be written: the reason, from an OSError or what was made of one, and what to do."""
    reason = error if isinstance(error, OSError) else error.__cause__ or error
    number = getattr(reason, "errno", None)
    advice = next(
        (text for numbers, text in ADVICE.items() if number in numbers), "choose another folder"
    )
    return ValueError(f"{said} ({getattr(reason, 'strerror', None) or reason}): {advice}{then}")


def make_folder(folder):
    """Make a folder and those above it, if they are not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(f"{folder} could not be made", error) from error


def write_text(path, text):
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def save_tensors(tensors, path):
    """Write a ``.safetensors`` file, into a temporary path of ``whole_file``.

    By Python's own write: safetensors' words a full disk in its own way, and lets nobody but the owner read the file.
    """
    from safetensors.torch import save  # a machine that only measures has no such files

    path.write_bytes(save(tensors))


def write_json(path, values):
    """Write plain values, and a checksum of them by which ``read_json`` knows them again."""
    write_text(path, to_json(values))


def to_json(values):
    """The text of plain values with their checksum."""
    return json.dumps(values | {"checksum": checksum(values)}, indent=1) + "\n"


# ---------------------------------------------------------------- reading
def altered(path, what="its checksum does not match"):
    """The error of a file that is not as it was written."""
    return ValueError(f"{path} is cut off or altered ({what})")


def read_json(path):
    """The values that ``write_json`` wrote; a ValueError if a byte of them is another."""
    return without_checksum(parse_json(path), path)


def parse_json(path):
    """The dictionary in a JSON file, not compared with its checksum."""
    with reading(path):
        raw = path.read_bytes()
    try:
        values = json.loads(raw.decode())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise altered(path, "not what this package wrote")
    return values


def without_checksum(values, path):
    """Values of ``path`` that fit their checksum, without it."""
    values = dict(values)
    if values.pop("checksum", None) != checksum(values):
        raise altered(path)
    return values


def load_tensors(path):
    """The tensors of a ``.safetensors`` file."""
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        # safetensors opens no file whose name is not UTF-8; bytes it takes, at the cost of a copy in memory
        return load_file(str(path)) if is_utf8(path) else load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None


def is_utf8(path):
    """Whether a name is one in UTF-8: Python keeps other bytes as surrogates, which UTF-8 does not have."""
    return str(path).encode(errors="ignore").decode() == str(path)


@contextmanager
def reading(path):
    """Say in one line that a file is missing, or why it cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


@contextmanager
def advising(text):
    """Add to the error of a file that is missing or altered, or cannot be read, what to do about it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}: {text}") from None


def check_sha256(folder, sha256):
    """Refuse a folder in which a file is not the one whose sha256 is given by its name."""
    for name, expected in sha256.items():
        if file_sha256(folder / name) != expected:
            raise altered(folder / name)


def file_sha256(path):
    """The sha256 of a file, in hex."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(values):
    """The sha256 of plain values, in hex."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
