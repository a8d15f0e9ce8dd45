"""Training on two processes, as torchrun starts them: the same losses as one, files written once, resume with another
number of processes."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

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
PROGRAM = """
import json, os, sys, time
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

model, settings, out, options, last = json.loads(sys.argv[1])
seen = []

def callback(row):
    seen.append(row["step"])
    return row["step"] < last

run = train(ModelConfig(**model), TrainConfig(**settings), out=out, callback=callback, **options)
print(f"rank {os.environ['RANK']}: scored {run.evaluation is not None}, left at {time.time()}", flush=True)
print(f"rank {os.environ['RANK']}: saw {seen}, ended at {run.log[-1]['step']}", flush=True)
os._exit(0)
"""
# DistributedDataParallel keeps gloo's threads alive beyond the end of its group. One that still lets go of a tensor
# while the interpreter ends aborts the process ("terminate called without an active exception"), now and then on a
# busy machine, whatever was trained before. So these processes leave without an end of the interpreter.


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("austen")


@pytest.fixture
def alone(corpus):
    """Train on this one process."""

    def train_alone(out, model=MODEL, settings=TRAIN, **options):
        configs = ModelConfig(**model), TrainConfig(**settings)
        return train(*configs, corpus=corpus, out=out, progress=False, **options)

    return train_alone


@pytest.fixture
def torchrun(tmp_path):
    """Train on several processes, until a callback ends it after the ``last`` update; gives what they said."""

    def start(processes, out, model=MODEL, settings=TRAIN, last=99, **options):
        (tmp_path / "script.py").write_text(PROGRAM, encoding="utf-8")
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        given = json.dumps([model, settings, str(out), options, last])
        done = subprocess.run(
            [*run, str(processes), "script.py", given],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return done.returncode, done.stdout + done.stderr

    return start


def same_weights(ours, theirs):
    """The models of two folders, up to rounding."""
    other = load_file(theirs / "model.safetensors")
    for name, value in load_file(ours / "model.safetensors").items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4, msg=name)


def same_run(out, other):
    """Losses, gradient norms and weights of two folders, up to rounding."""
    for a, b in zip(read_log(out / "log.csv"), read_log(other / "log.csv"), strict=True):
        for key in ("step", "loss", "gradient_norm", "tokens"):
            assert a[key] == pytest.approx(b[key], rel=1e-4), (a["step"], key)
    same_weights(out, other)


# ---------------------------------------------------------------- rows


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


def test_a_batch_that_cannot_be_shared_is_refused(alone, monkeypatch):
    @contextmanager
    def three(device):
        yield Group(0, 3), torch.device("cpu")

    monkeypatch.setattr("flash_tutorial.training.session.training_group", three)
    said = "batch=8 on 3 processes in accumulate=1 parts: expected a multiple of 3"
    with pytest.raises(ValueError, match=said):
        alone(None)


# ---------------------------------------------------------------- whole runs


@pytest.mark.parametrize(
    "model, settings",
    [
        (MODEL, TRAIN),
        # parts, and windows with unequal numbers of targets
        pytest.param(
            MODEL | dict(causal=False, vocab_size=257),
            TRAIN | dict(accumulate=2),
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["causal", "masked"],
)
def test_two_processes_are_one(torchrun, alone, tmp_path, model, settings):
    """And none leaves before rank 0 has written."""
    two, one = tmp_path / "two", tmp_path / "one"
    code, said = torchrun(2, two, model, settings)
    assert code == 0, said
    assert said.count("validation:") == 1 and "2 processes" in said
    assert "rank 0: scored True" in said and "rank 1: scored False" in said
    left = [float(at) for at in re.findall(r"left at ([\d.]+)", said)]
    # one that ends badly before rank 0 has written would stop it: torchrun ends all with the first that fails
    assert len(left) == 2 and min(left) > (two / "model.safetensors").stat().st_mtime
    alone(one, model)
    same_run(two, one)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}


@pytest.mark.nightly
def test_a_run_goes_on_with_another_number_of_processes(torchrun, alone, tmp_path):
    out = tmp_path / "parts"
    alone(tmp_path / "whole")
    alone(out, stop_at=2)
    code, said = torchrun(4, out, resume=True, stop_at=4)
    assert code == 0 and "going on after step 2" in said and "began elsewhere" in said, said
    resumed = alone(out, resume=True)
    assert [row["step"] for row in read_log(out / "log.csv")] == [1, 2, 3, 4, 5, 6]
    same_run(out, tmp_path / "whole")
    assert np.isfinite(resumed.evaluation.bits_per_byte)


@pytest.mark.nightly
def test_scores_on_the_way_and_a_callback_are_rank_0s(torchrun, alone, tmp_path):
    """It alone scores, keeps the best and calls back; where the callback ends the run, it ends for all."""
    scored = TRAIN | {"eval_every": 2, "checkpoint_every": 4}
    two, key = tmp_path / "two", "validation_bits_per_byte"
    code, said = torchrun(2, two, settings=scored, last=5)
    assert code == 0, said
    assert "rank 0: saw [1, 2, 3, 4, 5], ended at 5" in said
    assert "rank 1: saw [], ended at 5" in said
    expected = alone(tmp_path / "one", settings=scored, callback=lambda row: row["step"] < 5)
    same_weights(two / "best", tmp_path / "one" / "best")
    ours, theirs = (
        [row[key] for row in rows if key in row]
        for rows in (read_log(two / "log.csv"), expected.log)
    )
    assert ours == pytest.approx(theirs, rel=1e-4) and len(ours) == 2
    assert [path.name for path in checkpoint_folders(two)] == ["step_000004", "step_000005"]


@pytest.mark.nightly
def test_an_error_of_the_user_ends_all_processes(torchrun, tmp_path):
    code, said = torchrun(2, tmp_path / "out", settings=TRAIN | {"batch": 3})
    assert code != 0 and "batch=3 on 2 processes" in said


# ---------------------------------------------------------------- the command


SMALL = "--dim 16 --depth 1 --qk-dim 8 --chunk-size 8 --length 20 --batch 2 --eval-bytes 200 --device cpu"


def command(*argv, signal_at=None):
    """The command on two processes; a signal after the update that is named."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-u", "-m", "flash_course.cli", "train", "--processes", "2"]
    command = [*program, *SMALL.split(), *argv]
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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
