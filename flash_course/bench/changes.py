"""The changes of lecture 10: what the stored runs say of each part that was exchanged or left out.

Short runs have 200 updates and three seeds, long ones 2,000 and ten, both from the paper's start; wide ones are long,
from the start by the width.
"""

from flash_tutorial.experiments import welch

from .stored import load_stored

# by name: (the variant, what it is compared with, the side of the paper's result, 0 if level, where it stands)
CHANGES = {
    "GAU: softmax": ("GAU, softmax", "GAU", 1, "Table 1"),
    "GAU: 4 heads": ("GAU, 4 heads", "GAU", 1, "Table 1"),
    "GAU: no gate": ("GAU, no gate", "GAU", 1, "Table 1"),
    "MHSA+MLP: relu²": ("MHSA+MLP, relu^2", "MHSA+MLP", 1, "Table 2"),
    "MHSA+MLP: 1 head": ("MHSA+MLP, 1 head", "MHSA+MLP", 1, "Table 2"),
    "MHSA+MLP: gate": ("MHSA+MLP, gate", "MHSA+MLP", 1, "Table 2"),
    "GAU to FLASH": ("FLASH", "GAU", 0, "Table 4"),
    "Transformer++ to MC": ("MC-Transformer++", "Transformer++", 1, "Table 4"),
    "FLASH: local only": ("FLASH, local only", "FLASH", 1, "Figure 7"),
    "FLASH: global only": ("FLASH, global only", "FLASH", 1, "Figure 7"),
    "FLASH: C = 16": ("FLASH, C = 16", "FLASH", 1, "Figure 8"),
    "FLASH: C = 128": ("FLASH, C = 128", "FLASH", -1, "Figure 8"),
}
LONG = (
    "GAU: softmax",
    "GAU: 4 heads",
    "GAU to FLASH",
    "FLASH: local only",
)  # what has long and wide runs too
STORED = {"short": "ablations", "long": "ablations_long", "wide": "ablations_width"}
# the seeds that are reported; of long and wide runs two further seeds chose the rates
SEEDS = {"short": (0, 1, 2), "long": range(10), "wide": range(10)}


def scores(model: str, runs_of: str, rate: float | None = None) -> list:
    """Bits per byte by seed of a model's ``"short"``, ``"long"`` or ``"wide"`` runs.

    At its best rate if no other is asked for.
    """
    stored = load_stored(STORED[runs_of])
    key = "variant" if runs_of == "short" else "model"
    runs = [run for run in stored["runs"] if run[key] == model]
    if runs_of == "short":
        rate = rate or stored["best_rates"][model]
    kept = {
        run["seed"]: run["bits_per_byte"]
        for run in runs
        if run["seed"] in SEEDS[runs_of] and rate in (None, run["learning_rate"])
    }
    return [kept[seed] for seed in sorted(kept)]


def ablation_minus_gau(variant: str) -> dict:
    """{updates: bits per byte of a variant of the GAU minus those of the GAU, with Welch's interval}."""
    return {
        updates: welch(scores(variant, runs_of), scores("GAU", runs_of))
        for updates, runs_of in ((200, "short"), (2000, "long"))
    }


def both(change: str, runs_of: str) -> tuple:
    """The scores of what was changed, and of what it is compared with."""
    variant, other, *_ = CHANGES[change]
    return scores(variant, runs_of), scores(other, runs_of)


def found(change: str, runs_of: str, share: float = 0.95):
    """The difference that a change makes, with its interval."""
    return welch(*both(change, runs_of), share)
