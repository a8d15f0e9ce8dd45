"""FLASH against Transformer++ on real text: the same parameters, batches and wall time, each at its own best rate.

    python benchmarks/quality.py rates flash            # 300 steps at each rate of the grid, seed 0
    python benchmarks/quality.py rates transformer++
    python benchmarks/quality.py steps                  # step times, in turn: how many steps the same wall time holds
    python benchmarks/quality.py seeds flash --rate 1e-2              # three seeds at one rate, the whole time
    python benchmarks/quality.py seeds transformer++ --rate 5e-3
    python benchmarks/quality.py table                  # prints what is stored

Every finished run is stored at once in flash_tutorial/results/quality_<architecture>.json; a run that is there is not
made again, so a stopped command goes on where it was.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.data import load_corpus
from flash_tutorial.files import write_text
from flash_tutorial.measure import machine
from flash_tutorial.memory import keep_freed_memory
from flash_tutorial.training import TrainConfig, draw_batch, train

RESULTS = Path(__file__).parent.parent / "flash_tutorial" / "results"
RATES = {"flash": [3e-3, 5e-3, 1e-2, 1.5e-2, 2e-2, 3e-2], "transformer++": [2e-3, 3e-3, 5e-3, 1e-2]}
STEPS = 1000  # of FLASH; Transformer++ takes what the same wall time holds


def config_of(architecture):
    """The default FLASH model, or a Transformer++ of the same parameter count, by d_ff."""
    if architecture == "flash":
        return ModelConfig()
    return ModelConfig("transformer++", depth=2, ff_dim=392)


def path_of(architecture):
    return RESULTS / f"quality_{architecture.replace('+', 'p')}.json"


def load(architecture):
    path = path_of(architecture)
    return json.loads(path.read_text()) if path.exists() else {"runs": []}


def one_run(architecture, rate, steps, seed):
    """Train once, unless the run is stored already."""
    stored = load(architecture)
    key = dict(architecture=architecture, learning_rate=rate, steps=steps, seed=seed)
    for run in stored["runs"]:
        if key.items() <= run.items():
            return run
    config = config_of(architecture)
    done = train(config, TrainConfig(steps=steps, learning_rate=rate, seed=seed), progress=False)
    run = key | dict(
        bits_per_byte=round(done.evaluation.bits_per_byte, 4),
        seconds=round(done.log[-1]["seconds"], 1),
        threads=torch.get_num_threads(),
        parameters=count_parameters(done.model),
        losses=[round(row["loss"], 4) for row in done.log[:: max(1, steps // 100)]],
    )
    stored = load(architecture) | {"machine": machine(), "command": "python benchmarks/quality.py"}
    stored["runs"].append(run)
    write_text(path_of(architecture), json.dumps(stored, indent=1) + "\n")
    print({k: v for k, v in run.items() if k != "losses"}, flush=True)
    return run


def best_rate(architecture):
    """The rate of the best run of 300 steps."""
    runs = [r for r in load(architecture)["runs"] if r["steps"] == 300]
    if not runs:
        sys.exit(
            f"no rates are stored for {architecture}: run `python benchmarks/quality.py rates {architecture}` first"
        )
    return min(runs, key=lambda r: r["bits_per_byte"])["learning_rate"]


def step_times(rounds=15):
    """Seconds of a training step of both models, timed in turn in this process after a warm-up."""
    keep_freed_memory()
    corpus, config = load_corpus("austen"), TrainConfig()
    models = {name: LanguageModel(config_of(name)) for name in RATES}
    optimizers = {n: torch.optim.AdamW(m.parameters(), lr=1e-3, fused=True) for n, m in models.items()}
    times = {name: [] for name in models}
    for step in range(rounds + 3):
        ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, step, True))
        for name, model in models.items():
            start = time.perf_counter()
            model.loss(ids, targets).backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if step >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def same_wall_time():
    """Steps of Transformer++ in the time of ``STEPS`` steps of FLASH, as stored by ``steps``."""
    path = RESULTS / "quality_steps.json"
    if not path.exists():
        sys.exit("no step times are stored: run `python benchmarks/quality.py steps` first, with nothing else running")
    return json.loads(path.read_text())["steps"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "steps", "seeds", "table"])
    parser.add_argument("architecture", nargs="?", choices=list(RATES))
    parser.add_argument("--rate", type=float, help="learning rate of `seeds` (default: the best after 300 steps)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if args.what in ("rates", "seeds") and args.architecture is None:
        parser.error(f"{args.what} needs an architecture: flash or transformer++")
    if args.what == "rates":
        for rate in RATES[args.architecture]:
            one_run(args.architecture, rate, 300, 0)
    elif args.what == "steps":
        times = step_times()
        steps = {"flash": STEPS, "transformer++": round(STEPS * times["flash"] / times["transformer++"])}
        stored = {"machine": machine(), "seconds_a_step": times, "steps": steps}
        write_text(RESULTS / "quality_steps.json", json.dumps(stored, indent=1) + "\n")
        print(stored)
    elif args.what == "seeds":
        rate = args.rate or best_rate(args.architecture)
        for seed in args.seeds:
            one_run(args.architecture, rate, same_wall_time()[args.architecture], seed)
    else:
        for name in RATES:
            for r in load(name)["runs"]:
                what = f"{name:14s} rate {r['learning_rate']:<7g} steps {r['steps']:5d} seed {r['seed']}"
                print(f"{what} {r['bits_per_byte']:.3f} bits/byte  {r['seconds']:6.1f} s  {r['parameters']} parameters")


if __name__ == "__main__":
    main()
