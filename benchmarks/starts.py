"""Which start fits a small model: kernels, gamma, embedding, bias and positions as wide as the width asks for.

    python benchmarks/starts.py search          # 600 updates at each rate; the best is chosen on text not reported
    python benchmarks/starts.py compare         # three other seeds at the chosen rates, 1,700 and 600 updates
    python benchmarks/starts.py branches        # how large each unit's branch and its gradient are before training
    python benchmarks/starts.py table

The paper's standard deviation of 0.02 belongs to D = 768. Each finished run is stored in
flash_course/bench/results/starts.json. The guess that was written down before is in docs/predictions.md.
"""

import argparse
import math
import statistics

import torch
from stored_runs import StoredRuns, say_if_at_edge
from torch import nn

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.corpora import Split, load_corpus
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, first_bytes, train

RUNS = StoredRuns("starts", __doc__)
MODELS = ("flash", "flash_quad", "transformer++")
STARTS = ("paper", "width", "fan-in", "small", "kernels")
RATES = {
    "flash": [2.5e-3, 5e-3, 1e-2, 2e-2],
    "flash_quad": [2.5e-3, 5e-3, 1e-2, 2e-2],
    "transformer++": [1.25e-3, 2.5e-3, 5e-3, 1e-2],
}
BEYOND = {"lower": 0.5, "higher": 2.0}  # a best rate at the edge of its grid widens the grid by one
T, BATCH, DIM = 512, 8, 128
SHORT, WHOLE = 600, 1700
CHOOSING_SEED, SEEDS = 100, (0, 1, 2)
REPORTED = 100_000  # first bytes of Persuasion; rates are chosen on as many bytes at its end
PAPER_STD, PAPER_DIM = 0.02, 768


def build(model, start, seed, dim=DIM):
    """A model whose drawn parameters have the start's widths."""
    torch.manual_seed(seed)
    built = LanguageModel(ModelConfig(model, dim=dim, max_length=T))
    if start == "paper":
        return built
    wide = PAPER_STD * math.sqrt(PAPER_DIM / dim)
    for name, parameter in built.named_parameters():
        if (std := std_of(name, parameter, start, dim, wide)) is not None:
            nn.init.normal_(parameter, std=std)
    if start != "kernels":
        nn.init.constant_(built.stack.positions.scale, wide)
    return built


def std_of(name, parameter, start, dim, wide):
    """The standard deviation that a parameter is drawn with; None for norms, offsets and linear biases."""
    if name.endswith(("gain", "offset", "beta", "proj.bias", "out.bias", "in.bias", "scale")):
        return None
    is_kernel = name.endswith(("proj.weight", "out.weight", "in.weight"))
    if start == "width":
        return wide
    if start == "kernels":  # what init_std sets: the embedding and the positions stay as they are
        return None if name == "embedding.weight" else wide
    if start == "fan-in":  # LeCun et al. (1998); the embedding is the head's kernel too
        return parameter.shape[1] ** -0.5 if is_kernel or name == "embedding.weight" else wide
    # Nguyen and Salazar (2019) for what reads the width; Wang and Komatsuzaki (2021) for what writes into the sum,
    # 2 / (L sqrt(D)) with two branches a layer, which is four units or two blocks here alike
    writes = name.endswith(("out_proj.weight", "attn_out.weight", "ff_out.weight"))
    if writes:
        return 1 / math.sqrt(dim)
    return math.sqrt(2 / (5 * dim)) if is_kernel or name == "embedding.weight" else wide


def end_of(split):
    """The last bytes of a split, as many as are reported of its beginning."""
    return Split.from_documents([split.tokens[-REPORTED:]])


@torch.no_grad()
def branch_sizes(model, ids):
    """For each unit, the size of what it adds over the size of what it adds it to."""
    sizes = []

    def look(unit, given, y):
        x = given[0]
        sizes.append(float((y - x).norm() / x.norm()))

    hooks = [unit.register_forward_hook(look) for unit in model.stack.units]
    model(ids)
    for hook in hooks:
        hook.remove()
    return [float(f"{size:.3g}") for size in sizes]


def one_run(model, start, rate, steps, seed):
    """Train once, unless the run is stored already."""
    key = dict(model=model, start=start, learning_rate=rate, steps=steps, seed=seed, dim=DIM)

    def make():
        corpus, built = load_corpus("austen"), build(model, start, seed)
        config = TrainConfig(
            steps=steps, batch=BATCH, length=T, learning_rate=rate, seed=seed, dtype="bfloat16", eval_bytes=0
        )
        ids = torch.from_numpy(draw_batch(corpus.validation, config, 0, True)[0])
        done = train(built, config, corpus=corpus, progress=False)
        reported = first_bytes(corpus.validation, REPORTED)
        return {
            "bits_per_byte": round(evaluate(done.model, reported, T).bits_per_byte, 4),
            "bits_on_choosing_text": round(evaluate(done.model, end_of(corpus.validation), T).bits_per_byte, 4),
            "branches_after": branch_sizes(done.model, ids),
            "seconds": round(done.log[-1]["seconds"]),
            "every": 10,
            "losses": [round(row["loss"], 4) for row in done.log[::10]],
        }

    return RUNS.find_or_make(key, make)


def chosen_rate(model, start):
    """The rate that is best on the text that is not reported, by a seed that is not reported."""
    return RUNS.best(
        score="bits_on_choosing_text", model=model, start=start, steps=SHORT, seed=CHOOSING_SEED
    )["learning_rate"]  # fmt: skip


def search():
    for rank in (1, 2, 0, 3):  # the middle of each grid first
        for start in STARTS:
            for model in MODELS:
                one_run(model, start, RATES[model][rank], SHORT, CHOOSING_SEED)
    for model in MODELS:
        for start in STARTS:
            widen(model, start)


def widen(model, start):
    """Go on beyond an edge of the grid as long as the edge is the best."""
    grid = sorted(RATES[model])
    while (best := chosen_rate(model, start)) in (grid[0], grid[-1]) and len(grid) < 7:
        further = best * (BEYOND["lower"] if best == grid[0] else BEYOND["higher"])
        one_run(model, start, further, SHORT, CHOOSING_SEED)
        grid = sorted([*grid, further])
    say_if_at_edge(f"{model}, {start}", best, grid)


def compare():
    for steps in (WHOLE, SHORT):
        for seed in SEEDS:
            for start in STARTS:
                for model in MODELS:
                    one_run(model, start, chosen_rate(model, start), steps, seed)


def branches():
    """Sizes before training, by one batch; of the gradient the norm by kind of parameter."""
    corpus = load_corpus("austen")
    config = TrainConfig(steps=1, warmup=0, batch=BATCH, length=T)
    ids, targets = (torch.from_numpy(each) for each in draw_batch(corpus.train, config, 0, True))
    for model in MODELS:
        for start in STARTS:
            built = build(model, start, 0)
            built.loss(ids, targets).backward()
            norms = {}
            for name, parameter in built.named_parameters():
                kind = name.split("units.")[-1].split(".", 1)[-1] if "units." in name else name
                norms[kind] = norms.get(kind, 0.0) + float(parameter.grad.square().sum())
            gradients = {kind: float(f"{math.sqrt(total):.3g}") for kind, total in norms.items()}
            made = {"branches": branch_sizes(built, ids), "gradient_norms": gradients}
            RUNS.find_or_make(dict(model=model, start=start, what="before training"), lambda made=made: made)


def table():
    for steps in (SHORT, WHOLE):
        for model in MODELS:
            for start in STARTS:
                runs = [run for run in RUNS.where(model=model, start=start, steps=steps) if run["seed"] in SEEDS]
                if runs:
                    scores = [run["bits_per_byte"] for run in runs]
                    shown = " ".join(f"{score:.3f}" for score in scores)
                    about = f"{steps:5} updates  {model:14} {start:7} rate {runs[0]['learning_rate']:g}"
                    print(f"{about}: {shown}  mean {statistics.mean(scores):.3f}")
    for model in MODELS:
        for start in STARTS:
            found = RUNS.where(model=model, start=start, steps=SHORT, seed=CHOOSING_SEED)
            grid = {run["learning_rate"]: run["bits_on_choosing_text"] for run in found}
            if grid:
                print(f"choosing  {model:14} {start:7}", {f"{rate:g}": grid[rate] for rate in sorted(grid)})


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("search", "compare", "branches", "table"))
    {"search": search, "compare": compare, "branches": branches, "table": table}[parser.parse_args().what]()
