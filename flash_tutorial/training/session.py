"""Where a run takes place: its device, the processes that share it, what it says, and what asks it to stop."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .devices import Group, keep_freed_memory, training_group
from .progress import print_line
from .stopping import Stop, stoppable


@dataclass
class Session:
    """What lasts as long as a run does in this process."""

    device: torch.device
    group: Group
    stop: Stop
    shows: bool  # whether this process shows its progress
    say: Callable  # a line to whoever waits


def silent(*_):
    """For a run that nobody watches, and for all ranks but the first."""


@contextmanager
def open_session(device, progress):
    """The session of a run: signals are listened to and processes joined while the block lasts."""
    with training_group(device) as (group, device):
        shows = progress and group.speaks
        say = print_line if shows else silent
        with stoppable(say) as stop:
            keep_freed_memory()
            yield Session(device, group, stop, shows, say)
