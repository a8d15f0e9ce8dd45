"""Pages of Markdown: what others wrote is shown as it is, whatever it is, by each renderer that is at hand."""

import random
from html.parser import HTMLParser

import mistune
import pytest
from markdown_it import MarkdownIt
from marks import needs_solutions
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from submissions import SOON, forks

from flash_course.checks.exercise import load_set
from flash_course.grading import markdown, reports
from flash_course.grading.grade import Pool, grade

# pieces of markup; · is a blank
WORDS = r"""
\ ` `` ``` * ** _ __ [ ]( ] ! < <b> > # --- === == ++ | |-| ~~ ~~~ & &amp; &lt; &#60; &copy;
http://x.de www.x.de https:// a@b.de $ $$ $x$ \( \[ <!-- --> <? <![CDATA[ :smile: ^ { } {.a} %
x_y _x_ ' " </li> </h1> javascript:alert(1) é 漢 word a 1 #· ##· -· +· 1.· 2)· 1234.· [a]:·b
[^1]:·x :::·x ..·image::·x [x]· <img·src=x·onerror=alert(1)> <a·href=javascript:1>
"""
PIECES = [word.replace("·", " ") for word in WORDS.split()]
PIECES += [" ", "    ", "\t", "\n", "\n\n", "\r\n", "\xa0", "\u2028"]
# what may stand in a text as a whole; ↵ is a new line
LINES = r"""
\<img src=x onerror=alert(1)>
\\<b>
[r]
# 05.1: right
> quoted
![x](http://x.de/a.png)
<http://x.de>
`<b>`
``a`b``
***
___
    indented
1.
- [ ] a
&lt;b&gt;
\&lt;
$\href{javascript:1}{a}$
_a_b_ __c__
no_such_name is x**2 - 3*y < 4 and a[0] != b
ada_lovelace_05
a ==marked==, ++inserted++, ~~struck~~, ^raised^ word
a↵===
a↵---
| a |↵|---|↵| b |
[a]: http://x.de↵[a]
"""
WHOLE = [line.replace("↵", "\n") for line in LINES.splitlines() if line]
PLUGINS = """
abbr def_list footnotes insert mark math ruby spoiler strikethrough subscript superscript table
task_lists url
"""
RENDERERS = {
    "commonmark": MarkdownIt("commonmark", {"html": True}).render,
    "tables": MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render,
    "mistune": mistune.create_markdown(escape=False, plugins=PLUGINS.split()),
    "nbconvert": markdown2html_mistune,
}


class Seen(HTMLParser):
    """The tags and the text of some HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.texts = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_comment(self, data):
        self.tags.append("a comment")

    def handle_decl(self, decl):
        self.tags.append("a declaration")

    def handle_pi(self, data):
        self.tags.append("an instruction")

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return words("".join(self.texts).replace("¶", ""))  # nbconvert's own sign beside a heading


def words(text):
    return " ".join(text.split())


def hostile(count=250):
    draw = random.Random(5)
    drawn = ["".join(draw.choices(PIECES, k=draw.randint(1, 7))) for _ in range(count)]
    return [said for said in [*PIECES, *WHOLE, *drawn] if said.strip()]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_text_is_no_markup_and_is_shown_as_it_was_written(renderer):
    render = RENDERERS[renderer]

    def page(said):
        shown = markdown.text(said)
        return f"# {shown}: not read\n\n- {shown}\n- b\n\n## 05.1 a: {shown}\n\n- {shown}\n"

    skeleton = Seen(render(page("word"))).tags
    for said in hostile():
        seen = Seen(render(page(said)))
        given = words(said)
        assert seen.tags == skeleton, (said, page(said))
        assert seen.text == words(f"{given}: not read {given} b 05.1 a: {given} {given}"), (
            said,
            page(said),
        )


def result_with(said):
    """What is stored of somebody who has written one text wherever a student can."""
    first, second, third = [*load_set("05")][:3]
    row = dict(status="wrong", points=0, of=10, student=said, said=[said], notes=[f"own {said}"])
    rows = {first: row, second: row | {"notes": [f"own {said}", said]}, third: row}
    result = dict(name=said, set="05", points=0, of=100, student=said, notes=[said])
    return result | {"exercises": rows}


@pytest.mark.parametrize("renderer", RENDERERS)
def test_nothing_that_a_student_writes_changes_the_form_of_their_page(renderer):
    render = RENDERERS[renderer]
    skeleton = Seen(render(reports.page(result_with("word")))).tags
    for said in [*WHOLE, *hostile(30)[-30:]]:
        assert Seen(render(reports.page(result_with(said)))).tags == skeleton, said


def test_a_text_can_be_read_without_a_renderer():
    plain = (
        "ModuleNotFoundError: No module named 'no_such_name' (in line 3 of a-b.py, 2.5 or 1,000)"
    )
    assert markdown.text(plain) == plain


def test_code_in_a_sentence_of_the_courses_own_is_shown_as_code():
    said = "Use `x[:, None] <= y` and **not** `a_b`: <i> is 3 * 4"
    seen = Seen(RENDERERS["commonmark"](markdown.course_text(said)))
    assert seen.tags == ["p", "code", "code"]
    assert seen.text == said.replace("`", "")


@forks
@needs_solutions
def test_no_student_writes_markup_on_a_page_by_way_of_a_submission(tmp_path):
    """By the file's name, STUDENT, an exception's class and words, a cell that cannot be read, a note."""
    odd = "\\\\<img src=x onerror=alert(1)> ![a](http://x.de) [r] `<b>` \\n# 05.1: right \\u202e"
    text = (
        f"\n# %%\n[r]: http://x.de = <img src=x>\n# %%\nimport none # <b>\nSTUDENT = '{odd}'\n"
        f"def to_chunks(x_TD, C):\n    raise type('[r] **a** <b>', (Exception,), {{}})('{odd}')\n"
        "check('05.1', to_chunks)\n"
    )
    path = tmp_path / "# [a](b) <img src=x>.py"
    path.write_text(text, encoding="utf-8")
    (result,) = grade([path], tmp_path / "out", limits=SOON, quiet=True, pool=Pool(), mode="none")
    page = reports.page(result)
    assert result["exercises"]["05.1"]["said"][-1].startswith("in the case") and "<img" in page
    plain = reports.page(without_texts(result))
    for render in RENDERERS.values():
        seen = Seen(render(page))
        assert seen.tags == Seen(render(plain)).tags
        assert (
            "[r] **a** <b>: \\<img src=x onerror=alert(1)> ![a](http://x.de) [r] `<b>`" in seen.text
        )


def without_texts(result):
    """The same result with a word of its own in the place of each text."""
    words = {}
    rows = {}

    def word_for(texts):
        return [words.setdefault(text, f"word {len(words)}") for text in texts]

    for name, row in result["exercises"].items():
        rows[name] = row | {kind: word_for(row[kind]) for kind in ("said", "notes")}
    return result | {"name": "word", "notes": word_for(result["notes"]), "exercises": rows}
