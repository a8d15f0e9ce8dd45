"""Where this project lies: one constant, and all that is made from it.

The addresses in README and notebooks and the install line of each notebook's first cell come from here.
A fork rewrites them all with ``python tools/stamp.py OWNER/REPO TAG``; nobody edits this file by hand.
"""

REPOSITORY, TAG = "OWNER/REPO", "main"

PLACEHOLDER = "OWNER/REPO"  # until the project is stamped nothing can be installed from its address

# The first code cell of every notebook. It must run before the package is there, hence its own copy of the constant.
_FIRST_CELL = """\
import importlib.util
import subprocess
import sys

CONSTANT  # written by tools/stamp.py
if "google.colab" in sys.modules and importlib.util.find_spec("flash_tutorial") is None:
    if REPOSITORY.startswith("OWNER/"):
        raise RuntimeError("to install flash_tutorial, set REPOSITORY above to its name on GitHub, as in ada/flash")
    source = f"git+https://github.com/{REPOSITORY}@{TAG}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", source], check=True)
    importlib.invalidate_caches()

from flash_tutorial.devices import describe_device

print(describe_device())"""


def is_stamped() -> bool:
    """Whether the constant names a real repository."""
    return REPOSITORY != PLACEHOLDER


def read_address(path) -> str:
    """The page on GitHub that shows ``path``, a file of the repository with forward slashes."""
    return f"https://github.com/{REPOSITORY}/blob/{TAG}/{path}"


def work_address(path) -> str:
    """The address that opens the notebook ``path`` in Colab."""
    return f"https://colab.research.google.com/github/{REPOSITORY}/blob/{TAG}/{path}"


def install_address() -> str:
    """What pip takes to install the package."""
    return f"git+https://github.com/{REPOSITORY}@{TAG}"


def badges(name) -> str:
    """Markdown of a lecture's two badges, *read* and *work*; ``name`` as in ``"00_start_here"``.

    They are links without a picture: a picture would be fetched from the network each time a notebook is opened.
    """
    read, work = read_address(f"notebooks/{name}.ipynb"), work_address(f"notebooks/work/{name}.ipynb")
    return f"**[Read the finished page]({read})** · **[Work in Colab]({work})**"


def exercise_badge(name) -> str:
    """Markdown of a problem set's badge; ``name`` as in ``"05_mixed_chunk_attention"``."""
    return f"**[Work in Colab]({work_address(f'exercises/{name}.ipynb')})**"


def first_cell() -> str:
    """The first code cell of every notebook.

    On Colab it installs the package without its dependencies, so that Colab's torch and NumPy stay as they are; a
    package that can be imported already is never installed again.
    """
    return _FIRST_CELL.replace("CONSTANT", f'REPOSITORY, TAG = "{REPOSITORY}", "{TAG}"')
