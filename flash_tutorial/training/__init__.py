"""Training: the loop, one update, and the score that a model is judged by.

    from flash_tutorial import ModelConfig
    from flash_tutorial.training import TrainConfig, train
    run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
    run.evaluation.bits_per_byte
"""

from ..config import TrainConfig as TrainConfig
from ..corpora import first_bytes as first_bytes
from .loop import Diverged as Diverged
from .loop import Run as Run
from .loop import draw_batch as draw_batch
from .loop import learning_rate_at as learning_rate_at
from .loop import new_optimizer as new_optimizer
from .loop import parts as parts
from .loop import train as train
from .loop import train_step as train_step
from .score import Evaluation as Evaluation
from .score import evaluate as evaluate
