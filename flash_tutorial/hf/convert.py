"""Between ``LanguageModel`` and the classes of transformers: the same weights by other names."""

from dataclasses import asdict

from ..model import LanguageModel
from ..settings import ABSENT
from .configuration import FlashConfig
from .models import FlashForCausalLM, FlashForMaskedLM

TRAINED = "trained_length"


def from_native(model: LanguageModel) -> FlashForCausalLM | FlashForMaskedLM:
    """A copy of a ``LanguageModel`` for transformers: FlashForCausalLM, or FlashForMaskedLM if it reads both sides.

    >>> from flash_tutorial import LanguageModel
    >>> from flash_tutorial.hf import from_native
    >>> model = from_native(LanguageModel.from_pretrained("austen-flash"))
    >>> type(model).__name__, model.config.hidden_size
    ('FlashForCausalLM', 192)
    """
    if not isinstance(model, LanguageModel):
        raise ValueError(f"model is a {type(model).__name__}: expected a LanguageModel")
    values = {name: value for name, value in asdict(model.config).items() if value is not ABSENT}
    values.pop("unit_options", None)
    config = FlashConfig(**values, **{TRAINED: model.trained_length})
    made = (FlashForCausalLM if config.causal else FlashForMaskedLM)(config)
    made.to(model.embedding.weight.device, model.embedding.weight.dtype)
    for theirs, ours in _pairs(made, model):
        theirs.load_state_dict(ours.state_dict())
    # for the way back; transformers stores no tokenizer with a model
    made.vocabulary = model.vocabulary
    return made.train(model.training)


def to_native(model: FlashForCausalLM | FlashForMaskedLM) -> LanguageModel:
    """A copy as a ``LanguageModel``, for the package's own training, evaluation and files.

    >>> from flash_tutorial.hf import FlashConfig, FlashForCausalLM, to_native
    >>> to_native(FlashForCausalLM(FlashConfig(dim=32, depth=2, qk_dim=16, chunk_size=16))).config.dim
    32
    """
    if not isinstance(model, (FlashForCausalLM, FlashForMaskedLM)):
        advice = (
            "a classifier has no head for it, and of a model of peft take merge_and_unload() first"
        )
        raise ValueError(
            f"model is a {type(model).__name__}: expected FlashForCausalLM or FlashForMaskedLM ({advice})"
        )
    made = LanguageModel(model.config.native())
    made.to(model.device, model.dtype)
    for theirs, ours in _pairs(model, made):
        ours.load_state_dict(theirs.state_dict())
    made.trained_length = getattr(model.config, TRAINED, None)
    made.vocabulary = getattr(model, "vocabulary", made.vocabulary)
    return made.train(model.training)


def _pairs(theirs, ours):
    """The parts of both that hold the same weights."""
    return [
        (theirs.model.embedding, ours.embedding),
        (theirs.model.stack, ours.stack),
        (theirs.lm_head, ours.head),
    ]
