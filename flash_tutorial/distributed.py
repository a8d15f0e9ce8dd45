"""Training on several processes, as ``torchrun`` starts them: who is who, who writes, and gradients in common.

    torchrun --standalone --nproc_per_node 2 -m flash_tutorial.cli train

Every process (rank) holds the whole model and computes its own rows of each batch. One process alone is a group of one.
"""

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from .devices import pick_device


@dataclass(frozen=True)
class Group:
    """The processes that train together. ``rank`` 0 speaks and writes for all ``size`` of them."""

    rank: int = 0
    size: int = 1

    @property
    def speaks(self):
        return self.rank == 0

    def share(self, value):
        """Rank 0's value, everywhere."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def total(self, tensor):
        """The sum over all ranks of a tensor that each of them has."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def loss_of(self, model):
        """``model.loss`` whose gradients are the mean over all ranks."""
        if self.size == 1:
            return model.loss
        # a unit of a learner's own may have parameters that a mixing does not use
        return nn.parallel.DistributedDataParallel(_Loss(model), find_unused_parameters=True)

    def silent(self, loss_of, last):
        """No gradients are exchanged inside, but in the ``last`` part of a batch."""
        return nullcontext() if last or self.size == 1 else loss_of.no_sync()


class _Loss(nn.Module):
    """DistributedDataParallel only follows a module's call."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args, **kwargs):
        return self.model.loss(*args, **kwargs)


@contextmanager
def training_group(device="auto"):
    """The group that this process trains in, and its own device: ``with training_group() as (group, device)``.

    Under torchrun it is set up and taken down here: NCCL on CUDA cards, one for each rank, and gloo elsewhere.
    """
    size, device = int(os.environ.get("WORLD_SIZE", 1)), pick_device(device)
    if size == 1:
        yield Group(), device
        return
    if device.type == "cuda":
        device = pick_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    own = not dist.is_initialized()  # a caller may have set one up already
    if own:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size()), device
        if own and device.type != "cuda":
            # A process that ends while a thread of gloo still lets go of its last tensors aborts, and torchrun then
            # stops the others too, rank 0 in the middle of its score. So all wait for the last one.
            dist.monitored_barrier(timeout=timedelta(days=1))
    finally:
        if own:
            dist.destroy_process_group()
