"""A reader in JupyterLab writes a build wrongly, then rightly, and the next lecture runs what was kept.

Needs what test_browser.py needs, and is left out where that is missing.
"""

import re
import shutil

import nbformat
import pytest
from house.scripts import ROOT, script
from house.test_browser import jupyterlab, run_all, tab_at

pytestmark = [pytest.mark.browser, pytest.mark.nightly, pytest.mark.timeout(600)]

WORK = ROOT / "notebooks" / "work"
BUILD = "def mixed_chunk("
EARLIER = "before[:, 1:] = kv.cumsum(1)[:, :-1]"
INCLUSIVE = "before = kv.cumsum(1)"  # each chunk reads itself as well


@pytest.fixture
def course(tmp_path):
    """The work copies of two lectures."""
    folder = tmp_path / "course"
    folder.mkdir()
    for path in (*WORK.glob("05_*.ipynb"), *WORK.glob("06_*.ipynb")):
        shutil.copy(path, folder)
    return folder


def answer_of(path):
    """The build's cell with the answer of its fold."""
    played = script("play_reader.py").filled(nbformat.read(path, as_version=4))
    (source,) = [cell.source for cell in played.cells if cell.source.startswith(BUILD)]
    return source


def open_notebook(chromium, address, path):
    return tab_at(chromium, f"{address}/lab/tree/{path.name}?reset")


def run_whole(tab):
    run_all(tab)
    tab.wait_for_selector("#jp-bottom-panel :text('| Busy')", timeout=60_000)
    tab.wait_for_selector("#jp-bottom-panel :text('| Idle')", timeout=300_000)


def write(tab, cell, source):
    """Put the source into a cell in place of what stands there, and run it."""
    editor = cell.locator(".cm-content")
    editor.scroll_into_view_if_needed()
    editor.click()
    tab.keyboard.press("Control+A")
    tab.keyboard.insert_text(source)
    tab.keyboard.press("Shift+Enter")


def test_a_build_is_turned_away_then_kept_and_the_next_lecture_runs_it(chromium, course):
    fifth, sixth = sorted(course.glob("*.ipynb"))
    right = answer_of(fifth)
    wrong = right.replace(EARLIER, INCLUSIVE)
    mine = course.parent / "my_flash.py"
    with jupyterlab(course.parent, course) as address:
        with open_notebook(chromium, address, fifth) as tab:
            run_whole(tab)
            cell = tab.locator(".jp-CodeCell", has_text=BUILD).first
            shown = cell.locator(".jp-OutputArea")
            assert "not attempted" in shown.inner_text() and not mine.exists()
            write(tab, cell, wrong)
            shown.get_by_text("wrong").first.wait_for(timeout=60_000)
            assert "Chunk g reads itself" in shown.inner_text()
            cell.screenshot(path=course.parent / "wrong.png")
            assert not mine.exists()
            write(tab, cell, right)
            shown.get_by_text("Kept in my_flash.py").first.wait_for(timeout=60_000)
            cell.screenshot(path=course.parent / "right.png")
            assert re.search(r"^def mixed_chunk\(", mine.read_text(), flags=re.M)
        with open_notebook(chromium, address, sixth) as tab:
            run_whole(tab)
            said = tab.locator(".jp-OutputArea-output", has_text="mixed_chunk").all_inner_texts()
            assert any(line.startswith("yours: mixed_chunk") for line in said), said
    print("screenshots are in", course.parent)
