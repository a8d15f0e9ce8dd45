"""What context is worth to a model: the same tokens, read with all that stands before them and with
only the last of it.
"""

from ..corpora import evaluation_windows
from ..settings import check_counts
from .score import bits_of_targets, check_vocabulary

LATE = 64  # tokens at the end of each window that are scored


def bits_by_context(model, split, length, contexts, late=LATE, batch=8):
    """Bits of each window's ``late`` last tokens, with all of the window and with less.

    {context: (W,) bits of these tokens}, for ``length`` and each of ``contexts``: what is read is the
    window's last ``context`` tokens, the scored ones among them, so that a token has ``context - late`` to
    ``context`` of them. Only whole windows count. A context that FLASH's C divides keeps the borders of
    its chunks where they were. In float32; a ValueError names a context that does not fit.
    """
    check_vocabulary(model, split.vocabulary)
    check_counts(length=length, late=late, batch=batch)
    for context in contexts:
        if not late < context < length:
            raise ValueError(
                f"context={context}: expected more than the {late} tokens that are scored, and fewer than "
                f"the window's {length}"
            )
    ids, targets, valid = evaluation_windows(split, length)
    whole = valid.all(1)
    if not whole.any():
        raise ValueError(
            f"no document is as long as a window of {length}: take a shorter one, or a longer text"
        )
    ids, targets = ids[whole], targets[whole]
    return {
        context: bits_of_targets(model, ids[:, -context:], targets[:, -late:], batch).sum(1)
        for context in (length, *contexts)
    }
