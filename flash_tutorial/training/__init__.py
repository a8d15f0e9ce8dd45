"""Training: the loop, one update, and the score that a model is judged by.

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
run.evaluation.bits_per_byte
"""

from ..config import TrainConfig as TrainConfig
from ..corpora import first_bytes as first_bytes
from .batches import draw_batch as draw_batch
from .batches import parts as parts
from .job import Run as Run
from .loop import train as train
from .score import Evaluation as Evaluation
from .score import evaluate as evaluate
from .update import Diverged as Diverged
from .update import learning_rate_at as learning_rate_at
from .update import new_optimizer as new_optimizer
from .update import train_step as train_step
