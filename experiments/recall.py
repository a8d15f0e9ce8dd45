"""Recall across chunks: key-value pairs in the first chunk, questions in later ones. FLASH, local
only, global only.

What it takes to learn four pairs was found by trial, and is all in RECIPE.
"""

import json
from pathlib import Path

import numpy as np
import torch

from flash_course.bench.stored import RESULTS
from flash_course.bench.tasks import IGNORE, mqar
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.clock import machine
from flash_tutorial.experiments import Arm, Experiment, command, matching
from flash_tutorial.experiments.tables import markdown
from flash_tutorial.files import write_text
from flash_tutorial.training import TrainConfig, train_step

PACKAGE = Path(__file__).resolve().parent.parent / "flash_tutorial" / "models"
C, BATCH = 8, 32
TASKS = {
    "recall": dict(keys=16, values=16, pairs=(1, 2, 4), lengths=(16, 32, 64), steps=600),
    "small": dict(keys=8, values=8, pairs=(1, 2), lengths=(16, 32), steps=200),
}
PARTS = {"flash": {}, "local": {"global_": False}, "global": {"local": False}}
RECIPE = dict(
    init_std=0.125,  # of kernels; the paper has 0.02
    embedding_std=0.5,  # the paper has 0.02: every token's own name stays in its features
    read_previous=1.0,  # the first unit's bias at distance -1, so that a value reads its key from the first update on
    gamma=0.5,  # of the global heads: query and key of the same content then agree; the paper has N(0, 0.02)
    easy_rows=True,  # pairs and lengths are drawn for each update, fewer and shorter ones too
)
PAPER = dict(init_std=0.02, embedding_std=0.02, read_previous=None, gamma=None, easy_rows=False)


def make_model(task, part, recipe=RECIPE, seed=0):
    """The model at its start: two FLASH units, FLASH with one part switched off, or GAUs with softmax."""
    torch.manual_seed(seed)
    options = {"architecture": "flash", "chunk_size": C} | PARTS.get(part, {})
    if part == "softmax":
        options = {"architecture": "flash_quad", "attention": "softmax"}
    model = LanguageModel(
        ModelConfig(
            vocab_size=1 + TASKS[task]["keys"] + TASKS[task]["values"],
            dim=64,
            depth=2,
            qk_dim=64,
            max_length=64,
            norm="layer",
            init_std=recipe["init_std"],
            embedding_std=recipe["embedding_std"],
            position_scale=0.1,
            tied=False,
            **options,
        )
    )
    with torch.no_grad():
        if recipe["read_previous"] is not None:
            bias = model.stack.units[0].bias
            bias.weights[bias.length - 2] = recipe["read_previous"]  # distance 0 is one further
        if recipe["gamma"] is not None:
            for unit in model.stack.units:
                unit.scale_offset.gamma[-2:] = recipe["gamma"]  # lin_q, lin_k; softmax has one pair
    return model


def batch(task, step, easy_rows=True, seed=0):
    """ids, targets ``(B, T)`` of an update; each place behind the first chunk asks."""
    rng, t = np.random.default_rng((seed, step)), TASKS[task]
    pairs, length = t["pairs"][-1], t["lengths"][-1]
    if easy_rows:
        pairs = int(rng.choice(t["pairs"]))
        length = int(rng.choice(t["lengths"]))
    options = dict(
        chunk_size=C, pairs=pairs, keys=t["keys"], values=t["values"], questions=length - C
    )
    return tuple(map(torch.from_numpy, mqar(BATCH, length, rng, **options)))


def fit(task, part, recipe=RECIPE, seed=0):
    """The trained model and the loss of each update."""
    model = make_model(task, part, recipe, seed)
    rates = TrainConfig(steps=TASKS[task]["steps"], learning_rate=5e-3, warmup=20)
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.0)
    losses = []
    for step in range(rates.steps):
        ids, targets = batch(task, step, recipe["easy_rows"], seed)
        loss, _ = train_step(model, optimizer, [(ids, targets, None, 1.0)], step, rates)
        losses.append(round(loss, 4))
    return model.eval(), losses


@torch.no_grad()
def accuracy_by_chunk(model, task, rows=512):
    """How often the right value comes first on the hardest rows: over all questions, and in each
    later chunk.
    """
    t = TASKS[task]
    length, options = (
        t["lengths"][-1],
        dict(chunk_size=C, pairs=t["pairs"][-1], keys=t["keys"], values=t["values"]),
    )
    ids, targets = mqar(rows, length, np.random.default_rng(10**6), questions=length - C, **options)
    right = (model(torch.from_numpy(ids)).argmax(-1).numpy() == targets)[targets != IGNORE].reshape(
        rows, -1, C
    )
    return round(float(right.mean()), 4), right.mean((0, 2)).round(4).tolist()


# ---------------------------------------------------------------- the experiment
# arm: (task, part, recipe); "small" has two pairs, the runs that lecture 10 repeats live
ARMS = {f"small {part}": ("small", part, RECIPE) for part in PARTS}
ARMS |= {f"recall {part}": ("recall", part, RECIPE) for part in PARTS}
ARMS |= {
    f"recall flash, paper's {key}": ("recall", "flash", RECIPE | {key: value})
    for key, value in PAPER.items()
}
ARMS["recall flash, paper's start"] = ("recall", "flash", PAPER)
ARMS["recall softmax, bias 1"] = ("recall", "softmax", RECIPE)
# softmax turns a bias of 1 into 2.7 times the weight of one of up to 64 tokens; at 6 it binds as relu² does at 1
ARMS["recall softmax"] = ("recall", "softmax", RECIPE | {"read_previous": 6.0})


def make(arm, rate, seed, steps):
    """Train, and score; the models of four pairs go into the package, and are scored as they are
    there.
    """
    task, part, recipe = ARMS[arm.name]
    model, losses = fit(task, part, recipe, seed)
    ships = part in PARTS and (task, recipe, seed) == ("recall", RECIPE, 0)
    if ships:
        model.save_pretrained(PACKAGE / f"recall-{part}", dtype=torch.float16)
        model = LanguageModel.from_pretrained(PACKAGE / f"recall-{part}")
    accuracy, by_chunk = accuracy_by_chunk(model, task)
    found = {
        "accuracy": accuracy,
        "by_chunk": by_chunk,
        "parameters": count_parameters(model),
        "losses": losses,
    }
    if ships:
        write_card(
            PACKAGE / f"recall-{part}", task, recipe, found | {"seed": seed, "machine": machine()}
        )
    return found


def write_card(folder, task, recipe, values):
    """What a model of the package is, beside it."""
    facts = dict(
        command="python experiments/recall.py run", task=TASKS[task], recipe=recipe, chunk_size=C
    )
    size = (folder / "model.safetensors").stat().st_size
    card = (
        facts
        | {name: value for name, value in values.items() if name != "losses"}
        | {"bytes_on_disk": size}
    )
    write_text(folder / "card.json", json.dumps(card, indent=1) + "\n")


def tables(rows):
    """How often the right value comes first, over all questions and by the chunk they are in."""
    lines = [
        [
            row["arm"],
            row["seed"],
            f"{row['measures']['accuracy']:.3f}",
            ", ".join(f"{share:.2f}" for share in row["measures"]["by_chunk"]),
        ]
        for row in sorted(rows, key=lambda row: row["arm"])
    ]
    return markdown(["model", "seed", "accuracy", "by chunk"], lines)


def numbers(rows):
    """Accuracies, for pages."""

    def accuracy(name):
        return [row["measures"]["accuracy"] for row in matching(rows, arm=name)]

    whole, (local,), (far,), (papers,) = map(
        accuracy, ("recall flash", "recall local", "recall global", "recall flash, paper's start")
    )
    return {
        "both": f"{min(whole):.2f} to {max(whole):.2f}",
        "local": f"{local:.2f}",
        "global": f"{far:.2f}",
        "paper": f"{papers:.2f}",
    }


EXPERIMENT = Experiment(
    "recall",
    "Can FLASH recall across chunks, and what does it take to learn it?",
    arms=tuple(
        Arm(
            name,
            rates=(5e-3,),
            steps=(TASKS[task]["steps"],),
            seeds=(0, 1, 2) if name == "recall flash" else (0,),
        )
        for name, (task, _, _) in ARMS.items()
    ),
    make=make,
    score="accuracy",
    same_code=("789190e", "3e30e749"),
    setting="MQAR: one to four pairs in the first chunk of 8, questions in up to seven later "
    "ones; two units of width 64, 600 updates (small: two pairs, 200).",
    meaning="FLASH answers nearly all questions, its local part alone is at chance (1/16), its global part alone "
    "predicts one of the sequence's four values. All of them begin from a start made for this task; from the "
    "paper's start FLASH does no better than its global part. Of the start made for it FLASH needs the wide "
    "kernels, the large embedding and its gamma (one seed each); easy rows first and a look at the token "
    "before it can do without. Softmax answers all if its first unit begins by reading the token before; with "
    "the bias that does this for FLASH it does no better than a guess among the four values.",
    not_tried="Longer training from the paper's start; starts between the two; more than one seed of the parts.",
    tables=tables,
    numbers=numbers,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
