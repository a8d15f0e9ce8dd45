"""What taught the sums of FLASH's student which letters came last?

The student of `distilled` loses nothing at the first place of a chunk, which reads the past by sums alone; its teacher
loses two bits there. They differ in what they were asked for, in their text and in dropout: here each is changed alone.
And a student that never had sums says what they are worth.
"""

from dataclasses import replace

import torch
from distilled import RATES, Student, with_what_was_written
from package_models import DROPOUT, MODELS, TRAIN, T

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel
from flash_tutorial.experiments import Arm, Compare, Experiment, command, matching
from flash_tutorial.experiments.tables import markdown, runs_table
from flash_tutorial.training import first_bytes
from flash_tutorial.training.measures import bits_of

NAME = "flash"
C = MODELS[NAME].chunk_size
STEPS = 3000
COMPARED = ("as the student", "local only")  # with three seeds
BYTES = 200_000  # of Northanger Abbey

WAYS = {  # what is asked for, the text, dropout
    "as the student": ("the teachers", "more text", 0.0),
    "local only": ("the teachers", "more text", 0.0),
    "with dropout": ("the teachers", "more text", DROPOUT[NAME]),
    "asked for bytes": ("bytes", "more text", 0.0),
    "novels alone": ("the teachers", "novels", 0.0),
    "all three": ("bytes", "novels", DROPOUT[NAME]),
}


def build(asked_for, dropout, global_):
    """A function of the seed: FLASH by the settings of `package_models`, with the loss of a student or its own."""
    kind = Student if asked_for == "the teachers" else LanguageModel

    def untrained(seed):
        torch.manual_seed(seed)
        return kind(replace(MODELS[NAME], dropout=dropout, global_=global_))

    return untrained


def at_first_places(bits, valid):
    """Bits a byte at the first places of all chunks of a window but its first."""
    first = slice(C, None, C)
    return round(float(bits[:, first][valid[:, first]].mean()), 4)


def measure(model, corpus):
    """Bits a byte of Northanger Abbey; at first places; and there without the global part."""
    split = first_bytes(corpus.test, BYTES)
    bits, valid, _ = bits_of(model, split, T)
    found = {
        "bits_per_byte": round(float(bits[valid].mean()), 4),
        "first_place": at_first_places(bits, valid),
    }
    for unit in model.stack.units:
        unit.global_ = False
    bits, valid, _ = bits_of(model, split, T)
    found["first_place_without_sums"] = at_first_places(bits, valid)
    return found


def arms():
    """The student's way, and one thing changed at a time; all of them run at one rate."""
    for name, (asked_for, text, dropout) in WAYS.items():
        yield Arm(
            name,
            build(asked_for, dropout, global_=name != "local only"),
            (RATES[NAME],),
            settings={"asked_for": asked_for, "text": text, "dropout": dropout},
            corpus=with_what_was_written if text == "more text" else None,
            seeds=(0, 1, 2) if name in COMPARED else None,
        )


def tables(rows):
    """All runs, and each way's bits at the first place of a chunk."""
    lines = []
    for name in WAYS:
        runs = [row["measures"] for row in matching(rows, arm=name)]
        kinds = ("first_place", "first_place_without_sums")
        lines.append([name, *(", ".join(f"{run[kind]:.2f}" for run in runs) for kind in kinds)])
    head = ["first place of a chunk, bits a byte by seed", "with its sums", "without them"]
    return runs_table(EXPERIMENT, rows) + "\n" + markdown(head, lines)


def numbers(rows):
    """What the sums are worth at the first place of a chunk, in bits, of each way: one run, or least and most."""
    found = {}
    for row in rows:
        measures = row["measures"]
        worth = measures["first_place_without_sums"] - measures["first_place"]
        found.setdefault(row["arm"].replace(" ", "_"), []).append(worth)
    return {
        name: " to ".join(f"{each:.1f}" for each in sorted({min(worth), max(worth)}))
        for name, worth in found.items()
    }


EXPERIMENT = Experiment(
    "sums_learned",
    "What taught the sums of FLASH's student which letters came last?",
    arms=tuple(arms()),
    train=TRAIN | dict(checkpoint_every=500),
    steps=(STEPS,),
    seeds=(0,),
    measure=measure,
    compare=(
        Compare(
            "local only the teachers more text 0.0",
            "as the student the teachers more text 0.0",
            "local_only_minus_student",
        ),
    ),
    numbers=numbers,
    tables=tables,
    same_code=("2067c883", "6ebdcec4", "d2d2b817"),
    setting="FLASH of 1.94 million parameters, T = 1,024, C = 256, 4,096 bytes an update, Muon at 0.01, bfloat16, "
    "compiled, 3,000 updates; three seeds of the first two, one of the others. Asked for is the mean of what two "
    "teachers say of the next byte, as in `distilled`, or the byte that came. Measured on the first 200,000 bytes of "
    "*Northanger Abbey*.",
    meaning="At the first place of a chunk the student's sums are worth {as_the_student} bits in three seeds. With "
    "dropout they are worth {with_dropout}, and asked for bytes {asked_for_bytes}; with the novels alone, without what "
    "the teachers wrote, {novels_alone}. It looks as if the sums learn by the teachers' probabilities and no dropout "
    "together, and as if more text were not needed; but the student's own seeds differ so much that one seed of each "
    "change settles nothing. The same student without a global part, minus the student, has "
    "{local_only_minus_student} bits a byte, at one rate: there the global part gains on novels. Where the next "
    "byte is asked for, a gain is not shown ([parts](#parts)).",
    not_tried="A second seed of what is changed alone; a rate of its own for any, the student without a global part "
    "among them; AdamW or the paper's start; whether bytes teach it later.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
