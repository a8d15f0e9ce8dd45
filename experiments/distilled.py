"""Do both models of the package, together, teach one model more than the text alone does?

A student is trained on the probabilities that its teachers give to each next byte, in place of the byte that came.
The settings are those of `package_models`: its runs of 5,000 updates without teachers stand beside these.

    python experiments/distilled.py teach             # the teachers read the four novels, once: 1.6 GB in runs/
    python experiments/distilled.py run
"""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from package_models import DROPOUT, MODELS, TRAIN, T

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel
from flash_tutorial.corpora import load_corpus
from flash_tutorial.experiments import Arm, Experiment, command
from flash_tutorial.training import evaluate
from flash_tutorial.training.devices import keep_freed_memory

TEACHERS = ("austen-flash", "austen-transformer++")
STRIDE = 384  # one and a half chunks: each byte is read twice, half a chunk further along the second time
READ = 256  # what a window has read before its teachers are believed
FOLDER = Path("runs/teachers")
STEPS = 8000
RATES = {"flash": 0.01, "transformer++": 0.02}  # by `package_models`


# ---------------------------------------------------------------- the teachers
@torch.no_grad()
def taught(document, teachers):
    """Mean probabilities ``(n, 256)`` of each byte of a document, over teachers and over windows that overlap."""
    n = len(document)
    ids = torch.cat([torch.zeros(1, dtype=torch.long), torch.tensor(list(document[:-1]))])
    total, times = np.zeros((n, 256), np.float32), np.zeros((n, 1), np.float32)
    for start in range(0, n, STRIDE):
        window = ids[start : start + T]
        skipped = READ if start else 0
        believed = slice(start + skipped, start + len(window))
        for model in teachers:
            total[believed] += model(window[None])[0].float().softmax(-1)[skipped:].numpy()
            times[believed] += 1
    return total / times


def teach():
    """Write what the teachers make of each novel of the training text, one file a novel."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    teachers = [LanguageModel.from_pretrained(name).eval() for name in TEACHERS]
    train = load_corpus("austen").train
    for i, title in enumerate(train.titles):
        path = FOLDER / f"{title}.npy"
        if path.exists():
            continue
        with torch.autocast("cpu", torch.bfloat16):
            found = taught(train.document(i), teachers)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, found.astype(np.float16))
        part.replace(path)
        print(title)


# ---------------------------------------------------------------- the student
@cache
def lessons():
    """The training text, and for each of its novels where it begins and what the teachers make of it."""
    train = load_corpus("austen").train
    tables = []
    for title in train.titles:
        path = FOLDER / f"{title}.npy"
        if not path.exists():
            raise SystemExit(
                f"{path} is not there: run `python experiments/distilled.py teach` first"
            )
        tables.append(np.load(path, mmap_mode="r"))
    return [train.document(i).tobytes() for i in range(train.n_documents)], tables


@torch.compiler.disable
def lesson(targets):
    """What the teachers say where these targets ``(T,)`` stand in the training text: ``(T, 256)``."""
    window = bytes(targets.tolist())
    for text, table in zip(*lessons(), strict=True):
        start = text.find(window)
        if start >= 0:
            return torch.from_numpy(table[start : start + len(window)].astype(np.float32))
    raise ValueError(f"the training text does not hold {window[:40]!r}...")


class Student(LanguageModel):
    """A language model whose loss asks for its teachers' probabilities, and not for the byte that came."""

    def loss(self, ids, targets, mask=None):
        soft = torch.stack([lesson(row) for row in targets])
        return F.cross_entropy(self(ids, mask).float().flatten(0, 1), soft.flatten(0, 1))


def student(config):
    """A function of the seed, as an arm's model."""

    def build(seed):
        return Student(config)

    return build


def measure(model, corpus):
    """Bits a byte of both novels, which chose nothing here."""
    splits = {"northanger_abbey": corpus.test, "bits_per_byte": corpus.validation}
    return {
        name: round(evaluate(model, split, T).bits_per_byte, 4) for name, split in splits.items()
    }


def arms():
    """Both students, at the rate and the dropout of `package_models`."""
    for name, config in MODELS.items():
        yield Arm(
            name,
            student(replace(config, dropout=DROPOUT[name])),
            (RATES[name],),
            settings={"dropout": DROPOUT[name]},
            keep=True,
        )


def numbers(rows):
    """Each student's bits a byte of Northanger Abbey and of Persuasion."""
    found = {}
    for row in rows:
        measures = row["measures"]
        found[row["arm"]] = (
            f"{measures['northanger_abbey']:.3f} and {measures['bits_per_byte']:.3f}"
        )
    return {name.strip("+"): said for name, said in found.items()}


EXPERIMENT = Experiment(
    "distilled",
    "Do both models, together, teach one model more than the text alone?",
    arms=tuple(arms()),
    train=TRAIN | dict(checkpoint_every=500),
    steps=(STEPS,),
    seeds=(0,),
    measure=measure,
    numbers=numbers,
    same_code=("eceaa856",),
    setting="1.94 million parameters, T = 1,024, 4,096 bytes an update, Muon, bfloat16, compiled; rate, dropout "
    "and decay of `package_models`, all four novels, one seed. A student is asked for the mean of what "
    "both models of the package say of each next byte, each read twice, from borders half a chunk apart. "
    "Scored are whole novels, in the table *Persuasion*.",
    meaning="On *Northanger Abbey* and *Persuasion* Transformer++ has {transformer}, and FLASH has {flash}: "
    "beside the models of the package ([models](#models)), which had 11,000 updates, Transformer++ gains "
    "and FLASH does not. Neither wants a temperature: it learned one from its teachers. The models of the "
    "package stay: trained alike, FLASH would be behind by more than now.",
    not_tried="More updates, a second seed, another dropout, larger students.",
)

if __name__ == "__main__":
    if sys.argv[1:] == ["teach"]:
        teach()
    else:
        command(EXPERIMENT, RESULTS)
