"""Writing: the loop that goes on from a prompt, and a step that is recorded once.

Letters: B batch, T length, N vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import states
from .errors import short
from .names import ours
from .sampling import check_sampling, draw
from .settings import check_counts


@ours
@torch.no_grad()
def generate(
    model: Any,
    ids: Tensor,
    max_new_tokens: int,
    *,
    mask: Tensor | None = None,
    padding: str = "right",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    on_token: Callable[[Tensor], object] | None = None,
    stop_id: int | Sequence[int] | None = None,
    return_log_probs: bool = False,
) -> Any:
    """Go on from prompts ``ids (B, T)``: the new tokens, ``(B, max_new_tokens)``. A method of ``LanguageModel``.

    ``temperature=0`` takes the most likely token. ``top_k`` keeps the k most likely, ``top_p`` the fewest whose
    probabilities reach p. ``generator`` makes draws repeatable. ``on_token(ids (B,))`` is called for each token.
    Prompts of different length: hand in ``mask``, and ``padding="left"`` if they are padded there. A row that has drawn
    ``stop_id``, or one of several, is filled with it; once all have, nothing more is drawn, and fewer tokens come back.
    With ``return_log_probs`` also how likely the model found each of them, in nats, before ``temperature`` and the
    others changed it: ``(B, max_new_tokens)``, 0 behind a row's end.

    >>> import torch
    >>> from flash_tutorial import LanguageModel
    >>> model = LanguageModel.from_pretrained("austen-flash")
    >>> ids = torch.tensor([list(b"She was not at a")])
    >>> bytes(model.generate(ids, 4, temperature=0)[0].tolist())
    b'll a'
    """
    model._check_ids(ids, 2)
    how = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    check_sampling(model.config.vocab_size, **how, generator=generator)
    check_counts(least=0, max_new_tokens=max_new_tokens)
    if on_token is not None and not callable(on_token):
        raise ValueError(f"on_token={short(on_token)}: expected a function of ids (B,), or None")
    stops = torch.tensor(_stop_ids(stop_id, model.config.vocab_size), device=ids.device)
    if mask is None and not len(stops):
        _check_reach(model, ids.shape[1], max_new_tokens)
    # a prompt's own type may hold too few
    new = ids.new_zeros(len(ids), max_new_tokens, dtype=torch.long)
    log_probs = torch.zeros(new.shape, device=ids.device)
    stopped = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    end = max_new_tokens
    prompts = dict(mask=mask, padding=padding)
    tokens = draw_on(model, ids, max_new_tokens, generator=generator, **prompts, **how)
    for t, (drawn, logits) in enumerate(tokens):
        new[:, t] = drawn
        if len(stops) and t:
            new[:, t] = torch.where(stopped, new[:, t - 1], drawn)
        if return_log_probs:
            log_probs[:, t] = log_probs_of(logits, drawn).masked_fill(stopped, 0)
        if on_token is not None:
            on_token(new[:, t])
        if len(stops):
            stopped = stopped | torch.isin(drawn, stops)
            if stopped.all():
                end = t + 1
                break
    return (new[:, :end], log_probs[:, :end]) if return_log_probs else new[:, :end]


@torch.no_grad()
def draw_on(model, ids, count, *, mask=None, padding="right", generator=None, **how):
    """Draw token after token behind prompts: each time the tokens ``(B,)``, and the logits ``(B, N)`` they are from."""
    logits, state = model.prefill(ids, mask, padding=padding)
    for t in range(count):
        drawn = draw(logits, generator=generator, **how)
        yield drawn, logits
        if t + 1 < count:
            logits, state = model.step(drawn, state)


def log_probs_of(logits, drawn):
    """How likely tokens ``(B,)`` were by logits ``(B, N)``, in nats: ``(B,)``."""
    return logits.float().log_softmax(-1).gather(-1, drawn[:, None])[:, 0]


def _check_reach(model, length, max_new_tokens):
    """Refuse at once what would end in an error behind the model's last position; what is drawn last is not read."""
    reach = model.config.reach()
    if reach is not None and length <= reach < length + max_new_tokens - 1:
        raise ValueError(
            f"{length} tokens and max_new_tokens={max_new_tokens}: this model reads {reach} "
            f"({model.config.bound_by_length()}), so that max_new_tokens is at most {reach - length + 1}"
        )


def _stop_ids(stop_id, vocab):
    """One id, several or none, as a list."""
    if stop_id is None:
        return []
    several = list(stop_id) if isinstance(stop_id, list | tuple | set | frozenset) else [stop_id]
    for one in several:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < vocab:
            expected = f"expected an id from 0 to {vocab - 1} (of NumPy's and torch's take int(id)), several, or None"
            raise ValueError(f"stop_id={stop_id!r}: {expected}")
    return several


# ---------------------------------------------------------------- a step that is recorded once
class RecordedStep:
    """``model.step`` for a state of constant size, the same program each time: on a card it is one CUDA graph.

        _, state = model.prefill(ids)
        step = RecordedStep(model, state, room=4096)    # as many tokens as a row may have, the prompt's included
        logits = step(next_ids)                         # (B,) -> (B, N), the same tensor each time

    A token then costs one start of a graph in place of more than a hundred kernels', and nothing is asked of the card.
    Elsewhere the steps run as usual. No card was at hand to try the recording itself on, so ``generate`` does without
    it. ``state`` belongs to the steps from then on.
    """

    @torch.no_grad()
    def __init__(self, model, state, room):
        check_counts(room=room)
        grown = [
            type(unit).__name__ for unit in state.units if not isinstance(unit, states.ChunkState)
        ]
        if grown:
            advice = "a step can be recorded where the state has one size, as in FLASH and MC-Transformer++"
            raise ValueError(
                f"this model keeps a {grown[0]}, which grows with each token: {advice}"
            )
        if room < state.rows.used:
            raise ValueError(
                f"room={room}: expected at least the {state.rows.used} tokens that were read already"
            )
        self.model = model
        self.state = state
        device = state.units[0].v.device
        self.rest = room - state.rows.used
        batch = state.rows.batch
        self.lengths = state.rows.lengths.tolist()
        state.rows = states.FixedRows.of(state.rows, room, device)
        for unit in state.units:
            unit.rows = states.FixedRows.of(unit.rows, room, device)
            unit.count_chunks()
        self.ids = torch.zeros(batch, dtype=torch.long, device=device)
        self.graph = None
        if device.type == "cuda" and self.rest:
            self.graph = self._record()

    @torch.no_grad()
    def __call__(self, ids):
        """Logits ``(B, N)`` behind one more token of each row, ``ids (B,)``."""
        if self.rest == 0:
            raise ValueError(
                f"the room of {self.state.rows.used} tokens is full: give RecordedStep a larger one"
            )
        self.ids.copy_(ids)
        if self.graph is None:
            self.logits, _ = self.model.step(self.ids, self.state)
        else:
            self.graph.replay()
        self.rest -= 1
        self.lengths = [n + 1 for n in self.lengths]
        if any(n % self.state.units[0].v.shape[2] == 0 for n in self.lengths):
            self._fold()
        return self.logits

    def _fold(self):
        """Fold full chunks into the sums, which stay where they are in memory."""
        for unit in self.state.units:
            sums = unit.sums
            chunks = unit.chunks
            unit.fold()
            unit.sums = sums.copy_(unit.sums)
            unit.chunks = chunks.copy_(unit.chunks)

    def _record(self):
        """Capture one step. What a trial changes is put back each time, since there may be room for one token alone."""
        changed = [self.state.rows.behind]
        for unit in self.state.units:
            changed += [unit.quad_k, unit.lin_k, unit.v, unit.rows.behind]
        before = [t.clone() for t in changed]

        def step():
            self.logits, _ = self.model.step(self.ids, self.state)

        def put_back():
            for t, old in zip(changed, before):
                t.copy_(old)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # tables and libraries are set up before the recording
                step()
                put_back()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        put_back()
        return graph
