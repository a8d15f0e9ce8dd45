"""The models: embedding and ``Stack`` of the library, and the heads that transformers knows.

Letters: B batch, T length, D model width, N vocabulary.
"""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from .. import starts
from ..corpora.vocabulary import IGNORE
from ..encoders import Pooling
from ..errors import described, out_of_range, short
from ..formats import is_integers
from ..layers import as_mask, reordered, restored
from ..stack import Stack
from .cache import NAME, FlashCache, valid_first
from .configuration import FlashConfig
from .folder import write_beside

STARTED = "_is_hf_initialized"  # transformers' mark on what was loaded or drawn
PASSED_ON = {"num_items_in_batch"}  # by Trainer, to the loss


class FlashPreTrainedModel(PreTrainedModel):
    """What all of them share: how new weights start, where the embedding is, what a folder holds."""

    config_class = FlashConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _input_embed_layer = "embedding"
    _no_split_modules: ClassVar = ["FLASH", "GAU", "TransformerBlock", "MCTransformerBlock"]
    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module):
        """Heads and embeddings, those of a resize too, with the standard deviations of the configuration's start."""
        config = self.config.native()
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=starts.kernel_std(config))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=starts.embedding_std(config))

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Nothing to do: as of ``FlashConfig``."""

    def save_pretrained(self, save_directory: str | Path, **how: Any) -> None:
        """As transformers does; with a card, and the file by which ``trust_remote_code=True`` finds the classes."""
        if how.get("is_main_process", True):
            write_beside(self, save_directory)
        super().save_pretrained(save_directory, **how)


class FlashModel(FlashPreTrainedModel):
    """Embedding and stack: ``last_hidden_state (B, T, D)``, what a head reads.

    >>> import torch
    >>> from flash_tutorial.hf import FlashConfig, FlashModel
    >>> model = FlashModel(FlashConfig(dim=32, depth=2, qk_dim=16, chunk_size=16))
    >>> model(torch.randint(256, (2, 50))).last_hidden_state.shape
    torch.Size([2, 50, 32])
    """

    def __init__(self, config: FlashConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.stack = Stack(config.native())
        if not next(self.stack.parameters()).is_meta:  # it has started itself
            for part in self.stack.modules():
                setattr(part, STARTED, True)
        self.post_init()

    @property
    def gradient_checkpointing(self) -> bool:
        """The stack's own: of each unit only the input is kept for backward."""
        return self.stack.config.checkpoint

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.stack.config.checkpoint = value

    @torch.no_grad()
    def _init_weights(self, module):
        """A part of the stack starts as it does in a new one; nothing that was loaded is drawn anew."""
        if isinstance(module, nn.Embedding):
            super()._init_weights(module)
        elif not all(hasattr(p, STARTED) for p in module.parameters(recurse=False)):
            with torch.device("cpu"):
                new = dict(Stack(self.stack.config).named_parameters())
            for name, parameter in self.stack.named_parameters():
                init.copy_(parameter, new[name])  # not if it has started
                setattr(parameter, STARTED, True)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: FlashCache | None = None,
        cache: FlashCache | None = None,
        use_cache: bool | None = None,
        **others: Any,
    ) -> BaseModelOutputWithPast:
        """``attention_mask (B, T)`` of zeros and ones, padding on either side. ``segment_ids`` and ``position_ids`` are
        those of ``pack``. A cache is made where ``use_cache=True``, and goes on where one is handed in."""
        cache = past_key_values if cache is None else cache
        _refuse(others)
        x = self._embedded(input_ids, inputs_embeds)
        if cache is None and not use_cache:
            features = self._read(x, attention_mask, segment_ids, position_ids)
            return BaseModelOutputWithPast(last_hidden_state=features)
        if segment_ids is not None or position_ids is not None:
            raise ValueError(
                "a cache goes on with one document: leave segment_ids and position_ids out"
            )
        cache = FlashCache() if cache is None else cache
        if not isinstance(cache, FlashCache):
            raise ValueError(
                f"cache is a {type(cache).__name__}: expected the FlashCache that this model gave, or none"
            )
        features = cache.read(self.stack, x, attention_mask)
        return BaseModelOutputWithPast(last_hidden_state=features, **{NAME: cache})

    def _read(self, x, mask, segment_ids, position_ids):
        order, mask = valid_first(None if mask is None else as_mask(mask, x.shape[:2]))
        x, segment_ids, position_ids = (reordered(t, order) for t in (x, segment_ids, position_ids))
        return restored(self.stack(x, mask, segment_ids, position_ids=position_ids), order)

    def _embedded(self, ids, embeds):
        """``(B, T, D)`` of token ids, or what was embedded already."""
        if (ids is None) == (embeds is None):
            raise ValueError("expected either input_ids or inputs_embeds, and not both")
        if embeds is not None:
            return embeds
        if not is_integers(ids) or ids.dim() != 2:
            raise ValueError(f"input_ids are {described(ids)}: expected (B, T) integer token ids")
        try:
            return self.embedding(ids)
        except IndexError:
            N = self.embedding.num_embeddings
            advice = "was another tokenizer used? resize_token_embeddings makes room for more"
            raise out_of_range("input_ids", ids, N, f" (vocab_size={N}); {advice}") from None


def _refuse(others):
    """transformers hands on what it likes; what is asked for and not there is said."""
    for name, value in others.items():
        if name not in PASSED_ON and value is not None and value is not False:
            raise ValueError(
                f"{name}={short(value)}: this model has no such input; it takes input_ids or inputs_embeds, "
                f"attention_mask, position_ids, segment_ids, past_key_values, use_cache; and labels for a head"
            )


class _LanguageHead(FlashPreTrainedModel):
    """A model whose head gives logits over the vocabulary; tied to the embedding where the configuration has it so."""

    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embedding.weight"}

    def __init__(self, config: FlashConfig) -> None:
        super().__init__(config)
        if config.causal != self.causal:
            other = "FlashForMaskedLM" if self.causal else "FlashForCausalLM"
            raise ValueError(
                f"causal={config.causal}: {type(self).__name__} is built from FlashConfig(causal={self.causal}); "
                f"of this configuration there is {other}"
            )
        self.model = FlashModel(config)
        self.lm_head = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.post_init()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lm_head = new_embeddings


class FlashForCausalLM(_LanguageHead, GenerationMixin):
    """Logits of the next token. ``labels`` are the ids themselves, -100 where nothing is asked: they are shifted here.

    >>> import torch
    >>> from flash_tutorial.hf import FlashConfig, FlashForCausalLM
    >>> model = FlashForCausalLM(FlashConfig(dim=32, depth=2, qk_dim=16, chunk_size=16))
    >>> ids = torch.randint(256, (2, 50))
    >>> model(ids, labels=ids).logits.shape, model.generate(ids, max_new_tokens=5).shape
    (torch.Size([2, 50, 256]), torch.Size([2, 55]))
    """

    causal = True

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: FlashCache | None = None,
        cache: FlashCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """As ``FlashModel``; with ``logits_to_keep`` the logits of so many last tokens alone."""
        fewer = isinstance(logits_to_keep, Tensor) or logits_to_keep != 0
        if labels is not None and fewer:
            raise ValueError(
                f"logits_to_keep={short(logits_to_keep)} with labels: the loss needs all logits; leave one out"
            )
        read = self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            cache=cache,
            use_cache=use_cache,
            **others,
            return_dict=True,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(read.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            labels = _in_int64(labels)
            with _labels_checked(labels, read.last_hidden_state.shape[:2], self.config.vocab_size):
                labels = _behind_a_token(labels, attention_mask)
                labels = _within_documents(labels, segment_ids)
                loss = self.loss_function(logits, labels, logits.shape[-1], **_for_loss(others))
                if not (labels[:, 1:] != IGNORE).any():  # a mean of nothing would be NaN
                    loss = logits.sum() * 0
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{NAME: read.get(NAME)})

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """What each call of ``generate`` hands in. Positions follow from the mask and the cache."""
        if attention_mask is not None and not bool(attention_mask[:, -1].all()):
            raise ValueError(
                "attention_mask has padding in its last column: generate goes on from there, so that prompts are "
                "padded on the left (tokenizer.padding_side = 'left')"
            )
        kwargs.pop("position_ids", None)
        return super().prepare_inputs_for_generation(
            input_ids, attention_mask=attention_mask, **kwargs
        )

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *how):
        """The state in place of transformers' keys and values, whose size grows."""
        if model_kwargs.get(NAME) is None and generation_config.use_cache is not False:
            model_kwargs[NAME] = FlashCache()


class FlashForMaskedLM(_LanguageHead):
    """Logits of each token itself, read from both sides; ``labels`` are -100 where no token was hidden.

    >>> import torch
    >>> from flash_tutorial.hf import FlashConfig, FlashForMaskedLM
    >>> model = FlashForMaskedLM(FlashConfig(causal=False, dim=32, depth=2, qk_dim=16, chunk_size=16))
    >>> model(torch.randint(256, (2, 50))).logits.shape
    torch.Size([2, 50, 256])
    """

    causal = False

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> MaskedLMOutput:
        """As ``FlashModel``."""
        read = self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            inputs_embeds=inputs_embeds,
            **others,
            return_dict=True,
        )
        logits = self.lm_head(read.last_hidden_state)
        loss = None
        if labels is not None:
            labels = _in_int64(labels)
            with _labels_checked(labels, logits.shape[:2], self.config.vocab_size):
                loss = self.loss_function(logits, labels, logits.shape[-1], **_for_loss(others))
        return MaskedLMOutput(loss=loss, logits=logits)


class _Classifier(FlashPreTrainedModel):
    """A model with a linear layer that decides between ``config.num_labels``."""

    def __init__(self, config: FlashConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = FlashModel(config)
        self.score = nn.Linear(config.dim, config.num_labels)
        self.post_init()


class FlashForSequenceClassification(_Classifier):
    """One decision for each row; ``labels (B,)``. ``config.pooling`` says how the features of its valid tokens become
    one: "mean", which is meant where nothing is said, "first" or "attention".

    >>> import torch
    >>> from flash_tutorial.hf import FlashConfig, FlashForSequenceClassification
    >>> config = FlashConfig(causal=False, dim=32, depth=2, qk_dim=16, chunk_size=16, num_labels=3)
    >>> model = FlashForSequenceClassification(config)
    >>> model(torch.randint(256, (2, 50)), labels=torch.tensor([0, 2])).logits.shape
    torch.Size([2, 3])
    """

    def __init__(self, config: FlashConfig) -> None:
        super().__init__(config)
        self.pooling = Pooling(getattr(config, "pooling", "mean"), config.dim, config.causal)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> SequenceClassifierOutput:
        """As ``FlashModel``, of rows that are one text each."""
        if others.get("segment_ids") is not None:
            raise ValueError(
                "segment_ids: a row gets one decision; give each document a row of its own"
            )
        read = self.model(
            input_ids, attention_mask, inputs_embeds=inputs_embeds, **others, return_dict=True
        )
        logits = self.score(self.pooling(read.last_hidden_state, attention_mask))
        loss = None
        if labels is not None:
            shape = (
                labels.shape
            )  # of numbers, or of several classes at once: transformers checks it
            if is_integers(labels):
                labels = _in_int64(labels).flatten()
                shape = logits.shape[:1]
            how = dict(labels=labels, pooled_logits=logits, config=self.config)
            with _labels_checked(labels, shape, self.num_labels):
                loss = self.loss_function(**how, **_for_loss(others))
        return SequenceClassifierOutput(loss=loss, logits=logits)


class FlashForTokenClassification(_Classifier):
    """One decision for each token; ``labels (B, T)``, with -100 where nothing is asked.

    >>> import torch
    >>> from flash_tutorial.hf import FlashConfig, FlashForTokenClassification
    >>> config = FlashConfig(causal=False, dim=32, depth=2, qk_dim=16, chunk_size=16, num_labels=3)
    >>> model = FlashForTokenClassification(config)
    >>> model(torch.randint(256, (2, 50))).logits.shape
    torch.Size([2, 50, 3])
    """

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> TokenClassifierOutput:
        """As ``FlashModel``."""
        read = self.model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            inputs_embeds=inputs_embeds,
            **others,
            return_dict=True,
        )
        logits = self.score(read.last_hidden_state)
        loss = None
        if labels is not None:
            labels = _in_int64(labels)
            with _labels_checked(labels, logits.shape[:2], self.num_labels):
                loss = self.loss_function(logits, labels, self.config, **_for_loss(others))
        return TokenClassifierOutput(loss=loss, logits=logits)


def _in_int64(labels):
    """Labels of any integer type in the one that a loss takes; in uint8 there is no -100."""
    return labels.long() if is_integers(labels) else labels


@contextmanager
def _labels_checked(labels, shape, classes):
    """A loss whose labels have another shape, or name a class that is not there, is refused by name."""
    if labels.shape != shape:
        raise ValueError(f"labels are {described(labels)}: expected the shape {tuple(shape)}")
    try:
        yield
    except IndexError:
        then = f", or {IGNORE} where nothing is asked"
        raise out_of_range("labels", labels[labels != IGNORE], classes, then) from None


def _behind_a_token(labels, mask):
    """Without padding, and without the first token behind it, which padding would have to predict."""
    if mask is None:
        return labels
    own = mask[:, -labels.shape[1] :]
    before = nn.functional.pad(own[:, :-1], (1, 0), value=1)
    return labels.masked_fill((before == 0) | (own == 0), IGNORE)


def _within_documents(labels, segment_ids):
    """Without the first token of each document, which the one before it would have to predict."""
    if segment_ids is None:
        return labels
    same = segment_ids[:, 1:] == segment_ids[:, :-1]
    return labels.masked_fill(~nn.functional.pad(same, (1, 0), value=True), IGNORE)


def _for_loss(others):
    return {name: value for name, value in others.items() if name in PASSED_ON}
