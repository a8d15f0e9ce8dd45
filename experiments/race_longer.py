"""What does three times as long change in `race_short`: does FLASH learn to look up later?

A race of one budget says who is ahead there. Two budgets say how much a model gains by more time, and whether the one
behind is only late.
"""

from dataclasses import replace

import race_short

from flash_course.bench.stored import RESULTS
from flash_tutorial.experiments import (
    Compare,
    Experiment,
    Search,
    StoredRows,
    command,
    matching,
    welch,
)
from flash_tutorial.experiments.rates import best_rate

TIMES = 3
STEPS = {"FLASH": TIMES * 1345, "Transformer++": TIMES * 1665}  # updates of `race_short`
RATES = {"FLASH": (2e-2, 4e-2), "Transformer++": (1e-2, 2e-2)}  # its best, and half of that


def arm(name):
    """A model of `race_short` with more updates, and a search of whole runs."""
    search = Search(
        steps=STEPS[name],
        score="bits_on_choosing_text",
        measure=race_short.on_choosing_text,
        most=len(RATES[name]),
    )
    return replace(
        race_short.EXPERIMENT.arm(name), rates=RATES[name], steps=(STEPS[name],), search=search
    )


def tables(rows):
    """By model: rate, updates, bits a late token by seed, and what its context saves."""
    return race_short.by_model(rows, STEPS, less=(256,))


def bits(rows, name, **of):
    """Bits a late token of the seeds that are reported."""
    found = [row["measures"] for row in matching(rows, arm=name, **of)]
    return [each["bits_per_late_token"] for each in found if "bits_per_late_token" in each]


def numbers(rows):
    """What three times as long changes, and who is where after which of the two."""
    before = StoredRows(race_short.EXPERIMENT, RESULTS).load()
    short = {}
    for name in STEPS:
        rate = best_rate(race_short.EXPERIMENT, race_short.EXPERIMENT.arm(name), before)
        short[name] = bits(before, name, rate=rate)
    long = {name: bits(rows, name) for name in STEPS}
    found = {
        "flash_gains": welch(long["FLASH"], short["FLASH"]),
        "transformer_gains": welch(long["Transformer++"], short["Transformer++"]),
        "behind_a_third": welch(long["FLASH"], short["Transformer++"]),
    }
    return {name: str(interval) for name, interval in found.items()}


EXPERIMENT = Experiment(
    "race_longer",
    "What does three times as long change: does FLASH learn to look up later?",
    arms=tuple(map(arm, STEPS)),
    train=race_short.TRAIN,
    measure=race_short.measure,
    score="bits_per_late_token",
    compare=(Compare("FLASH", "Transformer++", "transformer"),),
    numbers=numbers,
    tables=tables,
    setting="As `race_short`, with three times the updates of each, which take 1,200 seconds by the times measured "
    "there. Rates are chosen anew, by whole runs of one seed.",
    meaning="FLASH does not learn to look up: with no seed do tokens farther back than 256 save it 0.05 bits. It gains "
    "by the time, {flash_gains} bits a late token, and so does Transformer++, {transformer_gains}; FLASH minus "
    "Transformer++ is now {transformer}. After three times as long FLASH minus Transformer++ of `race_short`, "
    "{behind_a_third}, is open by a hair. So twenty minutes are not enough for FLASH here, and whether any time is, "
    "this cannot say. Two rates were tried for each model, fewer than our rule asks for. Transformer++ wants half of "
    "its rate of `race_short`; half of that was not tried, and might take it further ahead. FLASH keeps 0.04, beside "
    "which `race_short` found 0.08 worse.",
    not_tried="Rates beside these; longer runs; the other models of the race; T = 2,048.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
