"""What an earlier mention of a name is worth to the models in the package, by its distance, on the
held-out novel.
"""

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel
from flash_tutorial.corpora import load_corpus
from flash_tutorial.experiments import Arm, Experiment, command
from flash_tutorial.experiments.tables import markdown
from flash_tutorial.training.measures import worth_of_mentions

T, NAMES = 1024, 400  # bytes of a window, and at most so many names for each distance
DISTANCES = (0, 256, 512, T)  # bytes since the last mention


def make(arm, rate, seed, steps):
    """The same name at the same place is read with its earlier mentions and with another name in
    their place.
    """
    model, text = LanguageModel.from_pretrained(arm.name).eval(), load_corpus("austen").validation
    return {"saved_by_mention": worth_of_mentions(model, text, T, DISTANCES, "austen", NAMES)}


def tables(rows):
    """Bits saved with two standard errors, by distance."""
    lines = []
    for row in rows:
        for distance, (bits, error, names) in row["measures"]["saved_by_mention"].items():
            lines.append([row["arm"], distance, f"{bits:.3f} ± {2 * error:.3f}", names])
    return markdown(["model", "bytes since the last mention", "bits saved", "names"], lines)


def numbers(rows):
    """What a mention that lies more than a chunk back is worth to FLASH."""
    (row,) = [row for row in rows if row["arm"] == "austen-flash"]
    bits, error, _ = row["measures"]["saved_by_mention"]["256 to 512"]
    return {"flash": f"{bits:.2f} ± {2 * error:.2f}"}


EXPERIMENT = Experiment(
    "mentions",
    "What is an earlier mention of a name worth to the models in the package?",
    arms=tuple(Arm(name, settings={"T": T}) for name in ("austen-flash", "austen-transformer++")),
    steps=(0,),
    seeds=(None,),
    make=make,
    same_code=("e48c08c", "f8f8f176"),
    setting="*Persuasion* in windows of 1,024 bytes. FLASH's chunk has 256 bytes, so what lies farther back can reach "
    "it through the sums of its global part alone; ± two standard errors over the names.",
    meaning="FLASH remembers names beyond its chunk. Transformer++ could look names up, and no sign of it is seen.",
    not_tried="More than one model of each; names by the number of their mentions.",
    tables=tables,
    numbers=numbers,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
