"""The site: every lecture and page is on it, no answer is, and a reader in a browser finds it whole.

The browser's part needs `pip install -e '.[site]'`, playwright, a Chromium and npm (CONTRIBUTING.md); it is left out
with a sentence where one is missing.
"""

import fnmatch
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE, TOOLS = ROOT / "docs" / "site", ROOT / "tools"
AXE = (
    "axe-core@4.14.1",
    ("axe.min.js",),
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


@pytest.fixture(scope="module", autouse=True)
def site_modules():
    """docs/site and tools/ on the path, and no bytecode in them."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path[:0] = [str(SITE), str(TOOLS)]
    yield
    sys.path.remove(str(SITE))
    sys.path.remove(str(TOOLS))
    sys.dont_write_bytecode = before


@pytest.fixture(scope="module")
def stage(site_modules, tmp_path_factory):
    """The laid-out pages, before Sphinx sees them."""
    from pages import Stage

    stage = Stage(tmp_path_factory.mktemp("site") / "pages")
    stage.lay_out()
    return stage


def table_of_contents(stage):
    """What the landing page's tables of contents name, patterns included."""
    text = (stage.folder / "index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.M | re.S)
    return [
        line for block in blocks for line in block.splitlines() if line and not line.startswith(":")
    ]


def text_of(path):
    """All that a page says: the sources of a notebook's cells, or the file."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


# ---------------------------------------------------------------- without Sphinx


@pytest.mark.quick
def test_every_lecture_problem_set_and_doc_is_in_the_table_of_contents(stage):
    from pages import NO_PAGES

    entries = table_of_contents(stage)
    wanted = [
        *ROOT.glob("notebooks/*.ipynb"),
        *ROOT.glob("exercises/*.ipynb"),
        *ROOT.glob("docs/*.md"),
    ]
    names = {path.relative_to(ROOT).as_posix() for path in wanted} - {*NO_PAGES}
    names = {name.rpartition(".")[0] for name in names}
    assert len(names) > 30
    missing = [
        name for name in sorted(names) if not any(fnmatch.fnmatch(name, entry) for entry in entries)
    ]
    assert not missing, "add to docs/site/index.md"
    assert all((stage.folder / f"{entry}.md").is_file() for entry in entries if "*" not in entry)


@pytest.mark.quick
def test_no_solution_is_laid_out(stage):
    from pages import SECRET

    laid_out = [
        path.relative_to(stage.folder).as_posix()
        for path in stage.folder.rglob("*")
        if path.is_file()
    ]
    assert len(laid_out) > 40
    assert not [path for path in laid_out if path.startswith(SECRET) or "right_" in path]


@pytest.mark.quick
def test_no_page_shows_an_answer(stage):
    exercises = pytest.importorskip("exercises")
    masters = exercises.masters(ROOT)
    if not masters:
        pytest.skip("this is a fork: it has no solutions to compare with")
    pages = {
        path.relative_to(stage.folder).as_posix(): text_of(path)
        for path in stage.folder.rglob("*.*")
        if path.suffix in (".ipynb", ".md")
    }
    assert {
        name: found
        for name, text in pages.items()
        if (found := answers_in(name, text, masters, exercises))
    } == {}


def answers_in(name, text, masters, exercises):
    """Lines of an answer in a problem set, and in any other page whole answers, which lectures teach in other words."""
    own = [master for master in masters if name == f"exercises/{master.stem}.ipynb"]
    lines = [line for master in own for line in exercises.answer_lines(master) if line in text]
    return lines + [block for master in masters for block in whole_answers(master) if block in text]


@functools.cache
def whole_answers(master):
    """The blocks of at least four lines between the marks of a master."""
    blocks = re.findall(r"# BEGIN SOLUTION\n(.*?)\n[ ]*# END SOLUTION", text_of(master), flags=re.S)
    return [block for block in blocks if block.count("\n") >= 3]


@pytest.mark.quick
def test_an_answer_would_be_found(stage):
    exercises = pytest.importorskip("exercises")
    masters = exercises.masters(ROOT)
    if not masters:
        pytest.skip("this is a fork: it has no solutions to compare with")
    line, block = exercises.answer_lines(masters[0])[0], whole_answers(masters[0])[0]
    assert answers_in(
        f"exercises/{masters[0].stem}.ipynb", f"before\n{line}\nafter", masters, exercises
    ) == [line]
    assert answers_in("docs/glossary.md", f"before\n{block}\nafter", masters, exercises) == [block]


@pytest.mark.quick
@pytest.mark.parametrize(
    "text, expected",
    [
        ("[a](../notebooks/01_attention.ipynb#x)", "[a](../notebooks/01_attention.ipynb#x)"),
        ("[`u`](../flash_tutorial/gau.py)", "[`u`](path:../flash_tutorial/gau.py)"),
        ("[key](../solutions/01_attention.py)", "key"),
        ("[sets](../flash_course/checks/sets/set_01.toml)", "sets"),
        ("[table](kill_table.md), [gone](no_such.md)", "table, gone"),
        ("[home](../README.md)", "[home](../index.md)"),
        (
            "[far](https://arxiv.org/abs/2202.10447) [here](#x)",
            "[far](https://arxiv.org/abs/2202.10447) [here](#x)",
        ),
        (
            "`[a](../solutions/x.py)`\n```\n[a](../solutions/x.py)\n```",
            "`[a](../solutions/x.py)`\n```\n[a](../solutions/x.py)\n```",
        ),
    ],
)
def test_links_to_what_is_no_page(stage, text, expected):
    if stage.address["is_stamped"]():
        expected = expected.replace(
            "path:../flash_tutorial/gau.py",
            stage.address["read_address"]("flash_tutorial/gau.py"),
        )
    assert stage.with_links(text, "docs") == expected


@pytest.mark.quick
def test_notebooks_keep_their_outputs(stage):
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        stored, laid_out = (
            nbformat.read(p, as_version=4) for p in (path, stage.folder / "notebooks" / path.name)
        )
        assert [cell.get("outputs") for cell in stored.cells] == [
            cell.get("outputs") for cell in laid_out.cells
        ]


@pytest.mark.quick
def test_the_landing_page_says_the_stored_numbers(stage):
    text = (stage.folder / "index.md").read_text(encoding="utf-8")
    result = json.loads(
        (ROOT / "flash_course/bench/results/bench_cpu.json").read_text(encoding="utf-8")
    )
    last = {row["model"]: row["seconds"] for row in result["training"] if row["T"] == 32768}
    for model, css in (("transformer++", "softmax"), ("flash", "flash")):
        assert f"<b class='{css}'>{last[model]['median']:.1f} s</b>" in text
    assert result["machine"]["cpu"] in text and result["machine"]["date"] in text
    assert not re.search(r"@\w+@", text)


@pytest.mark.quick
def test_no_address_of_the_repository_is_made_up(stage):
    if stage.address["is_stamped"]():
        pytest.skip("the repository has an address")
    for path in stage.folder.rglob("*.md"):
        assert "colab.research" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.quick
def test_versions_are_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = project["optional-dependencies"]["site"]
    assert {"sphinx", "myst-nb", "sphinx-book-theme"} <= {pin.split("==")[0] for pin in pins}
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", pin) for pin in pins)


@pytest.mark.quick
def test_a_package_that_is_not_the_pinned_one_is_refused():
    from npm_files import FetchError, check_hash

    with pytest.raises(FetchError, match="not what was pinned"):
        check_hash(b"other", "mathjax@4.1.3", "sha512-AAAA")


@pytest.mark.quick
def test_without_npm_the_message_says_what_to_do(tmp_path, monkeypatch):
    from npm_files import MATHJAX, FetchError, npm_files

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FetchError, match=r"install Node\.js"):
        npm_files(*MATHJAX, tmp_path)


@pytest.mark.quick
def test_a_fault_of_a_built_page_is_found(tmp_path):
    from built import problems

    (tmp_path / "a.html").write_text(
        '<h1 id="top">a</h1><a href="b.html#there">b</a><img alt="a tree" src="tree.png">'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    (tmp_path / "tree.png").touch()
    assert problems(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<a href="c.html"></a><a href="a.html#bottom"></a><img src="tree.png"><script src="https://x.y/z.js"></script>'
    )
    (tmp_path / "s.css").write_text("@font-face { src: url(https://x.y/z.woff) }")
    words = (
        "no such place b.html#there",
        "dead link c.html",
        "no such place a.html#bottom",
        "a picture without words",
        "fetches from another host: https://x.y/z.js",
        "s.css: fetches from another host",
    )
    found = "\n".join(problems(tmp_path))
    assert all(word in found for word in words) and found.count("\n") == len(words) - 1, found


# ---------------------------------------------------------------- in a browser

# Of a page: what a reader would miss. Widths are those of the window.
SEEN = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    return {
        no_words: all('img').filter(img => img.getAttribute('alt') === null).map(img => img.src),
        broken: all('img').filter(img => img.complete && !img.naturalWidth).map(img => img.src),
        maths: all('.math').length,
        rendered: all('.math').filter(e => e.querySelector('mjx-container')).length,
        errors: all('mjx-merror, [data-mjx-error]').map(e => e.innerText),
        too_wide: document.documentElement.scrollWidth - window.innerWidth,
    };
}"""
FAULTS = """async (options) => (await axe.run(document, options)).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => `${v.id}: ${v.nodes.length} times, first ${v.nodes[0].html.slice(0, 160)}`)"""
LEFT = "net::ERR_ABORTED"  # the next page was opened before this came
# What axe-core looks at; all but colours is the same in both.
THEMES = {"light": {"resultTypes": ["violations"]}, "dark": {"runOnly": ["color-contrast"]}}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a fresh build."""
    pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed, so no browser can be driven"
    )
    pytest.importorskip(
        "sphinx_book_theme", reason="the site's tools are not installed: pip install -e '.[site]'"
    )
    out = tmp_path_factory.mktemp("site") / "out"
    run = subprocess.run(
        [sys.executable, TOOLS / "site", "build", "--out", out], capture_output=True, text=True
    )
    if "install Node.js" in run.stderr or "within reach" in run.stderr:
        pytest.skip(run.stderr)
    assert run.returncode == 0, run.stdout + run.stderr
    return out


@pytest.fixture(scope="module")
def axe():
    from npm_files import FetchError, npm_files
    from pages import cache_folder

    try:
        return npm_files(*AXE, cache_folder()) / "axe.min.js"
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def address(out):
    """Where the built site is served."""
    handler = functools.partial(QuietHandler, directory=str(out))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def page(chromium, address):
    """An empty page whose ``trouble`` collects errors of the console, failed requests, and requests elsewhere."""
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    page.trouble = []
    page.on("console", lambda m: m.type == "error" and page.trouble.append(m.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on(
        "response",
        lambda answer: (
            answer.status >= 400 and page.trouble.append(f"{answer.status}: {answer.url}")
        ),
    )
    page.on(
        "requestfailed", lambda r: r.failure == LEFT or page.trouble.append(f"{r.failure}: {r.url}")
    )
    page.on(
        "request",
        lambda r: (
            r.url.startswith((address, "data:", "blob:"))
            or page.trouble.append(f"elsewhere: {r.url}")
        ),
    )
    yield page
    page.close()


def read(page, address, name):
    """Open a page and wait until its mathematics is there."""
    page.goto(f"{address}/{name}")
    page.evaluate("async () => { if (window.MathJax?.startup) await MathJax.startup.promise; }")


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_each_page_is_whole(page, address, out):
    from built import html_pages

    wrong = {}
    for path in html_pages(out):
        name = path.relative_to(out).as_posix()
        page.trouble.clear()
        read(page, address, name)
        seen = page.evaluate(SEEN)
        found = [*page.trouble, *seen["no_words"], *seen["broken"], *seen["errors"]]
        if seen["rendered"] != seen["maths"]:
            found.append(f"{seen['rendered']} of {seen['maths']} formulas are rendered")
        wrong |= {name: found} if found else {}
    assert wrong == {}


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_links_pictures_and_places(out):
    run = subprocess.run(
        [sys.executable, TOOLS / "site", "check", "--out", out], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
def test_nobody_is_shut_out(chromium, address, out, axe, theme):
    from built import html_pages

    wrong = {}
    page = chromium.new_page(color_scheme=theme, viewport={"width": 1280, "height": 1000})
    for path in html_pages(out):
        name = path.relative_to(out).as_posix()
        read(page, address, name)
        page.add_script_tag(path=str(axe))
        wrong |= {name: faults} if (faults := page.evaluate(FAULTS, THEMES[theme])) else {}
    page.close()
    assert wrong == {}


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_phone_shows_pages_without_sideways_scrolling(chromium, address, out):
    from built import html_pages

    page, wide = chromium.new_page(viewport={"width": 390, "height": 800}), {}
    for path in html_pages(out):
        name = path.relative_to(out).as_posix()
        page.goto(f"{address}/{name}")
        wide |= {name: over} if (over := page.evaluate(SEEN)["too_wide"]) > 0 else {}
    page.close()
    assert wide == {}


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_dark_mode_can_be_switched_on(page, address):
    read(page, address, "index.html")
    colour = "() => getComputedStyle(document.body).backgroundColor"
    seen = {}
    for theme in THEMES:
        page.locator("button.theme-switch-button:visible").click()
        page.locator(f"button.theme-change-button[data-mode={theme}]:visible").click()
        seen[page.evaluate("() => document.documentElement.dataset.theme")] = page.evaluate(colour)
    assert seen.keys() == {"light", "dark"} and seen["light"] != seen["dark"] and not page.trouble


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_search_finds_mixed_chunk(page, address):
    page.goto(f"{address}/search.html?q=mixed+chunk")
    page.wait_for_selector("#search-results li a", timeout=30_000)
    page.wait_for_function(
        "() => /found|matching/i.test(document.querySelector('#search-results').innerText)"
    )
    found = page.locator("#search-results li > a").evaluate_all(
        "all => all.map(a => a.getAttribute('href'))"
    )
    assert any("05_mixed_chunk_attention" in link for link in found) and not page.trouble, found


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_the_slider_says_what_the_charts_show(page, address):
    read(page, address, "index.html")
    before = page.locator("#at-length").inner_text()
    page.locator("#length").fill("0")
    after = page.locator("#at-length").inner_text()
    assert "At 32,768 tokens" in before and "times as long" in before
    assert "At 512 tokens" in after and "times as fast" in after and not page.trouble


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_lecture_has_its_pictures_copy_buttons_download_and_neighbours(page, address):
    name = "05_mixed_chunk_attention"
    stored = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in stored.cells for output in cell.get("outputs", [])]
    words = [
        output.metadata["image/png"]["alt"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    read(page, address, f"notebooks/{name}.html")
    assert (
        page.locator("article .cell_output img").evaluate_all("all => all.map(img => img.alt)")
        == words
    )
    assert page.locator("button.copybtn").count() > 10
    assert page.locator(f"a[href$='_sources/notebooks/{name}.ipynb']").count() >= 1
    assert page.locator(".prev-next-footer a").count() == 2


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_html_of_an_output_reaches_the_page_unchanged(out):
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        html = (out / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        cells = nbformat.read(path, as_version=4).cells
        data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        assert all(page["text/html"].strip() in html for page in data if "text/html" in page), (
            path.name
        )
