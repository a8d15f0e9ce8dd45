"""What FLASH races against besides Transformer++ itself: a hybrid with softmax attention, and its own
unit with queries and keys that share less."""

import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial import FLASH, GAU, LanguageModel, starts


class OwnMaps(nn.Module):
    """In place of `ScaleOffset` a matrix for each head: ``z (B, T, S) -> (H, B, T, S)``."""

    def __init__(self, heads, dim, std):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(dim, dim) for _ in range(heads))
        for each in self.maps:
            nn.init.normal_(each.weight, std=std)
            nn.init.zeros_(each.bias)

    def forward(self, z):
        return torch.stack([each(z) for each in self.maps])


def with_own_maps(config):
    """A model whose queries and keys are no longer one vector, scaled twice."""
    model = LanguageModel(config)
    for unit in model.stack.units:
        unit.scale_offset = OwnMaps(unit.heads, unit.qk_dim, starts.kernel_std(config))
    return model


def with_one_map(config):
    """The control: one matrix for queries and keys together, then gamma and beta as before.

    Gamma is drawn from N(0, 1), so that scores begin as large as with maps of their own.
    """
    model = LanguageModel(config)
    for unit in model.stack.units:
        matrix = nn.Linear(unit.qk_dim, unit.qk_dim, bias=False)
        nn.init.normal_(matrix.weight, std=starts.kernel_std(config))
        nn.init.normal_(unit.scale_offset.gamma)
        unit.scale_offset = nn.Sequential(matrix, unit.scale_offset)
    return model


def with_larger_gamma(config):
    """Gamma alone, drawn so that scores begin as large as with maps of their own."""
    model = LanguageModel(config)
    for unit in model.stack.units:
        std = starts.kernel_std(config) * unit.qk_dim**0.5
        nn.init.normal_(unit.scale_offset.gamma, std=std)
    return model


class TurnedKeys(nn.Module):
    """A `ScaleOffset` of one query and one key, whose key stands one channel further on.

    Channel c of the query meets channel c - 1 of the key, so that the score of two tokens need not stay the same when
    they are exchanged. No parameter is new.
    """

    def __init__(self, scale_offset):
        super().__init__()
        self.scale_offset = scale_offset

    def forward(self, z):
        query, key = self.scale_offset(z)
        return torch.stack([query, key.roll(1, -1)])


def with_turned_keys(config, made_by=LanguageModel):
    """A model that ``made_by`` makes, with its keys turned."""
    model = made_by(config)
    for unit in model.stack.units:
        unit.scale_offset = TurnedKeys(unit.scale_offset)
    return model


class AttentionUnit(GAU):
    """A GAU that reads by softmax, without a bias: one map for all E numbers of v.

    v is taken apart into pieces as wide as the queries, for torch's fused kernels want it so; each gets the same map.
    """

    prefill = step = None  # it is trained and scored, and does not write

    def __init__(self, dim, *, causal, qk_dim, norm):
        super().__init__(
            dim, causal=causal, qk_dim=qk_dim, norm=norm, bias=None, attention="softmax"
        )

    def mix(self, heads, v, mask, segment_ids):
        """``(B, T, E)``; padding comes later, and one document stands in a row."""
        if segment_ids is not None:
            raise ValueError(
                "segment_ids: this unit reads across documents, so give each a row of its own"
            )
        pieces = v.unflatten(-1, (-1, self.qk_dim)).transpose(1, 2)  # (B, E / S, T, S)
        q, k = (t[:, None].expand_as(pieces) for t in heads)
        read = F.scaled_dot_product_attention(q, k, pieces, is_causal=True)
        return read.transpose(1, 2).flatten(2)


def hybrid(config):
    """A model of FLASH units of which each fourth is softmax attention in the same shell."""
    model = LanguageModel(config)
    first: FLASH = model.stack.units[0]
    for place in range(3, len(model.stack.units), 4):
        unit = AttentionUnit(first.dim, causal=config.causal, qk_dim=first.qk_dim, norm=config.norm)
        unit.reset_parameters(starts.kernel_std(config))
        model.stack.units[place] = unit
    return model
