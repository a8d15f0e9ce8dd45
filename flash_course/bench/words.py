"""Words that a model of bytes writes across a border, such as the end of a chunk, and which of them no text has."""

import re

import torch


def words_of(text):
    """The words in bytes of text, small letters, as a set of bytes."""
    return {*re.findall(rb"[a-z]+", bytes(text).lower())}


def beginnings_of(words):
    """What words begin with: each of them whole, and all that is shorter."""
    beginnings = set()
    for word in words:
        beginnings.update(word[:n] for n in range(1, len(word) + 1))
    return beginnings


def words_across(model, pages, border, *, before=8, behind=16, temperature=0.8, seed=0):
    """The words that a model writes across byte ``border`` when it goes on with pages cut ``before`` bytes before it.

    pages: (B, T) ids of bytes, T >= border. A word that goes on for ``behind`` bytes is left out, since it may not be
    whole. Gives pairs of bytes, a word's letters on either side of the border.
    """
    begun = pages[:, : border - before]
    generator = torch.Generator(pages.device).manual_seed(seed)
    new = model.generate(begun, before + behind, temperature=temperature, generator=generator)
    found = []
    for row in torch.cat([begun, new], 1).to(torch.uint8).tolist():
        for word in re.finditer(rb"[a-z]+", bytes(row).lower()):
            if word.start() < border < word.end() < border + behind:
                at = border - word.start()
                found.append((word.group()[:at], word.group()[at:]))
    return found


def invented_across(model, pages, border, known):
    """How many words were written across a border, those of them that no text has, and how far a cut word still fits.

    ``known``: the words that there are. The third is two shares: of those that one byte, and two bytes, behind the
    border are still the beginning of some word, or have ended as one.
    """
    words = words_across(model, pages, border)
    begun = beginnings_of(known)
    invented = [old + new for old, new in words if old + new not in known]

    def fits(old, new, n):
        if len(new) < n:  # it has ended
            return old + new in known
        return old + new[:n] in begun

    shares = [sum(fits(*word, n) for word in words) / len(words) for n in (1, 2)]
    return len(words), [word.decode() for word in invented], shares
