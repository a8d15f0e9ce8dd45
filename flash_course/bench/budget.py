"""Three models on one budget: the stored runs of experiments/quality.py, by the names that they have in figures."""

import statistics

import numpy as np

from .stored import load_stored

ARCHITECTURES = {"FLASH": "flash", "Transformer++": "transformer++", "FLASH-Quad": "flash_quad"}


def runs_of(name):
    """All stored runs of a model."""
    runs = load_stored("quality")["runs"]
    return [run for run in runs if run["architecture"] == ARCHITECTURES[name]]


def updates_of_budget():
    """{model: updates that the time of 1,000 of FLASH's holds}."""
    steps = load_stored("quality")["timed"]["steps"]
    return {name: steps[kind] for name, kind in ARCHITECTURES.items()}


def short_runs():
    """{model: {learning rate: bits per byte after 300 updates}}."""
    return {
        name: {
            run["learning_rate"]: run["bits_per_byte"]
            for run in runs_of(name)
            if run["steps"] == 300
        }
        for name in ARCHITECTURES
    }


def long_runs():
    """{model: its runs of the whole budget, at the rate that has three seeds}."""
    found = {}
    for name, steps in updates_of_budget().items():
        runs = [run for run in runs_of(name) if run["steps"] == steps]
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


def lead_by_adamw():
    """{updates: FLASH minus Transformer++}, bits per byte of *Persuasion*: larger models, from the paper's start."""
    runs = load_stored("shipping")["runs"]
    late = {run["model"]: run["bits_per_byte"] for run in runs if "after" in run}
    early = {}
    for kind, rate in (("flash", 0.005), ("transformer++", 0.001)):  # the best ones
        wanted = {"model": kind, "steps": 600, "learning_rate": rate}
        scores = [run["bits_per_byte"] for run in runs if wanted.items() <= run.items()]
        early[kind] = statistics.mean(scores)
    return {
        600: early["flash"] - early["transformer++"],
        11_000: late["flash"] - late["transformer++"],
    }


def lead_by_muon():
    """{updates: FLASH minus Transformer++}, bits per byte of *Emma*: the package's sizes, each at its best rate."""
    scores = {}
    for run in load_stored("package_models")["runs"]:
        scores.setdefault((run["model"], run["steps"]), []).append(run["bits_per_byte"])
    updates = sorted({steps for _, steps in scores})
    return {n: min(scores["flash", n]) - min(scores["transformer++", n]) for n in updates}
