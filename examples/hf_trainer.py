"""From text to a model that writes, with transformers' Trainer: python examples/hf_trainer.py --out runs/hf

Needs the extra: pip install 'flash-tutorial[hf]'. Started again with the same folder it goes on from there.
"""

import argparse

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments, default_data_collator
from transformers.trainer_utils import get_last_checkpoint

from flash_tutorial import load_corpus
from flash_tutorial.hf import FlashConfig, FlashForCausalLM

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", default="runs/hf")
parser.add_argument("--architecture", default="flash")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--length", type=int, default=256)
parser.add_argument("--save-every", type=int, default=100)
args = parser.parse_args()


def windows(split):
    """The bytes of a text, cut into rows of one length: input_ids and labels."""
    ids = torch.from_numpy(split.tokens[: 2000 * args.length].copy()).long()
    rows = ids[: len(ids) // args.length * args.length].view(-1, args.length)
    return Dataset.from_dict({"input_ids": rows.tolist(), "labels": rows.tolist()})


corpus = load_corpus("austen")
torch.manual_seed(0)
model = FlashForCausalLM(FlashConfig(args.architecture, dim=64, max_length=args.length))
trainer = Trainer(
    model,
    TrainingArguments(
        args.out,
        max_steps=args.steps,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        warmup_steps=args.steps // 10,
        save_steps=args.save_every,
        logging_steps=20,
        report_to="none",
    ),
    train_dataset=windows(corpus.train),
    eval_dataset=windows(corpus.validation).select(range(20)),
    data_collator=default_data_collator,
)
trainer.train(resume_from_checkpoint=get_last_checkpoint(args.out))
print(f"{trainer.evaluate()['eval_loss'] / 0.6931:.2f} bits per byte")
trainer.save_model(args.out)

prompt = torch.tensor([list(b"She was not at all ")], device=model.device)
written = model.eval().generate(prompt, max_new_tokens=60, do_sample=True, top_k=0)
print(bytes(written[0].tolist()).decode(errors="replace"))
