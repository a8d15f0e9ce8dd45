"""Which model is best after the same time, on a text that pays for context?

The text is that which passed `gate`; `python tools/source_corpus.py runs/sources` writes it. All models are scored
on the same tokens, each with as much before them as it reads.
"""

import numpy as np
from gate import load_sources
from rivals import hybrid

from flash_course.bench.stored import RESULTS
from flash_tutorial import ModelConfig
from flash_tutorial.corpora import evaluation_windows
from flash_tutorial.experiments import (
    Arm,
    Compare,
    Experiment,
    Search,
    command,
    matching,
    over_windows,
)
from flash_tutorial.experiments.tables import markdown
from flash_tutorial.training.context import bits_of_last

T = 2048
TOKENS_AN_UPDATE = 8192
BUDGET, TUNING = 900, 300  # seconds of one core
RATES = (1e-2, 2e-2, 4e-2)
SCORED, LATE = 4096, 256  # the last tokens of each stretch of so many are scored
LESS = (128, 512)  # what a model of T tokens is also given, in place of all that it reads
CHOOSING = 60  # stretches of the text by which rates are chosen
SIZES = dict(vocab_size=2049, tokens=2048, max_length=T)


# ---------------------------------------------------------------- who races
def mixed(seed):
    """Three FLASH units and one of softmax attention."""
    return hybrid(ModelConfig("flash", **SIZES))


MODELS = {
    "FLASH": ModelConfig("flash", **SIZES),
    "Transformer++": ModelConfig("transformer++", **SIZES),
    "Transformer++ of 1024": ModelConfig("transformer++", **SIZES | {"max_length": 1024}),
    "Transformer++ of 512": ModelConfig("transformer++", **SIZES | {"max_length": 512}),
    "hybrid": mixed,
    "local only": ModelConfig("flash", global_=False, **SIZES),
}


def arm(name):
    """A model; its updates have as many tokens as the others'."""
    model = MODELS[name]
    length = T if model is mixed else model.max_length
    train = dict(batch=TOKENS_AN_UPDATE // length, length=length)
    return Arm(name, model, RATES, train=train, corpus=load_sources)


# ---------------------------------------------------------------- the score
def stretches(split, most=None):
    """ids and targets of whole stretches of 4,096 tokens."""
    ids, targets, valid = evaluation_windows(split, SCORED)
    whole = valid.all(1)
    return ids[whole][:most], targets[whole][:most, -LATE:]


def bits_with(model, ids, targets, context):
    """Bits of each stretch's last tokens, read with ``context``, those that are scored among them."""
    return bits_of_last(model, ids[:, -context:], targets, batch=8)


def measure(model, corpus):
    """Bits a late token with all that the model reads, by stretch; what it saves over less of it."""
    ids, targets = stretches(corpus.test)
    context = model.config.max_length
    bits = bits_with(model, ids, targets, context)
    found = {
        "bits_per_late_token": round(float(bits.sum() / targets.size), 4),
        "bits_by_stretch": [round(float(each), 1) for each in bits],
    }
    tokens = np.full(len(bits), LATE)
    for less in LESS:
        if less < context:
            gain = over_windows(bits_with(model, ids, targets, less), bits, tokens)
            found[f"saved_over_{less}"] = [round(gain.mean, 4), round(gain.half, 4)]
    return found


def on_choosing_text(model, corpus):
    """The same bits on the text by which rates are chosen."""
    ids, targets = stretches(corpus.validation, CHOOSING)
    bits = bits_with(model, ids, targets, model.config.max_length)
    return {"bits_on_choosing_text": round(float(bits.sum() / targets.size), 4)}


# ---------------------------------------------------------------- tables
def gain_of(run, less):
    """What a run saves over so much context; a dash where it reads no more than that."""
    found = run["measures"].get(f"saved_over_{less}")
    return f"{found[0]:+.3f}" if found else "-"


def tables(rows):
    """By model: rate, updates, bits a late token by seed, and what its context saves."""
    lines = []
    for each in MODELS:
        runs = matching(rows, arm=each, budget=BUDGET)
        runs = sorted(runs, key=lambda row: row["seed"])
        if runs:
            bits = [f"{run['measures']['bits_per_late_token']:.3f}" for run in runs]
            gains = [", ".join(gain_of(run, less) for run in runs) for less in LESS]
            lines.append(
                [each, f"{runs[0]['rate']:g}", f"{runs[0]['steps']:,}", ", ".join(bits), *gains]
            )
    head = ["model", "rate", "updates", "bits a late token, by seed"]
    return markdown([*head, *(f"saved over {less}" for less in LESS)], lines)


NAMES = {
    "Transformer++": "transformer",
    "Transformer++ of 1024": "middle",
    "Transformer++ of 512": "short",
    "hybrid": "hybrid",
    "local only": "local",
}

EXPERIMENT = Experiment(
    "race",
    "Which model is best after the same time, on a text that pays for context?",
    arms=tuple(map(arm, MODELS)),
    train=dict(dtype="bfloat16", eval_bytes=0, optimizer="muon"),
    seconds=(BUDGET,),
    search=Search(
        seconds=TUNING, seeds=(100,), score="bits_on_choosing_text", measure=on_choosing_text
    ),
    measure=measure,
    score="bits_per_late_token",
    compare=tuple(Compare("FLASH", other, name, budget=BUDGET) for other, name in NAMES.items()),
    same_code=("b343e318",),
    setting="Fifteen minutes of one core, D = 128, T = 2,048 unless the name says otherwise, 8,192 tokens of a BPE of "
    "2,048 an update, Muon, bfloat16. The last 256 tokens of each 4,096 of the test text are scored, with as much "
    "before them as the model reads. Updates are counted by the time of one that was measured in turn.",
    meaning="The search for rates has begun, and nothing is compared yet.",
    not_tried="Other sizes, lengths and budgets. A window of 256 (`rivals`): at this length its update "
    "took longer than that of the whole attention.",
    tables=tables,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
