"""Whether something got slower: a training step, a token and a token far on, now and at an earlier commit, in turn.

    python experiments/timings/before_after.py run COMMIT        # five minutes; nothing else should run
    python experiments/timings/before_after.py table

Two processes with one thread each wait for their turns, one with the package as it is committed and one with it as it
was, so that both meet the same machine; several such pairs, since one process may have its memory in a better place
than another. Processor time: a ratio in each round, and the medians of both, from which the tokens a second follow. In
flash_course/bench/results/before_after.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from flash_course.bench.stored import RESULTS, load_stored
from flash_tutorial.clock import machine
from flash_tutorial.files import write_text

ROOT = Path(__file__).resolve().parents[2]
PAIRS, ROUNDS, TOKENS = 6, 6, 16
FAR = 8192  # tokens before one that is far on

# Says how many parameters its models have; then answers each line that it reads, such as "flash update" or
# "transformer++ far", with the processor seconds it took.
WORKER = """
import sys, time, torch
from flash_tutorial import LanguageModel, ModelConfig
try:
    from flash_tutorial.training.devices import keep_freed_memory
except ImportError:  # as it was called before
    from flash_tutorial.devices import keep_freed_memory
torch.set_num_threads(1)
keep_freed_memory()
torch.manual_seed(0)
ids = torch.randint(256, (4, 512))
far, tokens = map(int, sys.argv[1:])
sizes = {"flash": {"depth": 4}, "transformer++": {"depth": 2, "ff_dim": 768}}  # said, for defaults have changed
models = {name: LanguageModel(ModelConfig(name, dim=256, max_length=2 * far, **size)) for name, size in sizes.items()}
print(*(sum(p.numel() for p in model.parameters()) for model in models.values()), flush=True)
states = {}
with torch.no_grad():
    for name, model in models.items():
        states[name, "token"] = model.prefill(ids[:1])[1]
        states[name, "far"] = model.prefill(torch.randint(256, (1, far)))[1]

def update(model, name, what):
    model.loss(ids, ids).backward()
    model.zero_grad()

@torch.no_grad()
def write(model, name, what):
    for _ in range(tokens):
        states[name, what] = model.step(ids[:1, 0], states[name, what])[1]

for line in sys.stdin:
    name, what = line.split()
    began = time.process_time()
    (update if what == "update" else write)(models[name], name, what)
    print(time.process_time() - began, flush=True)
"""
ASKED = [
    f"{name} {what}"
    for name, what in product(("flash", "transformer++"), ("update", "token", "far"))
]


def start(folder, far=FAR):
    """A worker with the package in ``folder``."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [sys.executable, "-W", "ignore", "-c", WORKER, str(far), str(TOKENS)]
    worker = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
    worker.parameters = worker.stdout.readline().split()
    return worker


def ask(worker, line):
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def measure(commit):
    """{what: quartiles of its ratio, now to before}, and {what: median milliseconds before and now}."""
    taken = {line: [] for line in ASKED}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), folder], check=True)
        subprocess.run(["git", "checkout", "-q", commit], cwd=folder, check=True)
        for _ in range(PAIRS):
            measure_pair({"before": start(folder), "now": start(ROOT)}, taken)
    found = {"now_to_before": {}, "milliseconds": {}}
    for line, pairs in taken.items():
        each = 1 if line.endswith("update") else TOKENS
        quartiles = statistics.quantiles([now / before for before, now in pairs], n=4)
        found["now_to_before"][line] = [round(q, 3) for q in quartiles]
        found["milliseconds"][line] = [
            round(1000 * statistics.median(side) / each, 3) for side in zip(*pairs)
        ]
    return found


def measure_pair(workers, taken):
    """Adds (seconds before, seconds now) of each round to what was ``taken``."""
    before, now = (" and ".join(workers[which].parameters) for which in ("before", "now"))
    if before != now:
        sys.exit(
            f"the models had {before} parameters before and have {now} now: compare models of one size"
        )
    for turn in range(ROUNDS + 2):
        for line in ASKED:
            order = list(workers) if turn % 2 else list(workers)[::-1]
            took = {which: ask(workers[which], line) for which in order}
            if turn >= 2:  # the first ones warm up
                taken[line].append((took["before"], took["now"]))
    for worker in workers.values():
        worker.communicate()


def run(commit):
    both = [
        subprocess.run(
            ["git", "rev-parse", "--short", name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in (commit, "HEAD")
    ]
    before, now = (done.stdout.strip() for done in both)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "flash_tutorial"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if changed:
        sys.exit(
            f"these files differ from {now}, whose name the result would have: commit them first\n{changed}"
        )
    row = (
        {"before": before, "now": now, "pairs": PAIRS, "rounds": ROUNDS}
        | measure(before)
        | {"machine": machine()}
    )
    store([*load_stored("before_after")["runs"], row])


def store(rows):
    """A line for each row."""
    command = "python experiments/timings/before_after.py run COMMIT"
    lines = ",\n  ".join(map(json.dumps, rows))
    write_text(
        RESULTS / "before_after.json",
        f'{{\n "command": {json.dumps(command)},\n "runs": [\n  {lines}\n ]\n}}\n',
    )


def table():
    for row in load_stored("before_after")["runs"]:
        for line, (low, middle, high) in row["now_to_before"].items():
            print(
                f"{row['before']} to {row['now']}: {line:20} {middle:.3f} (half of the rounds {low:.3f} to {high:.3f})"
                + said_of(line, *row.get("milliseconds", {}).get(line, ()))
            )


def said_of(line, *milliseconds):
    """The times before and now, and for tokens how many that are in a second; nothing of a row that has none."""
    if not milliseconds:
        return ""
    said = ", {:.3g} ms before and {:.3g} now".format(*milliseconds)
    if not line.endswith("update"):
        said += ", {:.0f} and {:.0f} a second".format(*(1e3 / t for t in milliseconds))
    return said


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("run").add_argument("commit")
    what.add_parser("table")
    args = parser.parse_args()
    if args.what == "run":
        run(args.commit)
    else:
        table()
