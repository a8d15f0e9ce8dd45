"""A run that is killed at random moments, and resumed: does it end with the same bits each time?

    python experiments/timings/kill_runs.py          # prints, and stores flash_course/bench/results/kill_runs.json

Each time a small run starts in an empty folder, gets SIGKILL, SIGTERM or SIGINT somewhere between its first update and
its last file, and is resumed. It writes a checkpoint after each update, so that many kills fall into a save: a SIGKILL
there leaves half of one behind, which is counted. Then the model, the optimizer, the log (but for the seconds) and the
score must be those of a run that nothing stopped, and no file may be left over.
"""

import argparse
import contextlib
import io
import json
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flash_course import cli
from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_tutorial.files import read_json, write_text
from flash_tutorial.training.run_folder import read_log

OUT = RESULTS / "kill_runs.json"
STEPS = 40
TRAIN = (
    "train --threads 1 --device cpu --dim 16 --depth 1 --qk-dim 8 --chunk-size 8 --length 20 --batch 2 "
    f"--eval-bytes 2000 --steps {STEPS} --checkpoint-every 1"
)


class Clocked(io.StringIO):
    """Notes when a word first begins a line of what is printed."""

    def __init__(self):
        super().__init__()
        self.at = {}

    def write(self, text):
        self.at.setdefault(text.partition(" ")[0], time.perf_counter())
        return super().write(text)


class Trial:
    """A run in a folder of its own."""

    def __init__(self, out, text):
        self.out, self.text = out, text

    @property
    def arguments(self):
        return [*TRAIN.split(), "--corpus", str(self.text), "--out", str(self.out)]

    def to_the_end(self, *more):
        """Run it in this process, and give the seconds from its first update until all is written."""
        said = Clocked()
        with contextlib.redirect_stdout(said):
            code = cli.main([*self.arguments, *more])
        if code:
            sys.exit(f"{' '.join(self.arguments)} {' '.join(more)}: exit code {code}")
        return said.at.get("model", 0) - said.at.get("step", 0)

    def killed(self, number, after):
        """Send a signal so many seconds after the first update. Gives the process's exit code, and what it left."""
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "flash_course.cli", *self.arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # a shell in the background ignores it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            for line in process.stdout:
                if line.startswith("step "):
                    break
            time.sleep(after)
            process.send_signal(number)
            process.stdout.read()
        left = [
            path.name
            for path in self.out.rglob(".*")
            if not path.name.startswith(".flash-tutorial")
        ]
        return process.returncode, sorted(left)

    def bits(self):
        """What must be the same: bytes, and numbers as their text."""
        last = self.out / f"step_{STEPS:06d}"
        rows = [
            {k: repr(v) for k, v in row.items() if k != "seconds"}
            for row in read_log(self.out / "log.csv")
        ]
        files = [
            self.out / "model.safetensors",
            self.out / "config.json",
            last / "optimizer.safetensors",
        ]
        score = read_json(self.out / "result.json")["validation_bits_per_byte"]
        names = sorted(path.name for path in self.out.iterdir())
        return [path.read_bytes() for path in files], rows, score, names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rng, kills = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = folder / "text.txt"
        text.write_text("Anne had been forced into prudence in her youth. " * 900, encoding="utf-8")
        whole = Trial(folder / "whole", text)
        seconds = whole.to_the_end()
        expected = whole.bits()
        for i in range(args.kills):
            trial, number = (
                Trial(folder / str(i), text),
                rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
            )
            after = rng.uniform(0, seconds)
            code, left = trial.killed(number, after)
            there = sorted(path.name for path in trial.out.glob("step_*"))
            trial.to_the_end("--resume")
            kills.append(
                {
                    "signal": number.name,
                    "after_s": round(after, 3),
                    "exit": code,
                    "left": left,
                    "checkpoint": there[-1:],
                    "same_bits": trial.bits() == expected,
                }
            )
            print(
                f"{i + 1:3d}",
                *(f"{name} {value}" for name, value in kills[-1].items()),
                sep=", ",
                flush=True,
            )
    same, inside = (
        sum(kill["same_bits"] for kill in kills),
        sum(bool(kill["left"]) for kill in kills),
    )
    print(f"{same} of {len(kills)} ended with the same bits; {inside} were killed inside a save")
    command = shlex.join(["python", "experiments/timings/kill_runs.py", *sys.argv[1:]])
    facts = {
        "command": command,
        "machine": machine(),
        "run": TRAIN,
        "same_bits": same,
        "inside_a_save": inside,
    }
    lines = ",\n  ".join(json.dumps(kill) for kill in kills)
    write_text(args.out, json.dumps(facts, indent=1)[:-2] + f',\n "kills": [\n  {lines}\n ]\n}}\n')
    return same != len(kills)


if __name__ == "__main__":
    sys.exit(main())
