"""The four changes of `ablations_long` from the start by the width, which new models have."""

from dataclasses import replace

import torch
from ablations_long import BATCH, MODELS, PAIRS, STEPS, T, measure

from flash_course.bench.stored import RESULTS
from flash_course.variants import VARIANTS
from flash_tutorial import LanguageModel, starts
from flash_tutorial.experiments import Arm, Compare, Experiment, Search, command


def heads_by_width(seed):
    """A class that the package does not have starts itself: its units are started anew."""
    config = by_width("GAU, 4 heads")
    torch.manual_seed(seed)
    model = LanguageModel(config)
    for unit in model.stack.units:
        unit.reset_parameters(starts.kernel_std(config))
    return model


def by_width(name):
    """A variant's configuration, from the other start."""
    return replace(VARIANTS[name][1], start="width")


def arm(name):
    """A variant, as in `ablations_long` but for its start."""
    model = heads_by_width if name == "GAU, 4 heads" else by_width(name)
    return Arm(name, model, (5e-3, 1e-2, 2e-2))


EXPERIMENT = Experiment(
    "ablations_width",
    "Do the four changes with ten seeds do the same from a start by the width?",
    arms=tuple(map(arm, MODELS)),
    train=dict(batch=BATCH, length=T, eval_bytes=100_000),
    steps=(STEPS,),
    seeds=tuple(range(10)),
    search=Search(steps=STEPS, seeds=(100, 101)),
    measure=measure,
    compare=tuple(Compare(name, other, name) for name, other in PAIRS.items()),
    setting="As `ablations_long`: T = 256, C = 32, D = 64, four units, 2,000 updates of 1,024 bytes, ten seeds, each "
    "rate by the mean of two whole runs with two other seeds. All that is drawn begins 3.5 times as large.",
    meaning="The runs are going on.",
    not_tried="The other eight changes of `ablations`; other lengths, chunks and widths.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
