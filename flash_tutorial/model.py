"""The whole model: embedding, a stack of units, head; saving and loading.

Letters: B batch, T length, D model width, N vocabulary.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import files, starts, states
from .calls import by_call
from .config import FORMAT, ModelConfig
from .corpora.vocabulary import Vocabulary, text_of
from .errors import described, out_of_range
from .formats import is_integers
from .generate import generate
from .layers import at_least_one_axis
from .losses import cross_entropy, without_padding
from .model_state import State
from .names import ours
from .settings import check_format
from .stack import Stack as Stack
from .stack import make_unit as make_unit
from .stack import pool as pool
from .writing import stream, write

FACTS = ("sha256", "trained_length")  # in config.json beside the configuration: see save_pretrained
AGAIN = "copy again the folder that save_pretrained wrote, or train again"


# ---------------------------------------------------------------- the language model
@ours
class LanguageModel(nn.Module):
    """Embedding, stack, head. Causal: logits of the next token; otherwise of the token itself.

    ``vocabulary`` says what its ids mean: bytes, or tokens, with their tokenizer if there is one. ``trained_length``
    is the T of the windows that it was trained on, None before; ``train`` sets it, and a loop of your own may.

    >>> import torch
    >>> from flash_tutorial import LanguageModel, ModelConfig
    >>> model = LanguageModel(ModelConfig("flash", dim=32, depth=2, qk_dim=16, chunk_size=16))
    >>> ids = torch.randint(0, 256, (2, 50))
    >>> model(ids).shape
    torch.Size([2, 50, 256])
    >>> loss = model.loss(ids[:, :-1], ids[:, 1:])         # nats a token: about ln 256 = 5.5 before training
    >>> 5.4 < float(loss) < 6.2
    True
    >>> model.generate(ids[:, :10], 5, temperature=0).shape
    torch.Size([2, 5])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if not isinstance(config, ModelConfig):
            raise ValueError(
                f"a model is built from a ModelConfig, got {config!r:.60}: give ModelConfig(dim=64)"
            )
        self.config = config
        self.vocabulary = Vocabulary(config.tokens)
        self.trained_length: int | None = None
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.stack = Stack(config)
        self.head = nn.Linear(config.dim, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=starts.embedding_std(config))
        if not config.tied:
            nn.init.normal_(self.head.weight, std=starts.kernel_std(config))
        self.tie_weights()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew, with the numbers that a new model of this configuration has from the same seed.

        For a model that was built on ``meta`` and made real by ``to_empty``, also one in shares on several machines.
        They are those of a model built on the CPU beside it for a moment, whose draws a seed decides.
        """
        self.tie_weights()
        with torch.device("cpu"):
            new = LanguageModel(self.config)
        numbers = dict(new.named_parameters()) | dict(new.named_buffers())
        for name, mine in [*self.named_parameters(), *self.named_buffers()]:
            if name in numbers:  # a subclass starts what it adds
                mine.copy_(shared_like(mine, numbers[name]))

    def tie_weights(self) -> None:
        """Let the head share the embedding's weights, where the configuration has it so (``tied``)."""
        if self.config.tied:
            self.head.weight = self.embedding.weight

    def _apply(self, *args, **kwargs):
        with self._staying_tied():  # what to_empty makes, it makes twice
            return super()._apply(*args, **kwargs)

    def load_state_dict(self, *args, **kwargs):
        """As torch's; with ``assign=True`` a tied head stays tied."""
        with self._staying_tied():
            return super().load_state_dict(*args, **kwargs)

    @contextmanager
    def _staying_tied(self):
        """A head that was tied is tied afterwards too; one that somebody untied or replaced is left alone."""
        tied = self.head.weight is self.embedding.weight
        yield
        if tied:
            self.head.weight = self.embedding.weight

    def forward(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        targets: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        padding: str = "right",
    ) -> Tensor:
        """``ids (B, T) -> logits (B, T, N)``; ``mask (B, T)`` of valid tokens, ``segment_ids (B, T)`` sorted.

        ``position_ids (B, T)`` start anew at each document; ``padding="left"`` takes rows that are padded there.
        With ``targets (B, T)`` it gives their loss, as ``loss`` does: DDP and FSDP follow a model's call alone.
        """
        how = dict(position_ids=position_ids, padding=padding)
        logits = self.head(self.features(ids, mask, segment_ids, **how))
        return logits if targets is None else cross_entropy(logits, without_padding(targets, mask))

    def features(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        padding: str = "right",
        state: State | None = None,
        return_state: bool = False,
    ) -> Any:
        """``ids (B, T) ->`` what the head reads, ``(B, T, D)``.

        With ``return_state``, or with a ``state`` to go on from: that and the new state, both with gradients. For
        backpropagation that ends at a piece's border, hand in ``state.detach()``.
        """
        self._check_ids(ids, 2)
        how = dict(position_ids=position_ids, padding=padding)
        how |= dict(state=state, return_state=return_state)
        return self.stack(self._embedded(ids), mask, segment_ids, **how)

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        padding: str = "right",
    ) -> Tensor:
        """Mean cross-entropy in nats over the targets, without those that are -100 or that ``mask`` hides."""
        how = dict(position_ids=position_ids, padding=padding)
        logits = self(ids, mask, segment_ids, **how)
        return cross_entropy(logits, without_padding(targets, mask))

    @by_call
    @torch.no_grad()
    def prefill(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        *,
        state: State | None = None,
        padding: str = "right",
    ) -> tuple[Tensor, State]:
        """Read a prompt ``(B, T)``: logits ``(B, N)`` of each row's last valid token, and the state.

        With ``state`` the rows go on from it, as the turns of a chat do; it stays as it was.
        """
        self._refuse_non_causal("prefill")
        self._check_ids(ids, 2)
        x = self._embedded(ids)
        features, after = self.stack.prefill(x, mask, state=state, padding=padding)
        last = after.rows.place - 1
        if state is not None:
            last = last - state.rows.place
        return self.head(states.newest(features, last, 1)[:, 0]), after

    @by_call
    @torch.no_grad()
    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one more token ``(B,)``: logits ``(B, N)`` of the next, and the state, which is changed in place."""
        self._refuse_non_causal("step")
        self._check_ids(ids, 1)
        rows = getattr(getattr(state, "rows", None), "batch", len(ids))
        if len(ids) != rows:
            expected = f"expected one token for each row of the state, which has {rows}"
            raise ValueError(f"ids are {described(ids)}: {expected}")
        features, state = self.stack.step(self._embedded(ids), state)
        return self.head(features), state

    generate = generate
    write = write
    stream = stream

    def _refuse_non_causal(self, what):
        if not self.config.causal:
            raise ValueError(
                f"{what} needs a causal model: this one reads both sides (ModelConfig(causal=False))"
            )

    def _check_ids(self, ids, dims):
        if not is_integers(ids) or ids.dim() != dims:
            shape = "(B, T)" if dims == 2 else "(B,)"
            raise ValueError(
                f"ids are {described(ids)}: expected {shape} integer token ids, as a tensor"
            )
        if ids.numel() == 0:
            raise ValueError(
                f"ids has shape {tuple(ids.shape)}: the sequence is empty, expected at least one token"
            )

    def _embedded(self, ids):
        """``(..., D)``. A CPU finds an id that is none by itself; asking beforehand would make a GPU wait."""
        try:
            return self.embedding(ids.long())
        except IndexError:
            N = self.config.vocab_size
            then = f" (vocab_size={N}); was another tokenizer used?"
            raise out_of_range("ids", ids, N, then) from None

    # ------------------------------------------------------------ save and load
    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and, where the model has a tokenizer, ``tokenizer.json``, all of
        them whole or none; ``dtype`` casts the weights.

        config.json has the sha256 of the others and of its own values, which ``from_pretrained`` compares.
        """
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(
                f"dtype={dtype!r}: expected a floating point type of torch, as torch.bfloat16, or None"
            )
        weights = {name: value.to(dtype or value.dtype) for name, value in weights_of(self).items()}
        tokenizer = self.vocabulary.tokenizer
        if tokenizer is None and self.config.tokens and (Path(folder) / "tokenizer.json").exists():
            raise ValueError(
                f"{folder} has a tokenizer.json, but this model has none: choose another folder"
            )
        values = self.config.to_dict()
        if self.trained_length is not None:
            values["trained_length"] = self.trained_length
        _write_model(folder, values, weights, tokenizer)

    @classmethod
    def from_pretrained(
        cls, folder_or_name: str | Path, *, architecture: Callable[..., nn.Module] | None = None
    ) -> "LanguageModel":
        """A model from a folder, or one that comes with the package: "austen-flash", "austen-transformer++", and
        each with "-student" behind it, which scores better.

        In the folder of a run that has not ended it is that of the newest whole checkpoint, and a warning says so. A
        file that is missing, or altered by a byte, is a ValueError.
        """
        folder = _find_model(folder_or_name)
        config, facts = load_config(folder / "config.json", architecture)
        with files.advising(AGAIN):
            files.check_sha256(folder, facts["sha256"])
        model = cls(config)
        load_weights(model, folder)
        model.vocabulary = find_vocabulary(folder, config.tokens)
        model.trained_length = facts["trained_length"]
        return model.eval()


def shared_like(mine, numbers):
    """Numbers for a tensor of a model: the share of this process, where the model is in shares on several."""
    if not hasattr(mine, "device_mesh"):
        return numbers
    from torch.distributed.tensor import distribute_tensor  # hundreds of modules

    return distribute_tensor(numbers.detach().to(mine.device), mine.device_mesh, mine.placements)


def weights_of(model):
    """The tensors of a model by name, each once: of two names for one, as with a tied head, the first."""
    found = {}
    for name, value in sorted(model.state_dict().items()):
        place = name  # a tensor of no numbers has none in memory
        if value.numel():
            place = (value.data_ptr(), value.shape, value.stride())
        found.setdefault(place, (name, value))
    return {name: value.contiguous() for name, value in found.values()}


def load_weights(model, folder):
    """Put the weights that ``save_model`` wrote into a model of the same kind; float64 stays, half becomes float32."""
    path = Path(folder) / "model.safetensors"
    weights = files.load_tensors(path)
    expected = weights_of(model)
    for name in sorted(set(expected) ^ set(weights)):
        where = "lacks" if name in expected else "has the unknown"
        raise ValueError(f"{path} {where} weight {name!r}: it does not belong to its config.json")
    for name, value in weights.items():
        if expected[name].dim():
            weights[name] = value = at_least_one_axis(value)
        if value.shape != expected[name].shape:
            asked = f"config.json asks for {tuple(expected[name].shape)}: the two files do not belong together"
            raise ValueError(f"{path}: {name} has shape {tuple(value.shape)}, {asked}")
    if all(value.dtype == torch.float64 for value in weights.values()):
        model.double()
    model.load_state_dict(weights, strict=False)


def _write_model(folder, values, weights, tokenizer=None):
    """The files of a model: ``values`` for config.json, weights, and the text of a tokenizer, if there is one."""
    folder = Path(folder)
    files.make_folder(folder)
    names = ["model.safetensors", "config.json"]
    if tokenizer:
        names.insert(1, "tokenizer.json")
    with files.whole_files(*(folder / name for name in names)) as parts:
        files.save_tensors(weights, parts[0])
        if tokenizer:
            parts[1].write_text(tokenizer, encoding="utf-8", newline="\n")
        sums = {name: files.file_sha256(part) for name, part in zip(names[:-1], parts)}
        parts[-1].write_text(
            files.to_json(values | {"sha256": sums}), encoding="utf-8", newline="\n"
        )


def save_model(model, folder):
    """``save_pretrained``; of a model of another class the weights, and a config.json that names the class."""
    if isinstance(model, LanguageModel):
        model.save_pretrained(folder)
    else:
        name = f"{type(model).__module__}.{type(model).__qualname__}"
        _write_model(folder, {"format": FORMAT, "model_class": name}, weights_of(model))


def _find_model(folder_or_name):
    from .training.checkpoints import last_checkpoint  # a run that has not ended has models too

    folder = Path(folder_or_name)
    if folder.is_dir():
        if not (folder / "config.json").exists() and (
            found := last_checkpoint(folder, say=warnings.warn)
        ):
            folder, _ = found
            warnings.warn(f"this run has not ended: taking {folder}", stacklevel=3)
        return folder
    models = resources.files("flash_tutorial") / "models"
    if "/" not in str(folder_or_name) and (models / str(folder_or_name)).is_dir():
        return models / str(folder_or_name)
    known = "none"
    if models.is_dir():
        known = ", ".join(sorted(p.name for p in models.iterdir() if p.is_dir()))
    raise ValueError(
        f"{str(folder_or_name)!r} is neither a folder nor a model of the package (which has: {known})"
    )


def find_config(folder_or_name):
    """The ModelConfig of a folder, or of a model of the package."""
    return load_config(_find_model(folder_or_name) / "config.json")[0]


def find_vocabulary(folder_or_name, tokens):
    """What the ids of a model in a folder mean, which reads so many ``tokens``; bytes (None) need no file."""
    path = _find_model(folder_or_name) / "tokenizer.json"
    tokenizer = None
    if tokens and path.exists():
        tokenizer = text_of(path)
    return Vocabulary(tokens, tokenizer)


def load_config(path, architecture=None):
    """The ModelConfig in a ``config.json``, and what stands beside it there, by name (``FACTS``)."""
    with files.advising(AGAIN):
        values = files.parse_json(path)
    if values.get("model_type") == "flash_tutorial":
        there = f"flash_tutorial.hf.FlashForCausalLM.from_pretrained({str(path.parent)!r})"
        raise ValueError(
            f"{path.parent} is a folder of transformers: flash_tutorial.hf.to_native({there}) is the same model here"
        )
    if "format" not in values:
        kind = values.get("model_type") or ", ".join(map(str, values.get("architectures") or ()))
        whose = f"of a Hugging Face model ({kind})" if kind else "no configuration of this package"
        raise ValueError(
            f"{path} is {whose}: expected the folder that LanguageModel.save_pretrained wrote"
        )
    check_format(values, FORMAT, path)
    with files.advising(AGAIN):
        values = files.without_checksum(values, path)
    if "model_class" in values:
        how = f"build it, and call safetensors.torch.load_model(model, '{path.parent}/model.safetensors')"
        raise ValueError(
            f"{path.parent} holds a {values['model_class']}, which is not of this package: {how}"
        )
    facts = {name: values.pop(name, None) for name in FACTS}
    return ModelConfig.from_dict(values, architecture=architecture, where=path), facts


# ---------------------------------------------------------------- counts
def count_parameters(module: nn.Module) -> int:
    """Numbers of all parameters, frozen ones too, shared ones once.

    >>> from torch import nn
    >>> from flash_tutorial import count_parameters
    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in module.parameters())
