"""Six tokens through causal mixed chunk attention: the numbers of lecture 05, each with what it is made of."""

import numpy as np

from flash_course import drawing

from .page import Page

C = 2
Z = np.array([(1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (2, 0)])
V = np.array([(0, -4), (8, 0), (4, 8), (4, 4), (0, 4), (-4, 0)])
# a row for each of quad_q, quad_k, lin_q, lin_k
GAMMA = np.array([(0, -2), (-1, 1), (1, 1), (1, 2)])
BETA = np.array([(-2, 2), (-1, -1), (1, 0), (-1, -1)])
BIAS = np.array([(0, 1), (-1, 0)])
HEADS = ("quad_q", "quad_k", "lin_q", "lin_k")


def numbers():
    """All arrays by name: heads (T, S), score and weight (G, C, C), kv and mean (G, S, E), near, far and out (T, E)."""
    heads = dict(zip(HEADS, Z * GAMMA[:, None] + BETA[:, None]))
    quad_q, quad_k, lin_k = (
        heads[name].reshape(-1, C, 2) for name in ("quad_q", "quad_k", "lin_k")
    )
    v = V.reshape(-1, C, 2)
    score = np.tril(quad_q @ quad_k.swapaxes(1, 2) / C + BIAS)  # above the diagonal nobody looks
    weight = np.maximum(score, 0) ** 2
    kv = lin_k.swapaxes(1, 2) @ v
    earlier = np.concatenate([0 * kv[:1], np.cumsum(kv, axis=0)[:-1]])
    mean = earlier / np.maximum(C * np.arange(len(kv)), 1)[:, None, None]
    near = weight @ v
    far = heads["lin_q"].reshape(-1, C, 2) @ mean
    arrays = {"z": Z, "v": V, "gamma": GAMMA, "beta": BETA, "bias": BIAS} | heads
    arrays |= {"score": score, "weight": weight, "kv": kv, "mean": mean}
    return arrays | {
        name: x.reshape(-1, 2) for name, x in (("near", near), ("far", far), ("out", near + far))
    }


def six_tokens():
    """The page: focus or point at a number, and what it is made of lights up, with the calculation in words."""
    arrays = numbers()
    i, j = np.indices((6, 6))
    weights = np.kron(np.eye(3), np.ones((C, C))) * np.tile(arrays["weight"].reshape(6, C), (1, 3))
    far = arrays["lin_q"] @ arrays["lin_k"].T / np.maximum(i // C * C, 1)
    panels = {
        "local: one by one": np.where((i // C == j // C) & (j <= i), weights, np.nan),
        "global: weights that nobody stores": np.where(j // C < i // C, far, np.nan),
    }
    title = "Each pair is read in one of the two ways, never in both"
    figure, alt = drawing.numbers_in_squares(panels, row=6, title=title)
    data = {
        "C": C,
        "heads": HEADS,
        "arrays": {name: array.tolist() for name, array in arrays.items()},
    }
    return Page(
        "six_tokens",
        "Six tokens, every number traced: mixed chunk attention by hand",
        "Point at any number of six tokens: what it is made of lights up, with the calculation in words.",
        alt,
        figure,
        data,
    )
