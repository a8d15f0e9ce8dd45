"""How attention became linear: GAU, mixed chunk attention and FLASH (Hua et al., ICML 2022)."""

from .data import load_corpus
from .measure import count_multiply_adds
from .model import LanguageModel, ModelConfig, Stack, count_parameters, pool
from .properties import check_unit
from .units import FLASH, GAU, MCTransformerBlock, TransformerBlock

__version__ = "0.1.0"

__all__ = [
    "FLASH",
    "GAU",
    "LanguageModel",
    "MCTransformerBlock",
    "ModelConfig",
    "Stack",
    "TransformerBlock",
    "check_unit",
    "count_multiply_adds",
    "count_parameters",
    "load_corpus",
    "pool",
]
