"""What Sphinx is told while it reads and writes the pages: the words of a picture, docstrings that are prose, and what
a link to a page shows elsewhere."""

import posixpath
import re
from html import escape

from docutils import nodes
from PIL import Image  # matplotlib, which the course needs, needs it


def connect(app):
    app.connect("doctree-read", words_of_pictures)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("html-page-context", preview)


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


# ---------------------------------------------------------------- previews
COURSE = "A course in notebooks on linear attention: you build FLASH, measure it, and find out what it gives up."
LONGEST = 200  # letters of a description


def preview(app, pagename, template, context, doctree):
    """The tags by which a link to the page shows its title, its first sentences and its first picture."""
    title = re.sub(r"<.*?>", "", context.get("title") or app.config.html_title)
    tags = {
        "og:site_name": app.config.html_title,
        "og:type": "website",
        "og:title": title,
        "og:description": description(doctree),
        "og:image": address_of(app, picture_of(app, pagename, doctree), pagename),
    }
    if app.config.html_baseurl:
        tags["og:url"] = app.config.html_baseurl + app.builder.get_target_uri(pagename)
    lines = [f'<meta property="{name}" content="{escape(text)}" />' for name, text in tags.items()]
    lines.append(f'<meta name="description" content="{escape(tags["og:description"])}" />')
    lines.append('<meta name="twitter:card" content="summary_large_image" />')
    # docutils' own tag for phones is the layout's once more
    others = re.sub(r'<meta [^>]*name="viewport"[^>]*>', "", context.get("metatags", ""))
    context["metatags"] = "\n".join([others, *lines])


def description(doctree):
    """The page's first paragraph of more than a few words, cut at a word."""
    paragraphs = [] if doctree is None else doctree.findall(nodes.paragraph)
    texts = (" ".join(paragraph.astext().split()) for paragraph in paragraphs)
    first = next((text for text in texts if len(text) > 40 and " · " not in text), COURSE)
    if len(first) <= LONGEST:
        return first
    return first[:LONGEST].rsplit(" ", 1)[0] + " ..."


def picture_of(app, pagename, doctree):
    """Among the site's pictures: a laboratory's page has one of its own, others their first, the rest the mechanism."""
    own = f"{pagename.replace('/', '_')}.png"
    if (app.srcdir / "lab" / own).is_file():
        return own
    shown = [] if doctree is None else doctree.findall(nodes.image)
    names = (posixpath.basename(image["uri"]) for image in shown)
    return next((name for name in names if name.endswith(".png")), "lab_mechanism.png")


def address_of(app, picture, pagename):
    """Whole where the site has an address, as most readers of these tags want it; else from the page on."""
    path = f"_images/{picture}"
    if app.config.html_baseurl:
        return app.config.html_baseurl + path
    return posixpath.relpath(path, posixpath.dirname(pagename) or ".")
