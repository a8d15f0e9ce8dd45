"""Put a finished run into the package: half-precision weights, its log, its command and its scores.

    flash-tutorial train ... --eval-bytes all --out runs/austen-flash
    python experiments/timings/ship_model.py austen-flash --run runs/austen-flash --temperature 1.2 --command "..."
    python experiments/timings/ship_model.py austen-flash --temperature 1.2  # another, for the model that is there

The scores are those of the half-precision weights as they ship, over whole novels in windows of the training length
that do not overlap: Persuasion (validation) and Northanger Abbey (test). With --card-only a run that is not to ship
has its card stored among the results.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.files import write_text
from flash_tutorial.training import evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from temperature import temper

NOT_SHIPPED = RESULTS / "not_shipped.json"
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
    scored = head.endswith(
        "validation_bits_per_byte"
    )  # a run without scores on the way has no such column
    kept = [row for i, row in enumerate(rows, 1) if i % 10 == 0 or (scored and row[-1] != ",")]
    return "\n".join([head, *kept]) + "\n"


def from_run(folder, command):
    """The model of a finished run, and what its card says of the training."""
    card = {"command": command, "training": json.loads((folder / "result.json").read_text())}
    return LanguageModel.from_pretrained(folder), card


def from_package(folder):
    """The model that ships, its temperature taken away, and its card."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    model = LanguageModel.from_pretrained(folder)
    return temper(model, 1 / card.get("temperature", 1.0)), card


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name in the package, as in austen-flash")
    parser.add_argument("--run", type=Path, help="folder that `flash-tutorial train` wrote")
    parser.add_argument("--command", help="the command that trained it")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="as `package_models` found it"
    )
    parser.add_argument("--card-only", action="store_true", help="a run that is not to ship")
    args = parser.parse_args()
    if bool(args.run) != bool(args.command) or (args.card_only and not args.run):
        parser.error("expected --run and --command together, or neither and no --card-only")

    with tempfile.TemporaryDirectory() as elsewhere:
        folder = MODELS / args.name
        if args.card_only:
            folder = Path(elsewhere)
        if args.run:
            trained, known = from_run(args.run, args.command)
        else:
            trained, known = from_package(folder)
        temper(trained, args.temperature).save_pretrained(folder, dtype=torch.float16)
        card = (
            known
            | {"temperature": args.temperature}
            | measured(folder, known["training"], args.temperature)
        )
    if args.card_only:
        add_result(args.name, card)
    else:
        write_text(folder / "card.json", json.dumps(card, indent=1) + "\n")
        if args.run:
            write_text(folder / "log.csv", thinned((args.run / "log.csv").read_text("utf-8")))
    print(json.dumps({k: v for k, v in card.items() if k not in ("training", "machine")}, indent=1))


def measured(folder, training, temperature):
    """Sizes of the model as a reader gets it, and its scores, with the temperature and without."""
    model = LanguageModel.from_pretrained(folder)
    corpus = load_corpus("austen")
    length = training["train_config"]["length"]
    novels = {"validation": "Persuasion", "test": "Northanger Abbey"}
    found = {
        "parameters": count_parameters(model),
        "bytes_on_disk": (folder / "model.safetensors").stat().st_size,
        "window": length,
    }
    for split, novel in novels.items():
        found[split] = score(model, getattr(corpus, split), length) | {"novel": novel}
    temper(model, 1 / temperature)
    plain = {split: score(model, getattr(corpus, split), length) for split in novels}
    scores = {split: plain[split]["bits_per_byte"] for split in novels}
    return found | {"without_temperature": scores, "machine": machine()}


def add_result(name, card):
    """Store the card of a model that does not ship."""
    stored = {"what": "scores of models that were trained to ship and do not", "runs": []}
    if NOT_SHIPPED.exists():
        stored = json.loads(NOT_SHIPPED.read_text(encoding="utf-8"))
    left_out = ("training", "without_temperature")
    kept = {key: value for key, value in card.items() if key not in left_out}
    others = [run for run in stored["runs"] if run["model"] != name]
    stored["runs"] = [*others, {"model": name} | kept]
    write_text(NOT_SHIPPED, json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
