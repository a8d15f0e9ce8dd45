"""The look of all figures, and how a notebook shows one: PNG, alt text, and the same in words and numbers."""

import io
from html import escape

from matplotlib.figure import Figure
from PIL import Image  # matplotlib itself needs it
from PIL.PngImagePlugin import PngInfo

from .colours import BLACK, GREEN, MODELS, ORANGE, PURPLE, SKY, YELLOW

FONT = 10  # points; nothing smaller than 9
COLOURS = 128  # of a stored picture
CSS_DPI = 96  # pixels of a page in an inch
SHARPER = 2  # stored pixels for one of a page, in both directions: for dense screens
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # behind a text that lies on a line

# Marker and line of each model, the same in every figure; its colour stands in colours.py.
DASHES = (0, (5, 1))
SHAPES = {
    "flash": ("o", "-"),
    "flash-quad": ("^", "-."),
    "gau": ("^", "-."),
    "transformer++": ("s", "--"),
    "softmax": ("s", "--"),
    "transformer": ("P", (0, (3, 1, 1, 1))),
    "linear": ("D", ":"),
    "local only": ("v", (0, (1, 1))),
    "global only": ("X", DASHES),
    "flash-pytorch": ("h", DASHES),
    "window": ("d", (0, (5, 2))),
    "retnet": ("<", DASHES),
    "gla": (">", (0, (3, 1, 1, 1))),
    "delta": ("P", "-"),
    "hybrid": ("X", "--"),
}
# a name has the longest key that it holds
LOOKS = {model: (MODELS[model], *shape) for model, shape in SHAPES.items()}
SPARE = (
    (BLACK, "*", (0, (1, 2))),
    (PURPLE, "p", (0, (4, 1, 1, 1))),
    (SKY, "H", (0, (2, 1))),
    (GREEN, "8", (0, (6, 1))),
    (ORANGE, "X", (0, (7, 2, 1, 2))),
    (YELLOW, "P", "-"),
)

# Figures are drawn on white. On a dark page they are turned round: light for dark, each hue kept (blue stays blue).
FOLD = "flash-picture"  # class of the fold that follows a picture
DARK_PAGES = (
    "<style>"
    ":is([data-jp-theme-light=false],.vscode-dark,[theme=dark],[data-theme=dark])"
    f" div:has(+div>.{FOLD},+div>div>.{FOLD},+div>div>div>.{FOLD}) img"
    "{filter:invert(1) hue-rotate(180deg);mix-blend-mode:screen}"
    "</style>"
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
    png = small_png(figure, alt)
    # by metadata, and not alt=, which the IPython 7 of Colab does not take
    metadata = {"alt": alt, "width": width_on_page(png)}
    display.display(display.Image(data=png, format="png", metadata=metadata))
    text = f"<p>{escape(alt)}</p>" + (
        "" if table is None else f"<pre>{escape(text_table(table))}</pre>"
    )
    summary = f"<summary>The picture in words{' and numbers' if table else ''}</summary>"
    display.display(display.HTML(f'<details class="{FOLD}">{summary}{text}</details>{DARK_PAGES}'))


def small_png(figure, alt, sharper=SHARPER):
    """The figure as the bytes of a PNG with a palette: a quarter of the size, and drawings need few colours."""
    full = io.BytesIO()
    small = io.BytesIO()
    figure.savefig(full, format="png", facecolor="white", dpi=sharper * figure.dpi)
    text = PngInfo()
    text.add_itxt("Description", alt)
    how = {"format": "png", "optimize": True, "pnginfo": text, "dpi": (sharper * CSS_DPI,) * 2}
    Image.open(full).convert("RGB").quantize(COLOURS).save(small, **how)
    return small.getvalue()


def width_on_page(png):
    """In pixels of the page, from what ``small_png`` wrote into the picture."""
    with Image.open(io.BytesIO(png)) as picture:
        return round(picture.width * CSS_DPI / picture.info["dpi"][0])


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
