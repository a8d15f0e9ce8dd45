"""The pages of the site, laid out in one folder in which their relative links still lead where they led.

Each page lies where it lies in the repository. A link to another page stays; one to a file that is no page becomes its
address in the repository, or a download as long as that has none; one to what is left out becomes plain text.
"""

import os
import posixpath
import re
import runpy
import shutil
from pathlib import Path

import laboratory
import landing
import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATTERNS = (
    "notebooks/[0-9][0-9]_*.ipynb",
    "exercises/[0-9][0-9]_*.ipynb",
    "docs/*.md",
    "experiments/predictions.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
FOR_INSTRUCTORS = ("docs/rubrics.md", "docs/lesson_plans.md")
GLOSSARY = "docs/glossary.md"
NO_PAGES = ("docs/STATUS.md", *FOR_INSTRUCTORS)
SECRET = (
    "solutions/",
    "flash_course/checks/",
    *FOR_INSTRUCTORS,
)  # they hold answers: not even to be downloaded
LINK = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)|`[^`\n]*`"  # code holds no links
    r"|(?P<image>!?)\[(?P<text>(?:[^\[\]`]|`[^`\n]*`)*)\]\((?P<target>[^)\s]+)\)",
    flags=re.M | re.S,
)
ELSEWHERE = re.compile(r"\w+:|//|#")


def page_paths(root=ROOT):
    """The pages' paths in the repository; the landing page and the API pages are made here and not among them."""
    found = [
        path.relative_to(root).as_posix()
        for pattern in PATTERNS
        for path in sorted(root.glob(pattern))
    ]
    return [path for path in found if path not in NO_PAGES]


class Stage:
    """A folder that holds the pages and what they hand out, and nothing else."""

    def __init__(self, folder, root=ROOT):
        self.folder, self.root, self.kept = Path(folder), Path(root), set()
        self.pages = {*page_paths(root)}
        self.address = runpy.run_path(str(self.root / "flash_course" / "addresses.py"))

    def lay_out(self):
        for path in sorted(self.pages):
            self.write(path, self.notebook(path) if path.endswith(".ipynb") else self.page(path))
        for path in sorted((HERE / "api").glob("*.md")):
            self.write(f"api/{path.name}", path.read_text(encoding="utf-8"))
        colours = runpy.run_path(str(self.root / "flash_course" / "drawing" / "colours.py"))
        sheet = colours["style_sheet"]("html", 'html[data-theme="dark"]')
        self.write("colours.css", sheet)
        laboratory.lay_out(self)
        self.write("index.md", landing.page(self.root, self.address))
        for path in [*self.folder.rglob("*")]:
            if path.is_file() and path not in self.kept:
                path.unlink()

    def write(self, path, text):
        self.write_bytes(path, text.encode())

    def write_bytes(self, path, content):
        """Untouched where it is the same, so that a second build reads only what changed."""
        file = self.folder / path
        self.kept.add(file)
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def page(self, path):
        text = (self.root / path).read_text(encoding="utf-8")
        if path == GLOSSARY:
            text = with_index(text)
        return self.with_links(text, posixpath.dirname(path))

    def notebook(self, path):
        """A notebook with its outputs as they are; the fold of its first code cell, which only installs, says so."""
        notebook = nbformat.read(self.root / path, as_version=4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.metadata["mystnb"] = {
            "code_prompt_show": "The first cell, which installs the course on Colab"
        }
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.with_links(cell.source, posixpath.dirname(path))
        return nbformat.writes(notebook)

    def with_links(self, text, folder):
        return LINK.sub(
            lambda match: match[0] if match["target"] is None else self.link(match, folder), text
        )

    def link(self, match, folder):
        target, _, place = match["target"].partition("#")
        path = posixpath.normpath(posixpath.join(folder, target))
        if ELSEWHERE.match(match["target"]) or path in self.pages:
            return match[0]
        if path == "README.md":  # the landing page stands in its place
            return f"[{match['text']}]({posixpath.relpath('index.md', folder or '.')})"
        if path.startswith(SECRET) or not (self.root / path).is_file():
            return match["text"]
        if match["image"]:
            self.copy(path)
            return match[0]
        if self.address["is_stamped"]():
            return f"[{match['text']}]({self.address['read_address'](path)}{place and '#' + place})"
        self.copy(path)
        return f"[{match['text']}](path:{target})"

    def copy(self, path):
        file = self.folder / path
        self.kept.add(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / path, file)


def with_index(text):
    """The glossary with its terms as main entries of the index, which the search puts before all else."""
    title, rest = text.split("\n", 1)
    terms = re.findall(r"^\| (?!term |---)([^|]+?) \|", rest, flags=re.M)
    plain = [re.sub(r"[*`;]", "", term) for term in terms]
    entries = "\n".join(f"```{{index}} ! single: {term}\n```" for term in plain)
    return f"{title}\n\n{entries}\n{rest}"


def cache_folder():
    """Where MathJax is kept between builds: ``$FLASH_TUTORIAL_SITE_CACHE``, or build/site_cache."""
    return Path(
        os.environ.get("FLASH_TUTORIAL_SITE_CACHE") or ROOT / "build" / "site_cache"
    ).absolute()
