"""The README's tables of what was measured, from the stored results.

    python tools/readme_tables.py           write them anew, each behind the comment with its name
    python tools/readme_tables.py check     exit 1 if one of them is not what is stored; a test runs this

A table stands behind ``<!-- stored: NAME -->`` and ends at the next empty line.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from flash_course.bench.paired import T_975, best_rate, difference, ten_seeds
from flash_course.bench.stored import load_stored, timed_runs, times_sooner
from flash_support.files import write_text

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
    """The paper's three claims, a number of ours for each, and what it says."""
    head = ["the paper claims", "our evidence, on a CPU", "verdict"]
    gaps = {T: equal_time(T) for T in (512, 2048)}
    means = {T: (statistics.mean(of), T_975[len(of)] * statistics.stdev(of) / len(of) ** 0.5) for T, of in gaps.items()}
    said = (
        f"T = {T:,} {mean:+.3f} ± {half:.3f} ({', '.join(f'{gap:+.3f}' for gap in gaps[T])})"
        for T, (mean, half) in means.items()
    )
    settled = " and ".join(f"{T:,}" for T, (mean, half) in means.items() if abs(mean) > half)
    quality = (
        f"bits per byte after ten minutes of a core, FLASH minus Transformer++ (95%, three seeds): {', '.join(said)}"
    )
    ahead = {(True, True): "ahead with every seed", (False, False): "behind with every seed"}
    every = [gap for of in gaps.values() for gap in of]
    order = ahead.get((max(every) < 0, min(every) < 0), "the seeds disagree")
    cards = card_of("austen-flash"), card_of("austen-transformer++")
    larger = [cards[0][split]["bits_per_byte"] - cards[1][split]["bits_per_byte"] for split in ("validation", "test")]
    quality += f"; of two larger models, equal updates, one seed, on two novels: {larger[0]:+.3f} and {larger[1]:+.3f}"
    sides = {(True, True): "ahead", (False, False): "behind"}
    there = sides.get((max(larger) < 0, min(larger) < 0), "on both sides")
    bench = load_stored("bench_cpu")["conclusions"]
    same, last = bench["constant_tokens"], bench["speedups"][-1]
    cost = (
        f"a token of a step at T = {same['long']:,} costs {same['ratio']:.2f} times one at {same['short']:,}; "
        f"Transformer++ takes {last['measured']:.1f} times the time of FLASH there"
    )
    slow = max(row["T"] for row in bench["speedups"] if row["measured"] < 1)
    fast = min(row["T"] for row in bench["speedups"] if row["T"] > slow)
    runs = load_stored("recall")["runs"]
    whole = [runs[f"recall flash{seed}"]["accuracy"] for seed in ("", " seed 1", " seed 2")]
    local, far = (runs[f"recall {name}"]["accuracy"] for name in ("local", "global"))
    parts = (
        f"recall across chunks: {min(whole):.2f} to {max(whole):.2f} (three seeds) with both, "
        f"{local:.2f} with the local part, {far:.2f} with the global one (one seed each)"
    )
    own, same, code = gaps_on_text("austen", 0.02), gaps_on_text("austen", 0.005), gaps_on_text("code", 0.005)
    parts += f"; on novels, T = 2,048, FLASH minus its local part: {own} bits per byte, both at 0.005: {same}"
    parts += f"; on program text: {code}"
    return table(head, [
        ["the quality of a strong Transformer", quality,
         f"at the smaller size and after short training {order}, which the interval settles at T = {settled}; at the "
         f"larger one {there}, with one seed"],
        ["at a cost for each token that does not grow with the text", cost,
         f"holds; FLASH is the slower one up to T = {slow:,}, the faster one from {fast:,} on"],
        ["for which local and global part are both needed", parts,
         "the global part is needed where a task asks for it, and the local part was, in this training; at this size "
         "the global part brings no gain that is seen on novels, and a small one on program text"],
    ])  # fmt: skip


def equal_time(T):
    """Final bits per byte of FLASH minus those of Transformer++, by seed, after ten minutes each."""
    runs = timed_runs(T)
    pairs = zip(runs["flash"], runs["transformer++"], strict=True)
    return [one["bits_per_byte"] - other["bits_per_byte"] for one, other in pairs]


def quality_by_time():
    """Ten minutes of training at each length: where models end, and how soon FLASH is where Transformer++ ends."""
    head = ["T", "FLASH", "FLASH-Quad", "Transformer++", "FLASH gets as far sooner by (seeds 0, 1, 2)",
            "of this, the time of an update", "after five minutes"]  # fmt: skip
    update, rows = load_stored("time_to_quality")["runs"][0]["seconds"], []
    for T in (512, 2048, 8192):
        ends = {model: [run["bits_per_byte"] for run in of] for model, of in timed_runs(T).items()}
        means = [f"{statistics.mean(ends[model]):.3f}" for model in ("flash", "flash_quad", "transformer++")]
        ten, five = (", ".join(f"{times:.2f}" for times in times_sooner(T, budget)) for budget in (600, 300))
        step = update[f"transformer++ {T}"] / update[f"flash {T}"]
        rows.append([f"{T:,}", *means, ten, f"{step:.2f}", five])
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


def gaps_on_text(corpus, rate):
    """FLASH at this rate minus its local part at 0.005, the best of its grid; three seeds."""
    runs = runs_on_text(corpus)
    pairs = [(runs["FLASH", rate][seed], runs["local only", 0.005][seed]) for seed in range(3)]
    return ", ".join(f"{flash['bits_per_byte'] - local['bits_per_byte']:+.3f}" for flash, local in pairs)


def four_ablations():
    """The four changes that matter most, ten seeds each."""
    head = ["change", "rates", "difference in bits per byte, 95%", "seeds that are worse", "the paper", "verdict"]
    runs, rows = ten_seeds(), []
    for change, name, other, paper in (
        ("GAU: softmax in place of relu²", "GAU, softmax", "GAU", "worse (Table 1)"),
        ("GAU: four heads in place of one", "GAU, 4 heads", "GAU", "worse (Table 1)"),
        ("from GAU to FLASH, C = 32", "FLASH", "GAU", "worse (Table 4)"),
        ("FLASH: the local part alone", "FLASH, local only", "FLASH", "worse (Figure 7)"),
    ):
        mean, half, gaps = difference(runs, name, other)
        settled = "worse" if mean > half else "better" if mean < -half else "not settled"
        if half < abs(mean) < 1.1 * half:
            settled += ", at the edge of the interval"
        rates = " and ".join(f"{best_rate(runs, model):g}" for model in (name, other))
        worse = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
        rows.append([change, rates, f"{mean:+.3f} ± {half:.3f}", worse, paper, settled])
    return table(head, rows)


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
