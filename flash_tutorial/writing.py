"""Text in, text out: a model goes on from a text, all at once or token by token.

Lengths are counted in tokens of the model: bytes, or those of its tokenizer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .corpora.vocabulary import MASK_ID
from .generate import draw_on, log_probs_of
from .names import ours
from .sampling import check_sampling
from .settings import check_counts

HALF = "\N{REPLACEMENT CHARACTER}"  # of a character whose other bytes are still to come


@dataclass(frozen=True)
class Written:
    """One token that a model wrote: its id, the text that is whole by now and was not before, its log-probability.

    The log-probability is the model's own, in nats, before temperature, ``top_k`` and ``top_p`` changed it.
    """

    id: int
    text: str
    log_prob: float


@ours
def write(
    model: Any,
    prompt: str = "",
    max_new_tokens: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop: str | int | Sequence[str | int] = (),
) -> str:
    """The text with which a model goes on from ``prompt``. A method of ``LanguageModel``.

    ``temperature``, ``top_k``, ``top_p`` and ``generator`` are those of ``generate``. ``stop`` ends the text before one
    of these texts, or of these tokens by their ids. Without a prompt it begins a document.

    >>> from flash_tutorial import LanguageModel
    >>> model = LanguageModel.from_pretrained("austen-flash")
    >>> model.write("She was not at a", 4, temperature=0)
    'll a'
    >>> model.write("She was not at a", 40, temperature=0, stop=" ")
    'll'
    """
    how = dict(temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
    return "".join(token.text for token in stream(model, prompt, max_new_tokens, **how, stop=stop))


@ours
def stream(
    model: Any,
    prompt: str = "",
    max_new_tokens: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop: str | int | Sequence[str | int] = (),
) -> Iterator[Written]:
    """As ``write``, token by token, each as soon as it is drawn. A method of ``LanguageModel``.

    A token's text may be empty: until a character is whole, or while it may be the beginning of a ``stop``. The texts
    of all together are what ``write`` gives.

    >>> from flash_tutorial import LanguageModel
    >>> model = LanguageModel.from_pretrained("austen-flash")
    >>> for token in model.stream("She was not at a", 3, temperature=0):
    ...     print(token.id, repr(token.text), f"{token.log_prob:.2f}")
    108 'l' -0.15
    108 'l' -0.00
    32 ' ' -0.39
    """
    how = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    check_sampling(model.config.vocab_size, **how, generator=generator)
    check_counts(least=0, max_new_tokens=max_new_tokens)
    stop = _as_stops(stop, model.config.vocab_size)
    if not isinstance(prompt, str):
        raise ValueError(f"prompt is {prompt!r:.60}: expected a text; generate takes ids")
    ids = model.vocabulary.encode(prompt)
    begin = ids if len(ids) else [model.vocabulary.start_id]
    device = next(model.parameters()).device
    rows = torch.as_tensor(begin, device=device)[None]
    drawn = draw_on(model, rows, max_new_tokens, generator=generator, **how)
    return _texts(drawn, max_new_tokens, Text(model.vocabulary, ids), stop)


def _texts(drawn, count, text, stop):
    """Each token with the text that it completes, up to the first stop, at most ``count`` of them."""
    words = [one for one in stop if isinstance(one, str)]
    for n, (tokens, logits) in enumerate(drawn, 1):
        token = int(tokens)
        if token in stop:
            piece, ended = "", True
        else:
            piece, ended = text.add(token, words)
        if n == count or token in stop:
            piece += text.rest()
        yield Written(token, piece, float(log_probs_of(logits, tokens)))
        if ended:
            return


class Text:
    """The text of ids as they come, handed out in whole characters."""

    def __init__(self, vocabulary, ids):
        self.vocabulary = vocabulary
        self.ids = [*map(int, ids)]
        # a model may draw an id that no text has
        self.ids_of_text = vocabulary.tokens or MASK_ID
        self.begun = self.given = len(vocabulary.decode(self.ids))

    def add(self, token, stops=()):
        """What one more token adds, and whether a stop has ended the text."""
        if token < self.ids_of_text:
            self.ids.append(token)
        text = self.vocabulary.decode(self.ids)
        found = [at for stop in stops if (at := text.find(stop, self.begun)) >= 0]
        if found:
            piece = self._up_to(min(found), text)
            self.given = len(text)  # what stands behind it is nobody's
            return piece, True
        if text.endswith(HALF):
            return "", False
        return self._up_to(len(text) - held_back(text[self.given :], stops), text), False

    def rest(self):
        """What was held back, at the end."""
        text = self.vocabulary.decode(self.ids)
        return self._up_to(len(text), text)

    def _up_to(self, end, text):
        piece = text[self.given : end]
        self.given = max(self.given, end)
        return piece


def held_back(text, stops):
    """How many of its last characters may be the beginning of a stop."""
    longest = 0
    for stop in stops:
        for n in range(1, min(len(stop) - 1, len(text)) + 1):
            if text.endswith(stop[:n]):
                longest = max(longest, n)
    return longest


def _as_stops(stop, vocab):
    """Texts and ids, one, several or none, as a tuple."""
    if stop is None:
        return ()
    several = tuple(stop) if isinstance(stop, list | tuple | set | frozenset) else (stop,)
    for one in several:
        is_id = isinstance(one, int) and not isinstance(one, bool) and 0 <= one < vocab
        if not (is_id or (isinstance(one, str) and one)):
            expected = f"expected texts that are not empty, ids from 0 to {vocab - 1}, a list of them, or None"
            raise ValueError(f"stop={stop!r}: {expected}")
    return several
