"""Bits of every byte or token of a text, and their means by the place in a chunk and by the last mention of a name."""

import itertools
import re

import numpy as np
import torch
import torch.nn.functional as F

from flash_tutorial.data import evaluation_windows

NAMES = {
    "austen": re.compile(rb"(?<=[a-z,;] )[A-Z][a-z]{2,}"),  # a capital inside a sentence
    "code": re.compile(rb"(?<![\w.])(?!(?:None|True|False|from|import|return|with|while|else|elif|pass|yield|raise|"
                       rb"assert|lambda|class|break|continue|except|finally|global|nonlocal|async|await)\b)"
                       rb"[A-Za-z_]\w{3,}"),  # an identifier
}  # fmt: skip


@torch.no_grad()
def bits_of(model, split, T, batch=4):
    """bits, valid, targets, each (W, T), over windows that do not overlap; in float32."""
    ids, targets, valid = evaluation_windows(split, T)
    bits = np.zeros(targets.shape)
    for i in range(0, len(ids), batch):
        x, y = (torch.from_numpy(a[i : i + batch]) for a in (ids, targets))
        nats = F.cross_entropy(model(x).transpose(1, 2), y, ignore_index=-100, reduction="none")
        bits[i : i + batch] = nats.numpy() / np.log(2)
    return bits, valid, targets


def by_place(bits, valid, C):
    """Mean bits at places 1, 2, 3 to 4, 5 to 8, ... of chunks of C, from the second chunk on."""
    chunks = np.where(valid, bits, np.nan).reshape(len(bits), -1, C)[:, 1:]
    places, edges = np.nanmean(chunks, axis=(0, 1)), [0, *(2**i for i in range(C.bit_length()))]
    return [round(float(places[a:b].mean()), 3) for a, b in itertools.pairwise(edges)]


def by_mention(bits, valid, targets, distances, kind="austen"):
    """Mean bits of a whole name, or identifier, and how many there are, by the bytes since its last mention in the
    window."""
    bins = {(a, b): f"{a} to {b}" for a, b in itertools.pairwise(distances)}
    names = {key: [] for key in ("first", *bins.values())}
    for row, ok, text in zip(bits, valid, targets):
        last = {}
        for found in NAMES[kind].finditer(np.where(ok, text, 0).astype(np.uint8).tobytes()):
            start, end, word = found.start(), found.end(), found.group()
            away = start - last[word] if word in last else None
            key = "first" if away is None else next(said for (a, b), said in bins.items() if a < away <= b)
            names[key].append(row[start:end].sum())
            last[word] = start
    return {key: [round(float(np.mean(found)), 3), len(found)] for key, found in names.items() if found}
