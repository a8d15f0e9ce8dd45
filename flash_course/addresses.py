"""Where this project lies: one constant, and all that is made from it.

Until the constant names a repository no page holds an address of it: pages link to each other by relative paths.
``python tools/stamp.py OWNER/REPO TAG`` writes it here and into the first cells, and the addresses behind the links of
README and notebooks; nobody edits this file by hand. The package's metadata are made from it at each build, by
hatch_build.py.
"""

import posixpath
import re

REPOSITORY, TAG = "OWNER/REPO", "main"

PLACEHOLDER = "OWNER/REPO"  # until the project is stamped nothing can be installed from its address

# The first code cell of every notebook, which tools/notebooks.py folds. It must run before the package is there, and
# fill no screen where nothing folds it. CONSTANTS are filled in.
_FIRST_CELL = """\
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = CONSTANTS  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)"""

# In place of an address, until there is one: pip repeats it as no requirement that it knows.
_NO_ADDRESS = "no address yet: upload the project's zip to Colab's files"


def is_stamped() -> bool:
    """Whether the constant names a real repository."""
    return REPOSITORY != PLACEHOLDER


def home_address() -> str:
    """The repository's own page on GitHub."""
    return f"https://github.com/{REPOSITORY}"


def read_address(path) -> str:
    """The page on GitHub that shows ``path``, a file of the repository with forward slashes."""
    return f"{home_address()}/blob/{TAG}/{path}"


def file_address(path) -> str:
    """The file itself, as a picture is fetched."""
    return f"{home_address()}/raw/{TAG}/{path}"


def work_address(path) -> str:
    """The address that opens the notebook ``path`` in Colab."""
    return f"https://colab.research.google.com/github/{REPOSITORY}/blob/{TAG}/{path}"


def install_address() -> str:
    """What pip takes to install the package."""
    return f"git+{home_address()}@{TAG}"


# A relative link to a notebook, or the line that installs a copy; then the address that an earlier stamp wrote there.
_NOTEBOOK = re.compile(
    r"(?P<link>\[[^\]\n]*\]\((?!\w+:)(?P<target>[^)\s#]+\.ipynb)\))(?: \(\[(?:in Colab|on GitHub)\]\([^)\s]*\)\))?"
)
_INSTALL = re.compile(r"`pip install \.`(?: \(without a copy: `[^`]*`\))?")


def with_addresses(text, folder) -> str:
    """A page's Markdown with the repository's addresses where they help, and with none as long as it has no name.

    Links between pages are relative: they work in a copy, in JupyterLab and on GitHub. Behind those that lead to a work
    copy or a problem set comes its address in Colab. A page that is read in Colab, where no relative link works, shows
    behind a finished page its address on GitHub. ``folder`` is the page's own: "" for README.md, or "notebooks".
    """
    install = f" (without a copy: `pip install {install_address()}`)" if is_stamped() else ""
    text = _INSTALL.sub(lambda _: f"`pip install .`{install}", text)
    return _NOTEBOOK.sub(lambda match: match["link"] + _address_of(match["target"], folder), text)


def _address_of(target, folder):
    path = posixpath.normpath(posixpath.join(folder, target))
    if is_stamped() and path.startswith(("notebooks/work/", "exercises/")):
        return f" ([in Colab]({work_address(path)}))"
    if is_stamped() and path.startswith("notebooks/") and folder:
        return f" ([on GitHub]({read_address(path)}))"
    return ""


# A relative link or picture; code is matched first, so that brackets in it are no link.
_RELATIVE = re.compile(
    r"^```.*?^```|(?P<picture>!?)\[(?P<words>[^\]\n]*)\]\((?!\w+:|#)(?P<target>[^)\s]+)\)|`[^`\n]+`",
    flags=re.M | re.S,
)


def read_elsewhere(text) -> str:
    """README's Markdown for a reader who has no copy: relative links and pictures get addresses.

    As long as there is no address, their words stand in place of them.
    """

    def replaced(match):
        target = match["target"]
        if target is None:
            return match[0]
        if not is_stamped():
            return match["words"]
        address = file_address(target) if match["picture"] else read_address(target)
        return f"{match['picture']}[{match['words']}]({address})"

    return _RELATIVE.sub(replaced, text)


def project_addresses() -> dict:
    """What the package's metadata say of where it lies; nothing as long as there is no address."""
    if not is_stamped():
        return {}
    return {
        "Source": home_address(),
        "Issues": f"{home_address()}/issues",
        "Changelog": read_address("CHANGELOG.md"),
    }


def first_cell() -> str:
    """The first code cell of every notebook.

    On Colab it installs the package without its dependencies, so that Colab's torch and NumPy stay as they are: from a
    copy that lies near the notebook, among Colab's files or on Drive, as a folder or a zip, else from the repository's
    address. What is installed already stays, unless it is of another version than the tag's.
    """
    source, version = _NO_ADDRESS, "*"
    if is_stamped():
        source = install_address()
    if re.fullmatch(r"v\d.*", TAG):
        version = TAG[1:]
    return _FIRST_CELL.replace("CONSTANTS", f'"{source}", "{version}"')
