"""The units of a model, one behind the other, with positions before and a last norm behind them.

Letters: B batch, T length, D model width.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import starts, states
from .calls import by_call
from .config import GATED, ModelConfig, options_of
from .errors import MASK_BY_NAME, check_call, described, short
from .flash import FLASH
from .formats import is_transformed
from .gau import GAU
from .layers import (
    LearntPositions,
    as_mask,
    check_input,
    make_norm,
    make_positions,
    refuse_other_type,
    reordered,
    reset_norms,
    restored,
)
from .model_state import State
from .names import ours
from .transformer import MCTransformerBlock, TransformerBlock


def make_unit(config: ModelConfig) -> nn.Module:
    """One unit of the stack."""
    c = config
    if not isinstance(c.architecture, str):
        return make_own_unit(c.architecture, c.dim, causal=c.causal, **c.unit_options)
    options = {name: getattr(c, name) for name in options_of(c.architecture)}
    options |= dict(dim=c.dim, causal=c.causal, norm=c.norm)
    if c.architecture in GATED:
        options |= dict(bias=c.bias_in_use)
    else:
        options |= dict(heads=c.heads_in_use, ff_dim=c.ff_dim_in_use)
    if c.architecture == "flash":
        return FLASH(**options)
    if c.architecture == "flash_quad":
        return GAU(**options | dict(bias_length=c.max_length, length_scale=c.length_scale_in_use))
    if c.architecture == "mc_transformer++":
        return MCTransformerBlock(**options)
    return TransformerBlock(
        rope=c.architecture != "transformer", glu=c.architecture == "transformer++", **options
    )


def make_own_unit(
    architecture: Callable[..., nn.Module], dim: int, /, *, causal: bool, **options: Any
) -> nn.Module:
    """A unit of a class of the user's, which is built and called as a stack does."""
    options = {"causal": causal} | options
    name = getattr(architecture, "__name__", type(architecture).__name__)
    given = ", ".join(["dim", *(f"{key}={value!r:.30}" for key, value in options.items())])
    built = f"{name}({given})"
    if not inspect.isclass(architecture) and hasattr(architecture, "parameters"):
        raise ValueError(
            f"the architecture is an object of {name}: give the class, which is built as {built}"
        )
    advice = "give it def __init__(self, dim, causal=True, ...); its other options come from unit_options"
    check_call(architecture, f"{name} cannot be built as {built}", advice, dim, **options)
    unit = architecture(dim, **options)
    name = type(unit).__name__
    said = f"{name} cannot be called as unit(x, mask=None, segment_ids=None)"
    check_call(unit.forward, said, MASK_BY_NAME, None, mask=None, segment_ids=None)
    if causal and not getattr(unit, "causal", False):
        raise ValueError(f"{name} does not say that it is causal: set self.causal = causal in it")
    return unit


@ours
class Stack(nn.Module):
    """Positions, units, a last norm: features ``(B, T, D) -> (B, T, D)``, for audio, pixels or embeddings.

    >>> import torch
    >>> from flash_tutorial import ModelConfig, Stack
    >>> stack = Stack(ModelConfig(dim=32, depth=2, causal=False))
    >>> stack(torch.randn(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    def __init__(self, config: ModelConfig) -> None:
        if not isinstance(config, ModelConfig):
            raise ValueError(f"config is {short(config)}: expected a ModelConfig")
        super().__init__()
        self.config = config
        self.positions = make_positions(config.positions_in_use, config.dim, config.max_length)
        self.units = nn.ModuleList(make_unit(config.of_unit(kind)) for kind in config.kinds)
        self.norm = make_norm(config.norm, config.dim)
        self.drop = nn.Dropout(config.dropout)
        kinds = {type(unit) for unit in self.units}
        # the methods and not the classes: FSDP makes a class of its own of each
        self.checked_here = {kind.forward for kind in kinds if takes_checked(kind.forward)}
        prefills = {getattr(kind, "prefill", None) for kind in kinds}
        self.prompt_checked_here = {prefill for prefill in prefills if takes_checked(prefill)}
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start all parameters anew, as the configuration has it (our units by their own method, which a subclass may
        override); any other unit keeps the start that it gave itself."""
        reset_norms(self.norm)
        for unit in self.units:
            if isinstance(unit, (FLASH, GAU, TransformerBlock)):
                unit.reset_parameters(starts.kernel_std(self.config))
        if isinstance(self.positions, LearntPositions):
            nn.init.normal_(self.positions.table, std=starts.embedding_std(self.config))
        elif self.positions is not None:
            nn.init.constant_(self.positions.scale, starts.position_scale(self.config))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        padding: str = "right",
        state: State | None = None,
        return_state: bool = False,
    ) -> Any:
        """``x (B, T, D)``; positions run over the row, or are ``position_ids (B, T)``, which start anew at a document.

        With ``padding="left"`` the rows are read as if padded on the right, and the features put back where they were.
        With ``state`` the rows go on from it; then, or if ``return_state``, features and the new state come back.
        Mask and documents are looked at here, and not once more in each unit.
        """
        if state is not None or return_state:
            if segment_ids is not None or position_ids is not None:
                raise ValueError(
                    "a state goes on with one document: leave segment_ids and position_ids out"
                )
            return self._read_on(x, mask, padding, state)
        mask, segment_ids, position_ids, order = check_input(
            x,
            self.config.dim,
            mask,
            segment_ids,
            of=self,
            position_ids=position_ids,
            padding=padding,
        )
        x = self.drop(self._placed(reordered(x, order), mask, position_ids))
        dropping = self.training and self.drop.p
        for unit in self.units:
            how = {"mask": mask, "segment_ids": segment_ids}
            if type(unit).forward in self.checked_here:
                how["checked"] = True
            if self.computes_again():
                y = checkpoint(unit, x, use_reentrant=False, **how)
            else:
                y = unit(x, **how)
            if not isinstance(y, Tensor) or y.shape != x.shape:
                raise ValueError(
                    f"the output of {type(unit).__name__} is {described(y)}: expected the shape {tuple(x.shape)}"
                )
            x = x + self.drop(y - x) if dropping else y
        return restored(self.norm(x), order)

    def _placed(self, x, mask, places=None, most=None):
        """``x (B, T, D)`` at its positions: those of the row, or ``places``, none of which is above ``most``."""
        if mask is not None:  # a NaN in the padding would reach the gradients
            x = x.masked_fill(~mask[..., None], 0)
        if self.positions is None:
            return x
        if places is None:
            return x + self.positions(x)
        return x + self.positions.at(places, x, most)

    @by_call
    def prefill(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        state: State | None = None,
        padding: str = "right",
    ) -> tuple[Tensor, State]:
        """Features ``(B, T, D)`` of a prompt up to the end of its longest row, and the state after it.

        With ``state`` the rows go on from it, which stays as it was. What was on the left comes back on the right.
        """
        reading = check_input(x, self.config.dim, mask, of=self, every_row=True, padding=padding)
        return self._prefill(reordered(x, reading.order), reading.mask, state)

    def _read_on(self, x, mask, padding, state):
        """As ``forward``, of rows that begin or go on from a state; a row may have no token."""
        mask, _, _, order = check_input(x, self.config.dim, mask, of=self, padding=padding)
        features, state = self._prefill(reordered(x, order), mask, state)
        behind = x.shape[1] - features.shape[1]  # what is padding in every row
        return restored(F.pad(features, (0, 0, 0, behind)), order), state

    def _prefill(self, x, mask, state):
        if state is not None:
            self._refuse_foreign(state)
        if mask is not None:  # what is padding in every row is no position
            longest = max(int(mask.sum(1).max()), 1)
            x = x[:, :longest]
            mask = mask[:, :longest]
        if state is None:
            rows = states.Rows.after(x, mask)
            x = self._placed(x, mask)
            before = [None] * len(self.units)
        else:
            rows = states.Rows.after(x, mask, state.rows)
            most = rows.used - 1
            places = state.rows.next_places(x.shape[1], x.device).clamp(max=most)  # padding's too
            x = self._placed(x, mask, places, most)
            before = state.units
        dropping = self.training and self.drop.p and torch.is_grad_enabled()
        if dropping:
            x = self.drop(x)
        of_units = []
        for unit, of_unit in zip(self.units, before):
            door = {}
            if getattr(type(unit), "prefill", None) in self.prompt_checked_here:
                door["checked"] = True
            if self.computes_again():
                y, of_unit = checkpoint(
                    states.prefill, unit, x, mask, of_unit, use_reentrant=False, **door
                )
            else:
                y, of_unit = states.prefill(unit, x, mask, of_unit, **door)
            x = x + self.drop(y - x) if dropping else y
            of_units.append(of_unit)
        return self.norm(x), State(of_units, rows, self.config)

    def computes_again(self):
        """Whether activations are computed again for the gradient; torch.func cannot."""
        return self.config.checkpoint and torch.is_grad_enabled() and not is_transformed()

    @by_call
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Features ``(B, D)`` of one more token ``x (B, D)``; the state is changed in place."""
        if getattr(state, "config", None) is not self.config:
            self._refuse_foreign(state)
        expected = (state.rows.batch, self.config.dim)
        if x.shape != expected:
            raise ValueError(
                f"one token for each row of the state is expected, {expected}: got {tuple(x.shape)}"
            )
        refuse_other_type(x, self)
        if self.positions is not None:
            x = x + self.positions.at(state.rows.place, x, state.rows.used)
        for i, unit in enumerate(self.units):
            x, state.units[i] = states.step(unit, x, state.units[i])
        state.rows.advance()
        return self.norm(x), state

    def _refuse_foreign(self, state):
        if not isinstance(state, State):
            raise ValueError(f"state is {described(state)}: expected the State that prefill gave")
        # the same object first: a compiler of any length cannot compare two
        if state.config is not self.config and state.config != self.config:
            raise ValueError(
                "this state is of another model: give the one that this model's own prefill gave"
            )


def takes_checked(method):
    """Whether a unit's method can be told that mask and documents were looked at already: ours can, and what a
    subclass writes in their place need not."""
    return method is not None and "checked" in inspect.signature(method).parameters


def pool(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the valid tokens: ``(B, T, D) -> (B, D)``; ``mask (B, T)`` bool, or integers 0 and 1.

    >>> import torch
    >>> from flash_tutorial import pool
    >>> features = torch.tensor([[[1.0], [3.0], [100.0]]])
    >>> pool(features, torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    if not isinstance(features, torch.Tensor) or features.dim() != 3:
        raise ValueError(f"features are {described(features)}: expected a tensor (B, T, D)")
    if mask is None:
        return features.mean(1)
    mask = as_mask(mask, features.shape[:2])
    total = features.masked_fill(~mask[..., None], 0).sum(
        1, dtype=torch.promote_types(features.dtype, torch.float32)
    )
    return (total / mask.sum(1, keepdim=True).clamp(min=1)).to(features.dtype)
