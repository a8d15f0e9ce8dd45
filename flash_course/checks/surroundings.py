"""What all code of a process shares. Each case begins with the same; what an answer does to it ends with the case."""

import os
import random
import sys
import warnings
from contextlib import contextmanager, suppress
from unittest import mock

import numpy as np
import torch
from numpy.random import bit_generator


def folder():
    with suppress(OSError):
        return os.getcwd()


DICE = (
    (random.getstate, random.setstate),
    (np.random.get_state, np.random.set_state),
    (torch.get_rng_state, torch.set_rng_state),
)
# each as (what it is, how it is set)
SETTINGS = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (np.get_printoptions, lambda options: np.set_printoptions(**options)),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (folder, lambda path: path and os.chdir(path)),
)


SEEDS = random.Random()  # where NumPy's new generators get their seed, if they are given none


def start_dice():
    """Let all dice that need no seed be thrown from a fixed start."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    SEEDS.seed(0)


@contextmanager
def same_surroundings():
    """Within it, dice are thrown from a fixed start; behind it, dice and settings are those of before."""
    dice, settings = ([(set_it, get()) for get, set_it in each] for each in (DICE, SETTINGS))
    start_dice()
    try:
        with (
            warnings.catch_warnings(),
            mock.patch.object(bit_generator, "randbits", SEEDS.getrandbits),
        ):
            yield
    finally:
        for set_it, before in dice:
            set_it(before)
        for (get, _), (set_it, before) in zip(SETTINGS, settings):
            if get() != before:
                set_it(before)
