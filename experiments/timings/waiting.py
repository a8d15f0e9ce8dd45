"""How long OpenMP's threads should spin before they sleep, on an idle and on a busy machine.

    python experiments/timings/waiting.py        # stores flash_course/bench/results/waiting.json

The default run of `flash-tutorial train`, an update's median, in turn: with what OpenMP does by itself (300,000 turns),
asleep at once, and with the 10,000 turns that `flash_tutorial` sets. Busy: as many other processes compute as there are
cores. Nothing else should run.
"""

import json
import os
import statistics
import subprocess
import sys

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_tutorial.files import write_text

OUT = RESULTS / "waiting.json"
ROUNDS, UPDATES, WARMUP = 3, 20, 5
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
POLICIES = {
    "its own": {"GOMP_SPINCOUNT": "300000"},
    "asleep": {"OMP_WAIT_POLICY": "passive"},
    "10,000 turns": {"GOMP_SPINCOUNT": "10000"},
}
PROGRAM = f"""
import statistics, time
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train
times = []
config = TrainConfig(steps={UPDATES}, eval_bytes=0)
train(ModelConfig(), config, progress=False, callback=lambda row: times.append(time.perf_counter()))
gaps = [b - a for a, b in zip(times[{WARMUP}:], times[{WARMUP + 1}:])]
print(statistics.median(gaps))
"""
BUSY = "while True: pass"


def seconds_of(policy):
    """An update's median in a process of its own."""
    environment = {
        name: value for name, value in os.environ.items() if name not in VARIABLES
    } | POLICIES[policy]
    line = [sys.executable, "-c", PROGRAM]
    return float(subprocess.run(line, env=environment, capture_output=True, check=True).stdout)


def measured(busy):
    """{policy: seconds of an update in each round}, beside so many busy processes."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        seconds = {policy: [] for policy in POLICIES}
        for turn in range(ROUNDS):
            for policy in list(POLICIES)[:: 1 if turn % 2 else -1]:
                seconds[policy].append(round(seconds_of(policy), 4))
    finally:
        for other in others:
            other.kill()
    return seconds


def ratio(seconds, base):
    """The median over the rounds of a policy's seconds over the base's in the same round."""
    return round(statistics.median(b / a for a, b in zip(base, seconds, strict=True)), 3)


def main():
    result = {"what": "seconds of an update of the default run", "machine": machine()}
    for name, busy in (("idle", 0), ("busy", os.cpu_count())):
        seconds = measured(busy)
        over_its_own = {policy: ratio(seconds[policy], seconds["its own"]) for policy in POLICIES}
        result[name] = {"seconds": seconds, "over_its_own": over_its_own}
        print(name, result[name])
    write_text(OUT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
