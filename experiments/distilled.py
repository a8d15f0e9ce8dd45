"""Do both models of the package, together, teach one model more than the text alone does?

A student is trained on the probabilities that its teachers give to each next byte, in place of the byte that came.
The settings are those of `package_models`: its runs of 5,000 updates without teachers stand beside these.

    python experiments/distilled.py teach austen-flash austen-transformer++   # they write 3 MB, which run needs too;
    python experiments/distilled.py run                                       # what all say of it is 6.4 GB
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
from flash_tutorial.corpora import Split, load_corpus
from flash_tutorial.experiments import Arm, Experiment, command
from flash_tutorial.training import evaluate
from flash_tutorial.training.devices import keep_freed_memory

TEACHERS = ("austen-flash", "austen-transformer++")
STUDENTS = ("austen-flash-student", "austen-transformer++-student")
READERS = {"teachers": TEACHERS, "students": STUDENTS}  # who has read each byte together
STRIDE = 384  # one and a half chunks: each byte is read twice, half a chunk further along the second time
READ = 256  # what a window has read before its teachers are believed
FOLDER = Path("runs/teachers")  # what was written, and beside it what its readers make of it
STEPS, MORE_STEPS = 8000, 9000
LAST_STEPS, LAST_RATE = 3000, 0.3  # once more over the same text, at so much of the first rate
PROMPT, AT_ONCE = 48, 256  # bytes that a piece begins with, and pieces written at once
WRITTEN = {
    "austen-flash": 4,
    "austen-transformer++": 8,
}  # times as many: a quarter of a million bytes each
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


def table(readers, title):
    """The file of what these readers make of a text."""
    return FOLDER.with_name(readers) / f"{title}.npy"


def teach(readers):
    """Write what they make of each novel of the training text and of what the teachers wrote, one file a text."""
    teachers = [LanguageModel.from_pretrained(name).eval() for name in READERS[readers]]
    for title, document in documents().items():
        path = table(readers, title)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.autocast("cpu", torch.bfloat16):
            found = taught(document, teachers)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, found.astype(np.float16))
        part.replace(path)
        print(title)


# ---------------------------------------------------------------- what the teachers write
def write(name):
    """Have one teacher write pieces of a window each, each from the first bytes of a paragraph of the novels."""
    path = FOLDER / f"{name}.txt"
    if path.exists():
        return
    model = LanguageModel.from_pretrained(name).eval()
    novels = load_corpus("austen").train
    starts = [
        piece[:PROMPT]
        for i in range(novels.n_documents)
        for piece in novels.document(i).tobytes().split(b"\n\n")
        if len(piece) >= PROMPT
    ]
    chosen = np.random.default_rng(TEACHERS.index(name)).choice(
        len(starts), (WRITTEN[name], AT_ONCE)
    )
    pieces = []
    for i, row in enumerate(chosen):
        prompts = torch.tensor([list(starts[each]) for each in row])
        drawn = torch.Generator().manual_seed(i)
        with torch.autocast("cpu", torch.bfloat16):
            new = model.generate(prompts, T - PROMPT, generator=drawn)
        pieces += [bytes(piece) for piece in torch.cat([prompts, new], 1).tolist()]
        print(name, i)
    part = path.with_suffix(".part")
    part.write_bytes(b"\n\n".join(pieces))
    part.replace(path)


def documents():
    """The novels of the training text and what the teachers wrote, by title."""
    novels = load_corpus("austen").train
    found = {title: novels.document(i) for i, title in enumerate(novels.titles)}
    for name in TEACHERS:
        path = FOLDER / f"{name}.txt"
        if path.exists():
            found[name] = np.frombuffer(path.read_bytes(), np.uint8)
    return found


# ---------------------------------------------------------------- the student
@cache
def lessons(readers):
    """Each text, and what these readers make of its bytes."""
    texts, tables = [], []
    for title, document in documents().items():
        path = table(readers, title)
        if not path.exists():
            raise SystemExit(
                f"{path} is not there: run `python experiments/distilled.py teach` first"
            )
        texts.append(document.tobytes())
        tables.append(np.load(path, mmap_mode="r"))
    return texts, tables


def with_what_was_written():
    """The corpus, to whose training text what the teachers wrote is added."""
    corpus = load_corpus("austen")
    found = documents()
    train = Split.from_documents(list(found.values()), list(found))
    return replace(corpus, name="austen and what its models write", train=train)


@torch.compiler.disable
def lesson(targets, readers):
    """What these readers say where these targets ``(T,)`` stand in the training text: ``(T, 256)``."""
    window = bytes(targets.tolist())
    for text, said in zip(*lessons(readers), strict=True):
        start = text.find(window)
        if start >= 0:
            return torch.from_numpy(said[start : start + len(window)].astype(np.float32))
    raise ValueError(f"the training text does not hold {window[:40]!r}...")


class Student(LanguageModel):
    """A language model whose loss asks for its teachers' probabilities, and not for the byte that came."""

    taught_by = ("teachers",)

    def loss(self, ids, targets, mask=None):
        said = [[lesson(row, readers) for row in targets] for readers in self.taught_by]
        soft = sum(map(torch.stack, said)) / len(said)
        return F.cross_entropy(self(ids, mask).float().flatten(0, 1), soft.flatten(0, 1))


def student(config):
    """A function of the seed, as an arm's model."""

    def build(seed):
        return Student(config)

    return build


def going_on(name, taught_by=("teachers",)):
    """A function of the seed: the student that has read more text, once its run is there."""

    def build(seed):
        found = sorted(Path("runs/distilled").glob(f"{name}_on_more_text_*/model.safetensors"))
        if not found:
            raise SystemExit(f"{name} on more text was not trained here: run it before this arm")
        model = Student.from_pretrained(found[-1].parent)
        model.taught_by = taught_by
        return model

    return build


def measure(model, corpus):
    """Bits a byte of both novels, which chose nothing here."""
    splits = {"northanger_abbey": corpus.test, "bits_per_byte": corpus.validation}
    return {
        name: round(evaluate(model, split, T).bits_per_byte, 4) for name, split in splits.items()
    }


def arms():
    """Both students, at the rate and the dropout of `package_models`; without dropout, on more text; and further."""
    for name, config in MODELS.items():
        yield Arm(
            name,
            student(replace(config, dropout=DROPOUT[name])),
            (RATES[name],),
            settings={"dropout": DROPOUT[name]},
            keep=True,
        )
        yield Arm(
            f"{name} on more text",
            student(config),
            (RATES[name],),
            settings={"dropout": 0.0},
            corpus=with_what_was_written,
            steps=(MORE_STEPS,),
            keep=True,
        )
        yield Arm(
            f"{name} goes on",
            going_on(name),
            (RATES[name] * LAST_RATE,),
            settings={"dropout": 0.0},
            corpus=with_what_was_written,
            steps=(LAST_STEPS,),
            keep=True,
        )
        yield Arm(
            f"{name} taught again",
            going_on(name, tuple(READERS)),
            (RATES[name] * LAST_RATE,),
            settings={"dropout": 0.0},
            corpus=with_what_was_written,
            steps=(LAST_STEPS,),
            seeds=(1,),  # another order of the text
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
    return {name.replace("+", "").replace(" ", "_"): said for name, said in found.items()}


EXPERIMENT = Experiment(
    "distilled",
    "Do both models, together, teach one model more than the text alone?",
    arms=tuple(arms()),
    train=TRAIN | dict(checkpoint_every=500),
    steps=(STEPS,),
    seeds=(0,),
    measure=measure,
    numbers=numbers,
    same_code=("eceaa856", "a456784f", "cd269fe6"),
    setting="1.94 million parameters, T = 1,024, 4,096 bytes an update, Muon, bfloat16, compiled; rate and decay of "
    "`package_models`, all four novels, one seed. A student is asked for the mean of what `austen-flash` and "
    "`austen-transformer++` ([models](#models)) say of each next byte, each read twice, from "
    "borders half a chunk apart. 8,000 updates have the dropout of the teachers; 9,000 have none, and 3 million "
    "bytes more, which the teachers wrote; 3,000 more go on from there over the same text, at three tenths of the "
    "rate; taught again means that they do so in another order, and are asked for the mean of what both teachers "
    "and both students say. Scored are whole novels, in the table *Persuasion*.",
    meaning="On *Northanger Abbey* and *Persuasion* the students with dropout have {flash} (FLASH) and {transformer} "
    "(Transformer++); those without, on more text, {flash_on_more_text} (FLASH) and {transformer_on_more_text} "
    "(Transformer++). FLASH, whose dropout was the larger one, gains more, and is ahead on both. 3,000 updates more "
    "hardly change it: {flash_goes_on} (FLASH) and {transformer_goes_on} (Transformer++). Taught again, by both "
    "students as well, they have {flash_taught_again} and {transformer_taught_again}: no better than what a "
    "temperature makes of the students on more text, which are in the package ([models](#models)). What FLASH's has "
    "learned to do at a chunk's border, and what taught it, is in [sums_learned](#sums_learned).",
    not_tried="More of the teachers' text, a second seed, larger students.",
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["teach"]:
        FOLDER.mkdir(parents=True, exist_ok=True)
        keep_freed_memory()
        for name in sys.argv[2:]:
            write(name)
        for readers in READERS:
            teach(readers)
    else:
        command(EXPERIMENT, RESULTS)
