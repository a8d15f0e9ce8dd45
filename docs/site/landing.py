"""The landing page: its template is index.md, its numbers are those of the stored benchmark and of the lectures."""

import json
import re
from html import escape
from pathlib import Path

import laboratory
import nbformat

from flash_course.lab import moving

HERE = Path(__file__).resolve().parent
RESULT = "flash_course/bench/results/bench_cpu.json"
MODELS = {
    "transformer++": ("Softmax attention", "softmax"),
    "flash": ("FLASH", "flash"),
}  # name, CSS class
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 280, 46, 24, 18, 44  # of a chart, and of its margins
STEP = 4  # between two lines of the grid


def page(root, address):
    """The Markdown of the landing page."""
    result = json.loads((root / RESULT).read_text(encoding="utf-8"))
    text = (HERE / "index.md").read_text(encoding="utf-8")
    parts = {
        "mechanism": mechanism(),
        "laboratory": "\n".join(f"lab/{name}" for name in laboratory.LECTURES),
        "surprise": surprise(result),
        "start": start(root),
        "ways": ways(root),
        "lectures": lectures(root),
    }
    parts |= {
        "colab": colab(address),
        "path": "docs/three_hours\n" if has_three_hours(root) else "",
    }
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def mechanism():
    """The picture that moves, with a button that stops it."""
    return f"""```{{raw}} html
<figure class="moving">
{moving.picture(alone=False)}<figcaption><button type="button" id="moves" aria-pressed="false" hidden>Pause</button>
Blue is read one by one, orange through one sum. <a href="lab/mechanism.html">Step by step</a></figcaption>
</figure>
```"""


# ---------------------------------------------------------------- the surprise


def series(rows, x, y):
    """{model: [(x, y), ...]} of the two models that are compared."""
    return {model: [(row[x], y(row)) for row in rows if row["model"] == model] for model in MODELS}


def surprise(result):
    """Two charts with a slider, the sentence that goes with them, and the machine."""
    steps = series(result["training"], "T", lambda row: row["seconds"]["median"])
    state = series(result["decoding"], "position", lambda row: row["state_numbers"] / 1e6)
    tokens, machine = result["settings"]["tokens"], result["machine"]
    below = f"T: the {tokens:,} tokens of a step come in sequences of this length"
    charts = chart(steps, "Seconds for a training step", below) + chart(
        state, "Millions of numbers kept while writing", "tokens read and written so far"
    )
    faster = {row["T"]: row["measured"] for row in result["conclusions"]["speedups"]}
    data = json.dumps({"steps": steps, "state": state, "faster": faster}).replace("<", "\\u003c")
    first, last = steps["flash"][0][0], steps["flash"][-1][0]
    crossover = result["conclusions"]["crossover"]["measured"]
    return f"""```{{raw}} html
<figure class="surprise">
<div class="charts">{charts}</div>
<div class="slide"><label for="length">Sequence length</label>
<input id="length" type="range" min="0" max="{len(steps["flash"]) - 1}" value="{len(steps["flash"]) - 1}"
 aria-describedby="at-length" aria-valuetext="{last:,} tokens">
<output id="at-length" for="length">{sentence(steps, last, faster[last])}</output></div>
<figcaption>Both charts are measured, not sketched: one Transformer++ block against two FLASH units, which have about as
many parameters (width {result["settings"]["dim"]}, {result["settings"]["dtype"]}), and on the right twice as many.
{escape(machine["cpu"])}, {machine["cores"]} cores, torch {machine["torch"]}, {machine["date"]}. At
T = {first:,} softmax attention is the faster one, and the lines cross near T = {crossover:,};
lecture 08 lets you find where they cross on your machine.</figcaption>
{table(steps, state)}
</figure>
<script type="application/json" id="surprise-data">{data}</script>
```"""


def sentence(steps, length, faster):
    """What the left chart says at one length; course.js says it again when the slider moves.

    ``faster`` is FLASH's speed over softmax attention's, from steps that were timed in turn.
    """
    softmax, flash = (dict(steps[model])[length] for model in ("transformer++", "flash"))
    ratio = f"FLASH is {faster:.1f} times as fast"
    if faster < 1:
        ratio = f"softmax attention is {1 / faster:.1f} times as fast"
    return (
        f"At <b>{length:,}</b> tokens a step takes <b class='softmax'>{softmax:.1f} s</b> with softmax attention and "
        f"<b class='flash'>{flash:.1f} s</b> with FLASH: {ratio}."
    )


def alt(lines, title):
    ends = [
        f"{MODELS[m][0]} goes from {p[0][1]:.1f} at {p[0][0]:,} to {p[-1][1]:.1f} at {p[-1][0]:,}"
        for m, p in lines.items()
    ]
    return f"Line chart, {title} against length: " + "; ".join(ends) + "."


def table(steps, state):
    """The numbers of both charts in a fold."""
    rows = []
    for length, softmax in steps["transformer++"]:
        kept = [f"{dict(state[m])[length]:.2f}" if length in dict(state[m]) else "" for m in MODELS]
        cells = [f"{length:,}", f"{softmax:.2f}", f"{dict(steps['flash'])[length]:.2f}", *kept]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = [f"{MODELS[m][0]}, {unit}" for unit in ("s a step", "million numbers") for m in MODELS]
    head = "".join(f'<th scope="col">{name}</th>' for name in ("length", *names))
    return (
        f"<details><summary>The numbers</summary><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def chart(lines, title, below):
    """An SVG whose colours come from the style sheet, so that it is right in light and in dark."""
    xs = [x for x, _ in lines["flash"]]
    highest = max(y for points in lines.values() for _, y in points)
    top = -(-highest // STEP) * STEP

    def place(index, y):
        across = LEFT + index * (WIDTH - LEFT - RIGHT) / (len(xs) - 1)
        return across, TOP + (1 - y / top) * (HEIGHT - TOP - BOTTOM)

    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place(0, y)[1]:.1f}" y2="{place(0, y)[1]:.1f}" class="grid"/>'
        f'<text x="{LEFT - 8}" y="{place(0, y)[1] + 4:.1f}" text-anchor="end">{y}</text>'
        for y in range(0, int(top) + 1, STEP)
    )
    ticks = "".join(
        f'<text x="{place(i, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(x)}</text>'
        for i, x in enumerate(xs)
    )
    drawn = "".join(
        line(model, [place(i, y) for i, (_, y) in enumerate(points)])
        for model, points in lines.items()
    )
    return (
        f'<div class="chart"><p class="title">{title}</p><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(alt(lines, title))}">{grid}{ticks}{drawn}<line class="here" x1="0" x2="0" y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}" visibility="hidden"/><text class="below" x="{(LEFT + WIDTH - RIGHT) / 2}" '
        f'y="{HEIGHT - 4}" text-anchor="middle">{below}</text></svg></div>'
    )


def short(length):
    return f"{length // 1024}k" if length >= 1024 else str(length)


def line(model, points):
    """A line with its markers, and its name beside it."""
    name, css = MODELS[model]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        if css == "flash"
        else f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        for x, y in points
    )
    x, y = points[-2] if css == "softmax" else points[-1]
    where = (x - 12, y - 6) if css == "softmax" else (x, y - 12)
    label = (
        f'<text class="name" x="{where[0]:.1f}" y="{where[1]:.1f}" text-anchor="end">{name}</text>'
    )
    return f'<g class="{css}"><polyline points="{path}"/>{marks}{label}</g>'


# ---------------------------------------------------------------- ways and lectures


def headers(root):
    """(path, title, minutes) of each lecture, from its first cell."""
    for path in sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb")):
        text = nbformat.read(path, as_version=4).cells[0].source
        minutes = re.search(r"\*\*Time\*\*[^\n\d]*(\d+) minutes to read", text)
        yield (
            path.relative_to(root).as_posix(),
            re.match(r"# (.*)", text)[1],
            int(minutes[1]) if minutes else None,
        )


def has_three_hours(root):
    return (root / "docs" / "three_hours.md").is_file()


def start(root):
    links = [
        "[Begin](notebooks/00_start_here.ipynb)",
        "[See FLASH write, here](lab/writer.md)",
        "[The laboratory](lab/index.md)",
    ]
    if has_three_hours(root):
        links.append("[I have three hours](docs/three_hours.md)")
    return "\n".join(links)


def ways(root):
    course = [minutes for path, _, minutes in headers(root) if path < "notebooks/9"]
    hours = round(sum(minutes or 0 for minutes in course) / 60)
    cards = [
        f"**The full course.** {len(course)} lectures, about {hours} hours of reading, with a problem set for each "
        "lecture from 01 to 11. It ends with a project of your own. "
        "[Start with lecture 00](notebooks/00_start_here.ipynb)."
    ]
    if has_three_hours(root):
        cards.insert(
            0,
            "**Three hours.** The idea and its evidence, without the craft. [Follow the path](docs/three_hours.md).",
        )
    return "\n\n".join(f":::{{container}} way\n{card}\n:::" for card in cards)


def lectures(root):
    rows = "\n".join(
        f"| [{title}]({path}) | {'' if minutes is None else f'{minutes} min'} |"
        for path, title, minutes in headers(root)
    )
    return f"| lecture | to read |\n| --- | --- |\n{rows}"


def colab(address):
    """How to run a page in Colab; without an address of the repository there is no link that could work."""
    if address["is_stamped"]():
        return "Or open any lecture in Colab: the rocket at the top of its page does it."
    return (
        "In Colab, upload the course's zip to the files on the left, then a notebook: its page here has a download at "
        "the top, and its first cell finds the zip."
    )
