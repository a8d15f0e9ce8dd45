"""What ``generate`` keeps between tokens: the library's own state, in the place of keys and values.

Letters: B batch, T length, D model width.
"""

import torch
from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..formats import is_followed
from ..layers import as_mask, reordered, restored
from ..model_state import State
from ..stack import Stack

# what transformers calls it: past_key_values, and cache from 5.24 or a little before, where both are taken
NAME = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


class FlashCache(Cache):
    """The state after all that was read. Of FLASH and MC-Transformer++ it has one size, however much that was.

    >>> import torch
    >>> from flash_tutorial.hf import FlashConfig, FlashForCausalLM
    >>> model = FlashForCausalLM(FlashConfig(dim=32, depth=2, qk_dim=16, chunk_size=16)).eval()
    >>> first = model(torch.randint(256, (1, 40)), use_cache=True)
    >>> before = first.past_key_values.numel()
    >>> more = model(torch.randint(256, (1, 400)), past_key_values=first.past_key_values)
    >>> more.past_key_values.get_seq_length(), more.past_key_values.numel() == before
    (440, True)

    As every cache of transformers it is changed by what reads on: ``copy.deepcopy`` keeps one to come back to.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.state: State | None = None
        self.columns = 0  # tokens read of each row, padding included

    def read(self, stack: Stack, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of further tokens ``x (B, T, D)``. ``mask`` is theirs, or that of all columns from the first on."""
        T = x.shape[1]
        order, mask = valid_first(self._mask_of_new(mask, x))
        self.columns += T
        if T == 1 and self.state is not None and mask is None and not torch.is_grad_enabled():
            features, self.state = stack.step(x[:, 0], self.state)
            return features[:, None]
        features, self.state = stack(reordered(x, order), mask, state=self.state, return_state=True)
        return restored(features, order)

    def _mask_of_new(self, mask, x):
        if mask is None:
            return None
        B, T = x.shape[:2]
        if not isinstance(mask, Tensor) or mask.dim() != 2 or len(mask) != B:
            as_mask(mask, (B, T))  # says what is expected
        whole = self.columns + T
        if mask.shape[1] not in (T, whole):
            raise ValueError(
                f"attention_mask is {tuple(mask.shape)}: expected {(B, whole)}, a column for each of the "
                f"{self.columns} tokens that the cache has read and of the {T} new ones, or {(B, T)} for these alone"
            )
        mask = as_mask(mask, mask.shape)
        if self.state is not None and mask.shape[1] == whole and T > 1:
            self._refuse_forgetting(mask[:, : self.columns].sum(1))
        return mask[:, -T:]

    def _refuse_forgetting(self, asked):
        """A mask may not hide what was read, as by a row that stopped before the others and reads on until they do."""
        read = self.state.rows.lengths.to(asked.device)
        if bool((read != asked).any()):
            row = int((read != asked).nonzero()[0, 0])
            raise ValueError(
                f"attention_mask has {int(asked[row])} valid tokens of row {row} where the cache has read "
                f"{int(read[row])}: a state cannot forget what a row read on after it had stopped; give the whole text "
                f"without the cache, or go on with one row at a time"
            )

    # ------------------------------------------------------------ what transformers asks of a cache
    def numel(self) -> int:
        """Numbers in use."""
        return 0 if self.state is None else self.state.numel()

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.columns

    def get_max_length(self, layer_idx: int | None = None) -> int:
        return -1

    def has_previous_state(
        self, layer_idx: int | None = None, state_idx: int | None = None
    ) -> bool:
        return self.state is not None

    def reset(self) -> None:
        self.state = None
        self.columns = 0

    def batch_select_indices(self, indices: Tensor) -> None:
        self.state = self.state.select(indices)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.batch_select_indices(torch.arange(self.batch_size).repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove:
            raise ValueError(
                f"crop({tokens_to_remove}): a state cannot forget tokens; keep a copy.deepcopy of the cache from before"
            )

    @property
    def batch_size(self) -> int:
        return -1 if self.state is None else self.state.rows.batch

    @property
    def is_initialized(self) -> bool:
        return self.state is not None

    @property
    def is_croppable(self) -> bool:
        return False

    @property
    def is_linear(self) -> list[bool]:
        return [False]  # of linear ones generate does not ask how long they are

    def __len__(self) -> int:
        return 0 if self.state is None else len(self.state.units)

    def __repr__(self) -> str:
        return f"FlashCache({self.columns} tokens read, {self.numel()} numbers)"


def valid_first(mask):
    """The order that brings the valid tokens of each row to the front, and the mask in it; None where all are valid.

    Padding may stand on the left, on the right, or between two turns: a model counts positions and chunks without it.
    """
    if mask is None or (not is_followed(mask) and bool(mask.all())):
        return None, None
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    return order, reordered(mask, order)
