"""The models as classes of Hugging Face's transformers: its Auto classes, ``generate``, Trainer and peft know them.

    from flash_tutorial.hf import FlashConfig, FlashForCausalLM

An extra: ``pip install 'flash-tutorial[hf]'``. Nothing else of the package imports it.
"""

try:
    import transformers as _transformers
except ImportError as error:
    raise ImportError(
        "flash_tutorial.hf needs transformers, which is not installed: pip install 'flash-tutorial[hf]'"
    ) from error

from .cache import FlashCache as FlashCache
from .configuration import FlashConfig as FlashConfig
from .convert import from_native as from_native
from .convert import to_native as to_native
from .models import FlashForCausalLM as FlashForCausalLM
from .models import FlashForMaskedLM as FlashForMaskedLM
from .models import FlashForSequenceClassification as FlashForSequenceClassification
from .models import FlashForTokenClassification as FlashForTokenClassification
from .models import FlashModel as FlashModel

__all__ = [
    "FlashCache",
    "FlashConfig",
    "FlashForCausalLM",
    "FlashForMaskedLM",
    "FlashForSequenceClassification",
    "FlashForTokenClassification",
    "FlashModel",
    "from_native",
    "to_native",
]

_transformers.AutoConfig.register(FlashConfig.model_type, FlashConfig)
for _auto, _class in {
    "AutoModel": FlashModel,
    "AutoModelForCausalLM": FlashForCausalLM,
    "AutoModelForMaskedLM": FlashForMaskedLM,
    "AutoModelForSequenceClassification": FlashForSequenceClassification,
    "AutoModelForTokenClassification": FlashForTokenClassification,
}.items():
    getattr(_transformers, _auto).register(FlashConfig, _class)
