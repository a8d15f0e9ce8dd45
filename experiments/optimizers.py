"""What does Muon change in the default run of `flash-tutorial train`, in the same time?"""

from itertools import product

from flash_course.bench.stored import RESULTS
from flash_tutorial import ModelConfig
from flash_tutorial.corpora import Split
from flash_tutorial.experiments import Arm, Compare, Experiment, Search, command, matching
from flash_tutorial.training import evaluate

T, BATCH = 512, 8
BUDGET = 300  # seconds of one core, of a run that chooses a rate too
REPORTED = 100_000  # first bytes of Persuasion; rates are chosen on as many bytes at its end
RATES = {"muon": (5e-3, 1e-2, 2e-2), "adamw": (2.5e-3, 5e-3, 1e-2)}
ARCHITECTURES = ("flash", "transformer++")


def arm(architecture, optimizer, rates=None, **train):
    """A model by an optimizer; the name tells another batch."""
    of = f" of {train['batch']}" if train else ""
    return Arm(
        f"{architecture} {optimizer}{of}",
        ModelConfig(architecture, max_length=T),
        rates or RATES[optimizer],
        train=dict(optimizer=optimizer, **train),
    )


def numbers(rows):
    """What FLASH ends at with 4 windows, by the best and the worst seed; how many times its updates with 8
    it makes there, and Transformer++ with 8."""
    seeds = [row for row in rows if row["seed"] in EXPERIMENT.seeds]
    small = matching(seeds, arm="flash muon of 4")
    large = matching(seeds, arm="flash muon")
    rival = matching(seeds, arm="transformer++ muon")
    scores = sorted(row["measures"]["bits_per_byte"] for row in small)
    return {
        "of_4": f"{scores[0]:.3f} to {scores[-1]:.3f}",
        "more_updates": f"{small[0]['steps'] / large[0]['steps']:.2f}",
        "rival_updates": f"{rival[0]['steps'] / large[0]['steps']:.2f}",
    }


def on_choosing_text(model, corpus):
    """Bits a byte of the text by which rates are chosen."""
    end = Split.from_documents([corpus.validation.tokens[-REPORTED:]])
    return {"bits_on_choosing_text": round(evaluate(model, end, T).bits_per_byte, 4)}


PAIRS = (
    ("flash muon", "flash adamw", "flash"),
    ("transformer++ muon", "transformer++ adamw", "transformer"),
    ("flash adamw", "transformer++ adamw", "by_adamw"),
    ("flash muon", "transformer++ muon", "by_muon"),
    ("flash muon of 4", "flash muon", "smaller_batch"),
    ("flash muon of 2", "flash muon of 4", "of_2_minus_4"),
    ("transformer++ muon of 4", "transformer++ muon", "transformer_smaller_batch"),
    ("flash muon of 4", "transformer++ muon of 4", "by_muon_of_4"),
    ("flash muon of 4", "transformer++ muon", "by_muon_own_batch"),
)

EXPERIMENT = Experiment(
    "optimizers",
    "What does Muon change in what was the default run of `flash-tutorial train`, in the same time?",
    arms=(
        *(arm(*each) for each in product(ARCHITECTURES, RATES)),
        *(arm(name, "muon", batch=4) for name in ARCHITECTURES),
        arm("flash", "muon", (2.5e-3, 5e-3), batch=2),
    ),
    train=dict(batch=BATCH, length=T, dtype="bfloat16", eval_bytes=REPORTED),
    seconds=(BUDGET,),
    search=Search(
        seconds=BUDGET, seeds=(100,), score="bits_on_choosing_text", measure=on_choosing_text
    ),
    measure=on_choosing_text,
    compare=tuple(Compare(*pair, budget=BUDGET) for pair in PAIRS),
    numbers=numbers,
    same_code=("55c6cd6c", "593c269b", "cf2dbfa5", "e13fab51"),
    setting="Five minutes of one core, D = 128, T = 512, 8 windows an update (4 or 2 where the name says so), "
    "bfloat16, a start by the width; bits of the first 100,000 bytes of *Persuasion*. Updates are counted "
    "by the time of one that was measured in turn. Of AdamW seeds 1 and 2, and the search of Transformer++, "
    "made as many updates on another machine.",
    meaning="By Muon, which `flash-tutorial train` takes, and with 8 windows an update FLASH minus Transformer++ is "
    "{by_muon}; Transformer++ makes {rival_updates} times as many updates in the time, and what equally many "
    "would give was not run. With 4 windows it is {by_muon_of_4}. The search prefers 4 for FLASH and 8 for "
    "Transformer++, and with the batch that each prefers it is {by_muon_own_batch}, a comparison that was first "
    "asked for when both had been seen. So Transformer++ is ahead with 8 windows for both, and with 4 or with "
    "the batch that each prefers it is open. 4 windows instead of 8 give {more_updates} times as many updates "
    "of FLASH, and change it by {smaller_batch}, which is open. Transformer++ they change by "
    "{transformer_smaller_batch}. `flash-tutorial train` has 4 windows and 3,400 updates; its default seed, 0, "
    "is the worst of the three. The search prefers 4 windows to 2, and 2 minus 4 is {of_2_minus_4}, which is "
    "open. With 8 windows Muon minus AdamW is {transformer} for Transformer++, and {flash} for FLASH, which is "
    "open. By AdamW FLASH minus Transformer++ is {by_adamw}, also open, and first asked for when the seeds had been "
    "seen: nothing shows that Transformer++ is ahead without Muon.",
    not_tried="Other optimizers; a rate of its own for what is no matrix; longer runs.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
