"""What a model costs, counted: multiply-adds of a forward pass, numbers that decoding keeps, bytes
that wait for the backward pass.

Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, G chunks, H heads,
F hidden width of a feed-forward layer, N vocabulary.
"""

from functools import singledispatch

import torch

from flash_tutorial.config import ModelConfig
from flash_tutorial.flash import FLASH
from flash_tutorial.gau import GAU
from flash_tutorial.model import LanguageModel, Stack, make_unit
from flash_tutorial.transformer import MCTransformerBlock, TransformerBlock

# ---------------------------------------------------------------- pairs of tokens


def causal_pairs(T):
    """Pairs (query, key) with the key not later than the query: T (T + 1) / 2."""
    return T * (T + 1) // 2


def attention_pairs(T, causal):
    """Pairs of softmax or relu^2 attention over the whole sequence, whatever the code multiplies besides."""
    return causal_pairs(T) if causal else T * T


def chunk_pairs(T, C, causal):
    """Pairs inside chunks: ``attention_pairs(C)`` for each full chunk, and those of the tail of T mod C tokens."""
    return T // C * attention_pairs(C, causal) + attention_pairs(T % C, causal)


# ---------------------------------------------------------------- multiply-adds of a forward pass, one sequence


def gated_dense(T, D, E, S):
    """The two dense layers of GAU and FLASH: in, D -> 2E + S, and out, E -> D."""
    return T * D * (2 * E + S) + T * E * D


def gau_multiply_adds(T, D, E, S, causal):
    """GAU (Code 6): dense layers, q k^T and A v."""
    return gated_dense(T, D, E, S) + attention_pairs(T, causal) * (S + E)


def flash_multiply_adds(T, D, E, S, C, causal, local=True, global_=True):
    """FLASH (Code 8): dense layers, q k^T and A v inside chunks, K^T V and its reading (T S E each, counted whole)."""
    near = chunk_pairs(T, C, causal) * (S + E) if local else 0
    far = 2 * T * S * E if global_ else 0
    return gated_dense(T, D, E, S) + near + far


def transformer_dense(T, D, F, glu):
    """The dense layers of a Transformer block: q, k, v, out, and a feed-forward layer with or without a gate."""
    matrices = 3 if glu else 2
    return T * 4 * D * D + T * matrices * D * F


def transformer_multiply_adds(T, D, F, causal, glu):
    """A Transformer block: dense layers, q k^T and A v over all heads, D each for a pair."""
    return transformer_dense(T, D, F, glu) + attention_pairs(T, causal) * 2 * D


def mc_transformer_multiply_adds(T, D, F, H, C, causal):
    """MC-Transformer++: softmax attention inside chunks, and H linear heads of a (D / H) x (D / H) state."""
    return (
        transformer_dense(T, D, F, glu=True)
        + chunk_pairs(T, C, causal) * 2 * D
        + 2 * T * D * (D // H)
    )


@singledispatch
def count_multiply_adds(model, T):
    """Multiply-adds of the forward pass over one sequence of T tokens; FLOPs are twice that.

    ``model`` is a ModelConfig, LanguageModel, Stack or unit. Matrix products are counted, and of a causal map only the
    pairs that may be read, whatever the code multiplies and then masks: T (T + 1) / 2, or C (C + 1) / 2 a chunk. Left
    out: norms, activations, positions, the position bias (one for the whole batch) and the embedding, a look-up.

    A unit of your own says it itself, by a method ``multiply_adds(T)``; without one it is a ValueError.
    """
    if not hasattr(model, "multiply_adds"):
        raise ValueError(
            f"the multiply-adds of {type(model).__name__} are not known: give it a method multiply_adds(T), or hand in "
            "a ModelConfig, a LanguageModel, a Stack or a unit of this package"
        )
    return model.multiply_adds(_length(T))


@count_multiply_adds.register
def _(model: GAU, T):
    return gau_multiply_adds(_length(T), model.dim, model.expanded, model.qk_dim, model.causal)


@count_multiply_adds.register
def _(model: FLASH, T):
    u = model
    return flash_multiply_adds(
        _length(T), u.dim, u.expanded, u.qk_dim, u.chunk_size, u.causal, u.local, u.global_
    )


@count_multiply_adds.register
def _(model: TransformerBlock, T):
    return transformer_multiply_adds(_length(T), model.dim, model.ff_dim, model.causal, model.glu)


@count_multiply_adds.register
def _(model: MCTransformerBlock, T):
    u = model
    return mc_transformer_multiply_adds(
        _length(T), u.dim, u.ff_dim, u.heads, u.chunk_size, u.causal
    )


@count_multiply_adds.register
def _(model: Stack, T):
    return sum(count_multiply_adds(unit, T) for unit in model.units)


@count_multiply_adds.register
def _(model: LanguageModel, T):
    return (
        count_multiply_adds(model.stack, T)
        + _length(T) * model.config.dim * model.config.vocab_size
    )


@count_multiply_adds.register
def _(model: ModelConfig, T):
    head = _length(T) * model.dim * model.vocab_size
    return model.depth * count_multiply_adds(unit_without_weights(model), T) + head


def unit_without_weights(config):
    """One unit of a model, with shapes and no memory."""
    with torch.device("meta"):
        return make_unit(config)


def _length(T):
    if not isinstance(T, int) or isinstance(T, bool) or T < 1:
        raise ValueError(f"T={T!r}: expected a number of tokens, an integer of at least 1")
    return T


# ---------------------------------------------------------------- numbers that decoding keeps


@singledispatch
def count_state_numbers(model, T):
    """Numbers that a row's state holds after T tokens; times the bytes of one number, its size in memory.

    FLASH: the sum of K^T V (S E) and room for one chunk of two keys and a value (C (2S + E)), however full it is. GAU:
    T keys and values, T (S + E). A Transformer block: 2 T D. ``model`` as in ``count_multiply_adds``; a unit of your
    own answers by a method ``state_numbers(T)``, and is otherwise taken to keep all its inputs (T D), as decoding then
    does.
    """
    if hasattr(model, "state_numbers"):
        return model.state_numbers(_length(T))
    return _length(T) * model.dim


@count_state_numbers.register
def _(model: GAU, T):
    return _length(T) * (model.qk_dim + model.expanded)


@count_state_numbers.register
def _(model: FLASH, T):
    return model.qk_dim * model.expanded + model.chunk_size * (2 * model.qk_dim + model.expanded)


@count_state_numbers.register
def _(model: TransformerBlock, T):
    return 2 * _length(T) * model.dim


@count_state_numbers.register
def _(model: MCTransformerBlock, T):
    return model.dim * (model.dim // model.heads) + 3 * model.chunk_size * model.dim


@count_state_numbers.register
def _(model: Stack, T):
    return sum(count_state_numbers(unit, T) for unit in model.units)


@count_state_numbers.register
def _(model: LanguageModel, T):
    return count_state_numbers(model.stack, T)


@count_state_numbers.register
def _(model: ModelConfig, T):
    return model.depth * count_state_numbers(unit_without_weights(model), T)


# ---------------------------------------------------------------- bytes that wait for the backward pass


def kept_bytes(function, *inputs):
    """Bytes that autograd keeps between the passes of ``function(*inputs)``, without the inputs themselves."""
    given = {each.untyped_storage().data_ptr() for each in inputs if isinstance(each, torch.Tensor)}
    kept = {}

    def note(tensor):
        memory = (
            tensor.untyped_storage()
        )  # a view keeps all of it, and a piece of an input is an input
        kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function(*inputs)
    return sum(size for place, size in kept.items() if place not in given)
