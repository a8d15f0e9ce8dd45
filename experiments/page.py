"""The page of results, and the numbers in other pages, from what is stored.

    python experiments/page.py

writes docs/results.md, a section an experiment, and fills each ``<!-- number: NAME -->...<!--
/number -->`` of README.md, of the pages in docs and of the lectures' sources, and each ``{NAME}`` of
what a declaration says of its own numbers. A test runs the same and compares. The notebooks follow by
``python tools/notebooks.py text``.
"""

import importlib
import itertools
import json
import re
import statistics
import sys
from pathlib import Path

from flash_course.bench.stored import RESULTS, load_stored
from flash_tutorial.experiments import StoredRows, report
from flash_tutorial.experiments.tables import markdown, numbers
from flash_tutorial.files import write_text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
NUMBER = re.compile(r"(<!-- number: (.+?) -->)(.*?)(<!-- /number -->)", flags=re.S)
OWN_NUMBER = re.compile(r"\{([^{}]+)\}")
ORDER = (  # on the page; an experiment that is not named here stands behind these
    "gate",
    "race_short",
    "race",
    "race_longer",
    "race_widths",
    "look_up",
    "time_to_quality",
    "masked",
    "encoders",
    "quality",
    "quality_maps",
    "open_units",
    "parts",
    "mentions",
    "places",
    "chunk_length",
    "longer",
    "sine_table",
    "recall",
    "recall_learned",
    "recall_state",
    "ablations_width",
    "ablations_long",
    "ablations",
    "starts",
    "widths",
    "optimizers",
    "package_models",
    "distilled",
    "sums_learned",
    "shipping",
    "dynamic",
    "sliding",
    "ngrams",
    "number_formats",
    "scoreboard",
    "curves",
)
MODELS = ("austen-flash", "austen-transformer++")
STUDENTS = tuple(f"{name}-student" for name in MODELS)
TITLES = {"flash": "FLASH", "transformer++": "Transformer++"}
HEAD = """# Results

What was asked of the models, and what came out; built by `python experiments/page.py` from what is
stored in `flash_course/bench/results/`. The first three sections name the command that made them;
`models` scores what is in the package. Each other one is the declaration `experiments/NAME.py`:
`python experiments/NAME.py run` makes the runs that are missing, `table` prints what is here. What was
guessed before is in
[predictions](../experiments/predictions.md).

Intervals hold 95%: Welch's over seeds, and for single models the noise of the text;
[how a comparison is made](statistics.md) says why, and what was decided when. No number is from a GPU.
"""


def declarations():
    """All experiments, in the order of the page."""
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    places = {name: place for place, name in enumerate(ORDER)}
    names = sorted(declared(), key=lambda name: (places.get(name, len(ORDER)), name))
    return [importlib.import_module(name).EXPERIMENT for name in names]


def declared():
    """The names of the files beside this one that declare an experiment."""
    paths = Path(__file__).parent.glob("*.py")
    return [path.stem for path in paths if "\nEXPERIMENT = " in path.read_text(encoding="utf-8")]


# ---------------------------------------------------------------- the page
def section(experiment, rows, known):
    """Question, setting, tables, what it means, and what was not tried."""

    def number(found):
        return look_up(f"{experiment.name}.{found[1]}", known, experiment.name)

    return f"""## {experiment.name}

**{experiment.question}** {experiment.setting}{of_start(experiment)}

{report(experiment, rows)}
{OWN_NUMBER.sub(number, experiment.meaning)}{of_reported_seeds(experiment)}

*Not tried:* {experiment.not_tried}
"""


def of_start(experiment):
    """That all models began from the paper's start, where it is so and the declaration shows it."""
    starts = {getattr(arm.model, "start", None) for arm in experiment.arms}
    return " All began from the paper's start." if starts == {"paper"} else ""


def of_reported_seeds(experiment):
    """That rates were chosen by seeds that are reported too, where it is so."""
    for arm in experiment.arms:
        search = experiment.search_of(arm)
        shared = set(search.seeds) & set(experiment.seeds_of(arm)) if search else set()
        if shared:
            which = ", ".join(map(str, sorted(shared)))
            return f" Seed {which} chose the rates and is reported too."
    return ""


def speed():
    """A training step against length, as ``flash-tutorial bench`` stored it."""
    bench = load_stored("bench_cpu")
    head = [
        "T",
        "speed-up measured",
        "ratio of counted FLOPs",
        "measured / counted",
        "FLASH / its matrix products alone",
        "FLASH / FLASH-pytorch 0.1.9",
    ]
    keys = ("measured", "counted", "fraction", "flash_over_floor", "flash_over_public")
    rows = bench["conclusions"]["speedups"]
    lines = [[f"{row['T']:,}", *(f"{row[key]:.2f}" for key in keys)] for row in rows]
    return f"""## speed

**How long does a training step take against the length?** `flash-tutorial bench --rounds 7`: two
FLASH units against one Transformer++ block with torch's fused attention, D = 256, S = 128, C = 256,
32,768 tokens in each step, float32, two cores; medians of rounds taken in turn.

{markdown(head, lines)}
The two break even between T = {break_even(bench)}; the rounds differ too much to say it more precisely.
On shorter sequences the state and the chunks cost more than an attention matrix does. With the same
number of tokens a step at T = 32,768 takes a little longer than one at 1,024, nearly all of it
arithmetic: the first chunk of a sequence reads no earlier one.

*Not tried:* GPUs; other widths, but for `flash-tutorial bench --quick`.
"""


def compiling():
    """What a compiler gains in training, as ``compiled_training`` stored it."""
    head = ["T", "FLASH, ms", "compiled", "Transformer++, ms", "compiled"]
    head += ["FLASH / Transformer++", "both compiled"]
    lines = []
    for T, took in milliseconds_of_updates().items():
        plain, fast = ([took[each][way] for each in TITLES] for way in ("plain", "compiled"))
        times = [f"{t:.0f}" for both in zip(plain, fast) for t in both]
        lines.append([f"{T:,}", *times, *(f"{a / b:.2f}" for a, b in (plain, fast))])
    return f"""## compiling

**How much of an update does a compiler save?** `python experiments/timings/compiled_training.py`: the
model of `flash-tutorial train` (D = 128), 8,192 bytes an update, bfloat16 on a processor with units
for it, one core, medians of seven rounds in turn; "compiled" is `flash-tutorial train --compile`, which
takes up to half a minute before its first update.

{markdown(head, lines)}
Where products are cheap, as they are in bfloat16 on this processor, small operations beside them count:
FLASH has more of them, is behind at 512 and draws level with a compiler at 2,048.

*Not tried:* Other sizes; GPUs; a processor without products in bfloat16.
"""


def milliseconds_of_updates():
    """{T: {architecture: {way: median}}} of ``compiled_training``."""
    found = {}
    for row in load_stored("compiled_training")["rows"]:
        ways = {way: 1000 * statistics.median(row[way]) for way in ("plain", "compiled")}
        found.setdefault(row["T"], {})[row["architecture"]] = ways
    return found


def writing():
    """What a token costs above the products that nobody could save, as ``decoding_floor`` stored it."""
    head = ["model", "prompt", "floor, µs", "step / floor", "compiled / floor", "operations"]
    lines = []
    for row in load_stored("decoding_floor")["rows"]:
        took = {way: statistics.median(row[way]) for way in ("floor", "step", "compiled")}
        ratios = [f"{took[way] / took['floor']:.2f}" for way in ("step", "compiled")]
        key = [TITLES[row["architecture"]], f"{row['prompt']:,}", f"{took['floor']:.0f}"]
        lines.append([*key, *ratios, str(row["operations"])])
    return f"""## writing

**What does a token cost that is written alone, and how much of it could nobody save?**
`python experiments/timings/decoding_floor.py`: D = 256, one core, one row, medians of nine rounds in
turn. The floor reads each matrix and what is remembered once, as products with one vector;
"compiled" is `torch.compile(model.step)`.

{markdown(head, lines)}
What is left above the floor is many small operations, about {microseconds_of_a_call()} µs each in FLASH as it is;
a compiler merges some of them. In Transformer++ a call takes longer, and longer still behind a longer
prompt, so it is not calls alone.

*Not tried:* A step written in C++; batches; a GPU, where a recorded step makes no calls.
"""


def microseconds_of_a_call():
    """Of FLASH's step: what it takes above the floor, by operation."""
    row = load_stored("decoding_floor")["rows"][0]
    above = statistics.median(row["step"]) - statistics.median(row["floor"])
    return f"{above / row['operations']:.0f}"


def break_even(bench):
    """The lengths between which FLASH becomes the faster one."""
    rows = bench["conclusions"]["speedups"]
    slower = max(row["T"] for row in rows if row["measured"] < 1)
    faster = min(row["T"] for row in rows if row["measured"] > 1)
    return f"{slower:,} and {faster:,}"


def models():
    """The models in the package: whole novels, windows of 1024 bytes that do not overlap."""
    novels = ("*Northanger Abbey* (test)", "*Persuasion* (validation)")
    head = ["model", "parameters", *novels]
    beside = {f"{run['model']}, 5,000 by Muon": run for run in load_stored("not_shipped")["runs"]}
    shipped = {f"`{name}`": card_of(name) for name in (*STUDENTS, *MODELS)}
    flash, rival = (without_temperature(card_of(name)) for name in MODELS)
    flash_student, rival_student = (without_temperature(card_of(name)) for name in STUDENTS)
    lines = []
    for name, card in (shipped | beside).items():
        scores = [f"{card[split]['bits_per_byte']:.3f}" for split in ("test", "validation")]
        lines.append([name, f"{card['parameters']:,}", *scores])
    return f"""## models

**How good are the models in the package?** Whole novels in windows of 1,024 bytes that do not
overlap, in bits per byte. `austen-flash` and `austen-transformer++` had the same text, 7,000 updates of 4,096 bytes
and then 4,000 more, and a weight decay of 0.1, from the paper's start; how their settings were chosen is in `shipping`.
Their logits are divided by 1.24, the temperature for which models of this size asked on *Emma* when it was not
trained on (`package_models`). They taught the two students ([distilled](#distilled)), whose logits are divided by
0.92: of 0.80, 0.84 and so on the best of both on *Persuasion*, so that *Northanger Abbey* alone tests them. What
counting and compressing achieve is in `ngrams`, and what windows that overlap are worth in `sliding`.

{markdown(head, lines)}
The temperature stands in the weights. Without it FLASH has {flash}, and Transformer++
{rival}: it is worth more to FLASH. On *Northanger Abbey* the two are level within the noise of the text
([dynamic](#dynamic)), and on *Persuasion*, by which dropout was chosen, FLASH is ahead by more than that.
Of the students, which without their temperature have {flash_student} (FLASH) and {rival_student}
(Transformer++), FLASH is ahead on both novels by more than that noise. One seed of each says no more.

In the first quarter of a chunk FLASH minus Transformer++ is {behind_a_border(MODELS)} bits per byte of *Northanger
Abbey*, and of the students {behind_a_border(STUDENTS)}: the student has learned to read the last letters before
its chunk from its sums (lecture 07). What taught it that is not settled ([sums_learned](#sums_learned)).
Where its teacher loses can be read: most words that it writes across the
end of a chunk are in none of the training novels, and those in the middle of a chunk are (lecture 09). 5,000
updates by Muon from a start by the width, at the same temperature and dropout, are behind both teachers: they had
less than half of the updates, another optimizer and another start, and which of these it is was not tried.

*Not tried:* a second seed of any; as many updates by Muon without teachers.
"""


def behind_a_border(pair):
    """FLASH minus Transformer++ in the first quarter of all chunks but a window's first, bits per byte."""
    flash, rival = (statistics.mean(card_of(name)["test"]["by_position"][4::4]) for name in pair)
    return f"{flash - rival:+.3f}"


def without_temperature(card):
    """Its scores on the test and the validation novel if its logits are left as they were trained."""
    scores = card["without_temperature"]
    return f"{scores['test']:.3f} and {scores['validation']:.3f}"


def card_of(name):
    """What is stored beside a model of the package."""
    path = ROOT / "flash_tutorial" / "models" / name / "card.json"
    return json.loads(path.read_text(encoding="utf-8"))


def page(sections):
    """The whole page: a list of its sections, and these."""
    names = ["speed", "compiling", "writing", "models", *ORDER]
    listed = ", ".join(f"[{name}](#{name})" for name in names)
    own = [speed(), compiling(), writing(), models()]
    return "\n".join([HEAD, f"{listed}.\n", *own, *sections])


# ---------------------------------------------------------------- numbers in other pages
def numbers_of_speed():
    """Of ``flash-tutorial bench``: training steps, and writing token by token."""
    bench = load_stored("bench_cpu")
    last = bench["conclusions"]["speedups"][-1]
    same = bench["conclusions"]["constant_tokens"]
    return {
        "speed.times_faster": f"{last['measured']:.1f}",
        "speed.same_tokens": f"{same['ratio']:.2f}",
    } | numbers_of_writing(bench["decoding"])


def numbers_of_writing(rows):
    """Milliseconds of a token of FLASH."""
    seconds = [row["seconds"]["median"] for row in rows if row["model"] == "flash"]
    return {"speed.token": f"{1000 * min(seconds):.2f} to {1000 * max(seconds):.2f}"}


def numbers_of_models():
    """What the models in the package score."""
    return {
        f"models.{name}.{split}": f"{card_of(name)[split]['bits_per_byte']:.3f}"
        for name, split in itertools.product((*MODELS, *STUDENTS), ("validation", "test"))
    }


def look_up(name, known, where):
    """The number of that name; ValueError with all names."""
    if name not in known:
        raise ValueError(
            f"{where} asks for the number {name!r}: there are {', '.join(sorted(known))}"
        )
    return known[name]


def filled(text, known, where="a page"):
    """The text with all its numbers as they are stored."""

    def number(found):
        return found[1] + look_up(found[2], known, where) + found[4]

    return NUMBER.sub(number, text)


def pages():
    """{path: text} of the page of results, and of all pages with numbers."""
    sections = []
    known = numbers_of_speed() | numbers_of_models()
    for experiment in declarations():
        rows = StoredRows(experiment, RESULTS).load()
        known |= numbers(experiment, rows)
        sections.append(section(experiment, rows, known))
    found = {PAGE: page(sections)}
    others = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.py"))
    for path in sorted({*others} - {PAGE}):
        text = path.read_text(encoding="utf-8")
        if NUMBER.search(text):
            found[path] = filled(text, known, path.name)
    return found


if __name__ == "__main__":
    for path, text in pages().items():
        write_text(path, text)
        print(f"written: {path.relative_to(ROOT)}")
