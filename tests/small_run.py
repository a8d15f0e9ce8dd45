"""A small run that the tests of training share; its fixtures are in `conftest.py`."""

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

MODEL = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20)
CONFIG = TrainConfig(steps=10, batch=4, length=20, warmup=2, eval_bytes=200, checkpoint_every=3)


def run(corpus, out=None, model=MODEL, config=CONFIG, say=False, **options):
    return train(model, config, corpus=corpus, out=out, progress=say, **options)


def run_all_but_the_end(corpus, out):
    """All updates with their checkpoints, as if the process had died before it wrote the model."""
    run(corpus, out)
    for name in ("config.json", "model.safetensors", "result.json"):
        (out / name).unlink()


def weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
