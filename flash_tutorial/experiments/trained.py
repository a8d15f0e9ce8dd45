"""A trained model as the start of an arm."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from ..config import ModelConfig
from ..model import LanguageModel, weights_of


@dataclass(frozen=True)
class Trained:
    """A model that is trained already, for ``Arm.model``: the name of one of the package or a
    folder; of a layer of your own with its class.

    It is read once: a folder that changes while runs are going changes nothing in them. A run is
    known by the weights that it started from.

    >>> from flash_tutorial.experiments import Arm, Trained
    >>> arm = Arm("tuned", Trained("austen-flash"), rates=(1e-3,))
    >>> arm.model.config.dim
    192
    """

    folder: str | Path
    architecture: Callable[..., nn.Module] | None = None

    def __call__(self, seed: int = 0) -> LanguageModel:
        """The model at its start, the same for each seed."""
        return copy.deepcopy(self.model)

    @cached_property
    def model(self) -> LanguageModel:
        return LanguageModel.from_pretrained(self.folder, architecture=self.architecture)

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @cached_property
    def weights(self) -> str:
        """A digest of the weights."""
        hashed = hashlib.sha256()
        for name, value in sorted(weights_of(self.model).items()):
            hashed.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            hashed.update(value.numpy().tobytes())
        return hashed.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """What a run that starts from it is known by, as plain values."""
        return self.config.to_dict() | {"weights": self.weights}
