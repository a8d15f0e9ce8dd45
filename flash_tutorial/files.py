"""Files that are written whole or not at all."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors.torch import save_file


@contextmanager
def whole_file(path):
    """A temporary path beside ``path`` that takes its place when the block ends well, else goes away."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # otherwise a power cut may leave a renamed, empty file
        os.replace(temporary, path)
    except OSError as error:
        advice = "free some space or choose another folder; what stood there before is untouched"
        raise ValueError(f"{path} could not be written ({error.strerror or error}): {advice}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def disk_said(error):
    """The reason in an OSError, or in the ValueError that ``whole_file`` made of one."""
    reason = error.__cause__ or error
    return getattr(reason, "strerror", None) or reason


def write_text(path, text):
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def save_tensors(tensors, path, metadata=None):
    """Write a ``.safetensors`` file, whole or not at all."""
    with whole_file(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except Exception as error:  # safetensors wraps a full disk in its own error
            raise OSError(str(error)) from error
        denied = os.umask(0)  # the rights that new files are denied can be read only by setting them
        os.umask(denied)
        os.chmod(temporary, 0o666 & ~denied)  # safetensors lets nobody but the owner read
