"""A saved model comes back bit for bit; what is altered or does not fit is named; a full disk loses nothing."""

import errno
import json
import os
import random
from functools import partial
from pathlib import Path

import pytest
import torch
from refusals import assert_one_line
from safetensors.torch import load_file, save_file
from small_model import MyUnit, N, ids, model

import flash_tutorial
from flash_tutorial import LanguageModel, ModelConfig, files
from flash_tutorial.config import ARCHITECTURES

load = LanguageModel.from_pretrained


@pytest.fixture
def folder(tmp_path):
    model(dtype=torch.float32).save_pretrained(tmp_path)
    return tmp_path


def refuses(folder, *parts):
    return assert_one_line(lambda: load(folder), *parts)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(folder, **values):
    """Another configuration, as if it had been saved like this."""
    path = folder / "config.json"
    files.write_json(path, files.read_json(path) | values)


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied, dtype", [(True, torch.float32), (False, torch.float64)])
def test_save_and_load_give_the_same_bits(architecture, tied, dtype, tmp_path):
    saved, out = model(architecture, dtype=dtype, tied=tied), tmp_path / "new" / "folder"
    saved.save_pretrained(out)
    loaded = load(out)
    assert loaded.config == saved.config and not loaded.training
    for (name, a), (_, b) in zip(saved.state_dict().items(), loaded.state_dict().items()):
        assert torch.equal(a, b) and a.dtype == b.dtype, name
    assert torch.equal(saved(ids()), loaded(ids()))
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "model.safetensors"]
    assert (loaded.head.weight is loaded.embedding.weight) == tied


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_saved_in_half_precision(dtype, tmp_path):
    saved = model(dtype=torch.float32)
    saved.save_pretrained(tmp_path, dtype=dtype)
    assert all(t.dtype == dtype for t in load_file(tmp_path / "model.safetensors").values())
    loaded = load(tmp_path)
    for (name, a), (_, b) in zip(saved.state_dict().items(), loaded.state_dict().items()):
        assert b.dtype == torch.float32 and torch.equal(a.to(dtype).float(), b), name


def test_weights_are_saved_in_a_floating_point_type_only(tmp_path):
    for dtype in (torch.int8, "bfloat16"):
        save = partial(model().save_pretrained, tmp_path, dtype=dtype)
        assert_one_line(save, repr(dtype), "floating point")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "build, name, how",
    [
        (MyUnit, "small_model.MyUnit", "architecture=MyUnit"),
        (partial(MyUnit, power=2), "functools.partial", "architecture=partial"),
    ],
)
def test_a_class_of_ones_own_has_to_be_handed_back(tmp_path, build, name, how):
    options = dict(power=3)
    mine = LanguageModel(ModelConfig(build, vocab_size=N, dim=12, depth=1, unit_options=options))
    assert mine.stack.units[0].power == 3
    mine.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"].endswith(name)
    refuses(tmp_path, "hand that class back", how)
    loaded = load(tmp_path, architecture=build)
    assert torch.equal(loaded(ids()), mine(ids())) and loaded.config.unit_options == options


class Another(MyUnit):
    pass


def test_another_class_is_warned_of_and_one_for_a_model_of_the_package_refused(tmp_path):
    LanguageModel(ModelConfig(MyUnit, vocab_size=N, dim=12, depth=1)).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="from the class small_model.MyUnit, and Another is"):
        load(tmp_path, architecture=Another)
    model().save_pretrained(tmp_path)
    how = dict(architecture=MyUnit)
    assert_one_line(
        lambda: load(tmp_path, **how), "a 'flash' of the package", "leave architecture out"
    )


def test_models_of_the_package_have_digests():
    models = Path(flash_tutorial.__file__).parent / "models"
    paths = [path for path in models.iterdir() if path.is_dir()]
    assert paths
    for path in paths:
        files.check_sha256(path, files.read_json(path / "config.json")["sha256"])


# ---------------------------------------------------------------- missing, cut off, altered


def test_missing_files(folder):
    missing = "austen-nothing"
    refuses(missing, missing, "neither a folder nor a model of the package (which has: ")
    (folder / "model.safetensors").unlink()
    refuses(folder, "model.safetensors is missing", "save_pretrained")
    (folder / "config.json").unlink()
    refuses(folder, "config.json is missing", "save_pretrained")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_weights_cut_off(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refuses(folder, "model.safetensors is cut off or altered", "copy again", "or train again")


HUGGING_FACE = '{"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 16}'


@pytest.mark.parametrize(
    "text, said",
    [
        *[(text, "cut off or altered") for text in ("", '{"dim"', "[]", "\0\1", '"a"', "null")],
        ("{}", "no configuration"),
        (HUGGING_FACE, "of a Hugging Face model (bert)"),
    ],
)
def test_config_that_is_none(folder, text, said):
    (folder / "config.json").write_text(text)
    refuses(folder, f"config.json is {said}", "save_pretrained")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_any_altered_byte_is_noticed(folder, name):
    """Most of them are no longer JSON or no safetensors; the others would load in silence."""
    path, rng = folder / name, random.Random(0)
    raw = path.read_bytes()
    for place in [0, *rng.sample(range(len(raw) - 2), 40), len(raw) - 2]:
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        refuses(folder, name)
    path.write_bytes(raw)
    load(folder)


@pytest.mark.parametrize(
    "values, parts",
    [
        (dict(format=1), ("config.json has format 1", "expected 3", "another version")),
        (dict(vocabsize=3), ("unknown key 'vocabsize'", "expected vocab_size")),
        (dict(heigth=3), ("unknown key 'heigth'", "help(ModelConfig)")),
        (dict(dim=24), ("has shape", "config.json asks for", "do not belong together")),
        (dict(depth=3), ("lacks weight 'stack.units.2", "does not belong to its config.json")),
        (dict(depth=1), ("unknown weight 'stack.units.1", "does not belong to its config.json")),
        (dict(dim=-1), ("dim=-1", "at least 1")),
    ],
)
def test_config_that_does_not_fit(folder, values, parts):
    change(folder, **values)
    refuses(folder, *parts)


def test_a_weight_too_many_or_too_few(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    fewer = {n: t for n, t in weights.items() if n != "stack.norm.gain"}
    for other, said in (
        (weights | {"extra": torch.zeros(2)}, "unknown weight 'extra'"),
        (fewer, "lacks weight 'stack.norm.gain'"),
    ):
        save_file(other, path)
        change(folder, sha256={path.name: files.file_sha256(path)})
        refuses(folder, said)


# ---------------------------------------------------------------- a full disk


@pytest.mark.parametrize(
    "where, what", [(os, "replace"), (os, "fsync"), (Path, "write_bytes"), (Path, "write_text")]
)
def test_a_full_disk_loses_nothing(where, what, folder, monkeypatch):
    def no_space(*args, **kw):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(folder)
    said = ("config.json could not be written", "No space left", "untouched", "free some space")
    with monkeypatch.context() as patch:
        # also of a path's own class, which has a method of its own in some versions of Python
        for owner in {where, type(folder)} if where is Path else {where}:
            patch.setattr(owner, what, no_space)
        assert_one_line(lambda: model(seed=5).save_pretrained(folder), *said)
    assert contents(folder) == before
    load(folder)
