"""From logits to a token: temperature, top-k, top-p.

Letters: N vocabulary.
"""

import math
from numbers import Integral, Real

import torch


def draw(logits, *, temperature=1.0, top_k=None, top_p=None, generator=None):
    """One token for each row of ``logits (B, N)``: ``(B,)``. Temperature 0 takes the most likely one."""
    check_sampling(logits.shape[-1], temperature, top_k, top_p, generator)
    if temperature < 1e-6:  # logits divided by less would overflow
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter(
            -1, logits.topk(top_k, -1).indices, True
        )
        logits = logits.masked_fill(~kept, float("-inf"))
    if top_p is not None:
        logits = _keep_top_p(logits, top_p)
    probabilities = logits.softmax(-1)
    try:
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    except RuntimeError:
        if not probabilities.isnan().any():
            raise
        found = "the logits hold NaN or infinity, from which nothing can be drawn"
        raise ValueError(f"{found}: has the model's training diverged?") from None


def _keep_top_p(logits, top_p):
    """Keep the fewest most likely tokens whose probabilities add up to at least ``top_p``."""
    values, order = logits.sort(-1, descending=True)
    probabilities = values.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what the more likely ones hold already
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(drop, float("-inf"))


def is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def check_sampling(vocab, temperature, top_k, top_p, generator=None):
    """Refuse what cannot be drawn from N tokens."""
    if not is_number(temperature) or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature!r}: expected 0 (most likely token) or more")
    is_count = isinstance(top_k, Integral) and not isinstance(top_k, bool)
    if top_k is not None and not (is_count and 1 <= top_k <= vocab):
        raise ValueError(
            f"top_k={top_k!r}: expected an integer from 1 to {vocab}, or None for all tokens"
        )
    if top_p is not None and not (is_number(top_p) and 0 < top_p <= 1):
        raise ValueError(
            f"top_p={top_p!r}: expected a number, more than 0 and at most 1, or None for all tokens"
        )
    if generator is not None and not isinstance(generator, torch.Generator):
        made = "torch.Generator(device).manual_seed(seed)"
        raise ValueError(f"generator={generator!r}: expected a torch.Generator, as {made}")
