"""A name from elsewhere, or a slip of the fingers, is answered with ours."""

import copy
import inspect
import pickle
from dataclasses import replace

import pytest

from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    TransformerBlock,
    check_unit,
    load_tokens,
)
from flash_tutorial.experiments import Arm, Experiment
from flash_tutorial.names import CALLED, KNOWN, MEANT
from flash_tutorial.training import TrainConfig, evaluate, train

THERE_AND_HERE = [
    # FLASH-pytorch
    (FLASH, "group_size", "did you mean chunk_size?"),
    (FLASH, "query_key_dim", "did you mean qk_dim?"),
    (FLASH, "expansion_factor", "did you mean expansion?"),
    (GAU, "query_key_dim", "did you mean qk_dim?"),
    (GAU, "max_seq_len", "did you mean bias_length?"),
    (ModelConfig, "num_tokens", "did you mean vocab_size?"),
    (check_unit, "length", "did you mean lengths?"),
    (Arm, "rate", "did you mean rates?"),
    (Experiment, "seed", "did you mean seeds?"),
    # Hugging Face
    (FLASH, "hidden_size", "did you mean dim?"),
    (FLASH, "n_layer", "ModelConfig has it as depth"),
    (TransformerBlock, "num_attention_heads", "did you mean heads?"),
    (TransformerBlock, "intermediate_size", "did you mean ff_dim?"),
    (ModelConfig, "num_hidden_layers", "did you mean depth?"),
    (ModelConfig, "tie_word_embeddings", "did you mean tied?"),
    (ModelConfig, "max_position_embeddings", "did you mean max_length?"),
    (TrainConfig, "per_device_train_batch_size", "did you mean batch?"),
    (TrainConfig, "num_train_epochs", "did you mean steps? (steps counts updates"),
    (TrainConfig, "gradient_accumulation_steps", "did you mean accumulate?"),
    # nanoGPT, torch, x-transformers
    (ModelConfig, "n_embd", "did you mean dim?"),
    (ModelConfig, "block_size", "did you mean max_length?"),
    (ModelConfig, "seq_len", "did you mean max_length?"),
    (ModelConfig, "attn_dropout", "did you mean dropout?"),
    (TrainConfig, "block_size", "did you mean length?"),
    (TrainConfig, "max_iters", "did you mean steps?"),
    (TrainConfig, "lr", "did you mean learning_rate?"),
    (TransformerBlock, "nhead", "did you mean heads?"),
    (TransformerBlock, "d_model", "did you mean dim?"),
    (TransformerBlock, "ff_mult", "did you mean ff_dim? (ff_dim = ff_mult * dim)"),
    (MCTransformerBlock, "window_size", "did you mean chunk_size?"),
    # slips, and other spellings
    (FLASH, "chunksize", "did you mean chunk_size?"),
    (FLASH, "chunkSize", "did you mean chunk_size?"),
    (FLASH, "casual", "did you mean causal?"),
    (ModelConfig, "dims", "did you mean dim?"),
    (ModelConfig, "num_layer", "did you mean depth?"),
    (TrainConfig, "weight_decy", "did you mean weight_decay?"),
    # ours, in another place
    (GAU, "chunk_size", "ModelConfig has it"),
    (ModelConfig, "steps", "TrainConfig has it"),
    (ModelConfig, "lr", "TrainConfig has it as learning_rate"),
    (TrainConfig, "dim", "ModelConfig has it"),
    (TrainConfig, "output_dir", "train has it as out"),
    (LanguageModel, "dim", "ModelConfig has it"),
    (train, "epochs", "TrainConfig has it as steps"),
    (evaluate, "batch_size", "did you mean batch?"),
    (load_tokens, "n_vocab", "did you mean vocab_size?"),
    # nothing of ours
    (FLASH, "colour", "it has dim, chunk_size, expansion, qk_dim, causal, "),
    (FLASH, "shift_tokens", "it has dim, chunk_size, expansion, qk_dim, causal, "),
]


@pytest.mark.parametrize("called, name, said", THERE_AND_HERE)
def test_a_foreign_name_is_answered_with_ours(called, name, said):
    with pytest.raises(ValueError) as error:
        called(**{name: 16})
    message = str(error.value)
    assert message.startswith(f"{name}=16: {called.__name__} has no such option, "), message
    assert said in message and "\n" not in message


def test_the_table_names_what_is_there():
    ours = {name for takes in KNOWN.values() for name in takes}
    assert {*CALLED} <= ours
    assert {own for _, own in MEANT} <= ours and {foreign for foreign, _ in MEANT} <= {
        foreign for row in CALLED.values() for foreign in row.split()
    }


def test_the_signature_shows_the_options_and_nothing_else():
    for thing in (
        FLASH,
        GAU,
        TransformerBlock,
        MCTransformerBlock,
        ModelConfig,
        TrainConfig,
        train,
    ):
        kinds = {parameter.kind for parameter in inspect.signature(thing).parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, thing
    assert list(inspect.signature(FLASH).parameters)[:2] == ["dim", "chunk_size"]


class Windowed(FLASH):
    """A user's own, with an option of its own that has a foreign name."""

    def __init__(self, dim, *, window_size=4, **options):
        super().__init__(dim, chunk_size=window_size, qk_dim=4, **options)
        self.window_size = window_size


def test_a_subclass_takes_what_it_likes():
    unit = Windowed(8, window_size=6, causal=True)
    assert (unit.chunk_size, unit.window_size) == (6, 6)
    with pytest.raises(ValueError, match="group_size=3: FLASH has no such option"):
        Windowed(8, group_size=3)
    for again in (pickle.loads(pickle.dumps(unit)), copy.deepcopy(unit)):
        assert type(again) is Windowed and again.window_size == 6
    with pytest.raises(
        ValueError, match=r"your class takes is given by unit_options=.*window_size"
    ):
        ModelConfig(Windowed, dim=8, depth=1, window_size=6)
    with pytest.raises(ValueError, match=r"hidden_size=8: ModelConfig .* did you mean dim"):
        ModelConfig(Windowed, hidden_size=8)
    config = ModelConfig(Windowed, dim=8, depth=1, unit_options={"window_size": 6})
    assert LanguageModel(config).stack.units[0].window_size == 6


def test_a_configuration_is_changed_by_our_names_only():
    config = ModelConfig(dim=32)
    assert replace(config, dim=64).dim == 64 and pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ValueError, match="did you mean depth"):
        replace(config, n_layer=3)
