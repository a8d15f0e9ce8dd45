"""What does the width change in `race_short`: D = 96 and 192 in place of 128, as many seconds of updates.

A wider model makes fewer updates in the time. At D = 64 hardly anyone learned to look up: from which width on is it
learned, and does width help FLASH to?
"""

from dataclasses import replace

import race_short
from race_longer import bits

from flash_course.bench.stored import RESULTS
from flash_tutorial.experiments import Compare, Experiment, Search, StoredRows, command, welch
from flash_tutorial.experiments.rates import best_rate

STEPS = {
    "FLASH, D = 96": 1689,
    "Transformer++, D = 96": 2085,
    "FLASH, D = 192": 982,
    "Transformer++, D = 192": 1087,
}  # of 400 s, timed with `race_short`'s
RATES = {  # that of D = 128, and half of it where the model is wider, or between those of D = 64 and 128
    "FLASH, D = 96": (2e-2, 4e-2),
    "Transformer++, D = 96": (2e-2, 4e-2),
    "FLASH, D = 192": (2e-2, 4e-2),
    "Transformer++, D = 192": (1e-2, 2e-2),
}


def arm(name):
    """A model of this width, and a search of whole runs."""
    search = Search(
        steps=STEPS[name],
        score="bits_on_choosing_text",
        measure=race_short.on_choosing_text,
        most=len(RATES[name]),
    )
    return replace(
        race_short.arm(name), rates=RATES[name], steps=(STEPS[name],), search=search, keep=False
    )


def tables(rows):
    """By model: rate, updates, bits a late token by seed, and what its context saves."""
    return race_short.by_model(rows, STEPS, less=(256,))


def numbers(rows):
    """What the width changes, from D = 128 of `race_short`."""
    narrow = StoredRows(race_short.EXPERIMENT, RESULTS).load()
    found = {}
    for name, called in (("FLASH", "flash_gains"), ("Transformer++", "transformer_gains")):
        rate = best_rate(race_short.EXPERIMENT, race_short.EXPERIMENT.arm(name), narrow)
        wide = bits(rows, f"{name}, D = 192")
        found[called] = str(welch(wide, bits(narrow, name, rate=rate)))
    return found


EXPERIMENT = Experiment(
    "race_widths",
    "What does more width change: does FLASH learn to look up at D = 192?",
    arms=tuple(map(arm, STEPS)),
    train=race_short.TRAIN,
    measure=race_short.measure,
    score="bits_per_late_token",
    compare=(Compare("FLASH, D = 192", "Transformer++, D = 192", "transformer"),),
    numbers=numbers,
    tables=tables,
    setting="As `race_short`, with D = 192 and the updates that 400 seconds hold by a timing beside those there. "
    "Rates are chosen by whole runs of one seed. FLASH was compiled for the processor by name, without which "
    "g++ 12 made wrong code of its backward pass here.",
    meaning="A run *looks up* as `race_short` has it. Transformer++ does at D = 192 too, with all five seeds, and "
    "FLASH again with none: it minus Transformer++ is {transformer} bits a late token. So width is not what FLASH "
    "lacks. Whether the wider model is better in the same time is open for both: D = 192 minus D = 128 is "
    "{transformer_gains} for Transformer++ and {flash_gains} for FLASH.",
    not_tried="Rates beside these; longer runs; D = 192 with windows of 2,048.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
