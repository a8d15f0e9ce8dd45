"""What `--compile` changes in an update of `flash-tutorial train`, for FLASH and its rival.

    python experiments/timings/compiled_training.py     # stores flash_course/bench/results/compiled_training.json

The four updates of a length take turns, one thread, bfloat16. Nothing else should run.
"""

import json
import time
from functools import partial
from itertools import product

import torch

from flash_course.bench.clock import machine, time_in_turn
from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.files import write_text
from flash_tutorial.training import TrainConfig, new_optimizer, train_step
from flash_tutorial.training.devices import Engine, keep_freed_memory

OUT = RESULTS / "compiled_training.json"
LENGTHS, BYTES, ROUNDS = (512, 2048, 8192), 8192, 7
WAYS = {"plain": False, "compiled": True}
ARCHITECTURES = ("flash", "transformer++")


def update_of(architecture, T, compiled):
    """A function: one more update of a model of its own."""
    torch.manual_seed(0)
    config = TrainConfig(batch=BYTES // T, length=T, dtype="bfloat16", steps=100, warmup=0)
    model = LanguageModel(ModelConfig(architecture, max_length=T))
    optimizer = new_optimizer(model, config)
    engine = Engine(model, dtype=config.dtype, compile=compiled)
    ids, targets = torch.randint(256, (2, config.batch, T))
    batch = [(ids, targets, None, 1.0)]
    return partial(train_step, model, optimizer, batch, 1, config, engine)


def seconds_of_first(update):
    """The first update, in which a compiler compiles."""
    began = time.perf_counter()
    update()
    return round(time.perf_counter() - began, 1)


def measured(T):
    """Rows of a length: seconds of an update by architecture and way."""
    updates = {key: update_of(key[0], T, WAYS[key[1]]) for key in product(ARCHITECTURES, WAYS)}
    first = {key: seconds_of_first(update) for key, update in updates.items()}
    found = time_in_turn(updates, rounds=ROUNDS)
    for architecture in ARCHITECTURES:
        ways = {way: [round(t, 4) for t in found[architecture, way]] for way in WAYS}
        row = {"architecture": architecture, "T": T} | ways
        yield row | {"seconds_to_compile": first[architecture, "compiled"]}


def main():
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    for T in LENGTHS:
        rows += measured(T)
        print(*rows[-2:], sep="\n", flush=True)
    stored = {"what": "seconds of an update", "machine": machine(), "rows": rows}
    write_text(OUT, json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
