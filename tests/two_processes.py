"""What two processes compute together with a model of the package, beside what one computes: run by test_many_machines.

python tests/two_processes.py NAME OUT      each rank leaves the numbers of an architecture in OUT/RANK.json
"""

import copy
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from small_model import ALL, NAMES, config, ids, model
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from flash_tutorial import LanguageModel

SIZE, STEPS = 2, 3


def whole(tensor):
    """A parameter or a gradient, gathered where it is in shares."""
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def distance(ours, theirs):
    """The largest difference between the numbers of two modules."""
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return max(float((whole(a) - whole(b)).abs().max()) for a, b in pairs)


def sharded(built):
    """A model in shares, as torch advises: each unit by itself, then what is left."""
    for unit in built.stack.units:
        fully_shard(unit)
    return fully_shard(built)


def train(called, rank=None):
    """A few updates by the model's call, of all rows or of a rank's own."""
    optimizer = torch.optim.AdamW(called.parameters(), lr=1e-2)
    for step in range(STEPS):
        rows = ids(2 * SIZE, 14, seed=step)
        if rank is not None:
            rows = rows.chunk(SIZE)[rank]
        optimizer.zero_grad()
        called(rows, targets=rows).backward()
        optimizer.step()


def decoded(built):
    """New tokens, and the logits behind prompts of different length and behind one token more."""
    prompts = ids(2, 9)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    with torch.no_grad():
        new = built.generate(prompts, 8, mask=mask, temperature=0.0)
        first, state = built.prefill(prompts, mask)
        second, _ = built.step(prompts[:, 0], state)
    return new, torch.stack([first, second])


def measure(architecture, rank, folder):
    """The largest differences from one process: trained by DDP and in shares, written token by token, saved."""
    one = model(architecture)
    start = copy.deepcopy(one)
    copies = DistributedDataParallel(model(architecture))
    shares = sharded(model(architecture))
    train(one)
    train(copies, rank)
    train(shares, rank)
    found = {
        "moved": distance(one, start),
        "ddp": distance(copies.module, one),
        "fsdp": distance(shares, one),
        "tied": shares.head.weight is shares.embedding.weight,
    }
    (new, logits), (expected_new, expected) = decoded(shares.eval()), decoded(one.eval())
    found["same tokens"] = torch.equal(new, expected_new)
    found["token by token"] = float((logits - expected).abs().max())
    gathered = get_model_state_dict(shares, options=StateDictOptions(full_state_dict=True))
    if rank == 0:
        alone = model(architecture, seed=7)
        alone.load_state_dict(gathered)
        alone.save_pretrained(folder / "saved")
        own = architecture if isinstance(architecture, type) else None
        loaded = LanguageModel.from_pretrained(folder / "saved", architecture=own)
        found["saved"] = distance(loaded, one)
    return found


def started_in_shares(architecture, rank):
    """A model that no process ever held, on meta until it was in shares: its start beside that of one process."""
    small = config(architecture)
    with torch.device("meta"):
        shares = sharded(LanguageModel(small))
    shares.to_empty(device="cpu")
    torch.manual_seed(rank)  # that of rank 0 counts
    shares.reset_parameters()
    torch.manual_seed(0)
    return distance(shares, LanguageModel(small))


def work(rank, architecture, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=SIZE)
    torch.set_num_threads(1)
    found = measure(architecture, rank, folder)
    found["start"] = started_in_shares(architecture, rank)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)  # as in test_distributed: a thread of gloo may abort an interpreter that ends


if __name__ == "__main__":
    how = "fork" if sys.platform == "linux" else "spawn"
    name, out = sys.argv[1:]
    given = ALL[NAMES.index(name)], Path(out)
    torch.multiprocessing.start_processes(work, given, nprocs=SIZE, start_method=how)
