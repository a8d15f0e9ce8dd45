"""The README's tables of what was measured, from the stored results.

    python tools/readme_tables.py           write them anew, each behind the comment with its name
    python tools/readme_tables.py check     exit 1 if one of them is not what is stored; a test runs this

A table stands behind ``<!-- stored: NAME -->`` and ends at the next empty line.
"""

import json
import math
import re
import statistics
import sys
from pathlib import Path

from flash_course.bench.against_length import flash_products
from flash_course.bench.paired import FOUR, best_rate, difference, interval, ten_seeds
from flash_course.bench.stored import load_stored, timed_runs, times_sooner, update_ratios
from flash_tutorial import ModelConfig
from flash_tutorial.files import write_text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PLACE = re.compile(r"(<!-- stored: ([a-z ]+) -->\n)((?:\|.*\n)*)")


def table(head, rows):
    """Markdown of a table; all cells are texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def speed():
    """A training step against length."""
    head = ["T", "speed-up measured", "ratio of counted FLOPs", "measured / counted",
            "FLASH / its matrix products alone", "FLASH / FLASH-pytorch 0.1.9"]  # fmt: skip
    keys = ("measured", "counted", "fraction", "flash_over_floor", "flash_over_public")
    rows = load_stored("bench_cpu")["conclusions"]["speedups"]
    return table(head, [[f"{row['T']:,}", *(f"{row[key]:.2f}" for key in keys)] for row in rows])


def quality():
    """Three models in the same wall time: short runs that choose a rate, long ones of three seeds."""
    head = ["model", "parameters", "rate: score after 300 steps", "rate taken", "steps", "seed 0", "seed 1", "seed 2",
            "mean"]  # fmt: skip
    rows = []
    for name in ("flash", "flash_quad", "transformerpp"):
        runs = load_stored(f"quality_{name}")["runs"]
        short = ", ".join(f"{r['learning_rate']:g}: {r['bits_per_byte']:.2f}" for r in runs if r["steps"] == 300)
        taken = next(r["learning_rate"] for r in runs if r["seed"] == 2)
        long = next(r for r in runs if r["steps"] > 300)
        scores = scores_of_seeds(name)
        rows.append([
            long["architecture"], f"{long['parameters']:,}", short, f"{taken:g}", str(long["steps"]),
            *(f"{score:.3f}" for score in scores), f"**{statistics.mean(scores):.3f}**",
        ])  # fmt: skip
    return table(head, rows)


def models():
    """The models in the package, and the n-gram."""
    head, rows = ["", "parameters", "*Persuasion* (validation)", "*Northanger Abbey* (test)",
                  "after 600 updates, seeds 0, 1, 2"], []  # fmt: skip
    for name in ("austen-flash", "austen-transformer++"):
        card = card_of(name)
        scores = (f"{card[split]['bits_per_byte']:.3f}" for split in ("validation", "test"))
        rows.append([f"`{name}`", f"{card['parameters']:,}", *scores, short_runs(name.removeprefix("austen-"))])
    said = {"Witten-Bell, order 5": "n-gram, order 5", "PPMd, order 8, given the training novels":
            "PPMd, order 8, which goes on learning while it reads", "the same, learning no more than a window of 1024":
            "PPMd, learning no more than the window"}  # fmt: skip
    for row in load_stored("ngrams")["rows"]:
        if name := said.get(row["model"]):
            rows.append([name, "", f"{row['validation']:.3f}", f"{row['test']:.3f}", ""])
    return table(head, rows)


def short_runs(model):
    """Bits per byte after the 600 updates by which a model's rate was chosen, at that rate, by seed."""
    runs = [run for run in load_stored("shipping")["runs"] if (run["model"], run["steps"]) == (model, 600)]
    rate = min((run for run in runs if run["seed"] == 0), key=lambda run: run["bits_per_byte"])["learning_rate"]
    by_seed = {run["seed"]: run["bits_per_byte"] for run in runs if run["learning_rate"] == rate}
    return ", ".join(f"{by_seed[seed]:.3f}" for seed in sorted(by_seed))


def card_of(name):
    """What is stored beside a model of the package."""
    return json.loads((ROOT / "flash_tutorial" / "models" / name / "card.json").read_text(encoding="utf-8"))


def claims():
    """The paper's three claims, a number of ours for each with its spread, and what it says."""
    head = ["the paper claims", "our evidence, on a CPU", "verdict"]
    return table(head, [
        ["the quality of a strong Transformer", *claim_of_quality()],
        ["at a cost for each token that does not grow with the text", *claim_of_cost()],
        ["for which local and global part are both needed", *claim_of_parts()],
    ])  # fmt: skip


def wording(mean, half):
    """Which of two sides a difference in bits per byte is on, or that its interval holds zero."""
    return "not settled" if abs(mean) <= half else "FLASH is ahead" if mean < 0 else "FLASH is behind"


def claim_of_quality():
    mean, half = interval(equal_time(2048))
    short = interval(equal_time(512))
    cards = card_of("austen-flash"), card_of("austen-transformer++")
    larger = [cards[0][split]["bits_per_byte"] - cards[1][split]["bits_per_byte"] for split in ("validation", "test")]
    evidence = (
        f"**{mean:+.3f} ± {half:.3f}** bits per byte, FLASH minus Transformer++ after ten minutes of a core, T = 2,048 "
        "(95%, three seeds)"
    )
    return evidence, (
        f"{wording(mean, half)} there; at T = 512 {wording(*short)} ({short[0]:+.3f} ± {short[1]:.3f}); two larger "
        f"models after 11,000 updates, one seed: {larger[0]:+.3f} and {larger[1]:+.3f} on two novels"
    )


def products_of_flash(settings, T):
    """Multiply-adds of the products that a FLASH unit of the benchmark does in a step."""
    config = ModelConfig("flash", **{name: settings[name] for name in ("dim", "qk_dim", "chunk_size")}, max_length=T)
    return sum(math.prod(shape) for shape in flash_products(config, settings["tokens"] // T, T))


def claim_of_cost():
    bench = load_stored("bench_cpu")
    same, speedups = bench["conclusions"]["constant_tokens"], bench["conclusions"]["speedups"]
    seconds = {row["T"]: row["seconds"] for row in bench["training"] if row["model"] == "flash"}
    long, short = seconds[same["long"]], seconds[same["short"]]
    done = products_of_flash(bench["settings"], same["long"]) / products_of_flash(bench["settings"], same["short"])
    low, high = long["low"] / short["high"], long["high"] / short["low"]
    slow = max(row["T"] for row in speedups if row["measured"] < 1)
    fast = min(row["T"] for row in speedups if row["T"] > slow)
    evidence = (
        f"**{same['ratio']:.2f}** ({low:.2f} to {high:.2f}, whichever of seven rounds are compared): time of a token "
        f"in a training step at T = {same['long']:,} to that at {same['short']:,}; {done:.2f} times as many "
        "multiply-adds, since the first chunk of a sequence reads no earlier one"
    )
    return evidence, (
        f"{'holds' if same['ratio'] < 1.1 else 'does not hold'}; Transformer++ takes {speedups[-1]['measured']:.1f} "
        f"times the time of FLASH at T = {same['long']:,}, less than FLASH up to T = {slow:,}, more from {fast:,} on"
    )


def claim_of_parts():
    code, novels = interval(gaps_on_text("code", 0.005)), interval(gaps_on_text("austen", 0.005))
    runs = load_stored("recall")["runs"]
    whole = [runs[f"recall flash{seed}"]["accuracy"] for seed in ("", " seed 1", " seed 2")]
    local, far, papers = (runs[f"recall {name}"]["accuracy"] for name in ("local", "global", "flash, paper's start"))
    without_local = [interval(gaps_on_text(text, 0.005, "global only", 0.02))[0] for text in ("austen", "code")]
    (saved, error, _), *_ = (
        run["saved_by_mention"]["256 to 512"] for run in load_stored("mentions")["runs"] if "flash" in run["model"]
    )
    evidence = (
        f"**{code[0]:+.3f} ± {code[1]:.3f}** bits per byte, FLASH minus its local part alone on program text, "
        "T = 2,048 (95%, three seeds)"
    )
    gain = "a small gain" if code[0] < -code[1] else "no settled gain"
    on_novels = "none that is seen" if novels[0] > -novels[1] else "one as well"
    return evidence, (
        f"without the local part a text costs {-max(without_local):.1f} to {-min(without_local):.1f} bits more; "
        f"{gain} from the global part there, {on_novels} on novels ({novels[0]:+.3f} ± {novels[1]:.3f}), though a name "
        f"mentioned more than a chunk before costs the larger model {saved:.2f} ± {2 * error:.2f} bits less; recall "
        f"across chunks has no way but the global part: {local:.2f} without it, {far:.2f} with it alone (one seed each;"
        f" built by hand, with wider vectors, it has 1.00), {min(whole):.2f} to {max(whole):.2f} with both (three "
        f"seeds), from a start made for it; from the paper's start both together have {papers:.2f} (one seed)"
    )


def equal_time(T):
    """Final bits per byte of FLASH minus those of Transformer++, by seed, after ten minutes each."""
    runs = timed_runs(T)
    pairs = zip(runs["flash"], runs["transformer++"], strict=True)
    return [one["bits_per_byte"] - other["bits_per_byte"] for one, other in pairs]


def quality_by_time():
    """Ten minutes of training at each length: where models end, and how soon others are where Transformer++ ends."""
    head = ["T", "FLASH", "FLASH-Quad", "Transformer++", "FLASH gets as far sooner by (seeds 0, 1, 2)",
            "FLASH-Quad sooner by", "FLASH sooner by, after five minutes", "FLASH in the paper's Figure 1",
            "an update of Transformer++ / of FLASH, two CPUs"]  # fmt: skip
    rows = []
    for T, paper in ((512, "1.2"), (2048, "1.6"), (8192, "4.9")):
        ends = {model: [run["bits_per_byte"] for run in of] for model, of in timed_runs(T).items()}
        means = [f"{statistics.mean(ends[model]):.3f}" for model in ("flash", "flash_quad", "transformer++")]
        factors = (times_sooner(T), times_sooner(T, model="flash_quad"), times_sooner(T, 300))
        said = (", ".join(f"{times:.2f}" if times else "never" for times in of) for of in factors)
        steps = " or ".join(f"{ratio:.2f}" for ratio in update_ratios(T))
        rows.append([f"{T:,}", *means, *said, paper, steps])
    return table(head, rows)


def runs_on_text(corpus):
    """{(model, learning rate): its runs by seed} of benchmarks/parts.py, those of full length."""
    runs = {}
    for run in load_stored("parts")["runs"]:
        if (run["corpus"], run["steps"]) == (corpus, 2000):
            runs.setdefault((run["model"], run["learning_rate"]), {})[run["seed"]] = run
    return runs


def parts_on_text():
    head = ["text", "model", "rate", "seed 0", "seed 1", "seed 2", "mean"]
    rows = []
    for corpus, text in (("austen", "novels"), ("code", "program text")):
        for (name, rate), of in sorted(runs_on_text(corpus).items()):
            scores = [of[seed]["bits_per_byte"] for seed in range(3)]
            mean = f"{statistics.mean(scores):.3f}"
            rows.append([text, name, f"{rate:g}", *(f"{score:.3f}" for score in scores), mean])
    return table(head, rows)


def gaps_on_text(corpus, rate, part="local only", rate_of_part=0.005):
    """FLASH at this rate minus one of its parts, three seeds; by default the local one at the best rate of its grid."""
    runs = runs_on_text(corpus)
    pairs = [(runs["FLASH", rate][seed], runs[part, rate_of_part][seed]) for seed in range(3)]
    return [flash["bits_per_byte"] - other["bits_per_byte"] for flash, other in pairs]


def four_ablations():
    """The four changes that matter most, ten seeds each; those that are not settled together in one line."""
    head = ["change", "rates", "difference in bits per byte, 95%", "seeds that are worse", "the paper", "verdict"]
    runs, rows, still_open = ten_seeds(), [], []
    for change, name, other, paper in (
        ("softmax in place of relu² in GAU", "GAU, softmax", "GAU", "worse (Table 1)"),
        ("four heads in place of one in GAU", "GAU, 4 heads", "GAU", "worse (Table 1)"),
        ("from GAU to FLASH, C = 32", "FLASH", "GAU", "worse (Table 4)"),
        ("the local part of FLASH alone", "FLASH, local only", "FLASH", "worse (Figure 7)"),
    ):
        mean, half, gaps = difference(runs, name, other)
        rates = " and ".join(f"{best_rate(runs, model):g}" for model in (name, other))
        worse = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
        found = f"{mean:+.3f} ± {half:.3f}"
        if abs(mean) > half * FOUR:
            rows.append([change, rates, found, worse, paper, "worse" if mean > 0 else "better"])
        else:
            still_open.append(f"{change}: {found}")
    return table(head, [*rows, ["; ".join(still_open), "", "", "", "", "not settled"]])


def scores_of_seeds(name):
    """Bits per byte of the long runs of ``quality``, seeds 0, 1, 2."""
    runs = load_stored(f"quality_{name}")["runs"]
    taken = next(r["learning_rate"] for r in runs if r["seed"] == 2)
    long = [r for r in runs if r["steps"] > 300 and r["learning_rate"] == taken]
    return [r["bits_per_byte"] for r in sorted(long, key=lambda r: r["seed"])]


# A row of the table of lectures, up to its minutes.
MINUTES = re.compile(r"^(\| (\d\d) \| .*\| )\d+ min \|", flags=re.M)
TABLES = {
    "claims": claims, "speed": speed, "quality": quality, "quality by time": quality_by_time,
    "four ablations": four_ablations, "parts": parts_on_text, "models": models,
}  # fmt: skip


def filled(text):
    """The page with all tables as they are stored."""
    text = PLACE.sub(lambda found: found[1] + TABLES[found[2]](), text)
    return MINUTES.sub(lambda row: f"{row[1]}{minutes_of(row[2])} min |", text)


def minutes_of(lecture):
    """The minutes to read that the build has written into a lecture's header."""
    (source,) = (README.parent / "notebooks").glob(f"{lecture}_*.py")
    return re.search(r"\d+(?= minutes to read)", source.read_text(encoding="utf-8"))[0]


def main(words):
    text = README.read_text(encoding="utf-8")
    if words == ["check"]:
        sys.exit("README.md is not what is stored: python tools/readme_tables.py" if filled(text) != text else 0)
    write_text(README, filled(text))


if __name__ == "__main__":
    main(sys.argv[1:])
