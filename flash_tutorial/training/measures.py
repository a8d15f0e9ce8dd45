"""What experiments measure of a model: bits of every byte by its place in a chunk and by the last
mention of a name, what such a mention is worth, the sizes of the units' branches, and units that
are dead.
"""

import itertools
import re

import numpy as np
import torch
import torch.nn.functional as F

from ..corpora import evaluation_windows
from ..layers import cos_sin
from .score import bits_of_targets

NAMES = {
    "austen": re.compile(rb"(?<=[a-z,;] )[A-Z][a-z]{2,}"),  # a capital inside a sentence
    # an identifier
    "code": re.compile(
        rb"(?<![\w.])(?!(?:None|True|False|from|import|return|with|while|else|elif|pass|yield|raise|"
        rb"assert|lambda|class|break|continue|except|finally|global|nonlocal|async|await)\b)"
        rb"[A-Za-z_]\w{3,}"
    ),
}


def bits_of(model, split, T):
    """bits, valid, targets, each (W, T), over windows that do not overlap."""
    ids, targets, valid = evaluation_windows(split, T)
    return bits_of_targets(model, ids, targets), valid, targets


def by_place(bits, valid, C):
    """Mean bits at places 1, 2, 3 to 4, 5 to 8, ... of chunks of C, from the second chunk on."""
    chunks = np.where(valid, bits, np.nan).reshape(len(bits), -1, C)[:, 1:]
    places = np.nanmean(chunks, axis=(0, 1))
    edges = [0, *(2**i for i in range(C.bit_length()))]
    return [round(float(places[a:b].mean()), 3) for a, b in itertools.pairwise(edges)]


def by_mention(bits, valid, targets, distances, kind="austen"):
    """Mean bits of a whole name, or identifier, and how many there are, by the bytes since its last
    mention in the window.
    """
    bins = {(a, b): f"{a} to {b}" for a, b in itertools.pairwise(distances)}
    names = {key: [] for key in ("first", *bins.values())}
    for row, ok, text in zip(bits, valid, targets):
        last = {}
        for found in NAMES[kind].finditer(np.where(ok, text, 0).astype(np.uint8).tobytes()):
            start = found.start()
            end = found.end()
            word = found.group()
            key = "first"
            if word in last:
                away = start - last[word]
                key = next(said for (a, b), said in bins.items() if a < away <= b)
            names[key].append(row[start:end].sum())
            last[word] = start
    return {
        key: [round(float(np.mean(found)), 3), len(found)] for key, found in names.items() if found
    }


# ---------------------------------------------------------------- the same name, with its mentions and without
def worth_of_mentions(model, split, T, distances, kind, each=100):
    """Bits that a name costs less because it was mentioned before in its window, by the bytes since
    the last mention.

    The same name at the same place is read twice: as the text has it, and with every earlier
    mention changed into another name of the text, of as many bytes, that the window does not hold.
    {distance: [mean bits saved, standard error, names]}; which names are drawn depends on the text
    alone, so that models are compared on the same ones.
    """
    ids, targets, valid = evaluation_windows(split, T)
    texts = [np.where(ok, text, 0).astype(np.uint8).tobytes() for ok, text in zip(valid, targets)]
    found = {}
    rng = np.random.default_rng(0)
    others = names_by_length(texts, kind)
    for distance, names in mentioned_names(texts, distances, kind).items():
        saved = []
        for i in rng.permutation(len(names))[:each]:
            row, start, end, mentions = names[i]
            free = [name for name in others[end - start] if name not in texts[row]]
            if free:
                saved.append(
                    bits_saved(
                        model, ids[row], texts[row][start:end], start, mentions, rng.choice(free)
                    )
                )
        if saved:
            error = float(np.std(saved) / len(saved) ** 0.5)
            found[distance] = [round(float(np.mean(saved)), 3), round(error, 3), len(saved)]
    return found


def names_by_length(texts, kind):
    """{bytes: the names of that length}, in alphabetical order."""
    names = set()
    for text in texts:
        names.update(NAMES[kind].findall(text))
    by_length = {}
    for name in sorted(names):
        by_length.setdefault(len(name), []).append(name)
    return by_length


def mentioned_names(texts, distances, kind):
    """{distance: [(window, start, end, places of its earlier mentions)]} of the names that have
    one.
    """
    found = {(a, b): [] for a, b in itertools.pairwise(distances)}
    for row, text in enumerate(texts):
        seen = {}
        # mentions of every form, also behind a point
        for word in re.finditer(rb"(?<!\w)[A-Za-z_]\w+", text):
            before = seen.setdefault(word.group(), [])
            key = next(
                (k for k in found if before and k[0] < word.start() - before[-1] <= k[1]), None
            )
            name = key and NAMES[kind].match(text, word.start())
            if name and name.end() == word.end():
                found[key].append((row, word.start(), word.end(), tuple(before)))
            before.append(word.start())
    return {f"{a} to {b}": names for (a, b), names in found.items()}


@torch.no_grad()
def bits_saved(model, ids, name, start, mentions, other):
    """Bits of a name at a place of a window without its earlier mentions, minus those with them."""
    without = ids.copy()
    for at in mentions:  # a window's ids stand one place behind its targets
        without[at + 1 : at + 1 + len(other)] = np.frombuffer(other, np.uint8)
    logits = model(torch.from_numpy(np.stack([ids, without])))[:, start : start + len(name)]
    targets = torch.from_numpy(np.frombuffer(name, np.uint8).astype(np.int64)).expand(2, -1)
    nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1)
    return float(nats[1] - nats[0]) / np.log(2)


# ---------------------------------------------------------------- units
@torch.no_grad()
def seen_in_units(model, ids, look):
    """``look(unit, x, y)`` of each unit with what it is given and what it gives, for a batch of
    ids.
    """
    found = []
    hooks = [
        unit.register_forward_hook(lambda unit, given, y: found.append(look(unit, given[0], y)))
        for unit in model.stack.units
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return found


def branch_sizes(model, ids):
    """For each unit, the size of what it adds over the size of what it adds it to."""
    sizes = seen_in_units(model, ids, lambda unit, x, y: float((y - x).norm() / x.norm()))
    return [float(f"{size:.3g}") for size in sizes]


def dead_units(model, ids):
    """How many units add the same to every position, but for rounding: whatever they read, nothing
    of it comes out.
    """

    def is_dead(unit, x, y):
        branch = y - x
        return bool((branch - branch[:1, :1]).abs().max() < 1e-6 * y.abs().max())

    return sum(seen_in_units(model, ids, is_dead))


def open_shares(model, ids):
    """For each GAU unit the share of causal pairs with a weight above zero; a relu² map without any
    is dead.
    """
    T = ids.shape[1]
    pairs = torch.ones(T, T, dtype=torch.bool).tril()

    def share(unit, x, y):
        q, k = unit.read_heads(unit.project(x)[2], *cos_sin(T, unit.qk_dim, x))
        return round(float(((q @ k.mT / T + unit.bias(T))[:, pairs] > 0).double().mean()), 5)

    return seen_in_units(model, ids, share)


def gradient_norms(model, ids, targets):
    """The norm of the gradient of a batch's loss by kind of parameter, over all units."""
    model.loss(ids, targets).backward()
    squares = {}
    for name, parameter in model.named_parameters():
        kind = name
        if "units." in name:
            kind = name.split("units.")[-1].split(".", 1)[-1]
        squares[kind] = squares.get(kind, 0.0) + float(parameter.grad.square().sum())
    model.zero_grad(set_to_none=True)
    return {kind: float(f"{total**0.5:.3g}") for kind, total in squares.items()}
