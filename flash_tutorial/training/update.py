"""One update: the loss of a batch and its gradient, cut, then the optimizer at this step's rate."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .devices import Engine
from .muon import Muon, kernels


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Iterable[tuple[Tensor, Tensor, Tensor, float]],
    step: int,
    config: TrainConfig,
    engine: Engine | None = None,
) -> tuple[float, float]:
    """One update: the loss of a batch and its gradient, part by part, cut to ``clip``; then the optimizer's step.

    ``batch`` holds parts (ids, targets, mask, share), as ``parts`` draws them; the shares sum to one. ``engine`` knows
    of number formats and processes. Gives the loss in nats, and the gradient's norm before the cut.

    >>> import torch
    >>> from flash_tutorial import LanguageModel, ModelConfig
    >>> from flash_tutorial.training import TrainConfig, new_optimizer, train_step
    >>> settings = TrainConfig(steps=10, batch=2, length=16)
    >>> model = LanguageModel(ModelConfig(dim=16, depth=1))
    >>> ids = torch.randint(0, 256, (2, 17))
    >>> batch = [(ids[:, :-1], ids[:, 1:], None, 1.0)]
    >>> loss, norm = train_step(model, new_optimizer(model, settings), batch, 0, settings)
    >>> 5.4 < loss < 6.2                                    # about ln 256
    True
    """
    engine = engine or Engine(model)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, config)
    loss = 0.0
    for ids, targets, mask, share in engine.each(batch):
        part = engine.loss(ids, targets, mask) * share
        engine.backward(part)
        loss += part.detach()
    engine.scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf)
    loss = float(engine.group.total(loss))
    norm = float(norm)
    check_finite(loss, norm, step, config, engine.scaler.is_enabled())
    engine.step(optimizer)
    optimizer.zero_grad()
    return loss, norm


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """The rate of update ``step``, counted from 0: up over ``warmup`` updates, then down in a line to 0.

    >>> from flash_tutorial.training import TrainConfig, learning_rate_at
    >>> settings = TrainConfig(steps=10, warmup=2, learning_rate=0.01)
    >>> [round(learning_rate_at(step, settings), 4) for step in (0, 1, 2, 6)]
    [0.005, 0.01, 0.01, 0.005]
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    return config.learning_rate * (config.steps - step) / (config.steps - config.warmup)


def check_finite(loss, norm, step, config, scaled):
    """Stop before an update that would spoil the weights. With loss scaling an infinite gradient is only skipped."""
    if not math.isfinite(loss) or not (math.isfinite(norm) or scaled):
        where = f"step {step + 1}, learning rate {learning_rate_at(step, config):.3g}"
        found = f"the loss is {loss:.4g} and its gradient's norm {norm:.4g}"
        advice = (
            f"try a lower peak ({config.learning_rate / 3:.1g}), a longer warm-up or a smaller clip"
        )
        raise Diverged(
            f"training stopped at {where}: {found}; {advice}; the last checkpoint is untouched",
            step + 1,
        )


class Diverged(ValueError):
    """The loss, or its gradient, is no longer a number; ``step`` is the update, counted from 1.

    >>> from flash_tutorial.training import Diverged
    >>> error = Diverged("the loss is nan", step=12)
    >>> isinstance(error, ValueError), error.step
    (True, 12)
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


def new_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with the paper's betas and eps, or Muon for the kernels and that AdamW for the rest.

    >>> from torch import nn
    >>> from flash_tutorial.training import TrainConfig, new_optimizer
    >>> group = new_optimizer(nn.Linear(3, 2), TrainConfig()).param_groups[0]
    >>> group["lr"], group["betas"], group["eps"]
    (0.01, (0.9, 0.999), 1e-06)
    """
    paper = dict(betas=(0.9, 0.999), eps=1e-6)
    rates = dict(lr=config.learning_rate, weight_decay=config.weight_decay)
    if config.optimizer == "muon":
        return Muon(model.parameters(), kernels(model), **rates, **paper)
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(model.parameters(), **rates, **paper, fused=fused)
