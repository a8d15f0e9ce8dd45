"""What a model's logits are to be divided by, found on a text that it was not trained on, and put into its weights."""

import numpy as np
import torch
import torch.nn.functional as F

from flash_tutorial.corpora import evaluation_windows
from flash_tutorial.corpora.vocabulary import IGNORE

TRIED = tuple(round(0.8 + 0.04 * step, 2) for step in range(21))  # 0.8 to 1.6


@torch.no_grad()
def nats_by_temperature(model, split, length, batch=8):
    """{temperature: nats of all tokens of a split}, in windows of ``length`` that do not overlap."""
    ids, targets, valid = evaluation_windows(split, length)
    targets = np.where(valid, targets, IGNORE)
    was_training = model.training
    model.eval()
    found = dict.fromkeys(TRIED, 0.0)
    for first in range(0, len(ids), batch):
        x, y = (torch.from_numpy(each[first : first + batch]) for each in (ids, targets))
        logits = model(x).float().flatten(0, 1)
        for temperature in TRIED:
            found[temperature] += float(
                F.cross_entropy(
                    logits / temperature, y.flatten(), ignore_index=IGNORE, reduction="sum"
                )
            )
    model.train(was_training)
    return found


@torch.no_grad()
def temper(model, temperature):
    """Divide the model's logits for good: by its last norm, which the head multiplies, so that no code knows of it."""
    for parameter in model.stack.norm.parameters():
        parameter.div_(temperature)
    return model
