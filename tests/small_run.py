"""A small run that the tests of training share; its fixtures are in `conftest.py`."""

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

MODEL = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20)
CONFIG = TrainConfig(steps=10, batch=4, length=20, warmup=2, eval_bytes=200, checkpoint_every=3)


def run(corpus, out=None, model=MODEL, config=CONFIG, say=False, **options):
    return train(model, config, corpus=corpus, out=out, progress=say, **options)


def contents(folder):
    """What every file in a folder holds."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Killed(BaseException):
    """Stands for the end of the process: no handler of the package catches it."""


def weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
