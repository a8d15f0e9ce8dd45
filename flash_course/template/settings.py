"""All settings of the project in one place. A run's name is a key of MODELS."""

from unit import MyUnit

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig

# A ModelConfig starts from nothing. To go on with a trained model, give its name, "austen-flash", or its folder. With
# `from flash_tutorial.experiments import Trained`: Trained("folder", MyUnit) is one of your own layer, and
# Trained("austen-flash").config the same model from nothing.
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
BUDGET = {"updates": 300}  # of each run; or {"seconds": 60}, or {"flops": 5e11}
TUNING = 1 / 3  # share of the budget for each run that chooses the rate, with seed 100
WARMUP = 1 / 3  # share of a run until its rate has risen to the peak
TRAIN = TrainConfig(batch=8, length=256, eval_bytes=50_000, checkpoint_every=100)
