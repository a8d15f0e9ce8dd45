"""Writing: from logits to a token (temperature, top-k, top-p), and the loop that goes on from a prompt.

Letters: B batch, T length, N vocabulary.
"""

import torch

from .config import check_counts


@torch.no_grad()
def generate(
    model, ids, max_new_tokens, *, mask=None, temperature=1.0, top_k=None, top_p=None, generator=None, on_token=None,
    stop_id=None,
):  # fmt: skip
    """Go on from prompts ``ids (B, T)``: the new tokens, ``(B, max_new_tokens)``. A method of ``LanguageModel``.

    ``temperature=0`` takes the most likely token. ``top_k`` keeps the k most likely, ``top_p`` the fewest whose
    probabilities reach p. ``generator`` makes draws repeatable. ``on_token(ids (B,))`` is called for each token.
    Prompts of different length: pad on the right and hand in ``mask``. A row that has drawn ``stop_id`` is filled with
    it; once all have, nothing more is drawn, and fewer tokens come back.
    """
    how = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    check_sampling(model.config.vocab_size, **how)
    check_counts(least=0, max_new_tokens=max_new_tokens)
    N = model.config.vocab_size
    if stop_id is not None and (not isinstance(stop_id, int) or isinstance(stop_id, bool) or not 0 <= stop_id < N):
        raise ValueError(f"stop_id={stop_id!r}: expected an id from 0 to {N - 1}, or None")
    logits, state = model.prefill(ids, mask)
    new = ids.new_empty(len(ids), max_new_tokens)  # (B, max_new_tokens)
    stopped = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)  # rows that have drawn stop_id
    for t in range(max_new_tokens):
        new[:, t] = draw(logits, generator=generator, **how)
        if stop_id is not None:
            new[stopped, t] = stop_id
            stopped = new[:, t] == stop_id
        if on_token is not None:
            on_token(new[:, t])
        if stop_id is not None and stopped.all():
            return new[:, : t + 1]
        if t + 1 < max_new_tokens:
            logits, state = model.step(new[:, t], state)
    return new


def draw(logits, *, temperature=1.0, top_k=None, top_p=None, generator=None):
    """One token for each row of ``logits (B, N)``: ``(B,)``. Temperature 0 takes the most likely one."""
    check_sampling(logits.shape[-1], temperature, top_k, top_p)
    if temperature < 1e-6:  # logits divided by less would overflow
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.topk(top_k, -1).indices, True)
        logits = logits.masked_fill(~kept, float("-inf"))
    if top_p is not None:
        logits = _keep_top_p(logits, top_p)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _keep_top_p(logits, top_p):
    """Keep the fewest most likely tokens whose probabilities add up to at least ``top_p``."""
    values, order = logits.sort(-1, descending=True)
    probabilities = values.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what the more likely ones hold already
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(drop, float("-inf"))


def check_sampling(vocab, temperature, top_k, top_p):
    """Refuse what cannot be drawn from N tokens."""
    if not isinstance(temperature, int | float) or not temperature >= 0:
        raise ValueError(f"temperature={temperature!r}: expected 0 (most likely token) or more")
    if top_k is not None and not (isinstance(top_k, int) and 1 <= top_k <= vocab):
        raise ValueError(f"top_k={top_k}: expected 1 to {vocab}, or None for all tokens")
    if top_p is not None and not (isinstance(top_p, int | float) and 0 < top_p <= 1):
        raise ValueError(f"top_p={top_p}: expected more than 0 and at most 1, or None for all tokens")
