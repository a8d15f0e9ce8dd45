"""Training: the loop, its score, and that nothing is lost when it stops."""

import errno
import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flash_course.figures import training_curve
from flash_tutorial import FLASH, LanguageModel, ModelConfig, checkpoints, devices, files, training
from flash_tutorial import devices as memory
from flash_tutorial.checkpoints import checkpoint_folders, last_checkpoint, read_log
from flash_tutorial.corpora import Split, load_file
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, first_bytes, learning_rate_at, train

pytestmark = pytest.mark.quick

MODEL = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20)
CONFIG = TrainConfig(steps=10, batch=4, length=20, warmup=2, eval_bytes=200, checkpoint_every=3)
FILES = ("training.json", "config.json", "model.safetensors", "optimizer.safetensors")


class Killed(BaseException):
    """Stands for the end of the process: no handler of the package catches it."""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Three documents, the middle ones shorter than a window."""
    rng = np.random.default_rng(0)
    words = ["Anne", "had", "been", "forced", "into", "prudence", "in", "her", "youth"]
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\0".join(" ".join(rng.choice(words, n)) for n in (300, 2, 2, 60, 60)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(text):
    return load_file(text)


def run(corpus, out=None, model=MODEL, config=CONFIG, **options):
    return train(model, config, corpus=corpus, out=out, progress=False, **options)


@pytest.fixture(scope="module")
def whole(corpus):
    """The run that nothing stops."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run(corpus)
    torch.set_num_threads(threads)
    return result


def weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# ---------------------------------------------------------------- the loop


def test_rate_rises_to_its_peak_and_falls_to_zero_in_a_line():
    config = TrainConfig(steps=10, warmup=4, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(10)]
    assert np.allclose(rates, [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert learning_rate_at(0, TrainConfig(warmup=0, learning_rate=1.0)) == 1


def test_batches_depend_on_seed_and_step_alone(corpus):
    first = draw_batch(corpus.train, CONFIG, 5, True)
    draw_batch(corpus.train, CONFIG, 6, True)
    again = draw_batch(corpus.train, CONFIG, 5, True)
    assert all((a == b).all() for a, b in zip(first, again))
    for other in (
        draw_batch(corpus.train, CONFIG, 6, True),
        draw_batch(corpus.train, replace(CONFIG, seed=1), 5, True),
    ):
        assert (first[0] != other[0]).any()


def test_loss_falls_and_the_log_says_so(corpus):
    result = run(corpus, config=replace(CONFIG, steps=60, warmup=6))
    bits = [row["bits_per_byte"] for row in result.log]
    assert bits[0] > 6.5 and np.mean(bits[-5:]) < 4.2
    assert [row["step"] for row in result.log] == list(range(1, 61))
    assert result.log[-1]["tokens"] == 60 * 4 * 20
    assert result.evaluation.n_bytes == 200 and result.evaluation.bits_per_byte < 4.5


def test_updates_are_those_of_a_loop_by_hand(corpus):
    result = run(corpus, config=replace(CONFIG, weight_decay=2.0))  # enough to be seen after ten updates
    torch.manual_seed(CONFIG.seed)
    model = LanguageModel(MODEL)
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in model.named_parameters()}
    for step in range(CONFIG.steps):
        ids, targets = (torch.from_numpy(t) for t in draw_batch(corpus.train, CONFIG, step, True))
        model.zero_grad()
        model.loss(ids, targets, mask=None if (targets >= 0).all() else targets >= 0).backward()
        norm = sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5
        rate = learning_rate_at(step, CONFIG)
        for name, p in model.named_parameters():
            grad, (m, v) = p.grad * min(1, 1 / norm), moments[name]
            m += (1 - 0.9) * (grad - m)
            v += (1 - 0.999) * (grad**2 - v)
            m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            p.data -= rate * (2.0 * p.data + m_hat / (v_hat.sqrt() + 1e-6))
    for name, value in result.model.state_dict().items():
        assert torch.allclose(value, model.state_dict()[name], rtol=1e-3, atol=1e-4), name


def test_one_step_called_by_hand_is_that_of_the_loop(corpus, whole):
    """``train_step`` needs no more than a model, an optimizer and a batch, and fits on a page."""
    torch.manual_seed(CONFIG.seed)
    model = LanguageModel(MODEL)
    optimizer = training.new_optimizer(model, CONFIG)
    for row in whole.log:
        step = row["step"] - 1
        batch = training.parts(corpus.train, CONFIG, step, True, "cpu")
        loss, norm = training.train_step(model, optimizer, batch, step, CONFIG)
        assert (loss, norm) == (row["loss"], row["gradient_norm"])
        assert optimizer.param_groups[0]["lr"] == row["learning_rate"]
    assert weights(model) == weights(whole.model)
    assert len(inspect.getsource(training.train_step).splitlines()) <= 30


@pytest.mark.parametrize("causal", [True, False])
def test_accumulation_changes_only_rounding(corpus, causal):
    """With short documents: parts of a batch hold different numbers of targets, and weigh by them."""
    model = replace(MODEL, causal=causal, vocab_size=257)
    short = corpus.__class__("short", *[Split.from_documents([b"Anne had " * n for n in (1, 5, 1)])] * 3)
    one, four = (run(short, model=model, config=replace(CONFIG, accumulate=n)) for n in (1, 4))
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value, four.model.state_dict()[name], rtol=1e-3, atol=2e-5), name


def test_clip_bounds_the_update(corpus, whole):
    norms = [row["gradient_norm"] for row in whole.log]
    assert max(norms) > 1  # something was cut
    free = run(corpus, config=replace(CONFIG, clip=None))
    assert free.log[0]["gradient_norm"] == norms[0]
    assert weights(free.model) != weights(whole.model)


def test_seed_decides(corpus, whole):
    assert weights(run(corpus).model) == weights(whole.model)
    assert weights(run(corpus, config=replace(CONFIG, seed=1)).model) != weights(whole.model)


def test_masked_objective_learns_and_scores_hidden_bytes_only(corpus):
    model = replace(MODEL, causal=False, vocab_size=257)
    result = run(corpus, model=model, config=replace(CONFIG, steps=60, warmup=6, eval_bytes=None))
    assert np.mean([row["bits_per_byte"] for row in result.log[-5:]]) < 5
    share = result.evaluation.n_bytes / len(corpus.validation.tokens)
    assert 0.1 < share < 0.2
    assert evaluate(result.model, corpus.validation, 20).bits_per_byte == result.evaluation.bits_per_byte


@pytest.mark.parametrize(
    "options, word",
    [
        (dict(steps=0), "steps=0"), (dict(batch=2.5), "batch=2.5"), (dict(learning_rate=0), "learning_rate=0"),
        (dict(learning_rate=float("nan")), "learning_rate=nan"), (dict(clip=0), "clip=0"),
        (dict(batch=8, accumulate=3), "accumulate=3"), (dict(steps=50, warmup=50), "warmup=50"),
        (dict(weight_decay=-1), "weight_decay=-1"), (dict(eval_bytes=-1), "eval_bytes=-1"),
        (dict(dtype="int8"), "dtype='int8'"), (dict(corpus=3), "corpus=3"), (dict(compile="yes"), "compile='yes'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(options, word):
    with pytest.raises(ValueError, match=word) as error:
        TrainConfig(**options)
    assert "\n" not in str(error.value) and "expected" in str(error.value)


def test_too_small_a_vocabulary_is_named(corpus):
    with pytest.raises(ValueError, match="vocab_size=256: expected at least 257"):
        run(corpus, model=replace(MODEL, causal=False))
    with pytest.raises(ValueError, match="vocab_size=100: expected at least 256"):
        run(corpus, model=replace(MODEL, vocab_size=100))


def test_loss_that_is_not_finite_stops_before_the_weights_are_spoilt(corpus, tmp_path, monkeypatch):
    loss, calls = LanguageModel.loss, []

    def broken(self, *args, **kwargs):
        calls.append(1)
        return loss(self, *args, **kwargs) * (float("nan") if len(calls) == 8 else 1)

    monkeypatch.setattr(LanguageModel, "loss", broken)
    with pytest.raises(ValueError, match=r"step 8, learning rate 0\.00375.*loss is nan.*lower") as error:
        run(corpus, tmp_path)
    assert "\n" not in str(error.value)
    assert last_checkpoint(tmp_path)[1]["step"] == 6
    assert all(np.isfinite(row["loss"]) for row in read_log(tmp_path / "log.csv"))


def test_gradient_that_is_not_finite_stops_as_well(corpus, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(ValueError, match="norm inf"):
        run(corpus)


def test_a_machine_without_a_compiler_gets_one_line(corpus, monkeypatch):
    def broken(*args, **kwargs):
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\nmore lines")

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    with pytest.raises(ValueError, match=r"torch.compile does not work here \(no C\+\+ compiler\)"):
        run(corpus, config=replace(CONFIG, compile=True))


def test_a_user_s_unit_with_dropout_goes_on_bit_by_bit(corpus, tmp_path):
    class Dropping(FLASH):
        def forward(self, x, mask=None, segment_ids=None):
            return torch.nn.functional.dropout(super().forward(x, mask, segment_ids), 0.1, self.training)

    model = ModelConfig(Dropping, dim=16, depth=1, max_length=20, unit_options=dict(qk_dim=8, chunk_size=8))
    expected = run(corpus, model=model)
    run(corpus, tmp_path, model)
    for path in checkpoint_folders(tmp_path)[1:]:
        shutil.rmtree(path)
    resumed = run(corpus, tmp_path, model, resume=True)
    assert weights(resumed.model) == weights(expected.model)


# ---------------------------------------------------------------- checkpoints


def test_folder_of_a_run(corpus, tmp_path, whole):
    result = run(corpus, tmp_path / "new" / "run")
    out = tmp_path / "new" / "run"
    assert [path.name for path in checkpoint_folders(out)] == ["step_000009", "step_000010"]  # the last two
    assert not list(out.glob(".*"))
    assert weights(LanguageModel.from_pretrained(out)) == weights(result.model) == weights(whole.model)
    assert weights(LanguageModel.from_pretrained(out / "step_000010")) == weights(result.model)
    assert read_log(out / "log.csv") == result.log and len(result.log) == 10
    assert json.loads((out / "result.json").read_text())["validation_bits_per_byte"] == result.evaluation.bits_per_byte
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".json", ".safetensors", ".csv"}


@pytest.mark.parametrize("gone", ["model.safetensors", "step_*"])
def test_a_run_is_not_written_over(corpus, tmp_path, gone):
    """Neither one that was stopped nor the model of one that has ended."""
    run(corpus, tmp_path)
    for path in tmp_path.glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="already holds a run"):
        run(corpus, tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def kill_at(monkeypatch, count):
    """Raise ``Killed`` at the ``count``-th write, rename or removal. Returns the list of what was called."""
    calls = []

    def watch(module, name):
        original = getattr(module, name)

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == count:
                raise Killed
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    for module, name in (
        (checkpoints, "save_tensors"), (checkpoints, "write_text"), (checkpoints.Log, "append"),
        (os, "replace"), (os, "fsync"), (shutil, "rmtree"), (os, "unlink"), (files, "save_file"),
    ):  # fmt: skip
        watch(module, name)
    return calls


def test_killed_at_any_write_it_goes_on_to_the_same_weights(corpus, tmp_path, whole):
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 0)
        run(corpus, tmp_path / "count")
        writes = len(calls)
    assert writes > 60
    for count in range(1, writes + 1, 5):
        out = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, count)
            with pytest.raises(Killed):
                run(corpus, out)
        for path in checkpoint_folders(out):
            checkpoints.read_checkpoint(path)  # whole, or not there
        result = run(corpus, out, resume=True)
        assert weights(result.model) == weights(whole.model), count
        assert without_seconds(result.log) == without_seconds(whole.log), count
        assert without_seconds(read_log(out / "log.csv")) == without_seconds(whole.log), count
        assert not list(out.glob(".*")), count


SCRIPT = """
import sys
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train
import torch
if __name__ == "__main__":
    torch.set_num_threads(1)
    train(ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20),
          TrainConfig(steps=60, batch=4, length=20, warmup=2, eval_bytes=200, checkpoint_every=2, corpus=sys.argv[1]),
          out=sys.argv[2], resume=True)
"""


def test_sigkill_at_random_moments_changes_no_bit(text, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-u", str(script), str(text), str(tmp_path / "out")]
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    steps = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("step "):  # the loop runs, and every second step is being written
                    break
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        found = last_checkpoint(tmp_path / "out", say=pytest.fail)
        steps.append(found[1]["step"])
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    config = TrainConfig(steps=60, batch=4, length=20, warmup=2, eval_bytes=200, checkpoint_every=2, corpus=str(text))
    expected = train(MODEL, config, out=tmp_path / "expected", progress=False)
    assert steps[0] < 60, "the first kill came too late to show anything"
    for name in ("model.safetensors", "optimizer.safetensors"):
        left, right = (tmp_path / folder / "step_000060" / name for folder in ("out", "expected"))
        assert left.read_bytes() == right.read_bytes()
    assert without_seconds(read_log(tmp_path / "out" / "log.csv")) == without_seconds(expected.log)


def damage(path, how):
    raw = bytearray(path.read_bytes())
    if how == "cut":
        raw = raw[: len(raw) // 2]
    elif how == "altered":
        if path.suffix == ".json":
            raw = raw.replace(b'"dim": 16', b'"dim": 17')  # still JSON
        else:
            raw[-3] ^= 1
        assert raw != path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(raw)


@pytest.mark.parametrize("how", ["cut", "altered", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_checkpoint_is_passed_over_and_named(corpus, tmp_path, whole, name, how, capsys):
    run(corpus, tmp_path)
    damage(tmp_path / "step_000010" / name, how)
    said = []
    assert last_checkpoint(tmp_path, said.append)[1]["step"] == 9
    assert len(said) == 1 and "step_000010" in said[0] and "\n" not in said[0]
    result = run(corpus, tmp_path, resume=True)
    assert weights(result.model) == weights(whole.model)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000009", "step_000010"]
    assert last_checkpoint(tmp_path, pytest.fail)[1]["step"] == 10


def test_no_whole_checkpoint_is_one_line(corpus, tmp_path):
    run(corpus, tmp_path)
    for path in checkpoint_folders(tmp_path):
        damage(path / "optimizer.safetensors", "altered")
    with pytest.raises(ValueError, match=r"step_000009.*altered.*no earlier checkpoint is whole") as error:
        last_checkpoint(tmp_path, lambda line: None)
    assert "\n" not in str(error.value)


def test_a_later_damaged_checkpoint_does_not_push_a_whole_one_out(corpus, tmp_path):
    run(corpus, tmp_path)
    shutil.copytree(tmp_path / "step_000010", tmp_path / "step_000011")
    for step in (10, 11):
        damage(tmp_path / f"step_{step:06d}" / "training.json", "cut")
    run(corpus, tmp_path, resume=True)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000009", "step_000010"]


@pytest.mark.parametrize("where", ["model.safetensors", "optimizer.safetensors", "training.json", "log.csv"])
def test_full_disk_is_one_line_and_loses_nothing(corpus, tmp_path, monkeypatch, whole, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def on(name, original, module):
        def call(first, second, *args, **kwargs):
            path = Path(second if module is files else first)
            if where in path.name and ("step_000006" in str(path) or where == "log.csv"):
                raise full
            return original(first, second, *args, **kwargs)

        monkeypatch.setattr(module, name, call)

    if where == "log.csv":
        append = checkpoints.Log.append

        def refuse(self, **row):
            if row["step"] == 6:
                monkeypatch.setattr("builtins.open", lambda *args, **kwargs: (_ for _ in ()).throw(full))
            return append(self, **row)

        monkeypatch.setattr(checkpoints.Log, "append", refuse)
    elif where == "training.json":
        on("write_text", checkpoints.write_text, checkpoints)
    else:
        on("save_file", files.save_file, files)
    with pytest.raises(ValueError, match=r"No space left on device.*free some space") as error:
        run(corpus, tmp_path)
    monkeypatch.undo()
    assert "\n" not in str(error.value)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000000", "step_000003"]
    assert not list(tmp_path.glob(".step*"))
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)


@pytest.mark.parametrize(
    "key, value", [("learning_rate", 0.02), ("batch", 8), ("steps", 20), ("seed", 1), ("clip", None), ("accumulate", 2)]
)
def test_resume_with_another_setting_names_it(corpus, tmp_path, key, value):
    run(corpus, tmp_path)
    with pytest.raises(ValueError, match=f"{key}={getattr(CONFIG, key)!r}, now {key}={value!r}") as error:
        run(corpus, tmp_path, config=replace(CONFIG, **{key: value}), resume=True)
    assert "\n" not in str(error.value)


def test_resume_with_another_model_or_text_names_it(corpus, tmp_path):
    run(corpus, tmp_path)
    with pytest.raises(ValueError, match="dim=16, now dim=32"):
        run(corpus, tmp_path, replace(MODEL, dim=32), resume=True)
    other = corpus.__class__(corpus.name, corpus.validation, corpus.train, corpus.test)
    with pytest.raises(ValueError, match="train_sha256"):
        run(other, tmp_path, resume=True)
    run(corpus, tmp_path, config=replace(CONFIG, eval_bytes=100, checkpoint_every=5), resume=True)  # no part in it


def test_a_run_cut_short_is_the_first_part_of_the_whole_one(corpus, tmp_path, whole):
    """Its rates fall as if nothing were cut, and it goes on to the same weights; another run is refused as before."""
    cut = run(corpus, tmp_path, stop_at=4)
    assert without_seconds(cut.log) == without_seconds(whole.log[:4]) == without_seconds(run(corpus, stop_at=4).log)
    assert cut.evaluation is None and not (tmp_path / "model.safetensors").exists()
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_000003", "step_000004"]
    run(corpus, tmp_path, resume=True, stop_at=7)
    with pytest.raises(ValueError, match="already holds a run"):
        run(corpus, tmp_path, stop_at=9)
    resumed = run(corpus, tmp_path, resume=True, stop_at=10)
    assert weights(resumed.model) == weights(whole.model) != weights(cut.model)
    assert without_seconds(resumed.log) == without_seconds(whole.log)
    assert resumed.evaluation.bits_per_byte == whole.evaluation.bits_per_byte


@pytest.mark.parametrize("stop_at", [0, 11, 2.0, True, 3])
def test_a_stop_that_cannot_be_is_named(corpus, tmp_path, stop_at):
    run(corpus, tmp_path, stop_at=4)
    with pytest.raises(ValueError, match=f"stop_at={stop_at!r}: expected an integer from 4 to 10, since 4 updates"):
        run(corpus, tmp_path, resume=True, stop_at=stop_at)
    with pytest.raises(ValueError, match=r"stop_at=0: expected an integer from 1 to 10$"):
        run(corpus, stop_at=0)


def test_resume_without_a_checkpoint_starts(corpus, tmp_path, whole):
    assert weights(run(corpus, tmp_path, resume=True).model) == weights(whole.model)
    with pytest.raises(ValueError, match="resume=True without out"):
        run(corpus, resume=True)


# ---------------------------------------------------------------- the score


def test_model_that_knows_nothing_scores_eight_bits(corpus):
    model = LanguageModel(MODEL)
    torch.nn.init.zeros_(model.embedding.weight)
    score = evaluate(model, corpus.validation, 20)
    assert abs(score.bits_per_byte - 8) < 1e-6 and np.allclose(score.by_position, 8)
    assert score.n_bytes == len(corpus.validation.tokens)


def order_one(model):
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan = parameter.shape[-1] if parameter.dim() > 1 else 1
        torch.nn.init.normal_(parameter, std=fan**-0.5, generator=generator)
    return model


def test_score_counts_every_byte_once_whatever_the_batch():
    """Against a loop over single windows; documents end inside a window."""
    rng = np.random.default_rng(1)
    documents = [bytes(rng.integers(97, 123, n).tolist()) for n in (7, 63, 20)]
    split = Split.from_documents(documents)
    model = order_one(LanguageModel(MODEL))
    nats, by_position = 0.0, np.zeros((2, 20))
    for document in documents:
        for start in range(0, len(document), 20):
            target = list(document[start : start + 20])
            ids = [document[start - 1] if start else 0, *target[:-1]]
            log_p = model(torch.tensor([ids])).log_softmax(-1)[0].detach()
            losses = np.array([-float(log_p[i, t]) for i, t in enumerate(target)])
            nats += losses.sum()
            by_position[:, : len(target)] += [losses, np.ones(len(target))]
    for batch in (1, 3, 8):
        score = evaluate(model, split, 20, batch)
        assert score.n_bytes == 90
        assert abs(score.bits_per_byte - nats / np.log(2) / 90) < 1e-5
        assert np.allclose(score.by_position, by_position[0] / by_position[1] / np.log(2), atol=1e-5)


def test_first_bytes_cuts_the_last_document():
    split = Split.from_documents([b"abc", b"defg", b"hi"], ("x", "y", "z"))
    cut = first_bytes(split, 5)
    assert cut.tokens.tobytes() == b"abcde" and cut.offsets.tolist() == [0, 3, 5] and cut.titles == ("x", "y")
    assert first_bytes(split, 3).offsets.tolist() == [0, 3]
    assert first_bytes(split, None) is split and first_bytes(split, 100) is split
    with pytest.raises(ValueError, match="n=0"):
        first_bytes(split, 0)


def test_evaluation_leaves_the_model_as_it_was(corpus):
    model = LanguageModel(MODEL).train()
    evaluate(model, first_bytes(corpus.validation, 50), 20)
    assert model.training and all(p.grad is None for p in model.parameters())


# ---------------------------------------------------------------- devices, memory, figure


CAPABILITIES = [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")]


@pytest.mark.parametrize("capability, dtype", CAPABILITIES)
def test_number_format_follows_the_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    chosen, why = devices.pick_dtype("cuda")
    assert chosen == getattr(torch, dtype) and "{}.{}".format(*capability) in why


def test_cpu_and_mps_take_float32():
    assert devices.pick_dtype("cpu")[0] == devices.pick_dtype("mps")[0] == torch.float32


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: devices.pick_dtype("cpu", "float16"), "float16"),
        (lambda: devices.pick_dtype("cpu", "int8"), "int8"),
        (lambda: devices.pick_device("gpu"), "gpu"),
        (lambda: devices.pick_device("cuda:99"), "cuda:99"),
    ],
)
def test_device_that_is_not_there_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_description_is_one_line():
    line = devices.describe_device("cpu")
    assert "\n" not in line and torch.__version__ in line and "float32 (" in line


def test_freed_memory_is_reused_without_page_faults():
    resource = pytest.importorskip("resource", reason="counts page faults, which Windows does not tell")
    if not memory.keep_freed_memory():
        pytest.skip("only glibc on Linux hands freed memory back at once")
    x = torch.randn(1, 2048, 1152)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.nn.functional.silu(x)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(), faults()
    assert faults() < 200  # 9.4 MB are 2304 pages


@pytest.mark.parametrize("system, libc", [("Darwin", ("", "")), ("Windows", ("", "")), ("Linux", ("musl", "1"))])
def test_other_systems_are_left_alone(monkeypatch, system, libc):
    monkeypatch.setattr(memory.platform, "system", lambda: system)
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("called"))
    assert memory.keep_freed_memory() is False


def test_curve_shows_the_log_and_says_it_in_words(whole):
    figure, alt = training_curve(whole.log, 3.21)
    axes = figure.axes[0]
    drawn = axes.get_lines()[0].get_xydata()
    assert np.allclose(drawn, [(row["step"], row["bits_per_byte"]) for row in whole.log])
    assert "10 updates" in alt and "3.21" in alt
    words = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_legend().get_texts()]
    assert min(word.get_fontsize() for word in words) >= 9
    with pytest.raises(ValueError, match="empty"):
        training_curve([])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_training_on_a_gpu_learns_and_goes_on(corpus, tmp_path, dtype):
    config = replace(CONFIG, steps=60, warmup=6, dtype=dtype, checkpoint_every=30)
    result = run(corpus, tmp_path, config=config, device="cuda")
    assert np.mean([row["bits_per_byte"] for row in result.log[-5:]]) < 4.2
    shutil.rmtree(tmp_path / "step_000060")
    resumed = run(corpus, tmp_path, config=config, device="cuda", resume=True)
    assert abs(resumed.evaluation.bits_per_byte - result.evaluation.bits_per_byte) < 0.05
    assert training.load_model(tmp_path, MODEL).config == MODEL


def test_a_run_starts_from_trained_weights(whole, corpus, tmp_path):
    """Its first loss is that of the trained model, another shape is refused, and it goes on after a stop as it is."""
    whole.model.save_pretrained(tmp_path / "trained")
    config = replace(CONFIG, steps=4, start_from=str(tmp_path / "trained"))
    tuned = run(corpus, tmp_path / "tuned", config=config)
    ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, 0, True))
    expected = float(whole.model.loss(ids, targets, mask=None if (targets != -100).all() else targets != -100))
    assert abs(tuned.log[0]["loss"] - expected) < 1e-5 < abs(tuned.log[0]["loss"] - run(corpus).log[0]["loss"])
    with pytest.raises(ValueError, match="has dim=16, but dim=32 is asked for"):
        run(corpus, model=replace(MODEL, dim=32), config=config)
    (tmp_path / "tuned" / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "tuned" / "step_000004")
    again = run(corpus, tmp_path / "tuned", config=config, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), tuned.model.parameters()))
