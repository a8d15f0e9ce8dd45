"""``flash_tutorial.hf``: transformers' Trainer trains and resumes, peft adapts, and the example runs."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from small_hf import all_of_ours, both, datasets, hf_config, peft, prompts, transformers
from small_model import ids

from flash_tutorial import SequenceClassifier, pack
from flash_tutorial.encoders import POOLINGS
from flash_tutorial.hf import (
    FlashForCausalLM,
    FlashForMaskedLM,
    FlashForSequenceClassification,
    FlashForTokenClassification,
)

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hf_trainer.py"
ROWS = 24
# every projection of the gated units, and of the blocks
PROJECTIONS = ["in_proj", "out_proj", "qkv_proj", "attn_out", "ff_in", "ff_out"]


def rows_of(split):
    """Rows of 14 bytes of the text: three chunks of 4 and a tail."""
    text = split.tokens[: 14 * ROWS].reshape(ROWS, 14).tolist()
    whole = {"input_ids": text, "labels": text, "attention_mask": [[1] * 14] * ROWS}
    return datasets.Dataset.from_dict(whole)


def trained(out, split, model=None, *, steps=8, resume=None, stop_at=None, **how):
    """A small run of Trainer, with dropout, so that it needs its generators too."""
    torch.manual_seed(0)
    model = model or FlashForCausalLM(hf_config(vocab_size=256, dropout=0.3))
    settings = dict(
        max_steps=steps,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        save_steps=3,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    arguments = transformers.TrainingArguments(str(out), **settings | how)
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=rows_of(split),
        data_collator=transformers.default_data_collator,
        callbacks=[Interruption(stop_at)] if stop_at else None,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


class Interruption(transformers.TrainerCallback):
    """The process dies at an update."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **how):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def losses(trainer):
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


# ---------------------------------------------------------------- Trainer


@pytest.mark.parametrize(
    "architecture", ["flash", pytest.param("transformer++", marks=pytest.mark.nightly)]
)
def test_an_interrupted_run_ends_with_the_weights_of_the_whole(architecture, austen, tmp_path):
    def new():
        torch.manual_seed(0)
        return FlashForCausalLM(hf_config(architecture, vocab_size=256, dropout=0.3))

    whole = trained(tmp_path / "whole", austen.train, new())
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", austen.train, new(), stop_at=5)
    shutil.rmtree(tmp_path / "whole")
    torch.manual_seed(99)
    parts = trained(tmp_path / "parts", austen.train, new(), resume=True)
    assert losses(parts)[-3:] == losses(whole)[-3:]
    for (name, a), (_, b) in zip(
        whole.model.state_dict().items(), parts.model.state_dict().items()
    ):
        assert torch.equal(a, b), name


def test_trainer_learns_the_text(austen, tmp_path):
    run = trained(tmp_path, austen.train, steps=25, learning_rate=3e-2, save_strategy="no")
    assert losses(run)[-1] < losses(run)[0] - 1.5


def test_accumulating_is_one_large_batch(austen, tmp_path):
    """Also where the parts have different numbers of targets, which Trainer counts."""
    how = dict(steps=2, save_strategy="no", seed=3)

    def new():
        torch.manual_seed(0)
        return FlashForCausalLM(hf_config(vocab_size=256))

    parts = trained(tmp_path, austen.train, new(), **how)
    once = trained(
        tmp_path,
        austen.train,
        new(),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        **how,
    )
    assert losses(parts) == pytest.approx(losses(once), abs=1e-4)


def test_a_loss_over_given_targets_divides_by_their_number():
    _, model = both()
    padded, mask, _ = prompts("right")
    labels = padded.masked_fill(mask == 0, -100)
    n = int((labels[:, 1:] != -100).sum())
    mean = model(padded, mask, labels=labels).loss
    whole = model(padded, mask, labels=labels, num_items_in_batch=torch.tensor(2 * n)).loss
    torch.testing.assert_close(whole, mean / 2)


# ---------------------------------------------------------------- right padding, checkpointing


@all_of_ours
@pytest.mark.parametrize("made", [FlashForCausalLM, FlashForMaskedLM])
def test_checkpointing_changes_no_gradient(architecture, made):
    model = both(architecture, causal=made is FlashForCausalLM)[1].train()
    padded, mask, _ = prompts("right")

    def gradients():
        model.zero_grad()
        model(padded, mask, labels=padded.masked_fill(mask == 0, -100)).loss.backward()
        return [p.grad.clone() for p in model.parameters()]

    plain = gradients()
    model.gradient_checkpointing_enable()
    assert model.model.stack.config.checkpoint
    for a, b in zip(plain, gradients()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    model.gradient_checkpointing_disable()
    assert not model.model.stack.config.checkpoint


WRONG_LABELS = [
    (FlashForCausalLM, True, [[1, 99, 3]], r"labels hold 99: expected 0 to 30, or -100"),
    (FlashForCausalLM, True, [[1, 2]], r"labels are .*\(1, 2\).*expected the shape \(1, 3\)"),
    (FlashForMaskedLM, False, [[-7, -100, 3]], r"labels hold -7: expected 0 to 30, or -100"),
    (FlashForTokenClassification, False, [[0, 1, 3]], r"labels hold 3: expected 0 to 2"),
    (FlashForSequenceClassification, False, [3], r"labels hold 3: expected 0 to 2"),
    (FlashForSequenceClassification, False, [0, 1], r"\(2,\).*expected the shape \(1,\)"),
]


@pytest.mark.parametrize("made, causal, labels, says", WRONG_LABELS)
def test_labels_that_no_class_has_are_refused_by_name(made, causal, labels, says):
    model = made(hf_config(causal=causal, vocab_size=31, num_labels=3))
    with pytest.raises(ValueError, match=says):
        model(torch.tensor([[1, 2, 3]]), labels=torch.tensor(labels))


def test_no_document_is_to_predict_the_next():
    packed = pack([ids(1, n, seed=n)[0] for n in (5, 4, 7)])
    native, model = both()
    how = dict(segment_ids=packed.segment_ids, position_ids=packed.position_ids)
    expected = native.loss(packed.ids, packed.targets, packed.mask, **how).float()
    torch.testing.assert_close(model(packed.ids, labels=packed.ids, **how).loss, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32], ids=str)
def test_labels_are_integers_of_any_type(dtype):
    given, mask = ids(2, 14), torch.arange(14) < torch.tensor([[14], [5]])
    language = FlashForCausalLM(hf_config()).eval()
    how = dict(attention_mask=mask.long())
    expected = language(given, labels=given, **how).loss
    assert language(given, labels=given.to(dtype), **how).loss == expected
    for kind, labels in (
        (FlashForTokenClassification, given % 3),
        (FlashForSequenceClassification, given[:, 0] % 3),
    ):
        classifier = kind(hf_config(causal=False, num_labels=3)).eval()
        loss = classifier(given, labels=labels).loss
        assert classifier(given, labels=labels.to(dtype)).loss == loss


def test_a_loss_of_nothing_is_zero():
    model = FlashForCausalLM(hf_config(vocab_size=31))
    given = torch.tensor([[1, 2, 3]])
    loss = model(given, labels=torch.full_like(given, -100)).loss
    loss.backward()
    assert loss == 0 and all(
        p.grad.isfinite().all() for p in model.parameters() if p.grad is not None
    )


@pytest.mark.parametrize("kept", [1, torch.tensor([0, 2])])
def test_a_loss_needs_all_logits(kept):
    model = FlashForCausalLM(hf_config(vocab_size=31))
    given = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"logits_to_keep=.* with labels: the loss"):
        model(given, labels=given, logits_to_keep=kept)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_has_no_part_in_a_classifiers_gradient(pooling):
    torch.manual_seed(0)
    config = hf_config(causal=False, num_labels=3, pooling=pooling)
    model = FlashForSequenceClassification(config).double()
    model.model.load_state_dict(both(causal=False)[1].model.state_dict())
    padded, mask, rows = prompts("right")
    labels = torch.tensor([0, 2, 1])
    together = model(padded, mask, labels=labels)
    together.loss.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for row, label in zip(rows, labels):
        (model(row[None], labels=label[None]).loss / 3).backward()
    for a, p in zip(gradients, model.parameters()):
        torch.testing.assert_close(a, p.grad, rtol=0, atol=1e-6)


def test_a_row_of_several_documents_gets_no_decision():
    model = FlashForSequenceClassification(hf_config(causal=False, num_labels=3))
    with pytest.raises(ValueError, match="segment_ids: a row gets one decision"):
        model(torch.ones(1, 4, dtype=torch.long), segment_ids=torch.tensor([[0, 0, 1, 1]]))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_folder_keeps_how_a_classifier_pools(pooling, tmp_path):
    native, body = both(causal=False)
    ours = SequenceClassifier(native, 3, pooling=pooling).double().eval()
    model = FlashForSequenceClassification(hf_config(causal=False, num_labels=3, pooling=pooling))
    model.double().model.load_state_dict(body.model.state_dict())
    model.score.load_state_dict(ours.decide.state_dict())
    with torch.no_grad():
        for each in (*ours.pooling.parameters(), *model.pooling.parameters()):
            each.copy_(torch.arange(12.0) / 3)
    model.save_pretrained(tmp_path)
    loaded = FlashForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64).eval()
    torch.testing.assert_close(loaded(ids()).logits, ours(ids()), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- peft


@all_of_ours
def test_lora_adapts_the_projections_and_nothing_else(architecture, tmp_path):
    torch.manual_seed(0)  # peft draws its matrices
    _, body = both(architecture, dtype=torch.float32)
    before = body(ids()).logits.detach()
    frozen = {name: value.clone() for name, value in body.state_dict().items()}
    modules = [name.rpartition(".")[2] for name, _ in body.named_modules()]
    targets = [name for name in PROJECTIONS if name in modules]
    adapted_modules = sum(name in targets for name in modules)
    adapted = peft.get_peft_model(
        body, peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
    )
    assert torch.equal(adapted(ids()).logits, before)
    optimizer = torch.optim.Adam(adapted.parameters(), lr=0.05)
    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = adapted(ids(), labels=ids()).loss
        loss.backward()
        optimizer.step()
        seen.append(float(loss))
    trained = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * adapted_modules and all("lora_" in name for name in trained)
    assert seen[-1] < seen[0] - 0.3
    adapted.eval()
    after = adapted(ids()).logits.detach()
    written = adapted.generate(input_ids=ids(), max_new_tokens=5)
    adapted.save_pretrained(tmp_path)
    _, fresh = both(architecture, dtype=torch.float32)
    again = peft.PeftModel.from_pretrained(fresh, tmp_path)
    torch.testing.assert_close(again(ids()).logits, after)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged(ids()).logits, after, rtol=0, atol=1e-4)
    assert torch.equal(merged.generate(ids(), max_new_tokens=5), written)
    assert torch.equal(merged.state_dict()["lm_head.weight"], frozen["lm_head.weight"])


# ---------------------------------------------------------------- the example


def test_the_example_is_short_and_runs_twice(tmp_path, monkeypatch, capsys):
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 60
    out = tmp_path / "run"
    for steps in ("4", "6"):
        words = ["--out", str(out), "--length", "64", "--steps", steps, "--save-every", "2"]
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *words])
        names = runpy.run_path(str(EXAMPLE), run_name="__main__")
        assert names["trainer"].state.global_step == int(steps)
    assert "bits per byte" in capsys.readouterr().out
    loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert loaded.config.max_length == 64
