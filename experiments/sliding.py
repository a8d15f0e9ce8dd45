"""What the models in the package score if each byte is predicted from at least 512 before it.

Windows side by side give a window's first bytes nothing to read. These overlap by half: the first half is read
again and only the second is scored, at twice the cost.
"""

import numpy as np
from dynamic import MODELS, NOVELS, PAIRS, T

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel
from flash_tutorial.corpora import evaluation_windows, load_corpus
from flash_tutorial.experiments import Arm, Experiment, command, matching, over_windows
from flash_tutorial.experiments.tables import markdown
from flash_tutorial.training.score import bits_of_targets

HALF = T // 2
HOW = ("side by side", "sliding")


def bits_of_halves(model, split):
    """Bits of each half window, ``(W,)``: read as in windows side by side, and with the half before it."""
    ids, targets, _ = evaluation_windows(split, HALF)
    together = np.concatenate([ids[:-1], ids[1:]], axis=1)  # a novel is one document
    first = bits_of_targets(model, ids, targets).sum(1)
    second = np.concatenate([first[:1], bits_of_targets(model, together, targets[1:]).sum(1)])
    begins_a_window = np.arange(len(ids)) % 2 == 0
    return np.where(begins_a_window, first, second), second


def make(arm, rate, seed, steps):
    """Both novels, in both ways."""
    model = LanguageModel.from_pretrained(arm.name).eval()
    corpus = load_corpus("austen")
    found = {}
    for split in NOVELS:
        text = getattr(corpus, split)
        scores = zip(HOW, bits_of_halves(model, text), strict=True)
        found[split] = {how: bits.round(1).tolist() for how, bits in scores}
        found[split]["bytes"] = text.n_bytes
    return found


# ---------------------------------------------------------------- tables
def of_novel(rows, name, split):
    """What is stored of a model and a novel."""
    return matching(rows, arm=name)[0]["measures"][split]


def bytes_of_halves(stored):
    """The bytes of each half window; the last may be shorter."""
    n = len(stored[HOW[0]])
    return np.array([HALF] * (n - 1) + [stored["bytes"] - HALF * (n - 1)])


def difference(of, how, other, its):
    """Of one model read in one way minus another, with the noise of the text."""
    return over_windows(of[how], other[its], bytes_of_halves(of))


def tables(rows):
    """Bits per byte of both novels by sliding windows, and what a model gains by them."""
    lines = []
    for name in MODELS:
        stored = [of_novel(rows, name, split) for split in NOVELS]
        cells = [f"{sum(of[HOW[1]]) / of['bytes']:.3f}" for of in stored]
        gains = [str(difference(of, HOW[1], of, HOW[0])) for of in stored]
        lines.append([f"`{name}`", *cells, *gains])
    head = [f"*{novel}*, {how}" for how in (HOW[1], "gain") for novel in NOVELS.values()]
    return markdown(["model", *head], lines)


def numbers(rows):
    """Scores on the test novel by sliding windows; FLASH minus Transformer++ there."""
    found = {}
    for name in MODELS:
        of = of_novel(rows, name, "test")
        found[name] = f"{sum(of[HOW[1]]) / of['bytes']:.3f}"
    for pair, called in zip(PAIRS, ("teachers", "students"), strict=True):
        for split in NOVELS:
            ours, theirs = (of_novel(rows, name, split) for name in pair)
            found[f"{called}_{split}"] = str(difference(ours, HOW[1], theirs, HOW[1]))
    return found


EXPERIMENT = Experiment(
    "sliding",
    "What do the models in the package score if no byte stands at the beginning of a window?",
    arms=tuple(Arm(name) for name in MODELS),
    steps=(1,),
    seeds=(0,),
    make=make,
    setting="Whole novels, bits per byte, float32. *Side by side*: windows of 1,024 bytes that do not overlap, as in "
    "`models`. *Sliding*: they overlap by 512 bytes, which are read and not scored, at twice the cost. Behind ± stands "
    "the noise of the text.",
    meaning="A window's first bytes have little to be predicted from, and without them every model is better. On "
    "*Northanger Abbey* the students then have {austen-flash-student} (FLASH) and "
    "{austen-transformer++-student} bits a byte, and FLASH minus Transformer++ is {students_test}; on *Persuasion* it "
    "is {students_validation}. Of the teachers FLASH gains least, for it loses at every chunk's border, wherever a "
    "window begins: on *Northanger Abbey*, where windows side by side leave the two level, it is behind, "
    "{teachers_test}, and on *Persuasion* ahead, {teachers_validation}. Seeds are another noise.",
    not_tried="Other overlaps; windows longer than the models were trained on; overlapping windows and learning "
    "(`dynamic`) together.",
    tables=tables,
    numbers=numbers,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
