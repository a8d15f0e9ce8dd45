"""What a model of the package gains if it goes on learning from the novel that it is scored on, as PPMd does.

Dynamic evaluation (Krause et al., 2018): a window is scored, then one update is made on it, and so on to the
novel's end.
"""

import numpy as np
import torch
import torch.nn.functional as F

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel
from flash_tutorial.corpora import evaluation_windows, load_corpus
from flash_tutorial.experiments import Arm, Experiment, Search, command, matching, over_windows
from flash_tutorial.experiments.tables import markdown
from flash_tutorial.training import first_bytes

T, SHORT = 1024, 100_000  # bytes of a window, and of *Persuasion*, by which the rates are chosen
PAIRS = (
    ("austen-flash", "austen-transformer++"),
    ("austen-flash-student", "austen-transformer++-student"),
)
MODELS = tuple(name for pair in PAIRS for name in pair)
RATES = (1e-4, 2e-4, 4e-4)
NOVELS = {"validation": "Persuasion", "test": "Northanger Abbey"}


def bits_of_windows(model, split, rate=None):
    """Bits of each window, ``(W,)``, and its bytes; with a rate the model learns from each when it is scored."""
    ids, targets, valid = map(torch.from_numpy, evaluation_windows(split, T))
    optimizer = torch.optim.AdamW(model.parameters(), rate or 0.0, weight_decay=0.0)
    bits = []
    for i in range(len(ids)):
        with torch.set_grad_enabled(rate is not None):
            logits = model(ids[i : i + 1], mask=valid[i : i + 1])[0]
            nats = F.cross_entropy(logits, targets[i], reduction="sum")
        bits.append(float(nats.detach()) / np.log(2))
        if rate is not None:
            (nats / valid[i].sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
    return np.array(bits), valid.sum(1).numpy()


def scored(name, split, rate=None):
    """Bits per byte of a novel, and of each of its windows."""
    model = LanguageModel.from_pretrained(name).eval()
    bits, n_bytes = bits_of_windows(model, split, rate)
    return {
        "bits_per_byte": round(float(bits.sum() / n_bytes.sum()), 4),
        "bits": bits.round(1).tolist(),
        "bytes": n_bytes.tolist(),
    }


def make(arm, rate, seed, steps):
    """Both novels as the model is and as it learns; to choose a rate, the beginning of one."""
    corpus = load_corpus("austen")
    if seed == 100:
        short = scored(arm.name, first_bytes(corpus.validation, SHORT), rate)
        return {"bits_on_choosing_text": short["bits_per_byte"]}
    found = {}
    for split in NOVELS:
        text = getattr(corpus, split)
        found[split] = {"static": scored(arm.name, text), "dynamic": scored(arm.name, text, rate)}
    return found


def gap(rows, pair, split, how):
    """FLASH minus Transformer++ in bits per byte, with the noise of the text."""
    ours, theirs = (matching(rows, arm=name, seed=0)[0]["measures"][split][how] for name in pair)
    return over_windows(ours["bits"], theirs["bits"], ours["bytes"])


def tables(rows):
    """Bits per byte of both novels, static and dynamic, and the gap between the models."""
    lines = []
    for name in MODELS:
        for row in matching(rows, arm=name, seed=0):
            scores = [row["measures"][split] for split in NOVELS]
            cells = [
                f"{of[how]['bits_per_byte']:.3f}" for how in ("static", "dynamic") for of in scores
            ]
            lines.append([f"`{name}`", f"{row['rate']:g}", *cells])
    for pair, said in zip(PAIRS, ("FLASH minus Transformer++", "of the students"), strict=True):
        if all(matching(rows, arm=name, seed=0) for name in pair):
            gaps = [
                str(gap(rows, pair, split, how))
                for how in ("static", "dynamic")
                for split in NOVELS
            ]
            lines.append([f"{said}, noise of the text", "", *gaps])
    head = [f"*{novel}*, {how}" for how in ("static", "dynamic") for novel in NOVELS.values()]
    return markdown(["model", "rate", *head], lines)


EXPERIMENT = Experiment(
    "dynamic",
    "What do the models in the package gain by learning from what they read?",
    arms=tuple(Arm(name, rates=RATES) for name in MODELS),
    steps=(1,),
    seeds=(0,),
    search=Search(steps=1, seeds=(100,), score="bits_on_choosing_text"),
    make=make,
    same_code=("e1b83cb2", "dd0c60b7"),
    setting="Whole novels in windows of 1,024 bytes that do not overlap; dynamic: one update of AdamW on each window "
    "when it has been scored. Rates by the first 100,000 bytes of *Persuasion*; float32.",
    meaning="A model that learns from what it has read gains more than FLASH and Transformer++ differ by. All are far "
    "ahead of PPMd (`ngrams`), which learns as it reads too. The teachers are level on *Northanger Abbey*, and on "
    "both novels once they learn; of the students FLASH is ahead on both by more than the noise of the text, as it is "
    "and as it learns. Seeds are another noise.",
    not_tried="A return to the old weights, as Krause et al. have it; other optimizers; other windows.",
    tables=tables,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
