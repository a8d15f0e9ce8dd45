"""Models that decide something about a text, or about each of its tokens.

Letters: B batch, T length, D model width, K classes.
"""

import warnings

import torch
from torch import Tensor, nn

from . import starts
from .config import ModelConfig
from .errors import short
from .layers import as_mask
from .losses import cross_entropy, without_padding
from .model import LanguageModel
from .names import ours
from .settings import check_counts
from .stack import pool

ONE_SIDE = (
    "causal=True: each token will read what stands before it alone; ModelConfig(causal=False), which "
    "ModelConfig.small_encoder() is, reads both sides"
)
POOLINGS = ("mean", "first", "attention")


class Pooling(nn.Module):
    """One vector of each row of features: ``(B, T, D) -> (B, D)``.

    "mean" of the valid tokens; "first", the first valid one's; "attention", a mean whose weights are the softmax of a
    learnt score of each token, all alike at the start.
    """

    def __init__(self, kind: str, dim: int, causal: bool = False) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(f"pooling={short(kind)}: expected one of {', '.join(POOLINGS)}")
        if kind == "first" and causal:
            raise ValueError(
                "pooling='first' of a causal model: its first token has read no other, take 'mean' or 'attention'"
            )
        self.kind = kind
        if kind == "attention":
            self.score = nn.Linear(dim, 1, bias=False)
            nn.init.zeros_(self.score.weight)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask (B, T)`` of valid tokens, anywhere in a row; a row without any is zero."""
        if self.kind == "mean":
            return pool(features, mask)
        if mask is None:
            mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        mask = as_mask(mask, features.shape[:2])
        features = features.masked_fill(~mask[..., None], 0)
        if self.kind == "first":
            first = mask.int().argmax(1)
            return features[torch.arange(len(first), device=first.device), first]
        scores = self.score(features)[..., 0]  # in half precision under autocast
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return torch.einsum("bt,btd->bd", scores.softmax(1), features)


class _Classifier(nn.Module):
    """A body that reads, and a linear layer that decides between ``classes``. A body's own head is not trained on."""

    def __init__(self, body: ModelConfig | LanguageModel, classes: int) -> None:
        super().__init__()
        if not isinstance(body, LanguageModel | ModelConfig):
            given = f"body={short(body)}"
            raise ValueError(f"{given}: expected a ModelConfig, or a LanguageModel to go on from")
        check_counts(least=2, classes=classes)
        if isinstance(body, ModelConfig) and body.causal:
            warnings.warn(ONE_SIDE, stacklevel=3)
        self.body = LanguageModel(body) if isinstance(body, ModelConfig) else body
        if not self.body.config.tied:  # nothing asks this head, and DDP waits for all gradients
            self.body.head.requires_grad_(False)
        self.decide = nn.Linear(self.config.dim, classes)
        nn.init.normal_(self.decide.weight, std=starts.kernel_std(self.config))
        nn.init.zeros_(self.decide.bias)

    @property
    def config(self) -> ModelConfig:
        """That of the body."""
        return self.body.config

    def loss(
        self,
        ids: Tensor,
        labels: Tensor,
        mask: Tensor | None = None,
        *,
        padding: str = "right",
    ) -> Tensor:
        """Mean cross-entropy in nats; ``labels (B,)`` of texts, ``(B, T)`` of tokens, -100 where nothing is asked, as
        nothing is of padding."""
        logits = self(ids, mask, padding=padding)
        if logits.dim() == 3:
            labels = without_padding(labels, mask)
        return cross_entropy(logits, labels, "labels", "classes")


@ours
class SequenceClassifier(_Classifier):
    """One decision for each text: ``ids (B, T) -> logits (B, K)``.

    body: a ``ModelConfig``, as ``ModelConfig.small_encoder()``, or a ``LanguageModel`` whose weights are trained on.
    pooling: how the features of a text become one, "mean", "first" or "attention".

    >>> import torch
    >>> from flash_tutorial import ModelConfig, SequenceClassifier
    >>> model = SequenceClassifier(ModelConfig.small_encoder(dim=32, depth=2), classes=6)
    >>> ids = torch.randint(256, (2, 100))
    >>> model(ids).shape
    torch.Size([2, 6])
    >>> loss = model.loss(ids, torch.tensor([0, 5]))       # about ln 6 = 1.8 nats before training
    >>> 1.2 < float(loss) < 2.8
    True
    """

    def __init__(
        self, body: ModelConfig | LanguageModel, classes: int, *, pooling: str = "mean"
    ) -> None:
        super().__init__(body, classes)
        self.pooling = Pooling(pooling, self.config.dim, self.config.causal)

    def forward(self, ids: Tensor, mask: Tensor | None = None, *, padding: str = "right") -> Tensor:
        """``mask (B, T)`` of valid tokens, with padding where ``padding`` says."""
        features = self.body.features(ids, mask, padding=padding)
        return self.decide(self.pooling(features, mask))


@ours
class TokenClassifier(_Classifier):
    """One decision for each token: ``ids (B, T) -> logits (B, T, K)``; ``body`` as of ``SequenceClassifier``.

    >>> import torch
    >>> from flash_tutorial import ModelConfig, TokenClassifier
    >>> model = TokenClassifier(ModelConfig.small_encoder(dim=32, depth=2), classes=3)
    >>> model(torch.randint(256, (2, 100))).shape
    torch.Size([2, 100, 3])
    """

    def forward(self, ids: Tensor, mask: Tensor | None = None, *, padding: str = "right") -> Tensor:
        """``mask (B, T)`` of valid tokens, with padding where ``padding`` says."""
        return self.decide(self.body.features(ids, mask, padding=padding))
