"""Decoding step by step: FLASH's state of fixed size beside a cache that grows."""

import numpy as np

from flash_course import drawing

from .page import Page

PROMPT = "It is a truth universally acknowledged, that a single man in possession of a"
BASE = {"C": 256, "S": 128, "E": 1536}  # a unit of the paper's base model
PAUSE_MS = 1400  # between two tokens when the page plays


def sums_by_token(lin_k_TS, v_TE, C):
    """(T + 1, S, E): FLASH's sum of lin_k^T v before the first token and after each; full chunks are in it."""
    each = np.einsum("ts,te->tse", lin_k_TS, v_TE)
    return np.array([each[: t // C * C].sum(0) for t in range(len(v_TE) + 1)])


def state_numbers(t, C, S, E):
    """Numbers in use after t tokens: the sum, and quad_k, lin_k and v of the unfinished chunk."""
    return S * E + t % C * (2 * S + E)


def room(C, S, E):
    """Numbers that FLASH has room for, whatever T."""
    return S * E + C * (2 * S + E)


def entries_kept(state, cache, C):
    """The still picture: entries that decoding keeps after each token, FLASH's state beside a cache."""
    title = f"FLASH empties its unfinished chunk every {C} tokens; a cache grows"
    figure, axes = drawing.new_axes(6.2, 3.0, "tokens read", "entries kept", title)
    tokens = range(1, len(state) + 1)
    curves = {
        "FLASH: sum and\nunfinished chunk": (tokens, state),
        "a GAU's cache of\nkeys and values": (tokens, cache),
    }
    drawing.lines(axes, curves, markersize=6)
    axes.set_xticks(tokens)
    axes.set_ylim(bottom=0)
    drawing.name_lines(axes, apart=0.2)
    words = drawing.in_words(axes, form="{:.0f}").replace("\n", " ")
    return figure, f"Entries kept after each of {len(state)} tokens. {words}."


def decoding(prompt=PROMPT, C=4, *, seed=0):
    """The page: ``prompt`` is read word by word, with S = 2 and E = 3 and small whole numbers."""
    words = prompt.split()
    S = 2
    E = 3
    if not 2 <= len(words) <= 32 or not 1 <= C <= 8:
        raise ValueError(
            f"{len(words)} words, C={C}: expected 2 to 32 words and 1 to 8 tokens in a chunk"
        )
    rng = np.random.default_rng(seed)
    lin_k_TS = rng.integers(-2, 3, (len(words), S))
    v_TE = rng.integers(-2, 3, (len(words), E))
    state = [state_numbers(t, C, S, E) for t in range(1, len(words) + 1)]
    cache = [t * (S + E) for t in range(1, len(words) + 1)]
    figure, alt = entries_kept(state, cache, C)
    base = room(**BASE)
    paper = BASE | {"T": 8192, "room": base, "cache": 8192 * (BASE["S"] + BASE["E"])}
    paper["from"] = base // (BASE["S"] + BASE["E"]) + 1
    data = {
        "words": words,
        "C": C,
        "S": S,
        "E": E,
        "t": min(6, len(words)),
        "pause": PAUSE_MS,
        "sums": sums_by_token(lin_k_TS, v_TE, C).tolist(),
        "paper": paper,
    }
    return Page(
        "decoding",
        "Token by token: a state that keeps its size, and a cache that grows",
        "Step through a sentence word by word: FLASH folds full chunks into one sum, while a cache keeps every token.",
        alt,
        figure,
        data,
    )
