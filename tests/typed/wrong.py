"""What a type checker refuses, line by line: read by test_types, run by nobody."""

import flash_tutorial
from flash_course import check, predict
from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    TransformerBlock,
    check_unit,
    load_corpus,
    pool,
)
from flash_tutorial.corpora import first_bytes, random_windows
from flash_tutorial.experiments import Arm, welch
from flash_tutorial.training import TrainConfig, evaluate, train

FLASH(64, chunksize=16)  # refused
FLASH("64")  # refused
GAU(64, group_size=16)  # refused
TransformerBlock(64, num_heads=2)  # refused
MCTransformerBlock(64, chunk_size="16")  # refused
ModelConfig(dims=32)  # refused
ModelConfig(dim="wide")  # refused
TrainConfig(lr=1e-3)  # refused
LanguageModel(dim=64)  # refused
check_unit(FLASH(64), documents="yes")  # refused
load_corpus(3)  # refused
pool([1.0])  # refused
train(ModelConfig(), TrainConfig(), epochs=3)  # refused
evaluate(LanguageModel(ModelConfig()), "austen")  # refused
first_bytes(load_corpus("austen"), 10)  # refused
random_windows(load_corpus("austen").train, 2, 8)  # refused
Arm("a", ModelConfig(), rate=1e-3)  # refused
welch(1.0, 2.0)  # refused
check(5, print)  # refused
predict(5)  # refused
flash_tutorial.FLSH  # refused  # noqa: B018
steps: str = TrainConfig().steps  # refused
