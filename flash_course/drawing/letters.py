"""Attention matrices over the letters of a text, as a trained model has them."""

import numpy as np

from .plots import listed
from .style import FONT, WHITE, new_panels


def weights_of_letters(matrices, letters, *, title):
    """``matrices`` holds by name a causal matrix ``(T, T)`` of weights, 0 or larger; a row reads the columns.

    All share one scale of blue. What is exactly 0 is grey, and later letters are white.
    """
    T = len(letters)
    allowed = np.tri(T, dtype=bool)
    names = {"xlabel": "letter that is read", "ylabel": "letter that reads"}
    figure, panels = new_panels(matrices, 3.9 * len(matrices), 4.1, title=title, **names)
    highest = max(A_TT.max() for A_TT in matrices.values())
    zeros = {}
    for axes, (name, A_TT) in zip(panels, matrices.items()):
        nothing = np.where(allowed & (A_TT == 0), 1.0, np.nan)
        axes.imshow(nothing, cmap="Greys", vmin=0, vmax=6)
        shown = np.where(allowed & (A_TT > 0), A_TT, np.nan)
        image = axes.imshow(shown, cmap="Blues", vmin=-0.15 * highest, vmax=highest)
        marks = letters.replace(" ", "·")  # an underscore would lie on the next letter
        axes.set_xticks(range(T), marks, family="monospace")
        axes.set_yticks(range(T), marks, family="monospace")
        look = {"ha": "right", "va": "top", "fontsize": FONT, "bbox": WHITE}
        axes.text(T - 1, 0, "white: later\ngrey: exactly 0", **look)
        axes.grid(False)
        zeros[name] = (A_TT[allowed] == 0).mean()
    bar = figure.colorbar(image, ax=panels, shrink=0.8, label="weight")
    bar.ax.set_ylim(0, highest)
    alt = f"Attention matrices of {T} by {T} letters of '{letters}'; a row reads the columns. Exactly 0"
    return (
        figure,
        f"{alt} are, of the weights on itself and earlier ones: {listed(zeros, '{:.0%}')}.",
    )
