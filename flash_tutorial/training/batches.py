"""Batches of windows, which depend on the seed and the step alone.

Letters: B batch, T length.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..config import TrainConfig
from ..corpora import Split, random_windows
from ..corpora.spans import hide_spans
from ..corpora.vocabulary import IGNORE
from .devices import Group, to_device


def draw_batch(
    split: Split, config: TrainConfig, step: int, causal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """ids, targets ``(B, T)`` of update ``step``. They depend on the seed and the step alone, so that a run that was
    stopped goes on with the same batches and nothing of their order need be saved.

    >>> from flash_tutorial.corpora import Split
    >>> from flash_tutorial.training import TrainConfig, draw_batch
    >>> split = Split.from_documents([b"To be, or not to be"])
    >>> ids, targets = draw_batch(split, TrainConfig(batch=2, length=8), 0, causal=True)
    >>> ids.shape, bool((ids[:, 1:] == targets[:, :-1]).all())
    ((2, 8), True)
    """
    rng = np.random.default_rng((config.seed, step))
    ids, targets = random_windows(split, config.batch, config.length, rng)
    if causal:
        return ids, targets
    return hide_spans(targets, rng, split.vocabulary)


def parts(
    split: Split,
    config: TrainConfig,
    step: int,
    causal: bool,
    device: torch.device,
    group: Group = Group(),  # noqa: B008 (it never changes)
) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
    """A rank's rows of a batch, in ``accumulate`` parts: ids, targets, mask, and the part's share of all the targets.

    Every rank draws the whole batch and takes its own rows, so that the batch does not depend on how many they are.

    >>> import torch
    >>> from flash_tutorial.corpora import Split
    >>> from flash_tutorial.training import TrainConfig, parts
    >>> split = Split.from_documents([b"To be, or not to be"])
    >>> settings = TrainConfig(batch=4, length=8, accumulate=2)
    >>> [(tuple(ids.shape), share) for ids, *_, share in parts(split, settings, 0, True, torch.device("cpu"))]
    [((2, 8), 0.5), ((2, 8), 0.5)]
    """
    ids, targets = draw_batch(split, config, step, causal)
    valid = targets != IGNORE if causal else ids != split.vocabulary.start_id
    chosen = targets != IGNORE
    size = config.batch // (config.accumulate * group.size)
    for first in range(group.rank * size, config.batch, group.size * size):
        rows = slice(first, first + size)
        yield (
            *to_device(ids[rows], targets[rows], valid[rows], device),
            float(chosen[rows].sum() / chosen.sum()),
        )
