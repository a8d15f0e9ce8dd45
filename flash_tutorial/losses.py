"""The loss of a head: mean cross-entropy over what is asked for.

Letters: B batch, T length, N classes, tokens of a vocabulary or others.
"""

import torch
import torch.nn.functional as F

from .corpora.vocabulary import IGNORE
from .errors import described, out_of_range
from .formats import is_integers


def without_padding(targets, mask):
    """The targets, -100 where ``mask (B, T)`` says padding."""
    if mask is None or not is_integers(targets) or targets.shape != mask.shape:
        return targets
    # in uint8 -100 would be 156, a target like any other
    return targets.long().masked_fill(mask == 0, IGNORE)


def cross_entropy(logits, targets, what="targets", count="vocab_size"):
    """Mean nats of ``targets (...)``, -100 where nothing is asked, by ``logits (..., N)``; in float32 or better.

    0 where nothing is asked at all, so that such a batch moves no weight.

    ``what`` they are and what N is called, for the ValueError of other shapes and of a target that is no class.
    """
    *shape, N = logits.shape
    if not is_integers(targets) or list(targets.shape) != shape:
        expected = (
            f"expected {tuple(shape)} integers from 0 to {N - 1}, {IGNORE} where nothing is asked"
        )
        raise ValueError(f"{what} are {described(targets)}: {expected}")
    targets = targets.flatten().long()
    wide = logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
    try:
        nats = F.cross_entropy(wide, targets, ignore_index=IGNORE, reduction="sum")
    except IndexError:
        then = f" ({count}={N}), and {IGNORE} where nothing is asked"
        raise out_of_range(what, targets[targets != IGNORE], N, then) from None
    return nats / (targets != IGNORE).sum().clamp(min=1)
