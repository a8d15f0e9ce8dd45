"""What a model is made of and how it is trained: ModelConfig, TrainConfig, and the configurations that the paper ran.

A field has its default, its meaning and what it may be in one place; the command's flags are made of the same lines.
Nothing here loads torch. A unit's own signature has the paper's defaults; those of a small model stand here.

Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads, N vocabulary.
"""

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from .names import nearest, ours
from .settings import ABSENT, before_they_existed, check_format, explained, rules, setting, stored

GATED = ("flash", "flash_quad")
BLOCKS = ("transformer", "transformer+", "transformer++", "mc_transformer++")
ARCHITECTURES = GATED + BLOCKS
OWN = "a class of your own"
HYBRID = "hybrid"  # units of several kinds
FORMAT = 3  # of a stored configuration
PAPER_STD = 0.02  # what the paper draws kernels, gamma and position bias with
GIVEN_UP = {"start": {"small": "width"}}  # values that were, and what they are read as
LEFT_TO_START = {"init_std": None, "embedding_std": None, "position_scale": "start"}
TOEPLITZ_BELOW = (
    512  # Code 4's condition: the table by distance below this length, the rotary form from it on
)


# ---------------------------------------------------------------- what a field may be
def check_options(**options):
    """Refuse options of a unit that cannot be, each by its rule in ``ModelConfig``."""
    for name, value in options.items():
        rules(ModelConfig)[name].check(name, value)
    if options.get("qk_dim", 2) % 2:
        raise ValueError(
            f"qk_dim={options['qk_dim']}: RoPE turns pairs of channels, so qk_dim must be even"
        )
    if not (options.get("local", True) or options.get("global_", True)):
        raise ValueError(
            "local=False and global_=False leave nothing to mix: switch one of them on"
        )

    if "heads" in options:
        dim = options["dim"]
        heads = options["heads"] or default_heads(dim)
        if dim % (2 * heads):
            raise ValueError(
                f"dim={dim} and heads={heads}: expected heads to divide dim into even widths"
            )


def architecture_meant(word):
    """What else a word may mean that is no architecture, for the end of a sentence; "" where nothing is near."""
    if not isinstance(word, str):
        return ""
    spelt = word.lower().replace("-", "_")
    if spelt == HYBRID:
        return "; a hybrid names its units, as units=['flash', 'transformer++']"
    if spelt == "gau":
        return "; a model of GAUs is 'flash_quad'"
    near = nearest(word, ARCHITECTURES)
    return f"; did you mean {near!r}?" if near else ""


def default_heads(dim):
    """H unless it is given: heads of 64 channels."""
    return max(1, dim // 64)


def gated_width(dim):
    """8 D / 3 rounded up to a multiple of 8: a gated layer with the parameters of an MLP of 4 D."""
    return -(-8 * dim // 24) * 8


# ---------------------------------------------------------------- the model
@ours
@explained
@dataclass(repr=False)
class ModelConfig:
    """All that is needed to build a model: fields that every model has, and the options of its architecture.

    An option that the architecture does not have is refused, and so is one without effect, unless it is left at its
    default. A class of your own is called as ``architecture(dim, causal=causal, **unit_options)``. A hybrid names its
    ``units`` one by one, and has the options of all of them; a Transformer's block weighs as much as two gated units.

    >>> from flash_tutorial import ModelConfig
    >>> config = ModelConfig("flash", dim=64, chunk_size=32)
    >>> config.depth, config.qk_dim, config.heads          # an option that FLASH does not have is ...
    (4, 64, Ellipsis)
    >>> hybrid = ModelConfig(units=["flash", "flash", "transformer++"], chunk_size=32, heads=2)
    >>> hybrid.architecture, hybrid.depth
    ('hybrid', 3)
    """

    architecture: str | Callable[..., Any] = setting(  # noqa: RUF009 (a field)
        "flash", "kind of model", choices=ARCHITECTURES
    )
    units: list[str] | None = setting(  # noqa: RUF009 (a field)
        None,
        "kinds of the units in their order, in place of architecture and depth",
        kind=list,
        flag=None,
        before=None,
    )
    vocab_size: int = setting(256, "N, ids that a token can have", flag=None)
    tokens: int | None = setting(
        None,
        "ids that a text holds, fewer than N (see flash_tutorial.corpora.vocabulary); None: bytes",
        kind=int,
        flag=None,
    )
    dim: int = setting(128, "width D")
    depth: int | None = setting(
        None, "units (default: 4, and 2 of a Transformer, which weigh as much)", kind=int
    )
    causal: bool = setting(
        True, "predict the next token, or read both sides (masked objective)", flag=None
    )
    max_length: int = setting(
        512, "longest T of learnt positions and of a Toeplitz bias; n of FLASH-Quad", flag=None
    )
    norm: str = setting("scale", "ScaleNorm or LayerNorm", choices=("scale", "layer"))
    positions: str | None = setting(
        None,
        "added at the start (default: learnt in transformer, scaled_sin elsewhere, as in the paper)",
        kind=str,
        choices=("scaled_sin", "learnt", "none"),
    )
    start: str = setting(
        "width",
        "standard deviation of all that is drawn: by the width, 0.02 sqrt(768 / D), or the paper's 0.02",
        choices=("width", "paper"),
        before="paper",
    )
    init_std: float | None = setting(
        None, "standard deviation of the kernels, in place of the start's", kind=float, least=0
    )
    embedding_std: float | None = setting(
        None, "standard deviation of the embedding, in place of the start's", kind=float, least=0
    )
    # 1 / sqrt(D), the paper's, drowns an embedding of standard deviation 0.02 in a small model
    position_scale: float | str | None = setting(
        "start",
        "start of the sine table's scale, a number; start's; or paper, which is 1 / sqrt(D)",
        kind=float,
        words={"start": "start", "paper": None},
    )
    dropout: float = setting(
        0.0, "share of the embedding and of each unit's branch that training puts to zero"
    )
    checkpoint: bool = setting(
        False, "keep only the units' inputs for backward, and compute them again (not files)"
    )
    tied: bool = setting(
        True, "a head that is the embedding again, as the paper's counts imply", flag="--untied"
    )

    expansion: int = setting(2, "E / D, how much wider gate and value are", of=GATED)
    qk_dim: int = setting(64, "width S of queries and keys, even", of=GATED)
    bias: str | None = setting(
        "auto",
        "position bias; auto is the paper's rule by length",
        of=GATED,
        choices=("auto", "toeplitz", "rotary"),
        words={"none": None},
    )
    chunk_size: int = setting(128, "tokens C in a chunk", of=("flash", "mc_transformer++"))
    combine: str = setting(
        "mean",
        "over the chunks: Code 8's mean, or the sum of equations 7, 8",
        of=("flash",),
        choices=("mean", "sum"),
    )
    local: bool = setting(True, "the part inside chunks", of=("flash",), flag="--no-local")
    global_: bool = setting(True, "the part across chunks", of=("flash",), flag="--no-global")
    backend: str = setting(
        "auto",
        "what computes a unit: torch, Triton's kernels, or these where they are faster",
        of=("flash",),
        choices=("auto", "torch", "triton"),
    )
    attention: str = setting(
        "relu2", "how scores become weights", of=("flash_quad",), choices=("relu2", "softmax")
    )
    length_scale: int | str | None = setting(
        None,
        "n, which divides the scores; current is the T at hand, as in Code 6 (default: max_length if causal, so "
        "that a model can generate, else current)",
        kind=int,
        of=("flash_quad",),
        words={"current": "current"},
    )
    heads: int | None = setting(None, "H (default: D / 64)", kind=int, of=BLOCKS)
    ff_dim: int | None = setting(
        None,
        "hidden width (default: 3 D with a gate, else 4.5 D, and 3.5 D in transformer)",
        kind=int,
        of=BLOCKS,
    )
    unit_options: dict[str, Any] = setting(  # noqa: RUF009
        {}, "what your class is called with", of=(OWN,), flag=None
    )

    def __post_init__(self):
        if self.units is not None:
            self._take_units()
        elif self.architecture not in ARCHITECTURES and not callable(self.architecture):
            names = ", ".join(ARCHITECTURES)
            meant = architecture_meant(self.architecture)
            raise ValueError(
                f"architecture={self.architecture!r}: expected one of {names}, or a class{meant}"
            )
        if self.depth is None:
            self.depth = 2 if self.kind in BLOCKS else 4
        own = [name for name, rule in rules(self).items() if {*self.kinds} & {*rule.of}]
        for name, rule in rules(self).items():
            value = getattr(self, name)
            if name in own and value is ABSENT:
                setattr(self, name, copy.copy(rule.default))
            elif rule.of and name not in own and value is not ABSENT:
                there = ", ".join(own)
                if self.kind == OWN:
                    there += ", a dictionary of what the class takes"
                whose = f"a hybrid of {', '.join(self.units)}" if self.units else self.kind
                raise ValueError(f"{name}={value!r}: {whose} has no such option, it has {there}")
        given = {name: value for name, value in vars(self).items() if value is not ABSENT}
        # that it is one, or a class, was looked at first
        check_options(**given | {"architecture": "flash"})
        for name, why in self.inert().items():
            if getattr(self, name) != rules(self)[name].default:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} has no effect, since {why}: leave it out"
                )
        self._refuse_odd()

    def _take_units(self):
        """A hybrid's kinds decide its depth; what is said beside them must agree."""
        units = self.units
        is_list = isinstance(units, list | tuple) and units
        if not is_list or any(unit not in ARCHITECTURES for unit in units):
            names = ", ".join(ARCHITECTURES)
            advice = "a class of your own is an architecture by itself, and may hold units of several kinds"
            raise ValueError(
                f"units={units!r}: expected a list of kinds, each one of {names}; {advice}"
            )
        if self.architecture not in ("flash", HYBRID):  # flash is what a call without it has
            given = f"architecture={self.architecture!r} beside units"
            raise ValueError(f"{given}: leave it out, the units say what each one is")
        if self.depth not in (None, len(units)):
            raise ValueError(f"depth={self.depth} and {len(units)} units: leave depth out")
        self.units = [*units]
        self.architecture = HYBRID
        self.depth = len(units)

    @property
    def kind(self) -> str:
        return kind_of(self.architecture)

    @property
    def kinds(self) -> list[str]:
        """The kind of each unit."""
        return self.units or [self.kind] * self.depth

    def of_unit(self, kind: str) -> "ModelConfig":
        """What one unit of a hybrid is built from: the same, with the options of its kind alone."""
        if self.units is None:
            return self
        others = {
            name: ABSENT for name, rule in rules(self).items() if rule.of and kind not in rule.of
        }
        own = dict(architecture=kind, units=None, positions=self.positions_in_use)
        return replace(self, **own, **others)

    @property
    def layers(self) -> float:
        """The depth in blocks of a Transformer: two gated units are one."""
        return sum(1 if kind in BLOCKS else 0.5 for kind in self.kinds)

    @property
    def positions_in_use(self) -> str:
        if self.positions:
            return self.positions
        return "learnt" if {*self.kinds} == {"transformer"} else "scaled_sin"

    @property
    def bias_in_use(self) -> str | None:
        """As asked for; of a FLASH-Quad up to 512 tokens the table, by the comment of Code 4 (see the ledger)."""
        if self.kind == "flash_quad" and self.bias == "auto":
            return "toeplitz" if self.max_length <= TOEPLITZ_BELOW else "rotary"
        return self.bias

    @property
    def length_scale_in_use(self) -> int | None:
        """None for the length at hand; a causal model takes a fixed one, so that it can generate."""
        if self.length_scale == "current":
            return None
        if self.length_scale is None and self.causal:
            return self.max_length
        return self.length_scale

    @property
    def heads_in_use(self) -> int:
        return self.heads or default_heads(self.dim)

    @property
    def ff_dim_in_use(self) -> int:
        """With it a block weighs as much as two gated units. The paper's 4 D and 8 D / 3 do so where S is small
        beside D; here it is D / 2. The table of learnt positions counts as well: in two blocks it is D of this width.
        """
        return self.ff_dim or int(
            self.dim * {"transformer": 3.5, "transformer+": 4.5}.get(self.architecture, 3)
        )

    def inert(self):
        """Fields that have no effect beside the others: name -> why."""
        placed = self.positions_in_use
        starts_itself = self.kind == OWN and self.tied
        fields = {
            "position_scale": (placed != "scaled_sin", f"the positions are {placed}"),
            "init_std": (starts_itself, "your class starts itself and the head is tied"),
            "combine": (self.global_ is False, "global_=False"),
            "bias": (self.local is False, "local=False"),
            "length_scale": (self.attention == "softmax", "attention='softmax'"),
        }
        return {name: why for name, (is_inert, why) in fields.items() if is_inert}

    def reach(self):
        """The longest T that a model of this kind can read; None if it has no end."""
        if self.positions_in_use == "learnt":
            return self.max_length
        whole = "flash_quad" in (self.units or (self.kind,))
        if whole and self.of_unit("flash_quad").bias_in_use == "toeplitz":
            return self.max_length
        return None

    def bound_by_length(self):
        """Why a trained model of this kind cannot be given another ``max_length``; None if it has no part in it."""
        if self.positions_in_use == "learnt":
            return "its learnt positions end there"
        if self.units:
            return (
                self.of_unit("flash_quad").bound_by_length() if "flash_quad" in self.units else None
            )
        if self.kind != "flash_quad":
            return None
        if self.bias_in_use == "toeplitz":
            return "its Toeplitz bias has a weight for each distance up to there"
        if self.length_scale is None and self.causal and self.attention == "relu2":
            return "a causal FLASH-Quad divides its scores by it (length_scale)"
        return None

    def _refuse_odd(self):
        if self.dropout >= 1:
            raise ValueError(f"dropout={self.dropout}: expected a share below 1")
        if self.tokens is not None:
            # it loads NumPy, which a command's help need not wait for
            from .corpora.vocabulary import Vocabulary

            Vocabulary(self.tokens).check(self.vocab_size, self.causal)
        options = {} if self.unit_options is ABSENT else self.unit_options
        try:
            json.dumps(options)
        except TypeError as error:
            said = f"expected plain values, which config.json can hold, such as a name ({error})"
            raise ValueError(f"unit_options={self.unit_options!r}: {said}") from None
        if self.positions_in_use == "scaled_sin" and self.dim % 2:
            raise ValueError(f"dim={self.dim}: the sine table has two halves, so dim must be even")

    def __repr__(self):
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in rules(self)
            if getattr(self, name) is not ABSENT
        ]
        return f"ModelConfig({', '.join(shown)})"

    @classmethod
    def small_encoder(cls, architecture: str = "flash", **options: Any) -> "ModelConfig":
        """A model that reads both sides and trains in minutes: 64 wide, four gated units or two blocks, chunks of
        64. ``options`` are the fields that differ. On ListOps the best rate was 5e-3
        for FLASH, 1e-2 for FLASH-Quad and 2.5e-3 for Transformer++ (docs/results.md, encoders).

        >>> from flash_tutorial import ModelConfig
        >>> config = ModelConfig.small_encoder(vocab_size=16)
        >>> config.causal, config.dim, config.depth, config.start
        (False, 64, 4, 'width')
        """
        sizes = dict(causal=False, dim=64, max_length=512)
        known = options_of(architecture)
        own = dict(qk_dim=32, chunk_size=64, heads=4)
        sizes |= {name: value for name, value in own.items() if name in known}
        return cls(architecture, **sizes | options)

    @classmethod
    def paper(
        cls, task: str, architecture: str = "flash", *, context: int | None = None
    ) -> "ModelConfig":
        """The paper's models (Tables 5 to 9): ``task`` "c4" (masked), "wiki40b" or "pg19" (causal).

        ``context`` is the sequence length, 512 unless given (PG-19: 1024); the paper ran up to 8192.

        >>> from flash_tutorial import ModelConfig
        >>> config = ModelConfig.paper("wiki40b", "flash", context=1024)
        >>> config.dim, config.depth, config.chunk_size
        (768, 24, 256)
        """
        if task not in ("c4", "wiki40b", "pg19"):
            raise ValueError(f"task={task!r} is unknown: the paper ran 'c4', 'wiki40b' and 'pg19'")
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture={architecture!r} is unknown: expected one of {', '.join(ARCHITECTURES)}"
            )
        large = task == "pg19"
        lengths = [512 * 2**i for i in range(large, 5)]
        if context is None:
            context = lengths[0]
        if context not in lengths:
            raise ValueError(
                f"context={context!r}: on {task} the paper ran {', '.join(map(str, lengths))}"
            )
        if large and architecture in ("transformer", "mc_transformer++"):
            raise ValueError(
                f"the paper did not run {architecture} on PG-19: take 'c4' or 'wiki40b'"
            )
        dim, blocks = (1024, 36) if large else (768, 12)
        options = {}
        if architecture != "transformer":
            options["position_scale"] = None
        if architecture in rules(cls)["chunk_size"].of:
            options["chunk_size"] = 512 if large else 256
        if architecture in GATED:
            options |= dict(depth=2 * blocks, qk_dim=128)
        else:
            options |= dict(depth=blocks, heads=default_heads(dim), ff_dim=4 * dim)
        if architecture.endswith("++"):
            options["ff_dim"] = gated_width(dim)
        norm = "layer"
        if task == "c4" and architecture != "transformer":
            norm = "scale"
        options["start"] = "paper"
        return cls(
            architecture,
            vocab_size=32_000,
            dim=dim,
            causal=task != "c4",
            max_length=context,
            norm=norm,
            **options,
        )

    def to_dict(self) -> dict[str, Any]:
        """What has an effect, as plain values for JSON. A class is written as its qualified name, which is never
        imported back. An option that was added later is left out at the value in force before it."""
        values = {"format": FORMAT} | asdict(self)
        if self.kind == OWN:
            named = self.architecture
            if not hasattr(named, "__qualname__"):
                named = type(named)
            values["architecture"] = f"{named.__module__}.{named.__qualname__}"
        if self.start == "paper":  # as files had it before there was a choice
            values |= {
                name: PAPER_STD for name, left in LEFT_TO_START.items() if values[name] == left
            }
        values = {
            name: value
            for name, value in values.items()
            if value is not ABSENT and name not in self.inert()
        }
        return stored(self, values)

    @classmethod
    def from_dict(
        cls,
        values: dict[str, Any],
        *,
        architecture: Callable[..., Any] | None = None,
        where: object = "the configuration",
    ) -> "ModelConfig":
        """The configuration of ``to_dict``; ``architecture`` hands a class of your own back. Errors say ``where``."""
        check_format(values, FORMAT, where)
        values = {name: value for name, value in values.items() if name != "format"}
        for name in sorted(set(values) - set(rules(cls))):
            near = nearest(name, rules(cls)) or "one of those of help(ModelConfig)"
            raise ValueError(f"{where} has the unknown key {name!r}: expected {near}")
        name = values.get("architecture", "flash")
        if architecture is not None:
            look_at_class(architecture, str(name))
            values["architecture"] = architecture
        elif name not in ARCHITECTURES and "." in str(name):
            back = f"from_pretrained(..., architecture={str(name).rpartition('.')[2]})"
            raise ValueError(
                f"this model was built from the class {name}: hand that class back, {back}"
            )
        values = of_today(values)
        if "start" not in values:  # the paper's, with its numbers written out
            values |= {n: left for n, left in LEFT_TO_START.items() if values.get(n) == PAPER_STD}
        config = cls(**values)
        missing = before_they_existed(cls).keys() - values.keys() - config.inert().keys()
        missing = [name for name in missing if getattr(config, name) is not ABSENT]
        return replace(config, **{name: rules(cls)[name].before for name in missing})


def look_at_class(given, stored):
    """A ValueError where no class was stored, a warning where it has another name."""
    if "." not in stored:
        raise ValueError(f"this model is a {stored!r} of the package: leave architecture out")
    name, before = getattr(given, "__name__", None), stored.rpartition(".")[2]
    if name not in (None, before) and before not in ("partial", "<lambda>"):
        said = f"this model was built from the class {stored}, and {name} is handed back"
        warnings.warn(f"{said}: what it computes may be something else", stacklevel=4)


def of_today(values):
    """A stored configuration without the values that were given up: what is stored is drawn no more."""
    kept = {name: given_up.get(values.get(name)) for name, given_up in GIVEN_UP.items()}
    return values | {name: value for name, value in kept.items() if value is not None}


def kind_of(architecture):
    """The architecture's name, or that it is a class of your own."""
    return architecture if isinstance(architecture, str) else OWN


def options_of(architecture):
    """The names of the options that an architecture has."""
    return [name for name, rule in rules(ModelConfig).items() if kind_of(architecture) in rule.of]


# ---------------------------------------------------------------- its training
@ours
@explained
@dataclass
class TrainConfig:
    """How a model is trained. AdamW's betas (0.9, 0.999) and eps 1e-6 are the paper's (Tables 5 and 6) and fixed.

    The learning rate rises over ``warmup`` updates to its peak and falls from there in a line to 0. The paper's clip is
    0.1, and it calls it "local", which may mean each parameter by itself; 1.0 over all of them is the common choice.
    The paper's weight decay is 0.01, here on every parameter, since it names no exception. ``accumulate`` changes
    nothing but memory and rounding.

    >>> from flash_tutorial.training import TrainConfig
    >>> settings = TrainConfig(steps=300, batch=4, length=256)
    >>> settings.warmup, settings.learning_rate
    (100, 0.01)
    """

    steps: int = setting(1700, "updates")
    batch: int = setting(8, "windows B in an update")
    length: int = setting(512, "bytes (or tokens) T in a window")
    learning_rate: float = setting(1e-2, "learning rate at its peak", above=0, flag="--lr")
    warmup: int | None = setting(
        None, "updates until the peak (default: 100, in a short run half of it)", kind=int, least=0
    )
    clip: float | None = setting(
        1.0, "largest norm of the gradient over all parameters", above=0, words={"none": None}
    )
    accumulate: int = setting(1, "parts that a batch is computed in: more of them need less memory")
    weight_decay: float = setting(0.01, "of the optimizer")
    optimizer: str = setting(
        "adamw",
        "adamw, or muon for the kernels of the units and adamw for the rest",
        choices=("adamw", "muon"),
        before="adamw",
    )
    seed: int = setting(0, "of the start and of all that is drawn", least=0)
    corpus: str = setting("austen", "austen, the name of an online corpus, or a UTF-8 text file")
    dtype: str = setting(
        "auto",
        "number format; auto takes what the device can do",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    compile: bool = setting(False, "use torch.compile", flag="--compile")
    start_from: str | None = setting(
        None, "a trained model, by folder or name, whose weights the run starts from", kind=str
    )
    eval_bytes: int | None = setting(
        100_000,
        "bytes (or tokens) of the validation text for a score; 0: no score",
        least=0,
        words={"all": None},
    )
    eval_every: int | None = setting(
        None,
        "updates between two scores, of which best/ keeps the best model (default: a score at the end)",
        kind=int,
    )
    checkpoint_every: int = setting(200, "updates between two checkpoints; the last two are kept")

    def __post_init__(self):
        if self.warmup is None and isinstance(self.steps, int):
            self.warmup = min(100, self.steps // 2)
        for name, rule in rules(self).items():
            rule.check(name, getattr(self, name))
        if self.seed >= 2**63:
            raise ValueError(
                f"seed={self.seed}: expected an integer below 2**63, which torch can take"
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate}: expected a divisor of batch={self.batch}"
            )
        if self.warmup >= self.steps and self.warmup:
            raise ValueError(f"warmup={self.warmup}: expected fewer than steps={self.steps}")
        if self.eval_every and self.eval_bytes == 0:
            given = f"eval_every={self.eval_every} with eval_bytes=0"
            raise ValueError(f"{given}: there is nothing to score, give some bytes")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an option that was added later is left out at the value in force before it."""
        return stored(self, asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, where: object = "the settings") -> "TrainConfig":
        """The settings of ``to_dict``, where a missing key is the value in force before it existed."""
        for name in set(values) - set(rules(cls)):
            raise ValueError(
                f"{where} has the unknown setting {name!r}: it was written by another version"
            )
        return cls(**before_they_existed(cls) | values)
