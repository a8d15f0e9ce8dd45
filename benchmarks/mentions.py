"""What an earlier mention of a name is worth to the two models in the package, by its distance, on the held-out novel.

    python benchmarks/mentions.py run                      # a quarter of an hour
    python benchmarks/mentions.py table

The same name at the same place is read with its earlier mentions and with another name in their place. FLASH's chunk
has 256 bytes, so what lies farther back can reach it through the sums of its global part alone. In
flash_course/bench/results/mentions.json; the guess that was written down before is in docs/predictions.md.
"""

import argparse

import torch
from stored_runs import StoredRuns
from text_losses import worth_of_mentions

from flash_tutorial import LanguageModel
from flash_tutorial.corpora import load_corpus

RUNS = StoredRuns("mentions", __doc__)
MODELS = ("austen-flash", "austen-transformer++")
T, NAMES = 1024, 400  # bytes of a window, and at most so many names for each distance
DISTANCES = (0, 256, 512, T)  # bytes since the last mention


def one_run(name):
    def make():
        model, text = LanguageModel.from_pretrained(name).eval(), load_corpus("austen").validation
        return {"saved_by_mention": worth_of_mentions(model, text, T, DISTANCES, "austen", NAMES)}

    RUNS.find_or_make(dict(model=name, T=T), make)


def table():
    for run in RUNS.load():
        for distance, (bits, error, names) in run["saved_by_mention"].items():
            print(f"{run['model']:21} {distance:>11} bytes back: {bits:.3f} ± {error:.3f} bits, {names} names")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    if parser.parse_args().what == "table":
        table()
    else:
        for name in MODELS:
            one_run(name)
