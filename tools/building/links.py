"""The links of all pages: where they lead, and those that lead nowhere."""

import copy
import os
import posixpath
import re
from pathlib import Path

import nbformat

from .sources import ROOT, markdown_of, read_source, sources

# Code in Markdown, which holds no links; or a link or picture by its target.
LINK = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)|`[^`\n]*`|(?P<before>\]\(|\b(?:href|src)=[\"'])(?P<target>[^)\s\"']+)",
    flags=re.M | re.S,
)
ELSEWHERE = re.compile(r"\w+:|//|#")  # an address, an attachment, a place on the same page


def relative_links(text):
    """The targets of a page's links to other files of the project."""
    found = [match["target"] for match in LINK.finditer(text)]
    return [target for target in found if target and not ELSEWHERE.match(target)]


def anchors(path):
    """The places of a page of Markdown that a link may lead to, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def moved(notebook, folder, to):
    """A copy whose relative links lead from the folder ``to`` where they led from ``folder``."""

    def link(match):
        if not match["target"] or ELSEWHERE.match(match["target"]):
            return match[0]
        path = posixpath.relpath(posixpath.join(folder, match["target"]), to)
        return match["before"] + path

    copied = copy.deepcopy(notebook)
    for cell in copied.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(link, cell.source)
    return copied


def pages(root=ROOT, prefixes=()):
    """(file, its Markdown) of each page with links: notebooks as built, problem sets, README and docs."""
    for source in sources(root, prefixes):
        yield source, markdown_of(read_source(source))
    for folder in ("notebooks/work", "exercises"):
        for path in sorted((Path(root) / folder).glob("*.ipynb")):
            if not prefixes or path.name.startswith(tuple(prefixes)):
                yield path, markdown_of(nbformat.read(path, as_version=4))
    if not prefixes:
        for path in [*sorted(Path(root).glob("*.md")), *sorted((Path(root) / "docs").glob("*.md"))]:
            yield path, path.read_text(encoding="utf-8")


def dead_links(root=ROOT, prefixes=()):
    """Links to files or headings that are not there, or that lie outside of the project, a line each."""
    found = []
    for path, text in pages(root, prefixes):
        name = path.relative_to(root).as_posix()
        for target in relative_links(text):
            to, _, place = target.partition("#")
            file = Path(os.path.normpath(path.parent / to))
            if not (file.exists() and file.is_relative_to(root)):
                found.append(f"{name}: dead link {target}")
            elif place and file.suffix == ".md" and place not in anchors(file):
                found.append(f"{name}: no such heading {target}")
        if path.suffix == ".md":
            here = re.findall(r"\]\(#([^)\s]+)\)", text)
            found += [f"{name}: no such heading #{to}" for to in here if to not in anchors(path)]
    return found
