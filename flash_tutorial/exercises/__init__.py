"""Graded exercises: ``check`` an answer, ask for a ``hint``, look at your ``progress``.

from flash_tutorial.exercises import check, hint, progress
"""

from .desk import check, hint, progress
from .model import personal

__all__ = ["check", "hint", "personal", "progress"]
