"""What a reader of the built pages must not meet: dead links, pictures without words, requests to another host, a page
whose link shows nothing elsewhere."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
}  # by the browser, unasked
PREVIEW = ("og:title", "og:description", "og:image")  # what a link to a page shows elsewhere
FAR = re.compile(r"(?:https?:)?//", flags=re.I)
FAR_STYLE = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])(?:https?:)?//""", flags=re.I)


class Page(HTMLParser):
    """What a page links to, fetches and shows."""

    def __init__(self, path):
        super().__init__()
        self.places, self.links, self.found = set(), [], []
        self.once = {"title": 0, "viewport": 0} | dict.fromkeys(PREVIEW, 0)
        self.feed(path.read_text(encoding="utf-8"))
        self.found += [
            f"{name} is there {times} times: expected once"
            for name, times in self.once.items()
            if times != 1
        ]

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        name = values.get("property") or values.get("name") if tag == "meta" else tag
        if name in self.once:
            self.once[name] += 1
        if name == "og:image":
            self.links.append(values["content"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"] or "")
        if tag == "img" and not (values.get("alt") or "").strip() and values.get("alt") != "":
            self.found.append(f"a picture without words: {values.get('src', '')[:60]}")
        address = values.get(FETCHED.get(tag)) or ""
        is_style = tag != "link" or {"stylesheet", "icon", "preload"} & {
            *(values.get("rel") or "").split()
        }
        if FAR.match(address) and is_style:
            self.found.append(f"<{tag}> fetches from another host: {address}")
        if (
            FETCHED.get(tag)
            and address
            and not FAR.match(address)
            and not address.startswith("data:")
        ):
            self.links.append(address)


def html_pages(out):
    """The pages; the theme keeps templates beside its styles, and what is handed out is a file and no page."""
    return [
        path
        for path in sorted(Path(out).rglob("*.html"))
        if path.relative_to(out).parts[0] not in ("_static", "_downloads")
    ]


def problems(out):
    """All that is wrong with the site in the folder ``out``, a line each."""
    out = Path(out)
    pages = {path: Page(path) for path in html_pages(out)}
    found = [
        f"{path.relative_to(out).as_posix()}: {problem}"
        for path, page in pages.items()
        for problem in [*page.found, *dead_links(path, page, pages)]
    ]
    styles = [
        path
        for path in out.rglob("*.css")
        if FAR_STYLE.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    return found + [
        f"{path.relative_to(out).as_posix()}: fetches from another host" for path in styles
    ]


def dead_links(path, page, pages):
    """The page's links to files or places that are not there."""
    for link in sorted({*page.links}):
        target, _, place = link.partition("#")
        if re.match(r"\w+:|//", link):
            continue
        target = unquote(target.partition("?")[0])
        file = Path(os.path.normpath(path.parent / target)) if target else path
        if not file.is_file():
            yield f"dead link {link}"
        elif place and file in pages and unquote(place) not in pages[file].places:
            yield f"no such place {link}"
