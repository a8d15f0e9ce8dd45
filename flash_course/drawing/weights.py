"""The weights of a trained model as a picture: who reads whom, how strongly, and through which of the two parts."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from .colours import BLACK, BLUE, ORANGE
from .style import legend_below, new_panels


def near_and_far(units, chunk_size, *, title, first=0):
    """By name the weights ``(near (T, T), far (T, T))`` of a unit; each part is as dark as its share of its largest.

    The square root of that share, so that small weights are seen. ``first``: the place of the first token.
    """
    names = {"xlabel": "token that is read", "ylabel": "token that reads"}
    figure, panels = new_panels(units, 7.4, 4.4, title=title, sharey=True, **names)
    words = []
    for axes, (name, (near, far)) in zip(panels, units.items()):
        near, far = np.asarray(near), np.asarray(far)
        T = len(near)
        picture = _toned(near, BLUE) + _toned(far, ORANGE) - 1
        edges = (first + 0.5, first + T + 0.5)
        axes.imshow(picture.clip(0, 1), extent=(*edges, *edges[::-1]), interpolation="nearest")
        border = -(-(first + 1) // chunk_size) * chunk_size + 0.5
        while border < first + T:
            axes.axhline(border, color=BLACK, linewidth=0.8, alpha=0.4)
            axes.axvline(border, color=BLACK, linewidth=0.8, alpha=0.4)
            border += chunk_size
        axes.grid(False)
        words.append(f"{name}: {_in_words(near)}")
    handles = [Patch(color=BLUE), Patch(color=ORANGE)]
    legend_below(figure, handles, ["near, one by one", "far, through the mean (either sign)"])
    about = f"The weights of {T} tokens in chunks of {chunk_size}; a row reads a column."
    return figure, f"{about} {'; '.join(words)}."


def bound_and_fetched(near, far, tied, questions, *, title):
    """How a game of recall is played: ``near (n, n)`` among the tokens ``tied``, then ``far (m, n)`` of ``questions``.

    Both are weights; of the far ones only what is positive is drawn.
    """
    near, far = np.asarray(near), np.asarray(far)
    parts = {
        "unit 1, near: the tied tokens": (near, tied, BLUE),
        "unit 2, far: questions later on": (far.clip(min=0), questions, ORANGE),
    }
    names = {"xlabel": "token that is read", "ylabel": "token that reads"}
    figure, panels = new_panels(parts, 7.2, 4.2, title=title, **names)
    for axes, (weights, readers, colour) in zip(panels, parts.values()):
        axes.imshow(_toned(weights, colour, power=1))
        axes.set_xticks(range(len(tied)), tied)
        axes.set_yticks(range(len(readers)), readers)
        axes.grid(False)
    bound = ", ".join(
        f"{reader} reads {tied[at]}" for reader, at in zip(tied[1:], near[1:].argmax(1))
    )
    fetched = ", ".join(
        f"{question} reads {tied[at]}" for question, at in zip(questions, far.argmax(1))
    )
    return figure, f"Two maps of weights; the largest of each row: near, {bound}; far, {fetched}."


def _toned(weights, colour, power=0.5):
    """White where a weight is 0, the colour where it is the largest: ``(T, T, 3)``."""
    size = np.abs(weights)
    share = (size / max(size.max(), 1e-12))[..., None] ** power
    return 1 - share * (1 - np.array(to_rgb(colour)))


def _in_words(near):
    """How much of the near weights lies on how few distances."""
    T = len(near)
    by_distance = np.array([np.trace(near, -distance) for distance in range(T)])
    most = int(by_distance.argmax())
    share = by_distance[most] / by_distance.sum()
    return f"{share:.0%} of the near weights lie at distance {most}, more than at any other"
