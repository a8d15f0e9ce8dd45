"""What it costs on an idle and on a busy machine that threads wait asleep, or spin (OMP_WAIT_POLICY).

    python experiments/timings/waiting.py        # stores flash_course/bench/results/waiting.json

The default run of `flash-tutorial train`, an update's median, with the policy that OpenMP has by itself and with
passive waiting, in turn; busy: as many other processes compute as there are cores. Nothing else should run.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from flash_course.bench.clock import machine
from flash_tutorial.files import write_text

OUT = Path(__file__).resolve().parents[2] / "flash_course" / "bench" / "results" / "waiting.json"
ROUNDS, UPDATES, WARMUP = 4, 40, 10
POLICIES = ("its own", "passive")
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
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy == "passive":
        environment["OMP_WAIT_POLICY"] = policy
    line = [sys.executable, "-c", PROGRAM]
    return float(subprocess.run(line, env=environment, capture_output=True, check=True).stdout)


def measured(busy):
    """{policy: seconds of an update in each round}, beside so many busy processes."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        seconds = {policy: [] for policy in POLICIES}
        for turn in range(ROUNDS):
            for policy in POLICIES[:: 1 if turn % 2 else -1]:
                seconds[policy].append(round(seconds_of(policy), 4))
    finally:
        for other in others:
            other.kill()
    return seconds


def main():
    result = {"what": "seconds of an update of the default run", "machine": machine()}
    for name, busy in (("idle", 0), ("busy", os.cpu_count())):
        seconds = measured(busy)
        ratios = [b / a for a, b in zip(*(seconds[policy] for policy in POLICIES), strict=True)]
        result[name] = {
            "seconds": seconds,
            "passive_over_its_own": round(statistics.median(ratios), 3),
        }
        print(name, seconds, result[name]["passive_over_its_own"])
    write_text(OUT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
