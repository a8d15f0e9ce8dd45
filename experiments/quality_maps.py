"""FLASH-Quad's attention matrices over the warm-up of the runs of `quality`: which units read anything."""

import tempfile

import torch

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.corpora import load_corpus
from flash_tutorial.experiments import Arm, Experiment, command
from flash_tutorial.experiments.tables import markdown
from flash_tutorial.training import TrainConfig, draw_batch, train
from flash_tutorial.training.measures import open_shares

EVERY = 10  # updates between two looks


def look(model, ids, targets):
    """For each unit the share of pairs with a weight above 0, and whether any gradient reaches
    it.
    """
    shares = open_shares(model, ids)
    model.loss(ids, targets).backward()
    return shares, [bool(unit.in_proj.weight.grad.any()) for unit in model.stack.units]


def make(arm, rate, seed, steps):
    """Look at the start and over the warm-up, on the first batch."""
    corpus = load_corpus("austen")
    config = TrainConfig(steps=steps, learning_rate=rate, seed=seed, dtype="float32")
    ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, 0, True))
    torch.manual_seed(seed)
    seen = [look(LanguageModel(arm.model), ids, targets)]  # as ``train`` draws it
    with tempfile.TemporaryDirectory() as folder:
        for stop in range(EVERY, config.warmup + 1, EVERY):
            done = train(
                arm.model,
                config,
                corpus=corpus,
                out=f"{folder}/run",
                resume=True,
                stop_at=stop,
                progress=False,
            )
            seen.append(look(done.model, ids, targets))
    return {"positive": [shares for shares, _ in seen], "reached": [reached for _, reached in seen]}


def tables(rows):
    """Open pairs at the end of the warm-up, unit by unit."""
    lines = [
        [row["seed"], *(f"{share:.1%}" for share in row["measures"]["positive"][-1])]
        for row in rows
    ]
    return markdown(["seed", *(f"unit {n}" for n in range(1, 5))], lines)


EXPERIMENT = Experiment(
    "quality_maps",
    "Which of FLASH-Quad's units read anything after the warm-up?",
    arms=(Arm("flash_quad", ModelConfig("flash_quad", bias="rotary", start="paper"), (1e-2,)),),
    steps=(920,),
    make=make,
    same_code=("789190e",),
    setting="The runs of `quality`, looked at every ten updates over the warm-up of 100. The "
    "table has the share of causal pairs with a weight above zero at its end, on an Intel Xeon.",
    meaning="Unit 2 of seed 1 is dead from the start, so that no gradient reaches it, and unit 3 of seed 2 dies soon "
    "after; units 1 and 4 of seed 1 close and open a little again.",
    not_tried="Other seeds; the same with the Toeplitz bias.",
    tables=tables,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
