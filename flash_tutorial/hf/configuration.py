"""FlashConfig: a ModelConfig as transformers keeps it."""

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ..config import OWN, ModelConfig
from ..names import KNOWN, called, nearest, refused
from ..settings import ABSENT, rules

OURS = [name for name in rules(ModelConfig) if name != "unit_options"]
KNOWN["FlashConfig"] = OURS
# a name of ours that means something else in a file of transformers: there it is the length of what generate writes
LENGTH, STORED_LENGTH = "max_length", "max_position_embeddings"
STORED = {*OURS, STORED_LENGTH}


class FlashConfig(PreTrainedConfig):
    """The fields of ``ModelConfig``, by their names or by those of Hugging Face, and what every model has there.

    >>> from flash_tutorial.hf import FlashConfig
    >>> config = FlashConfig(hidden_size=64, num_hidden_layers=2, chunk_size=32, num_labels=3)
    >>> config.dim, config.hidden_size, config.chunk_size, config.architecture
    (64, 64, 32, 'flash')
    >>> config.native().depth
    2
    """

    model_type = "flash_tutorial"
    keys_to_ignore_at_inference: ClassVar = ["cache", "past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_hidden_layers": "depth",
        "num_attention_heads": "heads",
        "intermediate_size": "ff_dim",
        STORED_LENGTH: LENGTH,
        "hidden_dropout_prob": "dropout",
        "initializer_range": "init_std",
        "tie_word_embeddings": "tied",
    }

    def __init__(self, architecture: str = "flash", **options: Any) -> None:
        options |= {"architecture": architecture}
        options = {self.attribute_map.get(name, name): value for name, value in options.items()}
        given = {name: options.pop(name) for name in OURS if name in options}
        if "checksum" in options:
            there = "from_native(LanguageModel.from_pretrained(folder))"
            raise ValueError(
                f"this is the folder of a LanguageModel, whose weights have other names: take {there}"
            )
        written_by = options.pop("format", None)
        if written_by is None:
            _refuse_slips(options)
            native = ModelConfig(**given)
        else:
            native = ModelConfig.from_dict({"format": written_by} | given)
        if native.kind == OWN:
            raise ValueError(
                f"architecture={native.architecture!r}: a config.json holds no class, so that here it is the name of "
                f"one of the package's; with a class of your own use LanguageModel(ModelConfig(...))"
            )
        for name in OURS:
            if getattr(native, name) is not ABSENT:
                setattr(self, name, getattr(native, name))
        usual = {"use_cache": True} | dict.fromkeys(
            ("pad_token_id", "bos_token_id", "eos_token_id")
        )
        super().__init__(**usual | options)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Nothing to do: a folder names the classes, whose code is this package's and not the folder's."""

    def native(self) -> ModelConfig:
        """The same model for ``LanguageModel`` and ``Stack``."""
        return ModelConfig(**{name: getattr(self, name) for name in OURS if hasattr(self, name)})

    def _get_generation_parameters(self):
        """Those of ``generate`` among the attributes, which transformers refuses: our ``max_length`` is none."""
        found = super()._get_generation_parameters()
        found.pop(LENGTH, None)
        return found

    def to_dict(self) -> dict[str, Any]:
        """All attributes, as plain values."""
        return _with_stored_length(super().to_dict())

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json holds: the model whole, so that a default that changes later does not change it."""
        others = {
            name: value for name, value in super().to_diff_dict().items() if name not in STORED
        }
        return others | _with_stored_length(self.native().to_dict())


def _with_stored_length(values):
    if LENGTH in values:
        values[STORED_LENGTH] = values.pop(LENGTH)
    return values


def _refuse_slips(options):
    """transformers takes any name. One that others use for an option of ours, or nearly ours, is answered with ours."""
    for name, value in options.items():
        theirs = name.startswith("_") or hasattr(PreTrainedConfig, name) or name == "architectures"
        if not theirs and (called(name, OURS) or nearest(name, OURS)):
            raise ValueError(refused(name, value, "FlashConfig"))
