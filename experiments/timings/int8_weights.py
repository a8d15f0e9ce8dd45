"""What rounding the shipped model's weights to int8 costs it, for the page on which it writes in the browser.

    python experiments/timings/int8_weights.py        # stores flash_course/bench/results/int8.json

Bits per byte of the model as it is stored and as the page has it, over the first bytes of the held-out novel. The
differences of the first windows are stored as well: a test makes them again.
"""

import json

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_course.lab import int8
from flash_tutorial import LanguageModel, load_corpus
from flash_tutorial.corpora import first_bytes
from flash_tutorial.files import write_text
from flash_tutorial.training import evaluate

OUT = RESULTS / "int8.json"
MODEL = "austen-flash"
BYTES, FEW = 200_000, 4096


def bits(models, n):
    """{name: bits per byte} over the first ``n`` bytes of the held-out text."""
    split = first_bytes(load_corpus("austen").validation, n)
    return {name: evaluate(model, split).bits_per_byte for name, model in models.items()}


def main():
    stored = LanguageModel.from_pretrained(MODEL)
    models = {"float": stored, "int8": int8.rounded(stored)}
    result = {
        "what": "bits per byte of the shipped model, its weights as they are stored and in int8",
        "model": MODEL,
        "machine": machine(),
        "bytes": BYTES,
        "bits_per_byte": {name: round(value, 5) for name, value in bits(models, BYTES).items()},
        "first": {
            "bytes": FEW,
            "bits_per_byte": {name: round(value, 5) for name, value in bits(models, FEW).items()},
        },
    }
    write_text(OUT, json.dumps(result, indent=1) + "\n")
    print(result["bits_per_byte"], result["first"])


if __name__ == "__main__":
    main()
