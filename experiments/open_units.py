"""FLASH-Quad at T = 512: which position bias, and which start, keeps its units reading."""

from functools import partial
from itertools import product, starmap

import torch

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, Search, command, measured
from flash_tutorial.layers import ToeplitzBias
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, first_bytes
from flash_tutorial.training.measures import open_shares

T, BATCH, BYTES = 512, 8, 400_000
BIASES = ("rotary", "toeplitz")
RATES = (5e-3, 1e-2, 2e-2, 4e-2)
WIDE_RATE = 5e-3  # what `starts` found for the start by the width


def build(bias, start, seed):
    """A model at its start; an open one has a bias above zero, at every distance or at the near
    ones.
    """
    torch.manual_seed(seed)
    drawn = "width" if start == "width" else "paper"
    model = LanguageModel(ModelConfig("flash_quad", max_length=T, bias=bias, start=drawn))
    if start == "open":
        with torch.no_grad():
            for unit in model.stack.units:
                if isinstance(unit.bias, ToeplitzBias):
                    unit.bias.weights.abs_()
                else:
                    # a product with itself is positive, and falls with the distance
                    unit.bias.b.copy_(unit.bias.a)
    return model


def ids_of(corpus):
    """A batch of held-out text."""
    return torch.from_numpy(
        draw_batch(corpus.validation, TrainConfig(batch=BATCH, length=T), 0, True)[0]
    )


def at_start(model, corpus):
    """For each unit, the share of causal pairs with a weight above zero."""
    return {"open_before": open_shares(model, ids_of(corpus))}


def measure(model, corpus):
    """The same at the end, and bits per byte."""
    score = evaluate(model, first_bytes(corpus.validation, BYTES), T).bits_per_byte
    shares = open_shares(model, ids_of(corpus))
    dead = sum(share == 0 for share in shares)
    return {"bits_per_byte": round(score, 4), "open_after": shares, "dead_units": dead}


def numbers(rows):
    """Scores and dead units by seed, from the paper's start and by the width."""
    found = {}
    for bias, start in product(BIASES, ("paper", "width")):
        runs = dict(arm="flash_quad", bias=bias, start=start, steps=1000)
        scores = measured(rows, "bits_per_byte", **runs)
        dead = measured(rows, "dead_units", **runs)
        name = bias if start == "paper" else f"{bias}_{start}"
        found[f"{name}_scores"] = ", ".join(f"{score:.3f}" for score in scores)
        found[f"{name}_dead"] = ", ".join(map(str, dead))
    return found


def arm(bias, start):
    """The paper's start has a search of its rate, and the others take that; by the width it is that of `starts`."""
    rates = {"rates_of": (f"flash_quad {bias} paper",)}
    if start == "paper":
        rates = {"rates": RATES}
    if start == "width":
        rates = {"rates": (WIDE_RATE,)}
    more = {"train": {"warmup": 300}} if start == "long warm-up" else {}
    return Arm(
        "flash_quad",
        partial(build, bias, start),
        settings={"bias": bias, "start": start},
        **rates,
        **more,
    )


EXPERIMENT = Experiment(
    "open_units",
    "Which position bias and which start keep the units of FLASH-Quad alive?",
    arms=tuple(starmap(arm, product(BIASES, ("paper", "long warm-up", "open", "width")))),
    train=dict(batch=BATCH, length=T, dtype="bfloat16", eval_bytes=0),
    steps=(1000,),
    search=Search(steps=300, seeds=(0,), most=4),
    at_start=at_start,
    measure=measure,
    compare=(
        Compare("flash_quad toeplitz paper", "flash_quad rotary paper", "toeplitz"),
        Compare("flash_quad toeplitz open", "flash_quad rotary open", "toeplitz_open"),
        Compare("flash_quad rotary open", "flash_quad rotary paper"),
        Compare("flash_quad toeplitz open", "flash_quad toeplitz paper"),
        Compare("flash_quad rotary width", "flash_quad rotary paper"),
        Compare("flash_quad toeplitz width", "flash_quad toeplitz paper", "toeplitz_wider"),
        Compare("flash_quad toeplitz width", "flash_quad rotary width", "toeplitz_width"),
    ),
    same_code=("5093a89",),
    setting="T = 512, 1,000 updates of 4,096 bytes, three seeds. Code 4 can be read either way "
    "at a length of exactly 512. A relu² matrix whose scores are all below zero gives nothing and "
    "gets no gradient: the unit is dead.",
    meaning="From the paper's start the rotary bias leaves {rotary_dead} units of four dead, the Toeplitz bias "
    "{toeplitz_dead}. The Toeplitz bias's better score there is not settled ({toeplitz}). From the open start, "
    "where biases begin above zero, Toeplitz minus rotary is {toeplitz_open}, which is settled. By the width "
    "the rotary bias leaves {rotary_width_dead} dead and the Toeplitz bias {toeplitz_width_dead}; Toeplitz minus "
    "rotary is {toeplitz_width}, settled too, and Toeplitz by the width minus Toeplitz {toeplitz_wider}. So a larger "
    "start does not keep all units alive where one bias serves all distances.",
    numbers=numbers,
    not_tried="Longer sequences; a search of rates by the width.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
