"""Number formats: of a product, whether a tensor holds integers; who follows the operations, and who goes back."""

from contextlib import nullcontext

import torch
from torch import nn


def product_dtype(x):
    """The type of a matrix product of ``x``: autocast's, where that is on; it leaves float64 alone."""
    return torch.get_autocast_dtype(x.device.type) if is_cast(x) else x.dtype


def is_cast(x):
    """Whether autocast brings ``x`` and weights to one type; float64 it leaves alone."""
    kind = x.device.type
    return (
        x.dtype != torch.float64
        and torch.amp.is_autocast_available(kind)
        and torch.is_autocast_enabled(kind)
    )


def without_autocast(x):
    """A context in which products of ``x`` keep its type; ``meta`` has no autocast to switch off."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def is_rewritten():
    """Whether torch.compile or torch.func follows the operations: then plain ones, which they can rewrite."""
    return torch.compiler.is_compiling() or is_transformed()


def is_transformed():
    """Whether torch.func follows the operations."""
    return torch._C._are_functorch_transforms_active()


def goes_back(*tensors):
    """Whether a backward pass through one of them can come: else what only it would read need not be kept.

    ``ctx.needs_input_grad`` says whether a tensor requires a gradient, also under ``no_grad`` and ``inference_mode``.
    """
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def is_followed(x):
    """Whether no number may be looked at or kept: there, on ``meta``, and in a tensor of another class (a fake one)."""
    return is_rewritten() or x.is_meta or type(x) not in (torch.Tensor, nn.Parameter)


def is_integers(value):
    """Whether it is a tensor of integers; bools are none."""
    kind = value.dtype if isinstance(value, torch.Tensor) else torch.bool
    return not (kind.is_floating_point or kind.is_complex or kind == torch.bool)
