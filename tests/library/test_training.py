"""Training: the loop, its score, and that nothing is lost when it stops."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_run import CONFIG, MODEL, run, weights

from flash_course.drawing import training_curve
from flash_tutorial import LanguageModel
from flash_tutorial.corpora import Corpus, Split, load_corpus, load_file
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, learning_rate_at, parts
from flash_tutorial.training.checkpoints import last_checkpoint
from flash_tutorial.training.run_folder import read_log

pytestmark = pytest.mark.usefixtures("one_thread")


def same_weights(one, other, atol):
    for name, value in one.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], rtol=1e-3, atol=atol), name


# ---------------------------------------------------------------- the loop


def test_rate_rises_to_its_peak_and_falls_to_zero_in_a_line():
    config = TrainConfig(steps=10, warmup=4, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(10)]
    assert np.allclose(rates, [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert learning_rate_at(0, TrainConfig(warmup=0, learning_rate=1.0)) == 1


def test_batches_depend_on_seed_and_step_alone(corpus):
    first = draw_batch(corpus.train, CONFIG, 5, True)
    later = draw_batch(corpus.train, CONFIG, 6, True)
    other = draw_batch(corpus.train, replace(CONFIG, seed=1), 5, True)
    again = draw_batch(corpus.train, CONFIG, 5, True)
    assert all((a == b).all() for a, b in zip(first, again))
    assert (first[0] != later[0]).any() and (first[0] != other[0]).any()


def test_loss_falls_and_the_log_says_so(corpus):
    result = run(corpus, config=replace(CONFIG, steps=60, warmup=6))
    bits = [row["bits_per_byte"] for row in result.log]
    assert bits[0] > 6.5 and np.mean(bits[-5:]) < 4.2
    assert [row["step"] for row in result.log] == list(range(1, 61))
    assert result.log[-1]["tokens"] == 60 * 4 * 20
    assert result.evaluation.n_bytes == 200 and result.evaluation.bits_per_byte < 4.5


def test_updates_are_those_of_a_loop_by_hand(corpus):
    """And the log has their losses, norms and rates."""
    # enough decay to be seen after ten updates
    result = run(corpus, config=replace(CONFIG, weight_decay=2.0))
    torch.manual_seed(CONFIG.seed)
    model = LanguageModel(MODEL)
    moments = {
        name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in model.named_parameters()
    }
    for step, row in enumerate(result.log):
        ids, targets = (torch.from_numpy(t) for t in draw_batch(corpus.train, CONFIG, step, True))
        model.zero_grad()
        loss = model.loss(ids, targets, mask=targets >= 0)
        loss.backward()
        norm = sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5
        rate = learning_rate_at(step, CONFIG)
        logged = (row["loss"], row["gradient_norm"], row["learning_rate"])
        assert logged == pytest.approx((float(loss), norm, rate), rel=1e-4)
        for name, p in model.named_parameters():
            grad, (m, v) = p.grad * min(1, 1 / norm), moments[name]
            m += (1 - 0.9) * (grad - m)
            v += (1 - 0.999) * (grad**2 - v)
            m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            p.data -= rate * (2.0 * p.data + m_hat / (v_hat.sqrt() + 1e-6))
    same_weights(result.model, model, atol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_accumulation_changes_only_rounding(causal):
    """With short documents: parts of a batch hold different numbers of targets, and weigh by them."""
    model = replace(MODEL, causal=causal, vocab_size=257)
    split = Split.from_documents([b"Anne had " * n for n in (1, 5, 1)])
    short = Corpus("short", split, split, split)
    one, four = (run(short, model=model, config=replace(CONFIG, accumulate=n)) for n in (1, 4))
    same_weights(one.model, four.model, atol=2e-5)


def test_clip_and_seed_decide(corpus, whole):
    norms = [row["gradient_norm"] for row in whole.log]
    assert max(norms) > 1  # something was cut
    free = run(corpus, config=replace(CONFIG, clip=None))
    assert free.log[0]["gradient_norm"] == norms[0]
    assert weights(free.model) != weights(whole.model) == weights(run(corpus).model)
    assert weights(run(corpus, config=replace(CONFIG, seed=1)).model) != weights(whole.model)


def test_masked_objective_learns_and_scores_hidden_bytes_only(corpus):
    model = replace(MODEL, causal=False, vocab_size=257)
    result = run(corpus, model=model, config=replace(CONFIG, steps=60, warmup=6, eval_bytes=None))
    assert np.mean([row["bits_per_byte"] for row in result.log[-5:]]) < 5
    share = result.evaluation.n_bytes / len(corpus.validation.tokens)
    assert 0.1 < share < 0.2
    again = evaluate(result.model, corpus.validation, 20)
    assert again.bits_per_byte == result.evaluation.bits_per_byte


@pytest.mark.parametrize(
    "options, word",
    [
        (dict(steps=0), "steps=0"),
        (dict(batch=2.5), "batch=2.5"),
        (dict(learning_rate=0), "learning_rate=0"),
        (dict(learning_rate=float("nan")), "learning_rate=nan"),
        (dict(clip=0), "clip=0"),
        (dict(batch=8, accumulate=3), "accumulate=3"),
        (dict(steps=50, warmup=50), "warmup=50"),
        (dict(weight_decay=-1), "weight_decay=-1"),
        (dict(eval_bytes=-1), "eval_bytes=-1"),
        (dict(dtype="int8"), "dtype='int8'"),
        (dict(corpus=3), "corpus=3"),
        (dict(compile="yes"), "compile='yes'"),
        (dict(seed=2**63), "seed=9223372036854775808"),
    ],
)
def test_wrong_settings_are_named(options, word):
    with pytest.raises(ValueError, match=word) as error:
        TrainConfig(**options)
    assert "\n" not in str(error.value) and "expected" in str(error.value)


def test_too_small_a_vocabulary_is_named(corpus):
    for options, said in (
        (dict(causal=False), "vocab_size=256: expected at least 257"),
        (dict(vocab_size=100), "vocab_size=100: expected at least 256"),
    ):
        with pytest.raises(ValueError, match=said):
            run(corpus, model=replace(MODEL, **options))


def test_loss_that_is_not_finite_stops_before_the_weights_are_spoilt(corpus, tmp_path, monkeypatch):
    loss, calls = LanguageModel.loss, []

    def broken(self, *args, **kwargs):
        calls.append(1)
        return loss(self, *args, **kwargs) * (float("nan") if len(calls) == 8 else 1)

    monkeypatch.setattr(LanguageModel, "loss", broken)
    with pytest.raises(
        ValueError, match=r"step 8, learning rate 0\.00375.*loss is nan.*lower"
    ) as error:
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

    monkeypatch.setattr(torch, "compile", lambda function, **options: broken)
    with pytest.raises(ValueError, match=r"torch.compile does not work here \(no C\+\+ compiler\)"):
        run(corpus, config=replace(CONFIG, compile=True))


# ---------------------------------------------------------------- the figure


def test_the_curve_shows_the_log_and_the_scores_on_the_way():
    rows = [{"step": step, "bits_per_token": 9.0 - step} for step in range(1, 7)]
    for step, score in ((2, 7.5), (4, 6.25), (6, 6.5)):
        rows[step - 1]["validation_bits_per_token"] = score
    figure, alt = training_curve(rows, 6.5)
    first, *others = figure.axes[0].get_lines()
    assert first.get_xydata().tolist() == [[step, 9.0 - step] for step in range(1, 7)]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in others}
    assert drawn["validation on the way"] == [[2, 7.5], [4, 6.25], [6, 6.5]]
    assert figure.axes[0].get_ylabel() == "bits per token"
    assert "bits per token over 6 updates" in alt
    assert "3 validation scores on the way, of which the best is 6.250" in alt
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
    assert LanguageModel.from_pretrained(tmp_path).config == MODEL


def test_a_run_starts_from_trained_weights(whole, whole_folder, corpus, tmp_path):
    """Its first loss is that of the trained model, another shape is refused, and it goes on after a stop as it is."""
    config = replace(CONFIG, steps=4, start_from=str(whole_folder))
    tuned = run(corpus, tmp_path / "tuned", config=config)
    ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, 0, True))
    expected = float(whole.model.loss(ids, targets, mask=targets != -100))
    assert abs(tuned.log[0]["loss"] - expected) < 1e-5
    assert abs(whole.log[0]["loss"] - expected) > 1e-5
    with pytest.raises(ValueError, match="has dim=16, but dim=32 is asked for"):
        run(corpus, model=replace(MODEL, dim=32), config=config)
    (tmp_path / "tuned" / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "tuned" / "step_000004")
    again = run(corpus, tmp_path / "tuned", config=config, resume=True)
    assert weights(again.model) == weights(tuned.model)


# ---------------------------------------------------------------- a text of a few lines


def test_a_short_text_is_called_short(tmp_path, corpus, capsys):
    path = tmp_path / "short.txt"
    path.write_text("It is a truth universally acknowledged.")
    config = replace(CONFIG, steps=2, warmup=0, length=40)
    run(load_file(path), config=config, model=replace(MODEL, max_length=40), say=True)
    said = capsys.readouterr().out
    assert "the longest document has 35 bytes, fewer than a window of 40" in said
    assert "the validation text has 2 bytes: a score over fewer than 1,000 says little" in said
    run(load_corpus("austen"), config=replace(CONFIG, steps=2, warmup=0), say=True)
    said = capsys.readouterr().out
    assert "the longest" not in said and "says little" not in said


def test_each_update_drops_other_numbers(corpus):
    dropping = LanguageModel(replace(MODEL, dropout=0.5))
    dropped = []
    unit = dropping.stack.units[0]
    unit.register_forward_pre_hook(lambda unit, inputs: dropped.append(inputs[0] == 0))
    run(corpus, model=dropping, config=replace(CONFIG, steps=2, warmup=0, eval_bytes=0))
    assert dropped[0].any() and not torch.equal(*dropped)


def test_no_batch_of_a_seed_is_one_of_another(corpus):
    drawn = [
        draw_batch(corpus.train, replace(CONFIG, seed=seed), step, True)[0].tobytes()
        for seed in range(4)
        for step in range(4)
    ]
    assert len({*drawn}) == 16


@pytest.mark.parametrize("causal", [True, False])
def test_what_fills_a_window_up_is_hidden_from_the_model(causal):
    split = Split.from_documents([b"A short one.", b"And another"])
    settings = TrainConfig(batch=4, length=20)
    for ids, targets, mask, _ in parts(split, settings, 0, causal, torch.device("cpu")):
        lengths = mask.sum(1)
        assert set(lengths.tolist()) <= {11, 12}
        assert torch.equal(mask, torch.arange(20) < lengths[:, None])
        assert (targets[~mask] == -100).all() and (ids[~mask] == 0).all()
