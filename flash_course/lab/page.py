"""A page of the laboratory: one HTML output that holds all it needs, and a still picture where scripts do not run."""

import base64
import hashlib
import io
import json
import re
import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from importlib.resources import files
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps  # matplotlib itself needs it

from flash_course.drawing import colours, style

ASSETS = files(__package__) / "assets"
COLOURS = colours.style_sheet(":host", ":host([data-theme=dark])")
DPI = 110  # of the still picture
PREVIEW = (1200, 630, 36)  # width, height and margin, as sites want them
FILE_LOOK = (
    ":root{color-scheme:light dark}"
    "body{margin:0 auto;max-width:58rem;padding:1rem;background:Canvas;color:CanvasText}"
    "body{font-family:system-ui,sans-serif}"
    "img{max-width:100%}"
)


@dataclass
class Page:
    """``name`` names the assets ``name.html``, ``name.css`` and ``name.js``; ``data`` is what the script is handed."""

    name: str
    title: str
    sentence: str  # what a reader finds out, for links and previews
    alt: str  # of the still picture
    figure: Figure
    data: dict = field(repr=False)
    parts: tuple[str, ...] = ()  # scripts of assets that stand before its own

    @cached_property
    def png(self):
        """The still picture, the same bytes for the same page; it stands in for what moves, so it may be coarse."""
        self.figure.set_dpi(DPI)
        return style.small_png(self.figure, self.alt, sharper=1)

    @cached_property
    def html(self):
        """Words of the still picture, an empty place, and the script that fills it."""
        script = self._script()
        place = f"{self.name}-{hashlib.sha256(script.encode()).hexdigest()[:10]}"  # two equal pages share it: harmless
        return (
            f"<details data-flash-lab-still><summary>The picture in words</summary><p>{escape(self.alt)}</p></details>"
            f'<div data-flash-lab="{place}"></div>\n<script>\n{script.replace("@PLACE@", place)}</script>\n'
        )

    def _script(self):
        """The page in one function of its own, so that several pages can stand in one notebook."""
        page = {
            "title": escape(self.title),
            "alt": self.alt,
            "still": list(_size(self.png)),
            "data": self.data,
            "css": COLOURS + asset("base.css") + asset(f"{self.name}.css"),
            "html": asset(f"{self.name}.html"),
        }
        text = json.dumps(page, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
        scripts = ("base.js", *self.parts, f"{self.name}.js")
        lines = ["(() => {", '"use strict";', "".join(map(asset, scripts))]
        return "\n".join([*lines, f'mount("@PLACE@", {text}, start);', "})();", ""])

    def alone(self):
        """The page as the text of an HTML file that needs no other."""
        picture = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<link rel="icon" href="data:,">\n<title>{escape(self.title)}</title>\n'
            f'<meta name="description" content="{escape(self.sentence)}">\n<style>{FILE_LOOK}</style>\n'
            f'</head>\n<body>\n<main>\n<img data-flash-lab-still src="{picture}" alt="{escape(self.alt)}">\n'
            f"{self.html}</main>\n</body>\n</html>\n"
        )

    def save(self, path):
        """Write a stand-alone HTML file."""
        Path(path).write_text(self.alone(), encoding="utf-8")

    def preview(self):
        """What a link to the page shows, as a PNG: its title above its still picture."""
        width, height, edge = PREVIEW
        card = Image.new("RGB", (width, height), "white")
        font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), 40)
        title = textwrap.wrap(self.title, 44)
        ImageDraw.Draw(card).text((edge, edge), "\n".join(title), "black", font)
        still = Image.open(io.BytesIO(self.png)).convert("RGB")
        below = 2 * edge + 48 * len(title)
        still = ImageOps.contain(still, (width - 2 * edge, height - below - edge))
        card.paste(still, ((width - still.width) // 2, below))
        out = io.BytesIO()
        card.quantize(style.COLOURS).save(out, format="png", optimize=True)
        return out.getvalue()


def show(page):
    """Display a page in a notebook: its still picture, and one HTML output whose script hides that picture.

    What ``leaks`` measured has no script: it is shown as a figure, with its faults in words.
    """
    from IPython import display

    if not isinstance(page, Page):
        print(
            "\n".join(
                page.faults
                or ["no fault: every token reads itself and all earlier ones, each in one way"]
            )
        )
        return style.show(page.figure, page.alt)
    metadata = {"alt": page.alt, "width": style.width_on_page(page.png)}
    display.display(display.Image(data=page.png, format="png", metadata=metadata))
    display.display(display.HTML(page.html))


def asset(name):
    """The text of an asset without indentation and without lines that are comments; empty where there is none."""
    file = ASSETS / name
    if not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8")
    if name.endswith(".css"):
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def _size(png):
    """Width and height of a PNG, from its header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
