"""The built site: its links hold, and a reader in a browser finds each page whole.

Needs `pip install -e '.[site]'` and npm; in a browser also playwright and a Chromium (CONTRIBUTING.md). What cannot be
had is left out with a sentence.
"""

import functools
import http.server
import subprocess
import sys
import threading
from itertools import chain

import nbformat
import pytest
from house.scripts import ROOT, site_module

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

AXE = (
    "axe-core@4.14.1",
    ("axe.min.js",),
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
# Of a page: what a reader would miss.
SEEN = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    return {
        no_words: all('img').filter(img => img.getAttribute('alt') === null).map(img => img.src),
        broken: all('img').filter(img => img.complete && !img.naturalWidth).map(img => img.src),
        maths: all('.math').length,
        rendered: all('.math').filter(e => e.querySelector('mjx-container')).length,
        errors: all('mjx-merror, [data-mjx-error]').map(e => e.innerText),
    };
}"""
FAULTS = """async (options) => (await axe.run(document, options)).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => `${v.id}: ${v.nodes.length} times, first ${v.nodes[0].html.slice(0, 160)}`)"""
WINDOW = {"width": 1280, "height": 1000}
PHONE = {"width": 390, "height": 800}
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
# What axe-core looks at; all but colours is the same in both.
THEMES = {"light": {"resultTypes": ["violations"]}, "dark": {"runOnly": ["color-contrast"]}}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a fresh build."""
    pytest.importorskip(
        "sphinx_book_theme", reason="the site's tools are not installed: pip install -e '.[site]'"
    )
    out = tmp_path_factory.mktemp("site") / "out"
    run = site("build", out)
    if "install Node.js" in run.stderr or "within reach" in run.stderr:
        pytest.skip(run.stderr)
    assert run.returncode == 0, run.stdout + run.stderr
    return out


def site(command, out):
    tool = ROOT / "tools" / "site"
    how = dict(capture_output=True, text=True)
    return subprocess.run([sys.executable, tool, command, "--out", out], **how)


@pytest.fixture(scope="module")
def axe():
    files = site_module("npm_files")
    try:
        return files.npm_files(*AXE, site_module("pages").cache_folder()) / "axe.min.js"
    except files.FetchError as error:
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
    page = chromium.new_page(viewport=WINDOW)
    trouble = []

    def answered(answer):
        if answer.status >= 400:
            trouble.append(f"{answer.status}: {answer.url}")

    def asked(request):
        if not request.url.startswith((address, "data:", "blob:")):
            trouble.append(f"elsewhere: {request.url}")

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # the next page was opened before this came
            trouble.append(f"{request.failure}: {request.url}")

    page.trouble = trouble
    page.on("console", lambda m: m.type == "error" and trouble.append(m.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("response", answered)
    page.on("requestfailed", failed)
    page.on("request", asked)
    yield page
    page.close()


def read(page, address, name):
    """Open a page and wait until its mathematics is there."""
    page.goto(f"{address}/{name}")
    page.evaluate("async () => { if (window.MathJax?.startup) await MathJax.startup.promise; }")


def faulty(out, look):
    """{page: its faults} of the pages of which ``look(name)`` finds some."""
    pages = site_module("built").html_pages(out)
    found = {name: look(name) for name in (path.relative_to(out).as_posix() for path in pages)}
    return {name: faults for name, faults in found.items() if faults}


def test_links_pictures_and_places(out):
    run = site("check", out)
    assert run.returncode == 0, run.stderr


def test_outputs_reach_the_page_unchanged(out):
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        html = (out / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        cells = nbformat.read(path, as_version=4).cells
        outputs = chain.from_iterable(cell.get("outputs", []) for cell in cells)
        own = [
            output.data["text/html"] for output in outputs if "text/html" in output.get("data", ())
        ]
        assert [text for text in own if text.strip() not in html] == [], path.name


@pytest.mark.browser
def test_each_page_is_whole_and_a_phone_shows_it_without_sideways_scrolling(page, address, out):
    def look(name):
        page.trouble.clear()
        page.set_viewport_size(WINDOW)
        read(page, address, name)
        seen = page.evaluate(SEEN)
        found = [*page.trouble, *seen["no_words"], *seen["broken"], *seen["errors"]]
        if seen["rendered"] != seen["maths"]:
            found.append(f"{seen['rendered']} of {seen['maths']} formulas are rendered")
        page.set_viewport_size(PHONE)
        if (too_wide := page.evaluate(TOO_WIDE)) > 0:
            found.append(f"{too_wide} pixels wider than a phone")
        return found

    assert faulty(out, look) == {}


@pytest.mark.browser
@pytest.mark.parametrize("theme", THEMES)
def test_nobody_is_shut_out(chromium, address, out, axe, theme):
    def look(name):
        read(page, address, name)
        page.add_script_tag(path=str(axe))
        return page.evaluate(FAULTS, THEMES[theme])

    page = chromium.new_page(color_scheme=theme, viewport=WINDOW)
    assert faulty(out, look) == {}
    page.close()


@pytest.mark.browser
def test_dark_mode_can_be_switched_on(page, address):
    read(page, address, "index.html")
    colour = "() => getComputedStyle(document.body).backgroundColor"
    seen = {}
    for theme in THEMES:
        page.locator("button.theme-switch-button:visible").click()
        page.locator(f"button.theme-change-button[data-mode={theme}]:visible").click()
        seen[page.evaluate("() => document.documentElement.dataset.theme")] = page.evaluate(colour)
    assert seen.keys() == {"light", "dark"} and seen["light"] != seen["dark"] and not page.trouble


RUNNING = """() => document.querySelector('.moving svg').getAnimations({subtree: true})
    .filter(clock => clock.playState === 'running').length"""
ABOVE = "e => e.getBoundingClientRect().bottom <= window.innerHeight"


@pytest.mark.browser
@pytest.mark.parametrize("window", [{"width": 1280, "height": 800}, {"width": 400, "height": 800}])
def test_the_first_screen_says_shows_and_begins(page, address, window):
    page.set_viewport_size(window)
    read(page, address, "index.html")
    assert len(page.locator(".hero > p").first.inner_text().split()) == 10
    for part in (".hero > p", ".moving svg", ".start a"):
        assert page.locator(part).first.evaluate(ABOVE), part
    for name in ("lab/writer.html", "lab/index.html"):
        assert page.locator(f".start a[href='{name}']").is_visible()


@pytest.mark.browser
def test_what_moves_can_be_stopped_and_stands_still_for_who_wants_no_motion(chromium, address):
    page = chromium.new_page()
    page.goto(f"{address}/index.html")
    assert page.evaluate(RUNNING) > 0
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate(RUNNING) == 0
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate(RUNNING) > 0
    page.close()
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{address}/index.html")
    assert page.evaluate(RUNNING) == 0 and not page.locator("#moves").is_visible()
    context.close()


@pytest.mark.browser
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
def test_the_slider_says_what_the_charts_show(page, address):
    read(page, address, "index.html")
    before = page.locator("#at-length").inner_text()
    page.locator("#length").fill("0")
    after = page.locator("#at-length").inner_text()
    assert "At 32,768 tokens" in before and "FLASH is 7.1 times as fast" in before  # as README says
    assert "At 512 tokens" in after and "softmax attention is" in after and not page.trouble


@pytest.mark.browser
def test_a_lecture_has_its_pictures_copy_buttons_download_and_neighbours(page, address):
    name = "05_mixed_chunk_attention"
    stored = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = chain.from_iterable(cell.get("outputs", []) for cell in stored.cells)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    words = [output.metadata["image/png"]["alt"] for output in pictures]
    read(page, address, f"notebooks/{name}.html")
    shown = page.locator("article .cell_output img")
    assert shown.evaluate_all("all => all.map(img => img.alt)") == words
    assert page.locator("button.copybtn").count() > 10
    assert page.locator(f"a[href$='_sources/notebooks/{name}.ipynb']").count() >= 1
    assert page.locator(".prev-next-footer a").count() == 2
