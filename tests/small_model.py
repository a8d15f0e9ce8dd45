"""Small models of every architecture, and of a unit of one's own, that tests share."""

import torch
from torch import nn
from unit_cases import features

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.check import draw_order_one, settle_branch
from flash_tutorial.config import ARCHITECTURES, options_of

N = 19


class MyUnit(nn.Module):
    """A class project's unit: the running mean of a projection."""

    def __init__(self, dim, *, causal=True, power=1):
        super().__init__()
        self.causal, self.power = causal, power
        self.value, self.write = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x, mask=None, segment_ids=None):
        v = torch.tanh(self.value(x)) ** self.power
        if mask is not None:
            v = v.masked_fill(~mask[..., None], 0)
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return x + self.write(v.cumsum(1) / count)


def config(architecture="flash", **options):
    """Small, with those of the small sizes that the architecture has; of a tuple's kinds a hybrid."""
    sizes = dict(vocab_size=N, dim=12, max_length=32)
    if isinstance(architecture, tuple):
        kinds = architecture[: options.pop("depth", None)]
        sizes |= dict(units=[*kinds])
    else:
        kinds = (architecture,)
        sizes |= dict(architecture=architecture, depth=2)
    known = {name for kind in kinds for name in options_of(kind)}
    own = {k: v for k, v in dict(qk_dim=8, chunk_size=4, heads=3).items() if k in known}
    return ModelConfig(**sizes | own | options)


def model(architecture="flash", *, seed=0, dtype=torch.float64, **options):
    """A language model with parameters of order one."""
    model = LanguageModel(config(architecture, **options)).to(dtype)
    draw_order_one(model.stack, torch.Generator().manual_seed(seed))
    for unit in model.stack.units:
        settle_branch(unit, features(min(8, model.config.max_length), dtype=dtype))
    with torch.no_grad():
        model.embedding.weight.copy_(
            torch.randn(N, 12, generator=torch.Generator().manual_seed(seed + 1))
        )
    return model.eval()


def ids(batch=2, length=14, seed=0):
    return torch.randint(N, (batch, length), generator=torch.Generator().manual_seed(seed))


HYBRID = ("flash", "transformer++", "flash_quad")
ALL = [*ARCHITECTURES, MyUnit, HYBRID]
NAMES = [*ARCHITECTURES, "MyUnit", "hybrid"]
