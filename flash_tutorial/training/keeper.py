"""What a run keeps as it goes: a row of the log for each update, and checkpoints that it can go on from."""

from functools import partial

from .checkpoints import load_optimizer, optimizer_tensors, save_checkpoint
from .run_folder import Log, read_log


class Keeper:
    """The log and the checkpoints of one run in the folder ``out``; where it is None, a log in memory alone.

    ``found`` is what the run goes on from: then ``done`` updates are made already, which took ``seconds``.
    ``save_model(model, folder)`` writes a model, ``facts`` say what the run is.
    """

    def __init__(self, out, found, facts, save_model, unit, scored):
        self.out, self.facts, self.save_model = out, facts, save_model
        self.path = None
        self.saved = {"step": 0, "seconds": 0.0}
        rows = []
        if found:
            self.path = found.path
            self.saved = found.values
            rows = read_log(found.path / "log.csv")
        self.done, self.seconds = self.saved["step"], self.saved["seconds"]
        self.log = Log(rows, unit, scored)

    def begin(self, model, optimizer, scaler):
        """Give the optimizer and the loss scaling the numbers they had, or keep those of the start."""
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        if self.path:
            load_optimizer(self.path, model, optimizer)
            if scaler.is_enabled() and self.saved["scaler"]:
                scaler.load_state_dict(self.saved["scaler"])
        else:
            self.save(0, 0.0)
        if self.out:
            self.log.write_to(self.out / "log.csv")

    def save(self, step, seconds):
        """Write a checkpoint."""
        if self.out:
            more = {"seconds": seconds, "scaler": self.scaler.state_dict()}
            tensors = optimizer_tensors(self.model, self.optimizer)
            write_model = partial(self.save_model, self.model)
            save_checkpoint(
                self.out, step, write_model, tensors, self.log.text(), self.facts | more
            )
