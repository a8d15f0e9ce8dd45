"""The look of all figures, and how a notebook shows one: PNG, alt text, and the same in words and numbers."""

import io
from html import escape

from matplotlib.figure import Figure
from PIL import Image  # matplotlib itself needs it
from PIL.PngImagePlugin import PngInfo

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness
BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"

FONT = 10  # points; nothing smaller than 9
COLOURS = 128  # of a stored picture
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # behind a text that lies on a line

# Colour, marker and line of each model, the same in every figure; a name has the longest key that it holds.
DASHES = (0, (5, 1))
LOOKS = {
    "flash": (BLUE, "o", "-"),
    "flash-quad": (GREEN, "^", "-."),
    "gau": (GREEN, "^", "-."),
    "transformer++": (VERMILION, "s", "--"),
    "softmax": (VERMILION, "s", "--"),
    "transformer": (BLACK, "P", (0, (3, 1, 1, 1))),
    "linear": (ORANGE, "D", ":"),
    "local only": (SKY, "v", (0, (1, 1))),
    "global only": (PURPLE, "X", DASHES),
    "flash-pytorch": (PURPLE, "h", DASHES),
    "window": (VERMILION, "d", (0, (5, 2))),
    "retnet": (BLACK, "<", DASHES),
    "gla": (SKY, ">", (0, (3, 1, 1, 1))),
    "delta": (PURPLE, "P", "-"),
    "hybrid": (GREEN, "X", "--"),
}
SPARE = (
    (BLACK, "*", (0, (1, 2))),
    (PURPLE, "p", (0, (4, 1, 1, 1))),
    (SKY, "H", (0, (2, 1))),
    (GREEN, "8", (0, (6, 1))),
    (ORANGE, "X", (0, (7, 2, 1, 2))),
    (YELLOW, "P", "-"),
)


def looks(names):
    """Colour, marker and line by name: the model's own; where two names are of one model, both have its colour."""
    given = {}
    spare = iter(SPARE)
    for name in names:
        plain = name.lower().replace("_", "-")
        key = max((key for key in LOOKS if key in plain), key=len, default=None)
        look = LOOKS[key] if key else next(spare)
        if look in given.values():
            other = next(spare)
            look = (look[0], *other[1:])
        given[name] = look
    return given


def new_axes(width=7.0, height=4.0, xlabel="", ylabel="", title=""):
    """A figure with one pair of axes in the course's style."""
    labels = {"title": title, "xlabel": xlabel, "ylabel": ylabel}
    figure, (axes,) = new_panels([""], width, height, **labels)
    return figure, axes


def new_panels(names, width=7.4, height=3.8, *, title="", xlabel="", ylabel="", rows=1, **options):
    """A figure with panels in the course's style, one for each name, in one row or several.

    ``options`` are those of ``subplots``.
    """
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=FONT + 1)
    panels = figure.subplots(rows, len(names) // rows, squeeze=False, **options).ravel()
    for axes, name in zip(panels, names):
        axes.set_xlabel(xlabel, fontsize=FONT)
        axes.set_title(name, fontsize=FONT)
        axes.tick_params(labelsize=FONT - 1)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(ylabel, fontsize=FONT)
    return figure, panels


def legend_below(figure, handles, names, columns=None):
    """A legend in a row below the whole figure, or in several rows."""
    place = {"loc": "outside lower center", "ncols": columns or len(names)}
    figure.legend(handles, names, fontsize=FONT, frameon=False, **place)


def show(figure, alt, table=None):
    """Display a figure in a notebook: a PNG with its alt text, and in a fold the same in words and as a table.

    ``table``: rows of text or numbers, the first one the header. The same figure gives the same bytes.
    """
    from IPython import display

    if not alt.strip():
        raise ValueError("the alt text is empty: say what the picture shows, with its numbers")
    # by metadata, and not alt=, which the IPython 7 of Colab does not take
    display.display(display.Image(data=small_png(figure, alt), format="png", metadata={"alt": alt}))
    text = f"<p>{escape(alt)}</p>" + (
        "" if table is None else f"<pre>{escape(text_table(table))}</pre>"
    )
    fold = f"<details><summary>The picture in words{' and numbers' if table else ''}</summary>{text}</details>"
    display.display(display.HTML(fold))


def small_png(figure, alt):
    """The figure as the bytes of a PNG with a palette: a quarter of the size, and drawings need few colours."""
    full = io.BytesIO()
    small = io.BytesIO()
    figure.savefig(full, format="png", facecolor="white")
    text = PngInfo()
    text.add_itxt("Description", alt)
    Image.open(full).convert("RGB").quantize(COLOURS).save(
        small, format="png", optimize=True, pnginfo=text
    )
    return small.getvalue()


def text_table(rows):
    """Rows as lines of text, the first column to the left, all others to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
