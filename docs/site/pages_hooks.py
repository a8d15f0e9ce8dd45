"""What Sphinx is told while it reads the pages: the words of a picture, and docstrings that are prose."""

import re

from docutils import nodes
from PIL import Image  # matplotlib, which the course needs, needs it


def connect(app):
    app.connect("doctree-read", words_of_pictures)
    app.connect("autodoc-process-docstring", plain_docstring)


def words_of_pictures(app, doctree):
    """A notebook's picture carries its alt text inside (drawing.show); myst-nb does not look at the metadata."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt") and image["uri"].endswith(".png"):
            path = (
                app.srcdir / image["uri"].lstrip("/")
                if image["uri"].startswith("/")
                else image["uri"]
            )
            picture = Image.open(app.srcdir / path)
            image["alt"] = picture.info.get("Description", "")
            if "dpi" in picture.info:  # more pixels are stored than a page shows
                image["width"] = f"{round(96 * picture.width / picture.info['dpi'][0])}px"


def plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are prose with ``code`` or `code`; a paragraph with indented lines keeps its lines."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = [*"\n\n".join(map(plain_paragraph, paragraphs)).split("\n"), ""]


def plain_paragraph(text):
    """Marks of reStructuredText mean themselves: outside of code a star, a bar or a trailing underscore is escaped."""
    parts = re.split(r"`+([^`]*)`+", text)
    parts[::2] = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"``{code}``" for code in parts[1::2]]
    text = "".join(parts)
    if not re.search(r"^\s", text, flags=re.M):
        return text
    text = re.sub(
        r"\n\s+(?![\w, `]+:)", " ", text
    )  # an indented line that names nothing goes on with the one before
    return re.sub(r"^", "| ", text, flags=re.M)
