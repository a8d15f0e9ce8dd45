"""Recall across chunks: key-value pairs in the first chunk, questions in later ones. FLASH, local only, global only.

    python benchmarks/recall.py small           # two pairs: the runs that lecture 10 repeats live
    python benchmarks/recall.py models          # four pairs; the models go into the package as recall-flash ...
    python benchmarks/recall.py seeds           # FLASH with two other seeds
    python benchmarks/recall.py recipe          # FLASH without one part of the recipe at a time
    python benchmarks/recall.py table           # prints what is stored

About a minute for each run on one core. Every finished run is stored at once in flash_course/bench/results/recall.json;
a run that is there is not made again.

What it takes to learn four pairs was found by trial, and is all in RECIPE.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from flash_course.bench.clock import machine
from flash_course.bench.tasks import IGNORE, mqar
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.files import write_text
from flash_tutorial.training import TrainConfig, learning_rate_at

PACKAGE = Path(__file__).parent.parent / "flash_tutorial"
RESULTS = PACKAGE.parent / "flash_course" / "bench" / "results" / "recall.json"
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
    """The model at its start: two FLASH units, or FLASH with one part switched off."""
    torch.manual_seed(seed)
    model = LanguageModel(ModelConfig(
        vocab_size=1 + TASKS[task]["keys"] + TASKS[task]["values"], dim=64, depth=2, qk_dim=64, chunk_size=C,
        max_length=64, norm="layer", init_std=recipe["init_std"], embedding_std=recipe["embedding_std"],
        position_scale=0.1, tied=False, **PARTS[part],
    ))  # fmt: skip
    with torch.no_grad():
        if recipe["read_previous"] is not None:
            model.stack.units[0].bias.weights[C - 2] = recipe["read_previous"]  # distance 0 is at C - 1
        if recipe["gamma"] is not None:
            for unit in model.stack.units:
                unit.scale_offset.gamma[2:] = recipe["gamma"]  # lin_q, lin_k
    return model


def batch(task, step, easy_rows=True, seed=0):
    """ids, targets ``(B, T)`` of an update; each place behind the first chunk asks."""
    rng, t = np.random.default_rng((seed, step)), TASKS[task]
    pairs, length = (int(rng.choice(t[name])) if easy_rows else t[name][-1] for name in ("pairs", "lengths"))
    options = dict(chunk_size=C, pairs=pairs, keys=t["keys"], values=t["values"], questions=length - C)
    return tuple(map(torch.from_numpy, mqar(BATCH, length, rng, **options)))


def fit(task, part, recipe=RECIPE, seed=0):
    """The trained model and the loss of each update."""
    model = make_model(task, part, recipe, seed)
    rates = TrainConfig(steps=TASKS[task]["steps"], learning_rate=5e-3, warmup=20)
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.0)
    losses = []
    for step in range(rates.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, rates)
        loss = model.loss(*batch(task, step, recipe["easy_rows"], seed))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 4))
    return model.eval(), losses


@torch.no_grad()
def accuracy_by_chunk(model, task, rows=512):
    """How often the right value comes first on the hardest rows: over all questions, and in each later chunk."""
    t = TASKS[task]
    length, options = t["lengths"][-1], dict(chunk_size=C, pairs=t["pairs"][-1], keys=t["keys"], values=t["values"])
    ids, targets = mqar(rows, length, np.random.default_rng(10**6), questions=length - C, **options)
    right = (model(torch.from_numpy(ids)).argmax(-1).numpy() == targets)[targets != IGNORE].reshape(rows, -1, C)
    return round(float(right.mean()), 4), right.mean((0, 2)).round(4).tolist()


# ---------------------------------------------------------------- what is stored


def load():
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"runs": {}}


def store(name, values):
    """JSON with a line for each run."""
    runs = load()["runs"] | {name: values}
    facts = dict(
        command="python benchmarks/recall.py small; ... models; ... seeds; ... recipe", chunk_size=C, batch=BATCH,
        tasks=TASKS, recipe=RECIPE, paper=PAPER,
    )  # fmt: skip
    lines = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in runs.items())
    write_text(RESULTS, json.dumps(facts, indent=1)[:-2] + f',\n "runs": {{\n  {lines}\n }}\n}}\n')


def run(task, part, recipe=RECIPE, seed=0, name=None, ship=None):
    """Train, unless the run is stored already; ``ship`` puts the model into the package, and scores it from there."""
    name = name or f"{task} {part}" + (f" seed {seed}" if seed else "")
    if name in load()["runs"]:
        return
    model, losses = fit(task, part, recipe, seed)
    if ship:
        model.save_pretrained(PACKAGE / "models" / ship, dtype=torch.float16)
        model = LanguageModel.from_pretrained(PACKAGE / "models" / ship)
    accuracy, by_chunk = accuracy_by_chunk(model, task)
    values = dict(
        accuracy=accuracy, by_chunk=by_chunk, seed=seed, parameters=count_parameters(model), machine=machine(),
        losses=losses,
    )  # fmt: skip
    store(name, values)
    if ship:
        facts = dict(command="python benchmarks/recall.py models", task=TASKS[task], recipe=recipe, chunk_size=C)
        size = (PACKAGE / "models" / ship / "model.safetensors").stat().st_size
        card = facts | {k: v for k, v in values.items() if k != "losses"} | {"bytes_on_disk": size}
        write_text(PACKAGE / "models" / ship / "card.json", json.dumps(card, indent=1) + "\n")
    print(f"{name}: accuracy {accuracy:.3f}, last losses {np.mean(losses[-30:]):.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["small", "models", "seeds", "recipe", "table"])
    what = parser.parse_args().what
    torch.set_num_threads(1)
    if what == "small":
        for part in PARTS:
            run("small", part)
    elif what == "models":
        for part in PARTS:
            run("recall", part, ship=f"recall-{part}")
    elif what == "seeds":
        for seed in (1, 2):
            run("recall", "flash", seed=seed)
    elif what == "recipe":
        for key, value in PAPER.items():
            run("recall", "flash", RECIPE | {key: value}, name=f"recall flash, paper's {key}")
        run("recall", "flash", PAPER, name="recall flash, paper's start")
    else:
        for name, stored in load()["runs"].items():
            print(f"{name:32s} accuracy {stored['accuracy']:.3f}  by chunk {stored['by_chunk']}")


if __name__ == "__main__":
    main()
