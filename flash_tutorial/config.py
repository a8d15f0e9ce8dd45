"""What a model is made of: ModelConfig, and the configurations that the paper ran.

Letters: D model width, E expanded width, S shared width, C chunk length, N vocabulary.
"""

import math
from dataclasses import asdict, dataclass, field, fields

ARCHITECTURES = ("flash", "flash_quad", "transformer", "transformer+", "transformer++", "mc_transformer++")


@dataclass
class ModelConfig:
    """All that is needed to build a model. Sizes are the letters of the course.

    Args:
        architecture: one of ``ARCHITECTURES``, or a class of your own, called as
            ``architecture(dim, causal=causal, **unit_options)``.
        vocab_size: N. dim: D. depth: number of units (a FLASH model needs two for one Transformer block).
        causal: predict the next token, or read both sides (masked objective).
        max_length: the longest T that the Transformer's learnt positions and a causal FLASH-Quad are made for.
        norm: "scale" or "layer". expansion: E / D. qk_dim: S. chunk_size: C. bias, combine, local, global_,
            attention: as in ``FLASH`` and ``GAU``.
        length_scale: n of FLASH-Quad. None takes max_length when causal (so that a model can generate) and the
            current length otherwise, as Code 6 does; "current" or an integer decides it for both.
        heads, ff_dim: of the Transformer blocks (default D / 64, and 4 D or 8 D / 3).
        init_std: standard deviation of kernels. embedding_std: of the tied embedding.
        position_scale: start of the one number that scales the sine table; None is the paper's 1 / sqrt(D), which
            drowns an embedding of standard deviation 0.02 in a small model.
        positions: "scaled_sin", "learnt" or "none"; None takes what the architecture has in the paper.
        tied: the head is the embedding, as the paper's parameter counts imply.
    """

    architecture: str | type = "flash"
    vocab_size: int = 256
    dim: int = 128
    depth: int = 4
    causal: bool = True
    max_length: int = 512
    norm: str = "scale"
    expansion: int = 2
    qk_dim: int = 64
    chunk_size: int = 128
    bias: str | None = "auto"
    combine: str = "mean"
    local: bool = True
    global_: bool = True
    attention: str = "relu2"
    length_scale: int | str | None = None
    heads: int | None = None
    ff_dim: int | None = None
    init_std: float = 0.02
    embedding_std: float = 0.02
    position_scale: float | None = 0.02
    positions: str | None = None
    tied: bool = True
    unit_options: dict = field(default_factory=dict)

    def __post_init__(self):
        known = (
            self.architecture in ARCHITECTURES if isinstance(self.architecture, str) else callable(self.architecture)
        )
        if not known:
            raise ValueError(
                f"architecture={self.architecture!r} is unknown: expected one of {', '.join(ARCHITECTURES)}, or a class"
            )
        for name in ("vocab_size", "dim", "depth", "max_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer of at least 1")
        if self.positions not in (None, "scaled_sin", "learnt", "none"):
            raise ValueError(f"positions={self.positions!r} is unknown: expected 'scaled_sin', 'learnt' or 'none'")
        if self.positions_in_use == "scaled_sin" and self.dim % 2:
            raise ValueError(f"dim={self.dim}: the sine table has two halves, so dim must be even")
        for name in ("causal", "local", "global_", "tied"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected True or False")
        for name in ("init_std", "embedding_std", "position_scale"):
            value = getattr(self, name)
            if value is None and name == "position_scale":
                continue
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name}={value!r}: expected a number of at least 0")
        if isinstance(self.length_scale, str) and self.length_scale != "current":
            raise ValueError(f"length_scale={self.length_scale!r}: expected an integer, 'current' or None")

    @property
    def positions_in_use(self):
        return self.positions or ("learnt" if self.architecture == "transformer" else "scaled_sin")

    @classmethod
    def paper(cls, task, architecture="flash", *, context=None):
        """The paper's models (Tables 5 to 9): ``task`` "c4" (masked), "wiki40b" or "pg19" (causal).

        ``context`` is the sequence length, 512 unless given (PG-19: 1024); the paper ran up to 8192.
        """
        if task not in ("c4", "wiki40b", "pg19"):
            raise ValueError(f"task={task!r} is unknown: the paper ran 'c4', 'wiki40b' and 'pg19'")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture={architecture!r} is unknown: expected one of {', '.join(ARCHITECTURES)}")
        large = task == "pg19"
        lengths = [512 * 2**i for i in range(large, 5)]
        context = lengths[0] if context is None else context
        if context not in lengths:
            raise ValueError(f"context={context!r}: on {task} the paper ran {', '.join(map(str, lengths))}")
        if large and architecture in ("transformer", "mc_transformer++"):
            raise ValueError(f"the paper did not run {architecture} on PG-19: take 'c4' or 'wiki40b'")
        gated = architecture in ("flash", "flash_quad")
        blocks = 36 if large else 12
        return cls(
            architecture=architecture, vocab_size=32_000, dim=1024 if large else 768,
            depth=2 * blocks if gated else blocks, causal=task != "c4",
            max_length=context,
            norm="scale" if task == "c4" and architecture != "transformer" else "layer",
            qk_dim=128, chunk_size=512 if large else 256, heads=None if gated else (16 if large else 12),
            position_scale=None,
        )  # fmt: skip

    def to_dict(self):
        """Plain values, for JSON. A class is written as its qualified name, which is never imported back."""
        values = asdict(self)
        if not isinstance(self.architecture, str):
            values["architecture"] = f"{self.architecture.__module__}.{self.architecture.__qualname__}"
        return values

    @classmethod
    def from_dict(cls, values, *, architecture=None):
        """The configuration of ``to_dict``; ``architecture`` hands a class of your own back."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"the configuration has the unknown key {sorted(unknown)[0]!r}: expected only "
                f"{', '.join(f.name for f in fields(cls))}"
            )
        values = dict(values)
        name = values.get("architecture", "flash")
        if architecture is not None:
            values["architecture"] = architecture
        elif name not in ARCHITECTURES and "." in str(name):
            raise ValueError(
                f"this model was built from the class {name}: hand that class back, "
                f"from_pretrained(..., architecture={str(name).rpartition('.')[2]})"
            )
        return cls(**values)
