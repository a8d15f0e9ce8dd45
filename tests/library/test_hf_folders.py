"""``flash_tutorial.hf``: configurations, folders, how new weights start, and the way there and back."""

import json
import re
import runpy
import subprocess
import sys

import pytest
import torch
from refusals import assert_one_line
from small_hf import all_of_ours, both, hf_config, transformers
from small_model import MyUnit, N, config, ids, model

import flash_tutorial
from flash_tutorial import LanguageModel, ModelConfig, starts
from flash_tutorial.hf import (
    FlashConfig,
    FlashForCausalLM,
    FlashForMaskedLM,
    FlashForSequenceClassification,
    FlashForTokenClassification,
    FlashModel,
    from_native,
    to_native,
)

pytestmark = pytest.mark.usefixtures("one_thread")

AUTO = {
    FlashModel: transformers.AutoModel,
    FlashForCausalLM: transformers.AutoModelForCausalLM,
    FlashForMaskedLM: transformers.AutoModelForMaskedLM,
    FlashForSequenceClassification: transformers.AutoModelForSequenceClassification,
    FlashForTokenClassification: transformers.AutoModelForTokenClassification,
}


def first(model):
    """What a call gives first besides a loss: logits, or features."""
    with torch.no_grad():
        return model.eval()(ids())[0]


# ---------------------------------------------------------------- configurations


@all_of_ours
def test_a_configuration_comes_back_from_its_file(architecture, tmp_path):
    written = hf_config(architecture, num_labels=5, dropout=0.25)
    written.save_pretrained(tmp_path)
    read = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(read) is FlashConfig and read.num_labels == 5
    assert read.native() == written.native() == config(architecture, dropout=0.25)
    transformers.GenerationConfig.from_model_config(read).validate()
    assert transformers.GenerationConfig.from_model_config(read).max_length != 32


def test_the_names_of_hugging_face_are_taken():
    named = FlashConfig(
        architecture="transformer++",
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=40,
        tie_word_embeddings=False,
    )
    ours = ModelConfig(
        "transformer++", dim=12, depth=3, heads=3, ff_dim=20, max_length=40, tied=False
    )
    assert named.native() == ours
    assert (named.hidden_size, named.num_attention_heads, named.tie_word_embeddings) == (
        12,
        3,
        False,
    )
    named.hidden_size = 24
    assert named.native().dim == 24


def test_a_slip_in_a_configuration_is_answered_with_ours():
    assert_one_line(lambda: FlashConfig(chunksize=16), "chunksize=16", "did you mean chunk_size?")
    assert_one_line(lambda: FlashConfig(n_layer=2), "n_layer=2: FlashConfig", "depth?")
    assert_one_line(lambda: FlashConfig(architecture="flsh"), "flsh", "flash_quad")
    assert_one_line(lambda: FlashConfig(heads=2), "heads=2", "flash has no such option")
    assert_one_line(lambda: FlashConfig(architecture=MyUnit), "MyUnit", "LanguageModel")


def test_a_file_of_a_later_format_is_refused(tmp_path):
    hf_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    assert_one_line(lambda: FlashConfig.from_pretrained(tmp_path), "format 99")


# ---------------------------------------------------------------- there and back


@all_of_ours
@pytest.mark.parametrize("tied", [True, False])
def test_there_and_back_is_the_same_model(architecture, tied):
    native = model(architecture, tied=tied)
    native.trained_length = 77
    back = to_native(from_native(native))
    assert back.config == native.config and back.trained_length == 77
    for (name, a), (_, b) in zip(native.state_dict().items(), back.state_dict().items()):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr(), name
    assert (back.head.weight is back.embedding.weight) == tied


def test_what_has_no_other_form_is_refused():
    scores = FlashForTokenClassification(hf_config())
    assert_one_line(lambda: to_native(scores), "FlashForTokenClassification", "FlashForCausalLM")
    assert_one_line(lambda: from_native(scores), "expected a LanguageModel")
    assert_one_line(lambda: from_native(LanguageModel(config(MyUnit))), "MyUnit")


def test_the_library_says_how_a_folder_of_transformers_is_read(tmp_path):
    native, there = both(dtype=torch.float32)
    there.save_pretrained(tmp_path)
    said = assert_one_line(lambda: LanguageModel.from_pretrained(tmp_path), "transformers")
    asked = re.search(r"flash_tutorial\.hf\.to_native\(.*\)\)", said)[0]
    again = eval(asked, {"flash_tutorial": flash_tutorial})
    torch.testing.assert_close(again(ids()), native(ids()))


# ---------------------------------------------------------------- folders


@all_of_ours
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_is_loaded_by_the_auto_classes(architecture, tied, tmp_path):
    for made, auto in AUTO.items():
        causal = made is not FlashForMaskedLM
        saved = made(hf_config(architecture, causal=causal, tied=tied, num_labels=5))
        saved.save_pretrained(tmp_path)
        loaded, info = auto.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is made and not loaded.training
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert torch.equal(first(loaded), first(saved))


def test_a_tied_head_stays_tied_and_an_untied_one_is_kept(tmp_path):
    for tied in (True, False):
        _, saved = both(tied=tied, dtype=torch.float32)
        saved.save_pretrained(tmp_path)
        loaded = FlashForCausalLM.from_pretrained(tmp_path)
        assert (loaded.lm_head.weight is loaded.model.embedding.weight) == tied
        assert torch.equal(first(loaded), first(saved))


def test_a_folder_has_a_card_that_is_left_alone_afterwards(tmp_path):
    _, saved = both()
    saved.save_pretrained(tmp_path)
    card = tmp_path / "README.md"
    text = card.read_text(encoding="utf-8")
    assert "AutoModelForCausalLM" in text and "trust_remote_code=True" in text
    assert text.startswith("---\nlibrary_name: transformers\n")
    card.write_text("mine", encoding="utf-8")
    saved.save_pretrained(tmp_path)
    assert card.read_text(encoding="utf-8") == "mine"


def test_a_folder_says_where_each_class_is(tmp_path):
    FlashForCausalLM(hf_config()).save_pretrained(tmp_path)
    found = runpy.run_path(str(tmp_path / "modeling_flash_tutorial.py"))
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    named = {
        auto: found[name.removeprefix("modeling_flash_tutorial.")]
        for auto, name in auto_map.items()
    }
    expected = {auto.__name__: made for made, auto in AUTO.items()}
    assert named == expected | {"AutoConfig": FlashConfig}


LOADS = """
import torch, transformers
load = transformers.AutoModelForCausalLM.from_pretrained
model = load({folder!r}, trust_remote_code=True)
assert type(model).__module__ == "flash_tutorial.hf.models"
torch.save(model(torch.load({folder!r} + "/ids.pt"))[0].detach(), {folder!r} + "/out.pt")
model.save_pretrained({folder!r} + "/again")
"""


@pytest.mark.nightly
def test_a_process_that_knows_nothing_of_it_loads_a_folder_by_trust(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    saved = FlashForCausalLM(hf_config())
    folder = tmp_path / "saved"
    saved.save_pretrained(folder)
    torch.save(ids(), folder / "ids.pt")
    code = LOADS.format(folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(folder / "out.pt"), first(saved))
    again = {path.name for path in (folder / "again").iterdir()}
    assert again == {path.name for path in folder.iterdir()} - {"again", "ids.pt", "out.pt"}


# ---------------------------------------------------------------- how new weights start


@all_of_ours
def test_a_new_model_starts_as_the_librarys(architecture):
    torch.manual_seed(0)
    new = FlashForCausalLM(hf_config(architecture, dim=48, vocab_size=400, tied=False))
    torch.manual_seed(0)
    native = LanguageModel(new.config.native())
    theirs = dict(to_native(new).named_parameters())
    for name, ours in native.named_parameters():
        there = theirs[name]
        if ours.numel() < 400:
            continue
        assert float(there.detach().std()) == pytest.approx(float(ours.detach().std()), rel=0.15), (
            name
        )


@pytest.mark.parametrize("start", [dict(init_std=0.07), {}])
def test_the_heads_of_a_model_without_them_start_by_the_configuration(start, tmp_path):
    _, saved = both(dim=12, dtype=torch.float32, **start)
    saved.save_pretrained(tmp_path)
    for made in (FlashForSequenceClassification, FlashForTokenClassification):
        loaded = made.from_pretrained(tmp_path, num_labels=400)
        expected = starts.kernel_std(loaded.config.native())
        assert float(loaded.score.weight.detach().std()) == pytest.approx(expected, rel=0.1)
        assert not loaded.score.bias.any()
        of_body = [saved.model.state_dict(), loaded.model.state_dict()]
        assert all(torch.equal(a, b) for a, b in zip(*(each.values() for each in of_body)))


def test_what_a_folder_lacks_of_the_stack_is_drawn_and_the_rest_is_kept(tmp_path):
    _, saved = both(dtype=torch.float32)
    saved.save_pretrained(tmp_path)
    kept = {n: v for n, v in saved.state_dict().items() if not n.startswith("model.stack.units.1.")}
    saved.save_pretrained(tmp_path, state_dict=dict(kept))  # which is emptied there
    loaded = FlashForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in kept.items())
    drawn = loaded["model.stack.units.1.in_proj.weight"]
    expected = starts.kernel_std(saved.config.native())
    assert float(drawn.std()) == pytest.approx(expected, rel=0.15)


# ---------------------------------------------------------------- more tokens


@pytest.mark.parametrize("tied", [True, False])
def test_a_resize_keeps_what_was_there_and_makes_room(tied, tmp_path):
    _, resized = both(tied=tied, dtype=torch.float32)
    before = first(resized)
    resized.resize_token_embeddings(N + 6)
    assert resized.config.vocab_size == N + 6
    assert torch.allclose(first(resized)[..., :N], before, atol=1e-6)
    assert resized(torch.full((1, 3), N + 5)).logits.shape == (1, 3, N + 6)
    resized.save_pretrained(tmp_path)
    loaded = FlashForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(first(loaded), first(resized))
    assert (loaded.lm_head.weight is loaded.model.embedding.weight) == tied
    assert torch.allclose(to_native(loaded).eval()(ids()), first(loaded), atol=1e-6)


def test_the_folder_of_a_language_model_is_told_from_one_of_transformers(tmp_path):
    model(tied=False).save_pretrained(tmp_path / "native")
    parts = ("a LanguageModel", "from_native(LanguageModel.from_pretrained(folder))")
    assert_one_line(lambda: FlashForCausalLM.from_pretrained(tmp_path / "native"), *parts)


def test_what_its_ids_mean_comes_back_with_a_model():
    native = model()
    native.vocabulary = object()
    assert to_native(from_native(native)).vocabulary is native.vocabulary
