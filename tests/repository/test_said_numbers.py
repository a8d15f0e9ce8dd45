"""Numbers in running text: what README and lectures say is what is stored."""

import importlib.util
import re
from pathlib import Path
from statistics import mean

import pytest

from flash_course.bench.paired import difference, interval, ten_seeds
from flash_course.bench.stored import load_stored, longer_windows, times_sooner, update_ratios
from flash_course.variants import VARIANTS

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]


def tables():
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "tools" / "readme_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def guest():
    """Least and most of FLASH-pytorch's time over FLASH's, and how it is at single lengths."""
    over = sorted(1 / row["flash_over_public"] for row in load_stored("bench_cpu")["conclusions"]["speedups"])
    return over[0], over[-1]


def token(model, position, which="seconds"):
    """Milliseconds a token, or its matrix products alone (``"floor"``)."""
    rows = load_stored("bench_cpu")["decoding"]
    return 1000 * next(r[which]["median"] for r in rows if (r["model"], r["position"]) == (model, position))


def mentions():
    """What a mention is worth to FLASH at two distances, and at most to Transformer++; with two standard errors."""
    flash, other = (list(run["saved_by_mention"].values()) for run in load_stored("mentions")["runs"])
    rows = (*flash[1:], max(other))
    return [n for bits, error, _ in rows for n in (bits, 2 * error)]


def behind():
    """FLASH minus Transformer++ of the two models that ship, on both novels."""
    cards = [tables().card_of(f"austen-{name}") for name in ("flash", "transformer++")]
    return [cards[0][split]["bits_per_byte"] - cards[1][split]["bits_per_byte"] for split in ("validation", "test")]


def long_run(model, dropout):
    """Bits per byte after 7,000 updates."""
    runs = [run for run in load_stored("shipping")["runs"] if (run["model"], run["steps"]) == (model, 7000)]
    return next(run["bits_per_byte"] for run in runs if run["dropout"] == dropout)


def dropout():
    """What the worse of 0.1 and 0.2 costs FLASH and Transformer++ after the long run."""
    worse_and_better = ("flash", 0.1, 0.2), ("transformer++", 0.2, 0.1)
    return [long_run(model, worse) - long_run(model, better) for model, worse, better in worse_and_better]


def lead(T):
    """By how many bits per byte FLASH is ahead after ten minutes, and half of the 95% interval."""
    gap, half = interval(tables().equal_time(T))
    return -gap, half


def in_middle_runs(model, setting="dropout", values=(0.05, 0.1, 0.2)):
    """A model after 2,000 updates at these values of a setting; the other of dropout and decay is 0.1."""
    (other,) = {"dropout", "weight_decay"} - {setting}
    runs = [run for run in load_stored("shipping")["runs"] if (run["model"], run["steps"]) == (model, 2000)]
    score = {run[setting]: run["bits_per_byte"] for run in runs if run[other] == 0.1}
    return [score[value] for value in values]


def before_after(what, before):
    """The median of a time over that at the commit ``before``, in the newest run that has it."""
    runs = [run["now_to_before"] for run in load_stored("before_after")["runs"] if run["before"] == before]
    return [run[what][1] for run in runs if what in run][-1:]


def a_second(model, before):
    """Tokens a second now and at the commit ``before``."""
    newest = [run for run in load_stored("before_after")["runs"] if run["before"] == before and "milliseconds" in run]
    return [1000 / ms for ms in newest[-1]["milliseconds"][f"{model} token"][::-1]]


def twelve(name):
    """Mean of a miniature ablation's paired differences, and half of its 95% interval."""
    stored = load_stored("ablations")

    def bits(variant):
        rate = stored["best_rates"][variant]
        runs = [run for run in stored["runs"] if (run["variant"], run["learning_rate"]) == (variant, rate)]
        return {run["seed"]: run["bits_per_byte"] for run in runs}

    ours, theirs = bits(name), bits(VARIANTS[name][0])
    return interval([ours[seed] - theirs[seed] for seed in range(3)])


def places(name, in_equal_time=False):
    """Mean of a model's paired differences from FLASH's three seeds of 1,000 updates, and half of its interval."""
    runs = [run for run in load_stored("places")["runs"] if run.get("steps", 400) != 400]
    flash = {run["seed"]: run["bits_per_byte"] for run in runs if (run["model"], run["steps"]) == ("FLASH", 1000)}
    of = [run for run in runs if run["model"] == name and (run["steps"] != 1000) == in_equal_time]
    return interval([run["bits_per_byte"] - flash[run["seed"]] for run in of])


def both_ways(name):
    """The same at equal updates, then in equal time."""
    return [*places(name), *places(name, in_equal_time=True)]


def boundary():
    """Bits that FLASH loses behind each boundary of 128 bytes, and for each byte."""
    runs = [run for run in load_stored("places")["runs"] if (run.get("model"), run.get("steps")) == ("FLASH", 1000)]
    bits = [mean(place) for place in zip(*(run["by_place_of_128"] for run in runs))]
    lost = sum((place - bits[-1]) * n for place, n in zip(bits, (1, 1, 2, 4, 8, 16, 32, 64)))
    return [lost, lost / 128]


def on_novels(name, rate, flash_rate):
    """Mean of a model's paired differences from FLASH on the novels (benchmarks/parts.py), and half of its interval."""
    runs = tables().runs_on_text("austen")
    pairs = [(runs[name, rate][seed], runs["FLASH", flash_rate][seed]) for seed in range(3)]
    return interval([other["bits_per_byte"] - flash["bits_per_byte"] for other, flash in pairs])


def recall(*names):
    """Accuracies of benchmarks/recall.py."""
    return [load_stored("recall")["runs"][f"recall {name}"]["accuracy"] for name in names]


def toeplitz():
    """The Toeplitz bias minus the rotary one, FLASH-Quad at 512: mean of paired differences, half of its interval."""
    runs = [run for run in load_stored("open_units")["runs"] if (run["start"], run["steps"]) == ("paper", 1000)]
    bits = {(run["bias"], run["seed"]): run["bits_per_byte"] for run in runs}
    return interval([bits["toeplitz", seed] - bits["rotary", seed] for seed in range(3)])


def window(model):
    """Bits per byte over windows of 16,384 and of 1,024, trained at 1,024: means of three seeds."""
    return [longer_windows("trained_at_1024")[model][T][0].mean() for T in (16_384, 1024)]


def last_sixteenth(model):
    """Bits per byte in the last 1,024 of 16,384 bytes, by seed."""
    return longer_windows("trained_at_1024")[model][16_384][1][:, -1]


def second_rate():
    """By how much the second best of Transformer++'s rates after 600 updates is behind."""
    runs = [run for run in load_stored("shipping")["runs"] if (run["model"], run["steps"]) == ("transformer++", 600)]
    best, second, *_ = sorted(run["bits_per_byte"] for run in runs if run["seed"] == 0)
    return [second - best]


def cost():
    """Hours of the race against time, updates of the models that ship and of the other experiments, short runs."""
    runs = {name: load_stored(name)["runs"] for name in ("time_to_quality", "shipping", "recall_state", "longer",
            "ablations_long", "places", "parts", "open_units", "chunk_length", "number_formats")}  # fmt: skip
    stated = ("places", "parts", "open_units", "chunk_length", "number_formats")  # the others say it in their scripts
    others = sum(run.get("steps", 0) for name in stated for run in runs[name])
    others += 1200 * len(runs["longer"]) + 2000 * len(runs["ablations_long"])
    hours = sum(run.get("budget", 0) for run in runs["time_to_quality"]) / 3600
    return hours, sum(run["steps"] for run in runs["shipping"]), others, len(runs["recall_state"])


SAID = {
    "README.md": [
        (r"more than a chunk, costs it (\S+) ± (\S+) bits more with its mentions changed, and one 512 to 1,024 bytes "
         r"back (\S+) ± (\S+)\. Transformer\+\+ could look names up, and no sign of it is seen: at most "
         r"(\S+) ± (\S+) \(one", mentions, 2),
        (r"the better one it leads by (\S+) ± (\S+), at the one that",
         lambda: on_novels("Transformer++", 0.005, 0.005), 3),
        (r"short runs had chosen by (\S+) ± (\S+)\. ", lambda: on_novels("Transformer++", 0.005, 0.02), 3),
        (r"FLASH answers (\S+) to (\S+) of the questions \(three",
         lambda: sorted(recall("flash", "flash seed 1", "flash seed 2"))[::2], 2),
        (r"no better than its global part: (\S+), one", lambda: recall("flash, paper's start"), 2),
        (r"a gate in ordinary attention: (\S+) ± (\S+), most", lambda: twelve("MHSA+MLP, gate"), 3),
        (r"second best is (\S+) behind, less", second_rate, 3),
        (r"FLASH-pytorch takes (\S+) to (\S+) times the time of FLASH", guest, 2),
        (r"for four units\. Transformer\+\+ takes (\S+) ms at 512", lambda: [token("transformer++", 512)], 2),
        (r"a state of the same size: (\S+) ms for four units", lambda: [token("flash", 16384)], 2),
        (r"and (\S+) times as long at 16,384, where its cache",
         lambda: [load_stored("bench_cpu")["conclusions"]["decoding"]["transformer++"]["ratio"]], 1),
        (r"scores better, by (\S+) bits per byte on \*Persuasion\* and (\S+) on \*Northanger", behind, 3),
        (r"\(0\.1 costs it (\S+) more\) and 0\.1 for Transformer\+\+ \(0\.2 costs it (\S+) more", dropout, 3),
        (r"FLASH has (\S+) with a dropout of 0\.05, (\S+) with 0\.1 and (\S+) with 0\.2",
         lambda: in_middle_runs("flash"), 3),
        (r"a weight decay of 0\.03 it has (\S+) and with 0\.3 (\S+), as with 0\.1; with 1 it has (\S+)\. Transf",
         lambda: in_middle_runs("flash", "weight_decay", (0.03, 0.3, 1)), 3),
        (r"0\.2 \(float32\) and (\S+) with none", lambda: in_middle_runs("transformer++", values=(0,)), 3),
        (r"weight decay of 0\.03, 0\.3 and 1 it has (\S+), (\S+) and (\S+) \(bfloat16",
         lambda: in_middle_runs("transformer++", "weight_decay", (0.03, 0.3, 1)), 3),
        (r"a long one had 0\.05: it ends at (\S+), level with the (\S+) of 0\.1",
         lambda: [long_run("transformer++", dropout) for dropout in (0.05, 0.1)], 3),
        (r"Transformer\+\+ has (\S+), (\S+) and (\S+) with a dropout of 0\.05",
         lambda: in_middle_runs("transformer++"), 3),
        (r"no gate in GAU: (\S+) ± (\S+) bits", lambda: twelve("GAU, no gate"), 3),
        (r"relu² in ordinary attention: (\S+) ± (\S+)\)", lambda: twelve("MHSA+MLP, relu^2"), 3),
    ],
    "notebooks/07_training.py": [
        (r"costs the Transformer\+\+ (\S+) bits a byte and FLASH (\S+),",
         lambda: [tables().card_of(f"austen-{name}")["validation"]["bits_per_byte"] for name in
                  ("transformer++", "flash")], 3),
        (r"by (\S+) bits per byte on \*Persuasion\* and (\S+) on \*Northanger", behind, 3),
        (r"of two larger models FLASH is (\S+) and (\S+) behind", behind, 3),
    ],
    "notebooks/08_scaling.py": [
        (r"an update takes FLASH (\S+) s and Transformer\+\+ (\S+) s", lambda: [
            load_stored("time_to_quality")["runs"][0]["seconds"][f"{name} 2048"] for name in
            ("flash", "transformer++")], 2),
        (r"At T = 512 FLASH gets there (\S+) times sooner", lambda: [mean(times_sooner(512))], 1),
        (r"its lead at the end is (\S+) ± (\S+), so", lambda: lead(512), 3),
        (r"its lead of (\S+) ± (\S+) is clear", lambda: lead(2048), 3),
        (r"The step time would, here (\S+) and (\S+)\.", lambda: [update_ratios(T)[0] for T in (512, 2048)], 1),
        (r"an update of Transformer\+\+ takes (\S+), (\S+) and (\S+) times as long",
         lambda: [update_ratios(T)[1] for T in (512, 2048, 8192)], 1),
    ],
    "notebooks/09_generation.py": [
        (r"a token of Transformer\+\+ behind 8,192 others takes (\S+) of the time",
         lambda: before_after("transformer++ far", "0ee6c4e"), 2),
        (r"take (\S+) of (\S+) ms at 512 and (\S+) of (\S+) ms at 16,384", lambda: [
            token("transformer++", n, which) for n in (512, 16384) for which in ("floor", "seconds")], 2),
    ],
    "docs/STATUS.md": [
        (r"(\S+) a second in place of (\S+), 0\.57", lambda: a_second("flash", "789190e"), 0),
        (r"C = 256 (\S+) ± (\S+) at equal updates and (\S+) ± (\S+) in equal time", lambda: both_ways("C = 256"), 3),
        (r"moved borders (\S+) ± (\S+) and (\S+) ± (\S+), the chunk", lambda: both_ways("borders moved"), 3),
        (r"the chunk before (\S+) ± (\S+) and (\S+) ± (\S+), so none", lambda: both_ways("chunk before"), 3),
        (r"subwords (\S+) ± (\S+) and (\S+) ± (\S+), which is", lambda: both_ways("subwords"), 3),
        (r"Transformer\+\+ is behind FLASH by (\S+) ± (\S+); FLASH-Quad, (\S+) ± (\S+), is", lambda: [
            *places("Transformer++", True), *places("FLASH-Quad", True)], 3),
        (r"three seeds: (\S+) bits behind each boundary", lambda: boundary()[:1], 1),
        (r"behind each boundary, (\S+) a byte", lambda: boundary()[1:], 2),
        (r"the better rate \((\S+) ± (\S+)\); at", lambda: [
            -on_novels("local only", 0.005, 0.005)[0], on_novels("local only", 0.005, 0.005)[1]], 3),
        (r"ahead with every seed \((\S+) ± (\S+)\), and both", lambda: [
            -on_novels("local only", 0.02, 0.02)[0], on_novels("local only", 0.02, 0.02)[1]], 3),
        (r"one seed's doing \((\S+) ± (\S+)\): the dead", toeplitz, 3),
        (r"FLASH with the mean has (\S+) bits per byte \((\S+) at 1,024\)", lambda: window("FLASH, mean"), 3),
        (r"with the sum (\S+) \((\S+)\), Transformer", lambda: window("FLASH, sum"), 3),
        (r"Transformer\+\+ (\S+) \((\S+)\), on average over the window", lambda: window("Transformer++"), 3),
        (r"last 1,024 bytes the mean has (\S+), (\S+) and (\S+), the sum", lambda: last_sixteenth("FLASH, mean"), 2),
        (r"holds out to 3,072, (\S+), (\S+) and (\S+), and", lambda: last_sixteenth("FLASH, sum"), 2),
        (r"and Transformer\+\+ (\S+), (\S+) and (\S+), worse than counts", lambda: last_sixteenth("Transformer++"), 2),
        (r"race against time took (\S+) hours", lambda: cost()[:1], 1),
        (r"ship (\S+) updates or about 21 hours, the other experiments (\S+) smaller updates, and recall (\S+) short",
         lambda: cost()[1:], 0),
        (r"(\S+) against (\S+); the gap is not settled", lambda: [
            mean(tables().scores_of_seeds(name)) for name in ("flash", "transformerpp")], 3),
        (r"four heads \(\+(\S+) ± (\S+)\)", lambda: difference(ten_seeds(), "GAU, 4 heads", "GAU")[:2], 3),
        (r"softmax in GAU is better than relu², against the paper, by (\S+) ± (\S+) and",
         lambda: map(abs, difference(ten_seeds(), "GAU, softmax", "GAU")[:2]), 3),
    ],
}  # fmt: skip


def text_of(path):
    """A file's text without line breaks, and a lecture's without the marks of its markdown cells."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return re.sub(r"\s+(# )?", " ", text)


@pytest.mark.parametrize(
    "path, said, values, digits",
    [(path, *row) for path, rows in SAID.items() for row in rows],
    ids=[f"{path}-{row[0][:30]}" for path, rows in SAID.items() for row in rows],
)
def test_a_number_in_a_sentence_is_the_stored_one(path, said, values, digits):
    found = re.findall(said, text_of(path))
    assert len(found) == 1, f"{path}: {len(found)} sentences like {said!r}; where it was rewritten, write it anew here"
    groups = found[0] if isinstance(found[0], tuple) else found
    said = [float(group.replace(",", "")) for group in groups]
    assert said == [round(float(value), digits) for value in values()]


def test_another_number_is_noticed(monkeypatch):
    """The same test on a README whose numbers are others."""
    path = "README.md"
    said, values, digits = next(row for row in SAID[path] if row[0].startswith("FLASH-pytorch"))
    other = re.sub(r"FLASH-pytorch takes \S+ to", "FLASH-pytorch takes 1.54 to", text_of(path))
    monkeypatch.setitem(globals(), "text_of", lambda path: other)
    with pytest.raises(AssertionError, match=r"1\.54"):
        test_a_number_in_a_sentence_is_the_stored_one(path, said, values, digits)
