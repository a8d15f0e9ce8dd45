"""What a run begins with: arguments of the wrong kind, models of one's own, a text for the model, a longer context."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import assert_refused
from small_model import MyUnit
from small_own_model import OwnModel, own_model
from small_run import CONFIG, MODEL, run, weights
from small_tokens import TEXT, counting, tokenizer

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.config import TrainConfig
from flash_tutorial.corpora import Corpus, load_file, load_tokens
from flash_tutorial.training import train
from flash_tutorial.training.start import load_model

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("one_thread")]


# ---------------------------------------------------------------- arguments
class Lossless(torch.nn.Linear):
    pass


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        (
            ("flash",),
            {},
            r"the model is 'flash': expected a ModelConfig, as ModelConfig\('flash'\), or a model",
        ),
        (
            ("austen-flash",),
            {},
            r"'austen-flash': expected a ModelConfig, as ModelConfig\('flash'\)",
        ),
        ((MyUnit,), {}, r"the class MyUnit: give an object of it, or ModelConfig\(MyUnit\)"),
        ((TrainConfig(),), {}, "a TrainConfig: expected a ModelConfig"),
        (({"dim": 3},), {}, "{'dim': 3}: expected"),
        ((np.zeros((50, 50)),), {}, "a ndarray: expected"),
        ((3,), {}, "the model is 3"),
        ((MODEL, 300), {}, r"settings are 300: expected a TrainConfig"),
        ((MODEL, MODEL), {}, "settings are a ModelConfig"),
        ((MODEL,), {"corpus": 42}, "corpus is a int: expected a Corpus, or the name or path"),
        (
            (MODEL,),
            {"corpus": np.arange(100)},
            r"corpus is a ndarray.*load_tokens\(array, vocab_size\)",
        ),
        ((MODEL,), {"corpus": b"text"}, "corpus is a bytes"),
        ((MODEL,), {"corpus": "no such.txt"}, "neither a corpus nor"),
        ((MODEL,), {"out": 3}, "out=3: expected the path"),
        ((MODEL,), {"callback": 3}, "callback=3: expected a function"),
        ((Lossless(2, 2),), {}, r"Lossless has no method loss: .*loss\(ids, targets, mask=None\)"),
        (
            (LanguageModel(MODEL).requires_grad_(False),),
            {},
            "has no parameter that requires a gradient",
        ),
        (
            (LanguageModel(MODEL), replace(CONFIG, start_from="austen-flash")),
            {},
            "start_from='austen-flash' beside",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_is_one_line(arguments, options, words):
    assert_refused(words, train, *arguments, progress=False, **options)


def test_a_language_model_is_built_from_a_configuration():
    assert_refused("built from a ModelConfig, got 'flash'", LanguageModel, "flash")


def test_a_corpus_may_be_a_path(text):
    expected = weights(run(load_file(text)).model)
    assert weights(run(text).model) == weights(run(str(text)).model) == expected


# ---------------------------------------------------------------- a model that is handed in
def test_a_model_is_trained_as_it_stands(corpus, whole):
    """One with the weights that a configuration gives with this seed ends as that does; and it is the same object."""
    torch.manual_seed(CONFIG.seed)
    model = LanguageModel(MODEL)
    assert run(corpus, model=model).model is model and weights(model) == weights(whole.model)
    once_more = run(corpus, model=model)
    assert once_more.log[0]["loss"] < whole.log[0]["loss"] - 0.1, "it went on from trained weights"


@pytest.mark.parametrize("make", [own_model, lambda seed=0: LanguageModel(MODEL)])
def test_a_model_of_ones_own_goes_on_bit_by_bit(corpus, tmp_path, make):
    config = replace(CONFIG, eval_every=4)
    torch.manual_seed(0)
    expected = run(corpus, tmp_path / "whole", make(), config)
    torch.manual_seed(0)
    cut = run(corpus, tmp_path / "cut", make(), config, stop_at=5)
    assert weights(cut.model) != weights(expected.model)
    torch.manual_seed(9)
    resumed = run(corpus, tmp_path / "cut", make(9), config, resume=True)
    assert weights(resumed.model) == weights(expected.model) and resumed.best == expected.best
    assert resumed.evaluation.bits_per_byte == expected.evaluation.bits_per_byte < 8
    # it is finished: what is there is given
    again = run(corpus, tmp_path / "cut", make(9), config, resume=True)
    assert weights(again.model) == weights(expected.model) and len(again.log) == 10


def test_a_model_of_ones_own_with_dropout_goes_on_bit_by_bit(corpus, tmp_path):
    expected = run(corpus, tmp_path / "whole", own_model(dropout=0.2))
    run(corpus, tmp_path / "cut", own_model(dropout=0.2), stop_at=5)
    assert weights(
        run(corpus, tmp_path / "cut", own_model(3, dropout=0.2), resume=True).model
    ) == weights(expected.model)


def test_another_model_of_ones_own_is_refused_and_a_command_says_whose_it_is(corpus, tmp_path):
    run(corpus, tmp_path / "own", own_model(), stop_at=5)
    assert_refused(
        "was trained with .*weights", run, corpus, tmp_path / "own", own_model(dim=8), resume=True
    )
    assert_refused("was trained with", run, corpus, tmp_path / "own", MODEL, resume=True)
    result = run(corpus, tmp_path / "own", own_model(), resume=True)
    assert_refused(
        "holds a small_own_model.OwnModel.*safetensors.torch.load_model",
        LanguageModel.from_pretrained,
        tmp_path / "own",
    )
    from safetensors.torch import load_model as load

    other = OwnModel()
    load(other, str(tmp_path / "own" / "model.safetensors"))
    assert weights(other) == weights(result.model)


def test_a_model_of_ones_own_reads_both_sides_if_it_says_so(corpus):
    class Cloze(OwnModel):
        causal = False

    result = run(corpus, model=Cloze(257))
    assert result.evaluation.n_bytes < 0.2 * 320
    # ids of which its configuration would say that they are too many
    model = OwnModel(256)
    model.config = type("Config", (), {"causal": False, "vocab_size": 256})()
    assert_refused("vocab_size=256: expected at least 257", run, corpus, model=model)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            dict(loss=lambda self, ids, targets: 0),
            r"cannot be called as loss\(ids, targets, mask=None\)",
        ),
        (dict(forward=lambda self, ids: 0), r"cannot be called as a call \(ids, mask=None\)"),
        (
            dict(loss=lambda self, ids, targets, mask=None: self.embedding(ids)),
            r"loss is of shape \(4, 20, 16\)",
        ),
        (
            dict(loss=lambda self, ids, targets, mask=None: {"loss": 0}),
            "loss is a dict: expected one number",
        ),
        (
            dict(forward=lambda self, ids, mask=None: (self.embedding(ids),)),
            r"gave a tuple: expected logits",
        ),
    ],
)
def test_what_a_model_of_ones_own_lacks_is_one_line(corpus, change, words):
    if "forward" in change:
        change = change | {"loss": lambda self, ids, targets, mask=None: self.embedding(ids).sum()}
    model = type("Odd", (OwnModel,), change)()
    assert_refused(words, run, corpus, model=model, config=replace(CONFIG, steps=1, warmup=0))


# ---------------------------------------------------------------- a text in the model's ids
def test_a_configuration_takes_the_vocabulary_of_its_text():
    result = run(counting(), model=replace(MODEL, vocab_size=6))
    assert result.model.config.tokens == 5 and result.model.vocabulary.tokens == 5
    assert_refused(
        "vocab_size=5: expected at least 6, for 5 tokens",
        run,
        counting(),
        model=replace(MODEL, vocab_size=5),
    )
    assert_refused(
        "vocab_size=6: expected at least 7",
        run,
        counting(),
        model=replace(MODEL, vocab_size=6, causal=False),
    )


@pytest.fixture
def of_tokens(tmp_path):
    """A trained model of tokens, in a folder."""
    corpus = load_tokens(tokenizer().encode(TEXT).ids, 300, tokenizer())
    run(corpus, tmp_path / "trained", replace(MODEL, vocab_size=301))
    return tmp_path / "trained"


def test_the_tokenizer_is_saved_and_read_back(of_tokens):
    for folder in (of_tokens, of_tokens / "step_000010"):
        model = LanguageModel.from_pretrained(folder)
        assert model.vocabulary.decode(model.vocabulary.encode(TEXT)) == TEXT
    raw = (of_tokens / "tokenizer.json").read_bytes()
    (of_tokens / "tokenizer.json").write_bytes(
        raw.replace(b"300", b"301") if b"300" in raw else raw[:-2] + b" }"
    )
    assert_refused("tokenizer.json is cut off or altered", LanguageModel.from_pretrained, of_tokens)


def test_a_model_without_a_tokenizer_does_not_inherit_one(of_tokens):
    model = LanguageModel(replace(MODEL, vocab_size=301, tokens=300))
    assert_refused(
        "has a tokenizer.json, but this model has none", model.save_pretrained, of_tokens
    )


def test_a_model_of_tokens_is_tuned_on_a_text_and_goes_on_bit_by_bit(of_tokens, corpus, tmp_path):
    config = replace(CONFIG, start_from=str(of_tokens))
    model = LanguageModel.from_pretrained(of_tokens).config
    expected = run(corpus, tmp_path / "whole", model, config)
    assert expected.evaluation.n_bytes and "bits_per_token" in expected.log[0]
    run(corpus, tmp_path / "cut", model, config, stop_at=4)
    resumed = run(corpus, tmp_path / "cut", model, config, resume=True)
    assert weights(resumed.model) == weights(expected.model) and resumed.model.vocabulary.readable
    as_object = run(corpus, model=LanguageModel.from_pretrained(of_tokens))
    assert weights(as_object.model) == weights(expected.model)


def test_another_vocabulary_is_refused(of_tokens, corpus, tmp_path):
    model = LanguageModel.from_pretrained(of_tokens)
    other = load_tokens(tokenizer(290).encode(TEXT).ids, 300, tokenizer(290))
    assert_refused("another tokenizer than the model", run, other, model=model)
    assert_refused("reads 300 tokens, the text holds 5 tokens", run, counting(), model=model)
    assert_refused(
        "5 tokens without a tokenizer", run, corpus, model=replace(MODEL, vocab_size=6, tokens=5)
    )
    without = load_tokens(tokenizer().encode(TEXT).ids, 300)
    assert run(without, model=model).model.vocabulary.readable, "the model keeps its own"


# ---------------------------------------------------------------- a longer context
LONGER = {
    "flash": MODEL,
    "flash, rotary": replace(MODEL, bias="rotary"),
    "flash, sum": replace(MODEL, combine="sum"),
    "transformer++": ModelConfig("transformer++", dim=16, depth=1, max_length=20, heads=2),
    "mc_transformer++": ModelConfig(
        "mc_transformer++", dim=16, depth=1, max_length=20, heads=2, chunk_size=8
    ),
    "a class": ModelConfig(MyUnit, dim=16, depth=1, max_length=20),
    "flash_quad, rotary, current": ModelConfig(
        "flash_quad",
        dim=16,
        depth=1,
        qk_dim=8,
        max_length=20,
        bias="rotary",
        length_scale="current",
    ),
    "flash_quad, rotary, softmax": ModelConfig(
        "flash_quad", dim=16, depth=1, qk_dim=8, max_length=20, bias="rotary", attention="softmax"
    ),
}
BOUND = {
    "its learnt positions end there": ModelConfig(
        "transformer", dim=16, depth=1, max_length=20, heads=2
    ),
    "its learnt positions": replace(MODEL, positions="learnt"),
    "its Toeplitz bias": ModelConfig("flash_quad", dim=16, depth=1, qk_dim=8, max_length=20),
    "divides its scores by it": ModelConfig(
        "flash_quad", dim=16, depth=1, qk_dim=8, max_length=20, bias="rotary"
    ),
    "its Toeplitz": ModelConfig(
        "flash_quad", dim=16, depth=1, qk_dim=8, max_length=20, bias="toeplitz", causal=False
    ),
}


@pytest.mark.parametrize("name", LONGER)
def test_a_trained_model_is_given_a_longer_context(name, corpus, tmp_path):
    """With the same weights, bit by bit; it trains at the new length, and reads and writes beyond the old one."""
    config = LONGER[name]
    LanguageModel(config).save_pretrained(tmp_path / "short")
    longer = load_model(tmp_path / "short", replace(config, max_length=160))
    short = load_model(tmp_path / "short", config)
    assert longer.config.max_length == 160 and weights(longer) == weights(short)
    ids = torch.from_numpy(corpus.train.tokens[None, :150].astype(np.int64))
    if "current" not in name:  # there what a token sees depends on how many follow
        assert torch.equal(longer(ids[:, :20]), short(ids[:, :20]))
    tuned = run(
        corpus,
        tmp_path / "long",
        replace(config, max_length=160),
        replace(CONFIG, length=160, batch=2, start_from=str(tmp_path / "short")),
    )
    assert np.isfinite(tuned.evaluation.bits_per_byte) and len(tuned.evaluation.by_position) == 160
    if "current" not in name:
        logits, state = tuned.model.prefill(ids[:, :140])
        for t in range(140, 150):
            logits, state = tuned.model.step(ids[:, t], state)
        assert torch.allclose(logits, tuned.model(ids)[:, -1], atol=1e-4)
    custom = None if isinstance(config.architecture, str) else config.architecture
    assert (
        LanguageModel.from_pretrained(tmp_path / "long", architecture=custom).config.max_length
        == 160
    )


@pytest.mark.parametrize("why", BOUND)
def test_a_model_that_is_bound_to_its_length_says_why(why, tmp_path):
    config = BOUND[why]
    LanguageModel(config).save_pretrained(tmp_path / "short")
    message = assert_refused(why, load_model, tmp_path / "short", replace(config, max_length=160))
    assert "max_length=20, but max_length=160 is asked for" in message


def test_dropout_and_checkpoint_may_be_others_than_those_of_the_model_that_is_gone_on_with(
    corpus, tmp_path
):
    """No weight depends on them. They hold for what is trained, and stand in what is saved."""
    LanguageModel(replace(MODEL, dropout=0.2)).save_pretrained(tmp_path / "given")
    asked = replace(MODEL, dropout=0.1, checkpoint=True)
    model = load_model(tmp_path / "given", asked)
    assert model.config == model.stack.config == asked and model.stack.drop.p == 0.1
    tuned = run(
        corpus, tmp_path / "tuned", asked, replace(CONFIG, start_from=str(tmp_path / "given"))
    )
    assert (
        tuned.model.stack.drop.p
        == 0.1
        == LanguageModel.from_pretrained(tmp_path / "tuned").config.dropout
    )
    assert_refused(
        "has combine='mean', but combine='sum'",
        load_model,
        tmp_path / "given",
        replace(asked, combine="sum"),
    )


def test_a_run_with_the_longer_context_goes_on_without_the_model_it_began_from(corpus, tmp_path):
    LanguageModel(MODEL).save_pretrained(tmp_path / "short")
    config = replace(CONFIG, length=60, start_from=str(tmp_path / "short"))
    longer = replace(MODEL, max_length=60)
    expected = run(corpus, tmp_path / "whole", longer, config)
    run(corpus, tmp_path / "cut", longer, config, stop_at=5)
    shutil.rmtree(tmp_path / "short")
    assert weights(run(corpus, tmp_path / "cut", longer, config, resume=True).model) == weights(
        expected.model
    )


def test_the_corpus_that_was_handed_in_is_the_one_that_is_named(corpus, tmp_path):
    assert isinstance(corpus, Corpus)
    run(corpus, tmp_path / "run", stop_at=3)
    assert (
        '"corpus": "text.txt"'
        in (Path(tmp_path) / "run" / "step_000003" / "training.json").read_text()
    )
