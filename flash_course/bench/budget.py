"""Three models on one budget: the stored runs of experiments/quality.py, by the names that they have in figures."""

import statistics

import numpy as np

from .stored import load_stored

FILES = {
    "FLASH": "quality_flash",
    "Transformer++": "quality_transformerpp",
    "FLASH-Quad": "quality_flash_quad",
}
ARCHITECTURES = {"FLASH": "flash", "Transformer++": "transformer++", "FLASH-Quad": "flash_quad"}


def updates_of_budget():
    """{model: updates that the time of 1,000 of FLASH's holds}."""
    steps = load_stored("quality_steps")["steps"]
    return {name: steps[kind] for name, kind in ARCHITECTURES.items()}


def short_runs():
    """{model: {learning rate: bits per byte after 300 updates}}."""
    return {
        name: {
            run["learning_rate"]: run["bits_per_byte"]
            for run in load_stored(file)["runs"]
            if run["steps"] == 300
        }
        for name, file in FILES.items()
    }


def long_runs():
    """{model: its runs of the whole budget, at the rate that has three seeds}."""
    found = {}
    for name, steps in updates_of_budget().items():
        runs = [run for run in load_stored(FILES[name])["runs"] if run["steps"] == steps]
        rate = statistics.mode(run["learning_rate"] for run in runs)
        found[name] = [run for run in runs if run["learning_rate"] == rate]
    return found


def scores():
    """{model: bits per byte by seed}."""
    return {name: [run["bits_per_byte"] for run in runs] for name, runs in long_runs().items()}


def shares_above_zero():
    """{run of FLASH-Quad: (updates, shares of its weights above zero, a row for each unit)} in the warm-up."""
    stored = load_stored("quality_maps")
    found = {}
    for run, score in zip(stored["runs"], scores()["FLASH-Quad"], strict=True):
        name = f"run {run['seed'] + 1} ends at {score:.2f}"
        found[name] = stored["updates"], np.transpose(run["positive"])
    return found


def lead_of_the_shipped(cards):
    """FLASH minus Transformer++, the larger models, on *Persuasion*: after 600 updates, and when they ship.

    ``cards``: their cards by name.
    """
    rates = {"flash": 0.005, "transformer++": 0.001}
    early = {}
    for kind, rate in rates.items():
        wanted = {"model": kind, "steps": 600, "learning_rate": rate, "dropout": 0.1}
        runs = [run for run in load_stored("shipping")["runs"] if wanted.items() <= run.items()]
        early[kind] = statistics.mean(run["bits_per_byte"] for run in runs)
    late = {name: card["validation"]["bits_per_byte"] for name, card in cards.items()}
    return early["flash"] - early["transformer++"], late["FLASH"] - late["Transformer++"]
