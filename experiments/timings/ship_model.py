"""Put a finished run into the package: half-precision weights, its log, its command and its scores.

    flash-tutorial train ... --eval-bytes all --out runs/austen-flash
    python experiments/timings/ship_model.py runs/austen-flash austen-flash --temperature 1.2 --command "..."

The scores are those of the half-precision weights as they ship, over whole novels in windows of the training length
that do not overlap: Persuasion (validation) and Northanger Abbey (test).
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from flash_course.bench.clock import machine
from flash_tutorial import LanguageModel, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.files import write_text
from flash_tutorial.training import evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from temperature import temper

MODELS = Path(__file__).resolve().parents[2] / "flash_tutorial" / "models"


def score(model, split, length):
    """Bits per byte of a split, and its mean over sixteen equal parts of the window."""
    result = evaluate(model, split, length)
    parts = result.by_position.reshape(16, -1).mean(1)
    return {
        "bits_per_byte": round(result.bits_per_byte, 4),
        "bytes": result.n_bytes,
        "by_position": parts.round(4).tolist(),
    }


def thinned(log):
    """A log with every tenth update, and those that were scored."""
    head, *rows = log.splitlines()
    kept = [row for i, row in enumerate(rows, 1) if i % 10 == 0 or not row.endswith(",")]
    return "\n".join([head, *kept]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that `flash-tutorial train` wrote")
    parser.add_argument("name", help="name in the package, as in austen-flash")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="as `package_models` found it"
    )
    parser.add_argument("--command", required=True, help="the command that trained it")
    args = parser.parse_args()

    folder = MODELS / args.name
    trained = temper(LanguageModel.from_pretrained(args.run), args.temperature)
    trained.save_pretrained(folder, dtype=torch.float16)
    model = LanguageModel.from_pretrained(folder)  # as a reader gets it
    training = json.loads((args.run / "result.json").read_text())
    length, corpus = training["train_config"]["length"], load_corpus("austen")
    card = {
        "command": args.command,
        "temperature": args.temperature,
        "parameters": count_parameters(model),
        "bytes_on_disk": (folder / "model.safetensors").stat().st_size,
        "training": training,
        "window": length,
        "validation": score(model, corpus.validation, length) | {"novel": "Persuasion"},
        "test": score(model, corpus.test, length) | {"novel": "Northanger Abbey"},
        "machine": machine(),
    }
    write_text(folder / "card.json", json.dumps(card, indent=1) + "\n")
    write_text(folder / "log.csv", thinned((args.run / "log.csv").read_text(encoding="utf-8")))
    print(json.dumps({k: v for k, v in card.items() if k not in ("training", "machine")}, indent=1))


if __name__ == "__main__":
    main()
