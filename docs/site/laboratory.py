"""The laboratory as a section of the site: a page for each of its pages, and one that shows them all."""

from flash_course import lab

LECTURES = {  # by page, in the order of the section, the lecture that tells the rest
    "writer": "09",
    "mechanism": "05",
    "leaks": "05",
    "cost": "00",
    "decoding": "09",
    "six_tokens": "05",
}


def lay_out(stage):
    """Write the section's pages: each its text, what moves, its preview, and the same as one file."""
    pages = [getattr(lab, name)() for name in LECTURES]
    for page in pages:
        stage.write(f"lab/{page.name}.md", text(page, stage.pages))
        # the heading above it has the title
        inner = page.html.replace("<div data-flash-lab=", "<div data-titled data-flash-lab=")
        stage.write(f"lab/{page.name}.inc", inner)
        stage.write(f"lab/{page.name}_alone.html", page.alone())
        stage.write_bytes(preview(page.name), page.preview())
    stage.write("lab/index.md", index(pages))


def preview(name):
    """Where a page's preview picture lies; Sphinx puts all pictures into one folder."""
    return f"lab/lab_{name}.png"


def text(page, paths):
    """A page's Markdown."""
    return f"""# {page.title}

{page.sentence}

```{{raw}} html
:file: {page.name}.inc
```

{goes_on(page.name, paths)}[The same as one file](path:{page.name}_alone.html), which needs no network.
"""


def goes_on(name, paths):
    start = f"notebooks/{LECTURES[name]}_"
    lecture = next((path for path in sorted(paths) if path.startswith(start)), None)
    if lecture is None:
        return ""
    return f"[Lecture {LECTURES[name]}](../{lecture}) tells the rest. "


def index(pages):
    """The section's first page: each page with its picture and its sentence."""
    cards = "\n\n".join(
        f":::{{container}} way\n[![{page.title}](lab_{page.name}.png)]({page.name}.md)\n\n"
        f"**[{page.title}]({page.name}.md).** {page.sentence}\n:::"
        for page in pages
    )
    return f"""# The laboratory

Pages that answer when you touch them. Each is one file that fetches nothing.

:::::{{container}} cards previews
{cards}
:::::
"""
