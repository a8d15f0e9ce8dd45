"""What settings.py of a class project may say; what would have no effect, or lacks a part, is refused in one line."""

import inspect
import math
from pathlib import Path

from flash_tutorial.config import ModelConfig, TrainConfig
from flash_tutorial.experiments import Trained

BUDGETS = ("updates", "seconds", "flops")
# fields of TRAIN that another setting says
SAID_BY = {
    "learning_rate": "RATES",
    "seed": "SEEDS",
    "steps": "BUDGET",
    "warmup": "WARMUP",
    "start_from": "MODELS",
}


def check_settings(settings) -> None:
    """Refuse a module of settings by its first fault."""
    check_training(settings.TRAIN)
    for name, given in settings.MODELS.items():
        check_model(name, given)
    check_rates_and_seeds(settings)
    check_budget(settings.BUDGET)
    if not is_number(settings.TUNING) or not 0 < settings.TUNING <= 1:
        raise ValueError(
            f"TUNING in settings.py is {settings.TUNING!r}: expected a share, above 0 and at most 1"
        )
    if not is_number(settings.WARMUP) or not 0 <= settings.WARMUP < 1:
        raise ValueError(
            f"WARMUP in settings.py is {settings.WARMUP!r}: expected a share, 0 or more and below 1"
        )


def check_training(train):
    for name, other in SAID_BY.items():
        if getattr(train, name) != getattr(TrainConfig(), name):
            given = f"TRAIN has {name}={getattr(train, name)!r} in settings.py"
            raise ValueError(f"{given}: {other} says it, leave it out")
    if train.eval_bytes == 0:
        raise ValueError(
            "TRAIN has eval_bytes=0 in settings.py, so no run would have a score: give some bytes"
        )


def check_model(name, given):
    """A configuration of a known layer, or weights that can be read."""
    said = f"MODELS in settings.py has {given!r:.60} for {name!r}"
    if isinstance(given, str | Path):
        given = Trained(given)
    if isinstance(given, Trained):
        try:
            return given.config
        except ValueError as error:
            raise ValueError(f"{said}: {error}") from error
    if not isinstance(given, ModelConfig):
        expected = "a ModelConfig, or a trained model by its name or folder"
        raise ValueError(f"{said}: expected {expected}")
    layer = given.architecture
    if not isinstance(layer, str) and not inspect.isclass(layer) and not inspect.isfunction(layer):
        given = f"MODELS in settings.py has {layer!r:.60} for {name!r}"
        given += ", whose code and options no run would be known by"
        raise ValueError(f"{given}: give the class, and its options in unit_options")


def check_rates_and_seeds(settings):
    models, rates, seeds = settings.MODELS, settings.RATES, settings.SEEDS
    if set(rates) != set(models) or not all(rates.values()):
        raise ValueError(
            f"RATES in settings.py has {sorted(rates)}: expected rates for each of {sorted(models)}"
        )
    if not isinstance(seeds, list | tuple) or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"SEEDS in settings.py is {seeds}: expected one seed or more, all different"
        )
    for name in models:
        for rate in rates[name]:
            TrainConfig(learning_rate=rate, seed=min(seeds))


def check_budget(budget):
    """One kind of budget and its amount."""
    if not is_budget(budget):
        expected = '{"updates": 300}, {"seconds": 60} or {"flops": 5e11}'
        raise ValueError(
            f"BUDGET in settings.py is {budget!r}: expected one kind and its amount, as {expected}"
        )


def is_budget(budget):
    """Whether it is one kind and its amount; updates are whole."""
    if not isinstance(budget, dict) or len(budget) != 1:
        return False
    ((kind, amount),) = budget.items()
    fits = isinstance(amount, int) or kind != "updates"
    return kind in BUDGETS and fits and is_number(amount) and amount > 0


def is_number(value):
    """Whether a value is a finite number, and no truth."""
    is_of_kind = isinstance(value, int | float) and not isinstance(value, bool)
    return is_of_kind and math.isfinite(value)
