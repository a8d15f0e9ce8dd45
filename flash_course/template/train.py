"""One run: `python train.py mine --seed 0 --rate 5e-3`. Started again after a stop, it goes on where it was."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from settings import MODELS, TRAIN

from flash_tutorial.training import train

RUNS = Path(__file__).parent / "runs"


def run(name, rate, seed, steps=TRAIN.steps):
    """The result of a run as plain values; one that is finished already is read, not made again."""
    folder = RUNS / f"{name}_rate{rate:g}_steps{steps}_seed{seed}"
    if not (folder / "result.json").exists():
        print(f"{folder.name}:", flush=True)
        settings = replace(TRAIN, learning_rate=rate, seed=seed, steps=steps, warmup=None)
        train(MODELS[name], settings, out=folder, resume=folder.exists())
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=TRAIN.steps)
    args = parser.parse_args()
    run(args.name, args.rate, args.seed, args.steps)
