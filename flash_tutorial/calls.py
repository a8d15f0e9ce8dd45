"""Methods that run as their module's call does, with the module's hooks around them.

``module(x)`` runs hooks, ``module.step(x)`` would not; but where a model is spread over machines, hooks gather the
weights that a module computes with (``torch.distributed.fsdp.fully_shard``).
"""

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any, TypeVar

from torch.nn.modules.module import _has_any_global_hook

F = TypeVar("F", bound=Callable[..., Any])


def by_call(method: F) -> F:
    """A decorator: ``module.method(...)`` runs hooks as ``module(...)`` does."""

    @wraps(method)
    def called(self, *args, **kwargs):
        if has_hooks(self):
            return _as_forward(MethodType(method, self), args, kwargs)
        return method(self, *args, **kwargs)

    called.runs_hooks = True  # type: ignore[attr-defined]
    return called  # type: ignore[return-value]


def through_call(method, *args, **kwargs):
    """``method(*args, **kwargs)`` of a module with its hooks, whether or not it was decorated."""
    if hasattr(method, "runs_hooks") or not has_hooks(method.__self__):
        return method(*args, **kwargs)
    return _as_forward(method, args, kwargs)


def has_hooks(module):
    """Whether a module's call does more than its ``forward``."""
    return bool(
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_pre_hooks
        or module._backward_hooks
        or _has_any_global_hook()
    )


def _as_forward(method, args, kwargs):
    """The module's call with ``method`` in the place of ``forward``, until that is reached: it may call the module."""
    module = method.__self__
    attributes = vars(module)
    there = {name: attributes[name] for name in ("forward",) if name in attributes}

    def put_back():
        attributes.pop("forward", None)
        attributes.update(there)

    def forward(*args, **kwargs):
        put_back()
        return method(*args, **kwargs)

    attributes["forward"] = forward
    try:
        return module(*args, **kwargs)
    finally:  # a hook may have raised before
        put_back()
