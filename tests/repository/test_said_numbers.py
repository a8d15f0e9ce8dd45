"""Numbers in running text: what README and lectures say is what is stored."""

import importlib.util
import re
from pathlib import Path
from statistics import mean

import pytest

from flash_course.bench.paired import difference, interval, ten_seeds
from flash_course.bench.stored import load_stored, times_sooner, update_ratios
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


def token(model, position):
    """Milliseconds a token."""
    rows = load_stored("bench_cpu")["decoding"]
    return 1000 * next(r["seconds"]["median"] for r in rows if (r["model"], r["position"]) == (model, position))


def behind():
    """FLASH minus Transformer++ of the two models that ship, on both novels."""
    cards = [tables().card_of(f"austen-{name}") for name in ("flash", "transformer++")]
    return [cards[0][split]["bits_per_byte"] - cards[1][split]["bits_per_byte"] for split in ("validation", "test")]


def dropout():
    """What the worse dropout costs FLASH and Transformer++ after the long run."""
    found = []
    for name, worse, better in (("flash", 0.1, 0.2), ("transformer++", 0.2, 0.1)):
        runs = [run for run in load_stored("shipping")["runs"] if (run["model"], run["steps"]) == (name, 7000)]
        score = {run["dropout"]: run["bits_per_byte"] for run in runs}
        found.append(score[worse] - score[better])
    return found


def lead(T):
    """By how many bits per byte FLASH is ahead after ten minutes, and half of the 95% interval."""
    gap, half = interval(tables().equal_time(T))
    return -gap, half


def in_middle_runs():
    """FLASH after 2,000 updates with a dropout of 0.05, 0.1 and 0.2."""
    runs = [run for run in load_stored("shipping")["runs"] if (run["model"], run["steps"]) == ("flash", 2000)]
    score = {run["dropout"]: run["bits_per_byte"] for run in runs if run["weight_decay"] == 0.1}
    return [score[dropout] for dropout in (0.05, 0.1, 0.2)]


def before_after(what):
    """The median of a time now over before, in the newest run that has it."""
    newest = [run for run in load_stored("before_after")["runs"] if what in run["now_to_before"]][-1]
    return [newest["now_to_before"][what][1]]


def twelve(name):
    """Mean of a miniature ablation's paired differences, and half of its 95% interval."""
    stored = load_stored("ablations")

    def bits(variant):
        rate = stored["best_rates"][variant]
        runs = [run for run in stored["runs"] if (run["variant"], run["learning_rate"]) == (variant, rate)]
        return {run["seed"]: run["bits_per_byte"] for run in runs}

    ours, theirs = bits(name), bits(VARIANTS[name][0])
    return interval([ours[seed] - theirs[seed] for seed in range(3)])


SAID = {
    "README.md": [
        (r"FLASH-pytorch takes (\S+) to (\S+) times the time of FLASH", guest, 2),
        (r"for four units\. Transformer\+\+ takes (\S+) ms at 512", lambda: [token("transformer++", 512)], 2),
        (r"a state of the same size: (\S+) ms for four units", lambda: [token("flash", 16384)], 2),
        (r"and (\S+) times as long at 16,384, where its cache",
         lambda: [token("transformer++", 16384) / token("transformer++", 512)], 1),
        (r"scores better, by (\S+) bits per byte on \*Persuasion\* and (\S+) on \*Northanger", behind, 3),
        (r"\(0\.1 costs it (\S+) more\) and 0\.1 for Transformer\+\+ \(0\.2 costs it (\S+) more", dropout, 3),
        (r"FLASH has (\S+) with a dropout of 0\.05, (\S+) with 0\.1 and (\S+) with 0\.2", in_middle_runs, 3),
        (r"a token of Transformer\+\+ takes (\S+) of the time", lambda: before_after("transformer++ far"), 2),
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
    "docs/STATUS.md": [
        (r"(\S+) against (\S+); the gap is smaller", lambda: [
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
    assert [float(group) for group in groups] == [round(value, digits) for value in values()]


def test_another_number_is_noticed(monkeypatch):
    """The same test on a README whose numbers are others."""
    path, (said, values, digits) = "README.md", SAID["README.md"][0]
    other = re.sub(r"FLASH-pytorch takes \S+ to", "FLASH-pytorch takes 1.54 to", text_of(path))
    monkeypatch.setitem(globals(), "text_of", lambda path: other)
    with pytest.raises(AssertionError, match=r"1\.54"):
        test_a_number_in_a_sentence_is_the_stored_one(path, said, values, digits)
