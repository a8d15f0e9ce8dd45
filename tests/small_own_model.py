"""A language model of a user's own, which knows nothing of this package."""

import torch
from torch import nn
from torch.nn import functional as F


class OwnModel(nn.Module):
    """A GRU over embeddings, with weights that are shared as many do."""

    def __init__(self, vocab_size=256, dim=16, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.gru, self.dropout = nn.GRU(dim, dim, batch_first=True), nn.Dropout(dropout)
        self.head = nn.Linear(dim, vocab_size, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids, mask=None):
        return self.head(self.dropout(self.gru(self.embedding(ids))[0]))

    def loss(self, ids, targets, mask=None):
        return F.cross_entropy(self(ids).flatten(0, 1), targets.flatten())


def own_model(seed=0, **options):
    torch.manual_seed(seed)
    return OwnModel(**options)
