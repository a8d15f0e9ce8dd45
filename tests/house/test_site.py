"""The site's pages before they are built: no answer is on them, and their links lead somewhere."""

import re
from types import SimpleNamespace

import nbformat
import pytest
from house.scripts import ROOT, script, site_module
from PIL import Image

from flash_course import lab
from flash_course.lab import moving


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The laid-out pages, before Sphinx sees them."""
    stage = site_module("pages").Stage(tmp_path_factory.mktemp("site") / "pages")
    stage.lay_out()
    return stage


def text_of(path):
    """All that a page says: the sources of a notebook's cells, or the file."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def test_no_solution_is_laid_out_and_no_page_shows_an_answer(stage):
    """Lines of an answer in a problem set; in any other page whole answers, which lectures teach in other words."""
    if not (ROOT / "solutions").is_dir():
        pytest.skip("there are no solutions here: a course's fork has none")
    files = [path for path in stage.folder.rglob("*") if path.is_file()]
    names = [path.relative_to(stage.folder).as_posix() for path in files]
    assert "exercises/05_set_mixed_chunk_attention.ipynb" in names
    secret = site_module("pages").SECRET
    assert not [name for name in names if name.startswith(secret) or "right_" in name]
    texts = {path: text_of(path) for path in files if path.suffix in (".ipynb", ".md")}
    exercises = script("exercises.py")
    for master in exercises.masters(ROOT):
        pattern = r"# BEGIN SOLUTION\n(.*?)\n[ ]*# END SOLUTION"
        blocks = re.findall(pattern, text_of(master), flags=re.S)
        blocks = [block for block in blocks if block.count("\n") >= 3]
        own = texts[stage.folder / "exercises" / exercises.student_file(master).name]
        assert [line for line in exercises.answer_lines(master) if line in own] == []
        for path, text in texts.items():
            assert [block for block in blocks if block in text] == [], path


LINKS = {
    "[a](../notebooks/01_attention.ipynb#x)": "[a](../notebooks/01_attention.ipynb#x)",
    "[`u`](../flash_tutorial/gau.py)": "[`u`](path:../flash_tutorial/gau.py)",
    "[key](../solutions/01_attention.py)": "key",
    "[sets](../flash_course/checks/sets/set_01.toml)": "sets",
    "[table](kill_table.md), [gone](no_such.md)": "table, gone",
    "[home](../README.md)": "[home](../index.md)",
    "[far](https://arxiv.org/abs/2202.10447) [here](#x)": "[far](https://arxiv.org/abs/2202.10447) [here](#x)",
    "`[a](../solutions/x.py)`": "`[a](../solutions/x.py)`",
    "```\n[a](../solutions/x.py)\n```": "```\n[a](../solutions/x.py)\n```",
}


def test_links_to_what_is_no_page(stage):
    file = "flash_tutorial/gau.py"
    for text, expected in LINKS.items():
        if stage.address["is_stamped"]():
            expected = expected.replace(f"path:../{file}", stage.address["read_address"](file))
        assert stage.with_links(text, "docs") == expected


def test_the_search_knows_the_terms_of_the_glossary(stage):
    text = text_of(stage.folder / "docs" / "glossary.md")
    assert "```{index} ! single: exclusive prefix sum\n```\n" in text
    assert "single: term" not in text and text.startswith("# ")


def test_the_landing_page_has_all_its_parts(stage):
    assert not re.search(r"@\w+@", (stage.folder / "index.md").read_text(encoding="utf-8"))


def test_each_page_of_the_laboratory_has_an_address_a_sentence_and_a_preview(stage):
    landing = (stage.folder / "index.md").read_text(encoding="utf-8")
    front = (stage.folder / "lab" / "index.md").read_text(encoding="utf-8")
    for make in lab.PAGES:
        page = make()
        text = (stage.folder / "lab" / f"{page.name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {page.title}\n\n{page.sentence}\n")
        assert f"Lecture {site_module('laboratory').LECTURES[page.name]}" in text
        inner = (stage.folder / "lab" / f"{page.name}.inc").read_text(encoding="utf-8")
        assert "<script>" in inner and page.name in inner
        picture = Image.open(stage.folder / site_module("laboratory").preview(page.name))
        assert picture.size == (1200, 630)
        assert page.sentence in front and f"({page.name}.md)" in front
        assert f"\nlab/{page.name}\n" in landing  # in the navigation
    assert "(lab/index.md)" in landing and "(lab/writer.md)" in landing


def test_the_first_screen_is_a_sentence_of_ten_words_the_mechanism_and_where_to_begin(stage):
    first, _ = (stage.folder / "index.md").read_text(encoding="utf-8").split("container} opening")
    sentence = first.split("container} hero\n")[1].split("\n")[0]
    assert len(sentence.split()) == 10
    assert moving.picture(alone=False) in first and "[Begin](notebooks/00" in first


def test_a_preview_picture_has_a_whole_address_once_the_site_has_one():
    pytest.importorskip("docutils", reason="the site's tools are not installed")
    address_of = site_module("pages_hooks").address_of
    for base, expected in {
        "": "../_images/a.png",
        "https://x.y/z/": "https://x.y/z/_images/a.png",
    }.items():
        app = SimpleNamespace(config=SimpleNamespace(html_baseurl=base))
        assert address_of(app, "a.png", "lab/leaks") == expected


def test_a_package_that_is_not_the_pinned_one_is_refused():
    files = site_module("npm_files")
    with pytest.raises(files.FetchError, match="not what was pinned"):
        files.check_hash(b"other", "mathjax@4.1.3", "sha512-AAAA")


HEAD = (
    '<title>a</title><meta name="viewport" content="width=device-width"><meta property="og:title" content="a">'
    '<meta property="og:description" content="b"><meta property="og:image" content="tree.png">'
)
GOOD = {
    "a.html": f'{HEAD}<h1 id="top">a</h1><a href="b.html#there">b</a><img alt="a tree" src="tree.png">',
    "b.html": f'{HEAD}<p id="there"></p>',
    "tree.png": "",
}
FAULTS = {
    "<title>b</title>": "title is there 2 times",
    '<a href="c.html"></a>': "dead link c.html",
    '<a href="a.html#bottom"></a>': "no such place a.html#bottom",
    '<img src="tree.png">': "a picture without words",
    '<script src="https://x.y/z.js"></script>': "fetches from another host: https://x.y/z.js",
}


def test_a_fault_of_a_built_page_is_found(tmp_path):
    problems = site_module("built").problems
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert problems(tmp_path) == []
    for fault, said in FAULTS.items():
        (tmp_path / "b.html").write_text(GOOD["b.html"] + fault, encoding="utf-8")
        (found,) = problems(tmp_path)
        assert said in found
    no_picture = HEAD.replace("tree.png", "bush.png") + '<p id="there"></p>'
    (tmp_path / "b.html").write_text(no_picture, encoding="utf-8")
    assert problems(tmp_path) == ["b.html: dead link bush.png"]
    (tmp_path / "b.html").write_text(HEAD, encoding="utf-8")
    (tmp_path / "s.css").write_text("@font-face { src: url(https://x.y/z.woff) }")
    said = "a.html: no such place b.html#there", "s.css: fetches from another host"
    assert problems(tmp_path) == [*said]
