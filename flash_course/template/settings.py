"""All settings of the project in one place. A run's name is a key of MODELS."""

from unit import MyUnit

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig

MODELS = {
    # give the baseline as many parameters as your model has: `python grid.py` prints both counts
    "baseline": ModelConfig("flash", dim=64, depth=4, qk_dim=32, chunk_size=32, norm="layer"),
    "mine": ModelConfig(MyUnit, dim=64, depth=4, norm="layer"),
}
# both are tuned, on the same grid
RATES = {
    "baseline": [2e-3, 5e-3, 1e-2],
    "mine": [2e-3, 5e-3, 1e-2],
}
SEEDS = [0, 1, 2]
TRAIN = TrainConfig(steps=300, batch=8, length=256, eval_bytes=50_000, checkpoint_every=100)
TUNING_STEPS = 100  # of the runs that choose the rate, with seed 0
