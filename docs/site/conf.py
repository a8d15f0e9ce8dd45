"""Sphinx's settings of the course's site. `tools/site build` calls them on the pages that pages.py has laid out."""

import os
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pages_hooks  # noqa: E402

address = runpy.run_path(str(ROOT / "flash_course" / "addresses.py"))

project = "How attention became linear"
author = "The flash-tutorial authors"
project_copyright = "the flash-tutorial authors; prose and figures CC-BY-4.0, code MIT"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_copybutton"]
exclude_patterns = ["notebooks/work"]  # copies to work in: handed out as files
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # a block with relu² is mathematics, not Python
nitpick_ignore_regex = [("py:.*", ".*")]  # docstrings name types in prose, and none is a link

nb_execution_mode = "off"  # the notebooks are stored with what they printed
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 4
copybutton_selector = (
    ".cell_input pre, div.highlight-python pre, div.highlight-bash pre, div.highlight-default pre"
)
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
add_module_names = False

templates_path = ["templates"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static", os.environ["SITE_MATHJAX"], os.environ["SITE_COLOURS"]]
html_favicon = "static/favicon.svg"
html_css_files = ["colours.css", "course.css"]
html_js_files = ["course.js"]
html_copy_source = True  # so that a notebook can be downloaded from its page
html_context = {"default_mode": "auto"}
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search stands in the sidebar
    "use_fullscreen_button": False,
    "use_issues_button": False,
    "logo": {"text": project},
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if address["is_stamped"]():  # until then there is no address, and no button that leads to one
    owner, repository = address["REPOSITORY"].split("/")
    html_baseurl = f"https://{owner.lower()}.github.io/{repository}/"
    html_theme_options |= {
        "repository_url": address["home_address"](),
        "repository_branch": address["TAG"],
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }

mathjax_path = "tex-svg.js"
mathjax4_config = {
    "output": {
        "fontPath": "no-font-is-fetched"
    },  # what tex-svg.js does not hold is an error that the tests see
    "options": {
        "enableMenu": False,
        "menuOptions": {
            "settings": {"enrich": False, "speech": False, "braille": False, "assistiveMml": True}
        },
    },
}


def setup(app):
    pages_hooks.connect(app)
