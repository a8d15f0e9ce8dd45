"""Causal mixed chunk attention as named lines of NumPy, the edits of them that the leak laboratory offers, and names.

Letters: T tokens, C tokens in a chunk, G chunks, S and E the widths. Inside the lines quad_q, quad_k, lin_q and lin_k
are (G, C, S), v is (G, C, E), bias (C, C), and tokens (G,) counts each chunk's tokens.
"""

import re
from functools import cache

import numpy as np

from flash_tutorial.reference import rope

LINES = {
    "quad_q, quad_k, lin_q, lin_k": "(to_chunks(rope(x)) for x in heads)",
    "scores": "quad_q @ quad_k.swapaxes(1, 2) / C",
    "weights": "np.tril(np.maximum(scores + bias, 0) ** 2)",
    "near": "weights @ v",
    "kv": "lin_k.swapaxes(1, 2) @ v",
    "earlier": "np.concatenate([0 * kv[:1], np.cumsum(kv, axis=0)[:-1]])",
    "read": "np.maximum(np.cumsum(tokens) - tokens, 1)",
    "far": "lin_q @ (earlier / read[:, None, None])",
}

# {question: {choice: (label, {line: what stands in its place}, the fault's name)}}; the first choice is the right one.
CHOICES = {
    "sum": {
        "shift": ("exclusive: the running sum, shifted by one chunk", {}, ""),
        "inclusive": (
            "inclusive: the running sum as it is",
            {"earlier": "np.cumsum(kv, axis=0)"},
            "Inclusive sum: each chunk reads its own summary, so later tokens leak, and tokens of its own chunk are "
            "read twice.",
        ),
        "subtract": (
            "the running sum minus the chunk's own summary",
            {"earlier": "np.cumsum(kv, axis=0) - kv"},
            "Shift by subtraction: from chunk 2 on the chunk's own summary leaks through rounding.",
        ),
        "roll": (
            "np.roll in place of the shift",
            {"earlier": "np.roll(np.cumsum(kv, axis=0), 1, axis=0)"},
            "np.roll: the last running sum comes round to chunk 1, which reads all chunks.",
        ),
        "late": (
            "shifted by two chunks",
            {"earlier": "np.concatenate([0 * kv[:2], np.cumsum(kv, axis=0)[:-2]])"},
            "Shifted once too often: chunk g - 1 is missing for chunk g.",
        ),
        "previous": (
            "only the chunk right before",
            {"earlier": "np.concatenate([0 * kv[:1], kv[:-1]])"},
            "No running sum: only chunk g - 1 is read, and all older chunks are missing.",
        ),
        "all": (
            "the sum of all chunks",
            {"earlier": "np.broadcast_to(kv.sum(0), kv.shape)"},
            "No mask in the global part: each chunk reads all chunks, also the later ones.",
        ),
        "none": (
            "no global part",
            {"earlier": "0 * kv"},
            "No global part: no earlier chunk is read.",
        ),
    },
    "mask": {
        "after": ("causal, on the weights", {}, ""),
        "before": (
            "causal, on the scores before the bias",
            {
                "scores": "np.tril(quad_q @ quad_k.swapaxes(1, 2) / C)",
                "weights": "np.maximum(scores + bias, 0) ** 2",
            },
            "Mask before the bias: a later token of the chunk keeps the weight relu²(bias).",
        ),
        "none": (
            "no causal mask",
            {"weights": "np.maximum(scores + bias, 0) ** 2"},
            "No causal mask in the local part: later tokens of the chunk are read one by one.",
        ),
        "off": (
            "no local part",
            {"near": "0 * v"},
            "No local part: a token never reads its own chunk one by one.",
        ),
    },
    "combine": {
        "mean": ("the mean: divided by the tokens read", {}, ""),
        "sum": (
            "the bare sum",
            {"read": "np.ones(len(kv))"},
            "Sum in place of mean: the same pairs, but the far part grows with the number of chunks read.",
        ),
        "whole": (
            "divided by all T tokens",
            {"read": "np.full(len(kv), tokens.sum())"},
            "Divided by T: no pair moves, but a prefix of the sequence gets other numbers (the prefix test sees it).",
        ),
    },
    "positions": {
        "sequence": ("RoPE by the position in the sequence", {}, ""),
        "chunk": (
            "RoPE by the position in the chunk",
            {"quad_q, quad_k, lin_q, lin_k": "(rope(to_chunks(x)) for x in heads)"},
            "Local positions: the same pairs, but across chunks the distance is lost (only a comparison sees it).",
        ),
    },
}
QUESTIONS = {
    "sum": "What chunk g reads through the sum",
    "mask": "The local part",
    "combine": "The far part is",
    "positions": "Positions",
}


def edited(*edits):
    """The lines with each ``"name = expression"`` in place of the line of that name."""
    lines = dict(LINES)
    for edit in edits:
        name, _, expression = (part.strip() for part in re.sub(r"\s+", " ", edit).partition(" = "))
        if name not in lines or not expression:
            raise ValueError(
                f"{edit!r}: expected a line like 'earlier = ...' that gives one of {'; '.join(lines)}"
            )
        lines[name] = expression
    return lines


def chosen(choices):
    """The lines for ``{question: choice}``; what is left out is right."""
    lines = []
    for question, choice in choices.items():
        lines += [f"{name} = {line}" for name, line in CHOICES[question][choice][1].items()]
    return edited(*lines)


def run(lines, heads, v, C, bias):
    """What the lines compute: heads (4, T, S), v (T, E) -> (T, E)."""
    T, E = v.shape

    def to_chunks(x):
        return np.pad(x, ((0, -len(x) % C), (0, 0))).reshape(-1, C, x.shape[1])

    names = {
        "np": np,
        "rope": rope,
        "to_chunks": to_chunks,
        "heads": heads,
        "v": to_chunks(v),
        "C": C,
        "bias": bias,
    }
    names["tokens"] = to_chunks(np.ones((T, 1))).sum((1, 2))
    exec(_compiled(tuple(lines.items())), names)
    return (names["near"] + names["far"]).reshape(-1, E)[:T]


@cache
def _compiled(lines):
    return compile(
        "\n".join(f"{name} = {expression}" for name, expression in lines), "<the mixing>", "exec"
    )
