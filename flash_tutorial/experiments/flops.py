"""Counted FLOPs: what an update costs in products of matrices, whatever the layers are.

Letters: B batch, T length.
"""

import copy
import warnings
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..flash import FLASH
from ..training import TrainConfig


def flops_of_update(model: nn.Module, config: TrainConfig) -> int:
    """FLOPs of one update, forward and backward, as torch counts them: two for each multiply-add of
    a product of matrices or a convolution. What works number by number is not seen: activations,
    norms, sums, a softmax, the optimizer; nor is a Fourier transform.

    A copy of the model is run on the CPU, without compiler or kernels of its own, on two rows and on
    three; each further row of a batch costs what the third did. (Of one row some products are none.)

    >>> from flash_tutorial import LanguageModel, ModelConfig
    >>> from flash_tutorial.experiments import flops_of_update
    >>> from flash_tutorial.training import TrainConfig
    >>> model = LanguageModel(ModelConfig("flash", dim=16, depth=1, qk_dim=8, chunk_size=8))
    >>> flops_of_update(model, TrainConfig(batch=4, length=16)) > 6 * 4 * 16 * 16 * 256  # the head
    True
    """
    model = copy.deepcopy(model).cpu().train()
    for module in model.modules():
        if isinstance(module, FLASH):  # Triton's kernels need a card, and are not seen
            module.backend = "torch"
    rows = config.batch // config.accumulate
    if rows <= 2:
        return config.accumulate * flops_of_rows(model, rows, config.length)
    two = flops_of_rows(model, 2, config.length)
    further = flops_of_rows(model, 3, config.length) - two
    return config.accumulate * (two + (rows - 2) * further)


def flops_of_rows(model, rows, length):
    """FLOPs of the loss of a batch (B, T), and of its gradient."""
    ids = torch.zeros(rows, length, dtype=torch.long)
    with in_plain_products(), FlopCounterMode(display=False) as counter:
        model.loss(ids, ids, mask=None).backward()
    return counter.get_total_flops()


@contextmanager
def in_plain_products():
    """Attention and recurrent layers by products of matrices; what does them at once is not seen."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")  # switching oneDNN off speaks of GPUs
        with torch.backends.mkldnn.flags(enabled=False):
            yield
