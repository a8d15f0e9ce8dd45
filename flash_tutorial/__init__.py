"""How attention became linear: GAU, mixed chunk attention and FLASH (Hua et al., ICML 2022)."""

import os
import sys
from importlib import import_module

TYPE_CHECKING = False  # as typing has it, whose import would cost more than all else here
if TYPE_CHECKING:  # the same names, for those who read types and run nothing
    from .check import check_unit as check_unit
    from .config import ModelConfig as ModelConfig
    from .corpora import load_corpus as load_corpus
    from .corpora import load_tokens as load_tokens
    from .encoders import SequenceClassifier as SequenceClassifier
    from .encoders import TokenClassifier as TokenClassifier
    from .flash import FLASH as FLASH
    from .gau import GAU as GAU
    from .model import LanguageModel as LanguageModel
    from .model import count_parameters as count_parameters
    from .model_state import State as State
    from .packing import pack as pack
    from .stack import Stack as Stack
    from .stack import pool as pool
    from .transformer import MCTransformerBlock as MCTransformerBlock
    from .transformer import TransformerBlock as TransformerBlock

__version__ = "0.3.0"

# OpenMP's threads spin for milliseconds before they sleep, and on a busy machine keep the processor from those that
# they wait for. A bounded spin costs an idle machine little and gives a busy one a third of its time back
# (experiments/timings/waiting.py). GNU's OpenMP reads it where torch is loaded; what a user has set stays.
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


# Where each public name lives. It is imported at its first use, so that `flash-tutorial --help` need not wait for
# torch, and `flash-tutorial doctor` can say that torch is missing.
_HOMES = {
    "ModelConfig": "config",
    "load_corpus": "corpora",
    "load_tokens": "corpora",
    "check_unit": "check",
    "LanguageModel": "model",
    "Stack": "stack",
    "State": "model_state",
    "pack": "packing",
    "count_parameters": "model",
    "SequenceClassifier": "encoders",
    "TokenClassifier": "encoders",
    "pool": "stack",
    "GAU": "gau",
    "FLASH": "flash",
    "MCTransformerBlock": "transformer",
    "TransformerBlock": "transformer",
}
__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # beside it, any name would be one

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__():
    return sorted({*globals(), *_HOMES})
