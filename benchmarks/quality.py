"""FLASH, FLASH-Quad and Transformer++ on real text: the same parameters, batches and wall time, each at its own rate.

    python benchmarks/quality.py rates flash            # 300 steps at each rate of the grid, seed 0
    python benchmarks/quality.py rates flash_quad
    python benchmarks/quality.py rates transformer++
    python benchmarks/quality.py steps                  # step times, in turn: how many steps the same wall time holds
    python benchmarks/quality.py steps flash_quad       # ... for a model that came later: the other counts stay
    python benchmarks/quality.py seeds flash            # at 2e-2, the best of 300 steps; stopped after its first seed
    python benchmarks/quality.py seeds flash --rate 1e-2              # three seeds at one rate, the whole time
    python benchmarks/quality.py seeds transformer++ --rate 5e-3
    python benchmarks/quality.py seeds flash_quad
    python benchmarks/quality.py maps                   # FLASH-Quad's maps over the warm-up: which units read anything
    python benchmarks/quality.py table                  # prints what is stored

Every finished run is stored at once in flash_course/bench/results/quality_<architecture>.json; a run that is there is
not made again, so a stopped command goes on where it was.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from stored_runs import commands_in

from flash_course.bench.clock import machine, time_in_turn
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.files import write_text
from flash_tutorial.layers import cos_sin
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, train
from flash_tutorial.training.devices import keep_freed_memory

RESULTS = Path(__file__).parent.parent / "flash_course" / "bench" / "results"
RATES = {
    "flash": [3e-3, 5e-3, 1e-2, 1.5e-2, 2e-2, 3e-2],
    "flash_quad": [5e-3, 1e-2, 2e-2, 3e-2],
    "transformer++": [2e-3, 3e-3, 5e-3, 1e-2],
}
STEPS = 1000  # of FLASH; the others take what the same wall time holds
PLACES = 16  # bytes that are averaged in the stored loss by position


def config_of(architecture):
    """The default FLASH model, FLASH-Quad of the same widths, or a Transformer++ of the same size, by d_ff.

    FLASH-Quad has the rotary bias, as the condition of Code 4 has it at 512 tokens; benchmarks/open_units.py has both.
    """
    if architecture == "transformer++":
        return ModelConfig("transformer++", depth=2, ff_dim=392)
    return ModelConfig(architecture, bias="rotary") if architecture == "flash_quad" else ModelConfig(architecture)


def path_of(architecture):
    return RESULTS / f"quality_{architecture.replace('+', 'p')}.json"


def load(architecture):
    path = path_of(architecture)
    return json.loads(path.read_text()) if path.exists() else {"runs": []}


def store(path, values):
    """JSON with one line for each key and each run, so that a list of losses is one line and not a thousand."""
    lines = []
    for name, value in values.items():
        rows = [json.dumps(row) for row in value] if name == "runs" else None
        text = json.dumps(value) if rows is None else "[\n  " + ",\n  ".join(rows) + "\n ]"
        lines.append(f" {json.dumps(name)}: {text}")
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def one_run(architecture, rate, steps, seed):
    """Train once, unless the run is stored already: every update's loss, the score, and the loss by position."""
    key = dict(architecture=architecture, learning_rate=rate, steps=steps, seed=seed)
    for run in load(architecture)["runs"]:
        if key.items() <= run.items():
            return run
    config = TrainConfig(steps=steps, learning_rate=rate, seed=seed, dtype="float32")  # as the steps were timed
    corpus = load_corpus("austen")
    done = train(config_of(architecture), config, corpus=corpus, progress=False)
    whole = evaluate(done.model, corpus.validation, config.length)
    run = key | dict(
        bits_per_byte=round(done.evaluation.bits_per_byte, 4),
        bits_per_byte_of_all=round(whole.bits_per_byte, 4),
        by_position=np.round(whole.by_position.reshape(-1, PLACES).mean(1), 4).tolist(),
        seconds=round(done.log[-1]["seconds"], 1),
        threads=torch.get_num_threads(),
        parameters=count_parameters(done.model),
        every=1,
        losses=[round(row["loss"], 4) for row in done.log],
    )
    stored = load(architecture) | {"machine": machine(), "command": command_of(architecture)}
    stored["runs"].append(run)
    store(path_of(architecture), stored)
    print({k: v for k, v in run.items() if k not in ("losses", "by_position")}, flush=True)
    return run


def command_of(architecture):
    """The docstring's commands for a model."""
    return "; ".join(line for line in commands_in(__doc__) if architecture in line.split())


def best_rate(architecture):
    """The rate of the best run of 300 steps."""
    runs = [r for r in load(architecture)["runs"] if r["steps"] == 300]
    if not runs:
        sys.exit(
            f"no rates are stored for {architecture}: run `python benchmarks/quality.py rates {architecture}` first"
        )
    return min(runs, key=lambda r: r["bits_per_byte"])["learning_rate"]


def step_times(rounds):
    """Seconds of a training step of all models, in turn in this process: ``rounds`` numbers for each."""
    keep_freed_memory()
    corpus, config = load_corpus("austen"), TrainConfig()
    ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, 0, True))

    def step_of(architecture):
        model = LanguageModel(config_of(architecture))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

        def step():
            model.loss(ids, targets).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return time_in_turn({name: step_of(name) for name in RATES}, rounds, warmup=3)


def same_wall_time():
    """Steps of each model in the time of ``STEPS`` steps of FLASH, as stored by ``steps``."""
    path = RESULTS / "quality_steps.json"
    if not path.exists():
        sys.exit("no step times are stored: run `python benchmarks/quality.py steps` first, with nothing else running")
    return json.loads(path.read_text())["steps"]


def measure_steps(only, rounds):
    """Time the models in turn and store how many steps the same wall time holds: of ``only`` one, or of all.

    The median is over the ratios within a round, so that a machine that is busy for a while slows both sides of each.
    """
    path = RESULTS / "quality_steps.json"
    times = step_times(rounds)
    ratio = {n: statistics.median(f / t for f, t in zip(times["flash"], times[n])) for n in times}
    facts = {"command": "python benchmarks/quality.py steps", "machine": machine(), "rounds": rounds}
    facts["seconds_a_step"] = {n: round(statistics.median(t), 4) for n, t in times.items()}
    facts["steps"] = {n: round(STEPS * r) for n, r in ratio.items()}
    print(facts)
    if only:
        stored = json.loads(path.read_text())
        facts = stored | {"steps": stored["steps"] | {only: facts["steps"][only]}, f"timed_for_{only}": facts}
    write_text(path, json.dumps(facts, indent=1) + "\n")


def unit_maps(model, ids, targets):
    """For each unit of a FLASH-Quad: the share of pairs with a weight above 0, and whether any gradient reaches it."""
    inputs, T = [], ids.shape[1]
    hooks = [u.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for u in model.stack.units]
    model.loss(ids, targets).backward()
    for hook in hooks:
        hook.remove()
    pairs, shares = torch.ones(T, T, dtype=torch.bool).tril(), []
    for unit, x in zip(model.stack.units, inputs):
        with torch.no_grad():
            q, k = unit.read_heads(unit.project(x)[2], *cos_sin(T, unit.qk_dim, x))
            scores = q @ k.mT / T + unit.bias(T)
        shares.append(round(float((scores[:, pairs] > 0).double().mean()), 6))
    return shares, [bool(unit.in_proj.weight.grad.any()) for unit in model.stack.units]


def watch_maps(seeds, every=10):
    """Store ``unit_maps`` of the stored FLASH-Quad runs at their start and over their warm-up, on the first batch."""
    corpus, model_config, runs = load_corpus("austen"), config_of("flash_quad"), []
    for seed in seeds:
        config = TrainConfig(
            steps=same_wall_time()["flash_quad"], learning_rate=best_rate("flash_quad"), seed=seed, dtype="float32"
        )
        ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, 0, True))
        torch.manual_seed(seed)
        rows = [unit_maps(LanguageModel(model_config), ids, targets)]  # as ``train`` draws it
        with tempfile.TemporaryDirectory() as folder:
            for stop in range(every, config.warmup + 1, every):
                done = train(
                    model_config, config, corpus=corpus, out=f"{folder}/run", resume=True, stop_at=stop, progress=False
                )
                rows.append(unit_maps(done.model, ids, targets))
        runs.append({"seed": seed, "positive": [r[0] for r in rows], "reached": [r[1] for r in rows]})
        print(runs[-1], flush=True)
    facts = {"machine": machine(), "command": "python benchmarks/quality.py maps"}
    facts["updates"] = list(range(0, config.warmup + 1, every))
    store(RESULTS / "quality_maps.json", facts | {"runs": runs})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "steps", "seeds", "maps", "table"])
    parser.add_argument("architecture", nargs="?", choices=list(RATES))
    parser.add_argument("--rate", type=float, help="learning rate of `seeds` (default: the best after 300 steps)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=25, help="rounds of `steps` (default: %(default)s)")
    args = parser.parse_args()
    if args.what in ("rates", "seeds") and args.architecture is None:
        parser.error(f"{args.what} needs an architecture: {', '.join(RATES)}")
    if args.what == "rates":
        for rate in RATES[args.architecture]:
            one_run(args.architecture, rate, 300, 0)
    elif args.what == "steps":
        measure_steps(args.architecture, args.rounds)
    elif args.what == "seeds":
        rate = args.rate or best_rate(args.architecture)
        for seed in args.seeds:
            one_run(args.architecture, rate, same_wall_time()[args.architecture], seed)
    elif args.what == "maps":
        watch_maps(args.seeds)
    else:
        for name in RATES:
            for r in load(name)["runs"]:
                what = f"{name:14s} rate {r['learning_rate']:<7g} steps {r['steps']:5d} seed {r['seed']}"
                print(f"{what} {r['bits_per_byte']:.3f} bits/byte  {r['seconds']:6.1f} s  {r['parameters']} parameters")


if __name__ == "__main__":
    main()
