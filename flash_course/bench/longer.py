"""Windows longer than those of training: what each of a Transformer's two kinds of positions does there."""

from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from flash_tutorial import transformer


class RepeatingPositions(torch.nn.Module):
    """A table of positions that starts again after ``period`` tokens."""

    def __init__(self, positions, period):
        super().__init__()
        self.positions, self.period = positions, period

    def forward(self, x):
        places = torch.arange(x.shape[1], device=x.device) % self.period
        return self.positions.at(places, x, self.period - 1)


@contextmanager
def sine_table_repeats(model, period=1024):
    """Inside the block the positions that a model adds to its embedding never pass ``period``."""
    positions = model.stack.positions
    model.stack.positions = RepeatingPositions(positions, period)
    try:
        yield
    finally:
        model.stack.positions = positions


@contextmanager
def attention_reaches(width=1024):
    """Inside the block each token of a Transformer block attends to the last ``width`` tokens alone."""

    def banded(q, k, v, *, causal, visible=None):
        place = torch.arange(q.shape[-2], device=q.device)
        back = place[:, None] - place
        return F.scaled_dot_product_attention(q, k, v, attn_mask=(back >= 0) & (back < width))

    plain = transformer.softmax_attention
    transformer.softmax_attention = banded
    try:
        yield
    finally:
        transformer.softmax_attention = plain


@torch.no_grad()
def bits_by_quarter(model, tokens, T, n):
    """Bits per byte in each quarter of n windows of T, spread over a text: (4,)."""
    at = (len(tokens) - T - 1) // n * np.arange(n)[:, None] + np.arange(T + 1)
    bits = []
    for row in torch.from_numpy(tokens[at].astype(np.int64)):
        nats = F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="none")
        bits.append(nats.double().numpy() / np.log(2))
    return np.reshape(bits, (n, 4, -1)).mean((0, 2))
