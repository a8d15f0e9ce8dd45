"""A small tokenizer, and corpora of tokens, that tests share."""

import numpy as np
import pytest

from flash_tutorial.corpora import load_tokens

TEXT = (
    "It is a truth universally acknowledged, that a single man — naïve as he is — must be in want of a wife. "
    * 30
)


def tokenizer(size=300):
    """A byte-level BPE of the library `tokenizers`, which is an extra."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    return made


def counting(n=400, vocab_size=5, **options):
    """A corpus whose next token follows from the last one: 0, 1, 2, ..., N - 1, 0, ..."""
    return load_tokens(np.arange(n) % vocab_size, vocab_size, **options)
