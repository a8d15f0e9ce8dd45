"""What bfloat16 costs and saves on a CPU: the default run of three seeds in both formats.

    python benchmarks/number_formats.py run               # with nothing else running, for the seconds that one waits
    python benchmarks/number_formats.py table

Each finished run is stored in flash_course/bench/results/number_formats.json; an earlier default had 1300 updates. The
guess that was written down before is in docs/predictions.md.
"""

import argparse
import statistics
import time

import torch
from stored_runs import StoredRuns

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

RUNS = StoredRuns("number_formats", __doc__)
FORMATS, SEEDS = ("bfloat16", "float32"), (0, 1, 2)


def one_run(dtype, seed):
    """The default run of ``flash-tutorial train``."""
    began = time.process_time()
    done = train(ModelConfig(), TrainConfig(dtype=dtype, seed=seed), progress=False)
    seconds = time.process_time() - began
    training = statistics.mean(row["bits_per_byte"] for row in done.log[-100:])
    return {
        "bits_per_byte": round(done.evaluation.bits_per_byte, 4), "training_bits_per_byte": round(training, 4),
        "processor_seconds": round(seconds, 1), "seconds": done.log[-1]["seconds"],
    }  # fmt: skip


def table():
    for dtype in FORMATS:
        groups = {}
        for row in RUNS.where(dtype=dtype):
            groups.setdefault((row["steps"], row["threads"]), []).append(row)
        for (steps, threads), rows in groups.items():
            scores, seconds = ([row[name] for row in rows] for name in ("bits_per_byte", "processor_seconds"))
            said = f"{statistics.mean(scores):.3f} {scores}, {statistics.mean(seconds):.0f} s of the processor"
            waited = [row["seconds"] for row in rows if "seconds" in row]
            print(
                f"{dtype:9} {steps} updates, {threads} threads: {said}" + (f", {waited} s of waiting" if waited else "")
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    if parser.parse_args().what == "table":
        table()
    else:
        for dtype in FORMATS:
            for seed in SEEDS:
                key = dict(dtype=dtype, seed=seed, steps=TrainConfig().steps, threads=torch.get_num_threads())
                RUNS.find_or_make(key, lambda d=dtype, s=seed: one_run(d, s))
