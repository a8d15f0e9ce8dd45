"""Training on two processes, as torchrun starts them: the same losses as one, files written once, resume with another
number of processes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flash_course import cli
from flash_tutorial import ModelConfig
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, parts, train
from flash_tutorial.training.checkpoints import checkpoint_folders
from flash_tutorial.training.devices import Group
from flash_tutorial.training.run_folder import read_log

MODEL = dict(dim=16, depth=2, qk_dim=8, chunk_size=8, max_length=40)
TRAIN = dict(
    steps=6, batch=8, length=40, learning_rate=1e-2, warmup=2, eval_bytes=500, checkpoint_every=2
)
SCRIPT = """
import json, os, sys, time
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

model, settings, out, resume, stop_at = json.loads(sys.argv[1])
run = train(ModelConfig(**model), TrainConfig(**settings), out=out, resume=resume, stop_at=stop_at)
print(f"rank {os.environ['RANK']}: scored {run.evaluation is not None}, left at {time.time()}", flush=True)
os._exit(0)
"""
# DistributedDataParallel keeps gloo's threads alive beyond the end of its group. One that still lets go of a tensor
# while the interpreter ends aborts the process ("terminate called without an active exception"), now and then on a
# busy machine, whatever was trained before. So these processes leave without an end of the interpreter.


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("austen")


@pytest.fixture
def torchrun(tmp_path):
    """Run ``train`` on several processes; gives what they said."""

    def start(processes, out, resume=False, stop_at=None, script=SCRIPT, **changed):
        (tmp_path / "script.py").write_text(script, encoding="utf-8")
        model = MODEL | {k: v for k, v in changed.items() if k in ModelConfig.__dataclass_fields__}
        settings = TRAIN | {k: v for k, v in changed.items() if k not in model}
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(processes),
        ]
        done = subprocess.run(
            [*command, "script.py", json.dumps([model, settings, str(out), resume, stop_at])],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return done.returncode, done.stdout + done.stderr

    return start


def log_of(out):
    with open(out / "log.csv", newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def same_run(out, other):
    """Losses, gradient norms and weights of two folders, up to rounding."""
    for a, b in zip(log_of(out), log_of(other), strict=True):
        for key in ("step", "loss", "gradient_norm", "tokens"):
            assert a[key] == pytest.approx(b[key], rel=1e-4), (a["step"], key)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, other))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4, msg=name)


# ---------------------------------------------------------------- rows


@pytest.mark.quick
@pytest.mark.parametrize("causal", [True, False])
def test_ranks_see_different_windows_of_the_same_batch(corpus, causal):
    config = TrainConfig(**TRAIN | {"accumulate": 2})
    (whole,) = parts(corpus.train, TrainConfig(**TRAIN), 3, causal, "cpu")
    seen, share = [], 0.0
    for rank in (0, 1):
        pieces = list(parts(corpus.train, config, 3, causal, "cpu", Group(rank, 2)))
        assert [len(ids) for ids, *_ in pieces] == [2, 2]
        seen += [row.tobytes() for ids, *_ in pieces for row in ids.numpy()]
        share += sum(piece[3] for piece in pieces)
    assert sorted(seen) == sorted(row.tobytes() for row in whole[0].numpy()) and len(set(seen)) == 8
    assert share == pytest.approx(1)


@pytest.mark.quick
def test_a_batch_that_cannot_be_shared_is_refused(corpus, monkeypatch):
    from contextlib import contextmanager

    @contextmanager
    def three(device):
        yield Group(0, 3), torch.device("cpu")

    monkeypatch.setattr("flash_tutorial.training.session.training_group", three)
    with pytest.raises(
        ValueError, match="batch=8 on 3 processes in accumulate=1 parts: expected a multiple of 3"
    ):
        train(ModelConfig(**MODEL), TrainConfig(**TRAIN), corpus=corpus, progress=False)


# ---------------------------------------------------------------- whole runs


def test_two_processes_are_one(torchrun, corpus, tmp_path):
    """Also with parts, and in the masked objective, where the windows have unequal numbers of targets.

    And none leaves before rank 0 has written.
    """
    for name, changed in {
        "causal": {},
        "masked": dict(causal=False, vocab_size=257, accumulate=2),
    }.items():
        code, said = torchrun(2, tmp_path / name, **changed)
        assert code == 0, said
        assert set(re.findall(r"rank \d: scored (?:True|False)", said)) == {
            "rank 0: scored True",
            "rank 1: scored False",
        }, said
        left = [float(at) for at in re.findall(r"rank \d: scored \w+, left at ([\d.]+)", said)]
        # one that ends badly before rank 0 has written would stop it: torchrun ends all with the first that fails
        assert (
            len(left) == 2 and min(left) > (tmp_path / name / "model.safetensors").stat().st_mtime
        )
        assert said.count("validation:") == 1 and "2 processes" in said
        model = MODEL | {k: v for k, v in changed.items() if k != "accumulate"}
        train(
            ModelConfig(**model),
            TrainConfig(**TRAIN),
            corpus=corpus,
            out=tmp_path / f"{name} alone",
            progress=False,
        )
        same_run(tmp_path / name, tmp_path / f"{name} alone")
        assert {p.name for p in (tmp_path / name).iterdir()} == {
            p.name for p in (tmp_path / f"{name} alone").iterdir()
        }


def test_a_run_goes_on_with_another_number_of_processes(torchrun, corpus, tmp_path):
    train(
        ModelConfig(**MODEL),
        TrainConfig(**TRAIN),
        corpus=corpus,
        out=tmp_path / "whole",
        progress=False,
    )
    out = tmp_path / "parts"
    settings = dict(corpus=corpus, out=out, progress=False)
    train(ModelConfig(**MODEL), TrainConfig(**TRAIN), stop_at=2, **settings)
    code, said = torchrun(4, out, resume=True, stop_at=4)
    assert code == 0 and "going on after step 2" in said and "began elsewhere" in said, said
    train(ModelConfig(**MODEL), TrainConfig(**TRAIN), resume=True, **settings)
    assert [row["step"] for row in log_of(out)] == [1, 2, 3, 4, 5, 6]
    same_run(out, tmp_path / "whole")
    assert np.isfinite(json.loads((out / "result.json").read_text())["validation_bits_per_byte"])


WATCHED = """
import json, os, sys
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

model, settings, out, *_ = json.loads(sys.argv[1])
seen = []

def callback(row):
    seen.append(row["step"])
    return row["step"] < 5

run = train(ModelConfig(**model), TrainConfig(**settings), out=out, callback=callback, progress=False)
print(f"rank {os.environ['RANK']}: saw {seen}, ended at {run.log[-1]['step']}", flush=True)
os._exit(0)
"""


def test_scores_on_the_way_and_a_callback_are_rank_0s(torchrun, corpus, tmp_path):
    """It alone scores, keeps the best and calls back; where the callback ends the run, it ends for all."""
    scored = {"eval_every": 2, "checkpoint_every": 4}
    code, said = torchrun(2, tmp_path / "two", script=WATCHED, **scored)
    assert code == 0, said
    assert (
        "rank 0: saw [1, 2, 3, 4, 5], ended at 5" in said and "rank 1: saw [], ended at 5" in said
    )
    alone = train(
        ModelConfig(**MODEL),
        TrainConfig(**TRAIN | scored),
        corpus=corpus,
        out=tmp_path / "one",
        progress=False,
        callback=lambda row: row["step"] < 5,
    )
    ours, theirs = (
        load_file(tmp_path / name / "best" / "model.safetensors") for name in ("two", "one")
    )
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4, msg=name)
    rows = read_log(tmp_path / "two" / "log.csv")
    scores = [row["validation_bits_per_byte"] for row in rows if "validation_bits_per_byte" in row]
    assert scores == pytest.approx(
        [r["validation_bits_per_byte"] for r in alone.log if len(r) == 8], rel=1e-4
    )
    assert [path.name for path in checkpoint_folders(tmp_path / "two")] == [
        "step_000004",
        "step_000005",
    ]


def test_an_error_of_the_user_ends_all_processes(torchrun, tmp_path):
    code, said = torchrun(2, tmp_path / "out", batch=3)
    assert code != 0 and "batch=3 on 2 processes" in said


# ---------------------------------------------------------------- the command


SMALL = "--dim 16 --depth 1 --qk-dim 8 --chunk-size 8 --length 20 --batch 2 --eval-bytes 200 --device cpu"


def command(*argv, signal_at=None):
    """The command on two processes; a signal after the update that is named."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-u",
        "-m",
        "flash_course.cli",
        "train",
        "--processes",
        "2",
        *SMALL.split(),
        *argv,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        if signal_at:
            for line in process.stdout:
                if line.startswith(f"step {signal_at[0]}/"):
                    process.send_signal(signal_at[1])
                    break
        out, err = process.communicate(timeout=240)
    return process.returncode, out, err.strip().splitlines()


def test_an_error_of_the_user_is_one_line_of_several_processes(tmp_path):
    """Of all of them, and of the first alone, which looks at the folder."""
    out = ["--out", str(tmp_path / "run")]
    assert command(*out, "--lr", "0")[::2] == (
        2,
        ["flash-tutorial: error: --lr 0.0: expected a number above 0"],
    )
    assert cli.main(["train", *SMALL.split(), *out, "--steps", "4"]) == 0  # in this process
    code, _, lines = command(*out, "--steps", "4")
    assert code == 2 and len(lines) == 1 and "already holds a run" in lines[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal")
def test_a_signal_stops_all_processes_with_one_checkpoint(tmp_path):
    out = ["--out", str(tmp_path / "run"), "--steps", "400"]
    code, said, lines = command(*out, signal_at=(20, signal.SIGTERM))
    step = int(re.search(r"SIGTERM: stopped after update (\d+) of 400, with a checkpoint", said)[1])
    assert code == 143 and not lines and 20 <= step < 400
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "log.csv",
        "step_000000",
        f"step_{step:06d}",
    ]
    # the one process that is here goes on
    assert cli.main(["train", *SMALL.split(), *out, "--resume"]) == 0
