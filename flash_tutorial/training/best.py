"""The scores of a run while it trains, and the best model so far.

    runs/first/best/    config.json, model.safetensors: a model that LanguageModel.from_pretrained reads
                        training.json: its step, its score, the sha256 of the files and of itself

It is there as a whole or not at all, and it is judged by its own record. So a run that was killed after a checkpoint
comes to the same scores again, and ends with the same best model, bit by bit.
"""

from functools import partial

from ..files import advising
from .checkpoints import read_checkpoint, save_best


class Scores:
    """Scores of a model on a validation text, None for no score; ``best`` is ``{"step": ..., "score": ...}`` or None.

    ``evaluate(model, split, length, batch)`` gives a score, ``save_model(model, folder)`` writes a model.
    """

    def __init__(self, split, config, out, found, evaluate, save_model):
        self.split = split
        self.config = config
        self.out = out
        self.last = (None, None)
        self.evaluate, self.save_model = evaluate, save_model
        self.best = read_best(out / "best") if out and found else None

    @property
    def on_the_way(self):
        """Whether there are others than the one at the end."""
        return self.config.eval_every is not None

    def due(self, step):
        """Whether the model is scored after an update on the way."""
        return self.on_the_way and (step % self.config.eval_every == 0 or step == self.config.steps)

    def take(self, model, step):
        """The score of the model as it stands after an update."""
        if step is None or self.last[0] != step:
            self.last = (
                step,
                self.evaluate(model, self.split, self.config.length, self.config.batch),
            )
        return self.last[1]

    def keep_best(self, model, step):
        """Score the model, and keep it if it is the best; what the log's row gets."""
        score = self.take(model, step).bits_per_token
        if self.best is None or score < self.best["score"]:
            self.best = {"step": step, "score": score}
            if self.out:
                save_best(self.out / "best", partial(self.save_model, model), self.best)
        return {f"validation_bits_per_{self.split.vocabulary.unit}": score}

    def values(self, score):
        """What result.json says of them; ``score`` is that of the end."""
        unit = "byte" if self.split is None else self.split.vocabulary.unit
        values = {f"validation_bits_per_{unit}": None, f"validation_{unit}s": 0}
        if score is not None:
            values = {
                f"validation_bits_per_{unit}": score.bits_per_token,
                f"validation_{unit}s": score.n_tokens,
            }
        if unit == "token" and score is not None:
            values |= {
                "validation_bits_per_byte": score.bits_per_byte,
                "validation_bytes": score.n_bytes,
            }
        if self.best:
            values |= {
                f"best_validation_bits_per_{unit}": self.best["score"],
                "best_step": self.best["step"],
            }
        return values


def read_best(folder):
    """The record of the best model so far, or None; a ValueError if a file is not as it was written."""
    if not (folder / "training.json").exists():
        return None
    with advising(f"move {folder} away, and go on; a later best one will be kept"):
        values = read_checkpoint(folder)
    return {"step": values["step"], "score": values["score"]}
