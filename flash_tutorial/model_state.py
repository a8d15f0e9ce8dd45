"""The state of a whole model as an object: rows chosen, moved, cut off from the graph, copied, kept in a file.

The file is safetensors, with a description beside the tensors; it is written whole or not at all.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import files
from .config import ModelConfig
from .errors import short
from .formats import is_integers
from .states import Cache, ChunkState, Rows, cloned, detached, selected, with_each, with_parts

FORMAT = 1
KEY = "flash_tutorial_state"  # of the description, in the metadata of the file
ADVICE = "read the prompt again, or copy again the file that State.save wrote"


@dataclass
class State:
    """What a stack remembers between tokens: one state for each unit, how far the rows were read, and whose it is.

    >>> import torch
    >>> from flash_tutorial import LanguageModel, ModelConfig
    >>> model = LanguageModel(ModelConfig(dim=8, depth=1, qk_dim=4, chunk_size=4))
    >>> logits, state = model.prefill(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    >>> logits, longer = model.prefill(torch.tensor([[7, 8], [9, 10]]), state=state)
    >>> state.rows.used, longer.rows.used, longer.select([1, 1, 0]).rows.batch
    (3, 5, 3)

    ``prefill`` leaves a state as it was, ``step`` changes it in place: ``clone`` keeps one to come back to. What a unit
    of your own remembers may be a tensor, or tuples, lists and dictionaries of tensors whose first axis is the rows;
    an object of a class of yours has ``select`` and ``with_each`` as those here have (``Kept``).
    """

    units: list[Any]
    rows: Rows
    config: ModelConfig

    def numel(self) -> int:
        """Numbers in use, over all units."""
        sizes = []

        def count(part):
            sizes.append(part.numel())

        for unit in self.units:
            with_parts(unit, of_tensor=count, of_kept=count)
        return sum(sizes)

    def select(self, rows: Any) -> "State":
        """The state of some rows, in a new order, each as often as it is named: integers, or a bool for each row."""
        index = _row_index(rows, self.rows.batch)
        units = [selected(unit, index) for unit in self.units]
        return State(units, self.rows.select(index), self.config)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> "State":
        """On another device, in another floating point type; the sums over chunks stay in float32 or better.

        Numbers that are there already are shared, as a tensor's ``to`` does.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"dtype={dtype}: expected a floating point type, as torch.bfloat16")

        def moved(t, least=None):
            if dtype is None or not t.is_floating_point():
                return t.to(device=device)
            wanted = dtype if least is None else torch.promote_types(dtype, least)
            return t.to(device=device, dtype=wanted)

        return self._with_each(moved)

    def detach(self) -> "State":
        """The same numbers, shared, cut off from the graph: where truncated backpropagation ends."""
        return self._with_each(detached)

    def clone(self) -> "State":
        """A copy that shares nothing."""
        return self._with_each(cloned)

    def _with_each(self, change):
        units = [with_each(unit, change) for unit in self.units]
        return State(units, self.rows.with_each(change), self.config)

    def save(self, path: Path | str) -> None:
        """Write a ``.safetensors`` file, whole or not at all; ``State.load`` reads it."""
        save_state(self, path)

    @staticmethod
    def load(path: Path | str, model: Any) -> "State":
        """The state that ``save`` wrote, on the device of ``model``, or for a ``ModelConfig`` on the CPU.

        A broken file, or the state of a model of another configuration, is a ValueError.
        """
        return load_state(path, model)


def _row_index(rows, batch):
    """``(n,)`` numbers of rows, from integers or from a bool for each row."""
    said = f"rows={short(rows)}: expected numbers of rows from 0 to {batch - 1}, or {batch} bools, one for each row"
    try:
        index = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(said) from None
    if index.dtype == torch.bool and index.shape == (batch,):
        index = index.nonzero()[:, 0]
    if index.dim() == 1 and index.numel() == 0:
        raise ValueError(f"rows={short(rows)} names no row: expected at least one")
    if index.dim() != 1 or not is_integers(index) or index.min() < 0 or index.max() >= batch:
        raise ValueError(said)
    return index.long()


# ---------------------------------------------------------------- written
def save_state(state, path):
    """Write a ``State``."""
    from safetensors.torch import save

    tensors = {}
    rows = state.rows.with_each(lambda t, least=None: t)  # plain ones
    units = [_described(unit, f"units.{i}", tensors) for i, unit in enumerate(state.units)]
    if rows.behind is not None:
        tensors["behind"] = _kept(rows.behind)
    values = {
        "format": FORMAT,
        "config": state.config.to_dict(),
        "batch": rows.batch,
        "used": rows.used,
        "units": units,
        "sha256": _sha256(tensors),
    }
    path = Path(path)
    files.make_folder(path.parent)
    with files.whole_file(path) as part:
        part.write_bytes(save(tensors, {KEY: files.to_json(values)}))


def _described(part, name, tensors):
    """A part of a state as plain values. Its tensors go into ``tensors``, under names that begin with ``name``."""

    def inner(parts):
        return [_described(each, f"{name}.{i}", tensors) for i, each in enumerate(parts)]

    if isinstance(part, torch.Tensor):
        tensors[name] = _kept(part)
        return {"tensor": name}
    if isinstance(part, Cache):
        return {"cache": inner(part.held())}
    if isinstance(part, ChunkState):
        return {"chunks": inner((part.sums, part.quad_k, part.lin_k, part.v, part.bias))}
    if type(part) in (tuple, list):
        return {type(part).__name__: inner(part)}
    if type(part) is dict and all(isinstance(key, str) for key in part):
        return {"dict": list(part), "values": inner(part.values())}
    if part is None or isinstance(part, (bool, int, float, str)):
        return {"plain": part}
    raise ValueError(
        f"a unit keeps a {type(part).__name__}, which no file can hold: keep tensors and numbers, in tuples, "
        f"lists or dictionaries"
    )


def _kept(tensor):
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _sha256(tensors):
    from safetensors.torch import save

    return hashlib.sha256(save(tensors)).hexdigest()


# ---------------------------------------------------------------- read
def load_state(path, model):
    """The ``State`` in a file, for a model (on its device) or a ModelConfig."""
    path = Path(path)
    config = model if isinstance(model, ModelConfig) else getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise ValueError(
            f"a state is read for its model: expected a LanguageModel, a Stack or a ModelConfig, got {model!r:.60}"
        )
    with files.advising(ADVICE):
        tensors, values = _read(path)
    _check_owner(values["config"], config, path)
    rows = Rows(values["batch"], values["used"], tensors.get("behind"))
    units = [_rebuilt(unit, tensors, rows) for unit in values["units"]]
    state = State(units, rows, config)
    if isinstance(model, torch.nn.Module):
        state = state.to(next(model.parameters()).device)
    return state


def _read(path):
    """The tensors and the description of a file, both as they were written."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    with files.reading(path):
        raw = path.read_bytes()
    try:
        tensors = load(raw)
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        described = header.get("__metadata__", {}).get(KEY)
        values = None if described is None else json.loads(described)
    except (SafetensorError, ValueError):
        raise files.altered(path, "not a whole safetensors file") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no state: expected the file that State.save wrote")
    values = files.without_checksum(values, path)
    if values["format"] != FORMAT:
        raise ValueError(f"{path} has format {values['format']}, expected {FORMAT}")
    if values["sha256"] != _sha256(tensors):
        raise files.altered(path)
    return tensors, values


def _check_owner(theirs, config, path):
    """Refuse the state of a model of another configuration."""
    ours = json.loads(json.dumps(config.to_dict()))
    free = {"checkpoint", "dropout"}  # what changes no number that is kept
    if config.bound_by_length() is None:
        free.add("max_length")
    names = sorted({*ours, *theirs} - free)
    differ = [name for name in names if ours.get(name) != theirs.get(name)]
    if differ:
        name = differ[0]
        numbers = f"{name}={theirs.get(name)!r} there, {ours.get(name)!r} here"
        raise ValueError(
            f"{path} is the state of another model ({numbers}): give the model whose state was saved"
        )


def _rebuilt(part, tensors, rows):
    """The part of a state that ``_described`` says."""

    def inner(parts):
        return [_rebuilt(each, tensors, rows) for each in parts]

    own = Rows(rows.batch, rows.used, rows.behind)  # each unit counts for itself
    kind = next(iter(part))
    if kind == "tensor":
        return tensors[part["tensor"]]
    if kind == "cache":
        return Cache(tuple(inner(part["cache"])), own)
    if kind == "chunks":
        *parts, bias = inner(part["chunks"])
        return ChunkState(*parts, own, bias)
    if kind == "dict":
        return dict(zip(part["dict"], inner(part["values"])))
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(inner(part[kind]))
    return part["plain"]
