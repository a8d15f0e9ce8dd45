"""What a run begins with: arguments of the wrong kind, models of one's own, a text for the model, a longer context."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from refusals import assert_refused
from small_model import MyUnit
from small_own_model import OwnModel, own_model
from small_run import CONFIG, MODEL, run, weights
from small_tokens import TEXT, counting, tokenizer

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.config import TrainConfig
from flash_tutorial.corpora import load_file, load_tokens
from flash_tutorial.training import evaluate, train
from flash_tutorial.training.start import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- arguments
class Lossless(torch.nn.Linear):
    pass


FROZEN = LanguageModel(MODEL).requires_grad_(False)
BESIDE = replace(CONFIG, start_from="austen-flash")


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        (
            ("flash",),
            {},
            r"the model is 'flash': expected a ModelConfig, as ModelConfig\('flash'\)",
        ),
        (("austen-flash",), {}, r"'austen-flash': expected a ModelConfig, as ModelConfig"),
        ((MyUnit,), {}, r"the class MyUnit: give an object of it, or ModelConfig\(MyUnit\)"),
        ((TrainConfig(),), {}, "a TrainConfig: expected a ModelConfig"),
        (({"dim": 3},), {}, "{'dim': 3}: expected"),
        ((np.zeros((50, 50)),), {}, "a ndarray: expected"),
        ((MODEL, 300), {}, r"settings are 300: expected a TrainConfig"),
        ((MODEL, MODEL), {}, "settings are a ModelConfig"),
        ((MODEL,), {"corpus": 42}, "corpus is a int: expected a Corpus, or the name or path"),
        ((MODEL,), {"corpus": np.arange(100)}, r"corpus is a ndarray.*load_tokens\(array"),
        ((MODEL,), {"corpus": b"text"}, "corpus is a bytes"),
        ((MODEL,), {"corpus": "no such.txt"}, "neither a corpus nor"),
        ((MODEL,), {"out": 3}, "out=3: expected the path"),
        ((MODEL,), {"callback": 3}, "callback=3: expected a function"),
        ((Lossless(2, 2),), {}, r"Lossless has no method loss: .*loss\(ids, targets, mask=None\)"),
        ((FROZEN,), {}, "has no parameter that requires a gradient"),
        ((LanguageModel(MODEL), BESIDE), {}, "start_from='austen-flash' beside"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_one_line(arguments, options, words):
    assert_refused(words, train, *arguments, progress=False, **options)


def test_a_compiled_model_is_refused():
    words = r"the model is compiled \(OptimizedModule\): .*TrainConfig\(compile=True\)"
    assert_refused(words, train, torch.compile(LanguageModel(MODEL)), CONFIG, progress=False)


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


@pytest.mark.parametrize(
    "make",
    [own_model, lambda seed: own_model(seed, dropout=0.2), lambda seed: LanguageModel(MODEL)],
    ids=["own", "own with dropout", "of the package"],
)
def test_a_model_of_ones_own_goes_on_bit_by_bit(corpus, tmp_path, make):
    config = replace(CONFIG, eval_every=4)

    def go(folder, seed=0, **options):
        torch.manual_seed(seed)
        return run(corpus, tmp_path / folder, make(seed), config, **options)

    expected = go("whole")
    cut = go("cut", stop_at=5)
    assert weights(cut.model) != weights(expected.model)
    resumed = go("cut", seed=9, resume=True)
    assert weights(resumed.model) == weights(expected.model) and resumed.best == expected.best
    assert resumed.evaluation.bits_per_byte == expected.evaluation.bits_per_byte < 8
    # it is finished: what is there is given
    again = go("cut", seed=9, resume=True)
    assert weights(again.model) == weights(expected.model) and len(again.log) == 10


def test_another_model_of_ones_own_is_refused_and_a_command_says_whose_it_is(corpus, tmp_path):
    run(corpus, tmp_path, own_model(), stop_at=5)
    for other, said in ((own_model(dim=8), "was trained with .*weights"), (MODEL, "trained with")):
        assert_refused(said, run, corpus, tmp_path, other, resume=True)
    result = run(corpus, tmp_path, own_model(), resume=True)
    said = r"holds a small_own_model.OwnModel.*safetensors.torch.load_model"
    assert_refused(said, LanguageModel.from_pretrained, tmp_path)
    other = OwnModel()
    safetensors.torch.load_model(other, tmp_path / "model.safetensors")
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


def embedded(self, ids, targets, mask=None):
    return self.embedding(ids)


def a_loss(self, ids, targets, mask=None):
    return self.embedding(ids).sum()


def detached(self, ids, targets, mask=None):
    return a_loss(self, ids, targets).detach()


def a_dict(self, ids, targets, mask=None):
    return {"loss": 0}


def in_a_tuple(self, ids, mask=None):
    return (self.embedding(ids),)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(loss=lambda self, ids, targets: 0), r"called as loss\(ids, targets, mask=None\)"),
        (dict(loss=embedded), r"loss is of shape \(4, 20, 16\)"),
        (dict(loss=a_dict), "loss is a dict: expected one number"),
        (dict(loss=detached), "loss has no gradient: expected one to train by; was it detached"),
        (dict(loss=a_loss, forward=lambda self, ids: 0), r"as a call \(ids, mask=None\)"),
        (dict(loss=a_loss, forward=in_a_tuple), r"gave a tuple: expected logits"),
    ],
)
def test_what_a_model_of_ones_own_lacks_is_one_line(corpus, change, words):
    model = type("Odd", (OwnModel,), change)()
    assert_refused(words, run, corpus, model=model, config=replace(CONFIG, steps=1, warmup=0))


# ---------------------------------------------------------------- a text in the model's ids
def test_a_configuration_takes_the_vocabulary_of_its_text():
    result = run(counting(), model=replace(MODEL, vocab_size=6))
    assert result.model.config.tokens == 5 and result.model.vocabulary.tokens == 5
    for options, least in ((dict(vocab_size=5), 6), (dict(vocab_size=6, causal=False), 7)):
        said = f"vocab_size={least - 1}: expected at least {least}, for 5 tokens"
        assert_refused(said, run, counting(), model=replace(MODEL, **options))


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
    assert_refused("another tokenizer than the model", evaluate, model, other.validation, 8)
    padding = tokenizer()
    padding.enable_padding(length=4)  # as transformers does by the way
    same = load_tokens(tokenizer().encode(TEXT).ids, 300, padding)
    assert evaluate(model, same.validation, 8).n_tokens
    assert_refused("reads 300 tokens, the text holds 5 tokens", run, counting(), model=model)
    assert_refused(
        "5 tokens without a tokenizer", run, corpus, model=replace(MODEL, vocab_size=6, tokens=5)
    )
    without = load_tokens(tokenizer().encode(TEXT).ids, 300)
    assert run(without, model=model).model.vocabulary.readable, "the model keeps its own"


def test_a_model_that_was_trained_on_bytes_does_not_go_on_with_tokens(corpus, tmp_path):
    model = run(corpus, tmp_path / "bytes").model
    assert_refused("trained on bytes, the corpus holds 5 tokens", run, counting(), model=model)
    assert model.config.tokens is None
    fresh = LanguageModel(replace(MODEL, vocab_size=256))
    assert run(counting(), model=fresh).model.config.tokens == 5


# ---------------------------------------------------------------- a longer context
SIZES = dict(dim=16, depth=1, max_length=20)
QUAD = ModelConfig("flash_quad", qk_dim=8, bias="rotary", **SIZES)
LONGER = {
    "flash": MODEL,
    "flash, rotary": replace(MODEL, bias="rotary"),
    "flash, sum": replace(MODEL, combine="sum"),
    "transformer++": ModelConfig("transformer++", heads=2, **SIZES),
    "mc_transformer++": ModelConfig("mc_transformer++", heads=2, chunk_size=8, **SIZES),
    "a class": ModelConfig(MyUnit, **SIZES),
    "flash_quad, rotary, current": replace(QUAD, length_scale="current"),
    "flash_quad, rotary, softmax": replace(QUAD, attention="softmax"),
}
BOUND = {
    "its learnt positions end there": ModelConfig("transformer", heads=2, **SIZES),
    "its learnt positions": replace(MODEL, positions="learnt"),
    "its Toeplitz bias": replace(QUAD, bias="auto"),
    "divides its scores by it": QUAD,
    "its Toeplitz": replace(QUAD, bias="toeplitz", causal=False),
}


@pytest.mark.parametrize("name", LONGER)
def test_a_trained_model_is_given_a_longer_context(name, corpus, tmp_path):
    """With the same weights, bit by bit; it trains at the new length, and reads and writes beyond the old one."""
    config = LONGER[name]
    asked = replace(config, max_length=160)
    LanguageModel(config).save_pretrained(tmp_path / "short")
    longer, short = (load_model(tmp_path / "short", each) for each in (asked, config))
    assert longer.config.max_length == 160 and weights(longer) == weights(short)
    ids = torch.from_numpy(corpus.train.tokens[None, :150].astype(np.int64))
    settings = replace(CONFIG, steps=3, length=160, batch=2, start_from=str(tmp_path / "short"))
    tuned = run(corpus, tmp_path / "long", asked, settings)
    assert np.isfinite(tuned.evaluation.bits_per_byte) and len(tuned.evaluation.by_position) == 160
    if "current" not in name:  # there what a token sees depends on how many follow
        assert torch.equal(longer(ids[:, :20]), short(ids[:, :20]))
        logits, state = tuned.model.prefill(ids[:, :140])
        for t in range(140, 150):
            logits, state = tuned.model.step(ids[:, t], state)
        assert torch.allclose(logits, tuned.model(ids)[:, -1], atol=1e-4)


@pytest.mark.parametrize("why", BOUND)
def test_a_model_that_is_bound_to_its_length_says_why(why, tmp_path):
    config = BOUND[why]
    LanguageModel(config).save_pretrained(tmp_path / "short")
    message = assert_refused(why, load_model, tmp_path / "short", replace(config, max_length=160))
    assert "max_length=20, but max_length=160 is asked for" in message


def test_dropout_and_checkpoint_may_be_others_than_those_of_the_model_gone_on_with(
    corpus, tmp_path
):
    """No weight depends on them. They hold for what is trained, and stand in what is saved."""
    given, asked = tmp_path / "given", replace(MODEL, dropout=0.1, checkpoint=True)
    LanguageModel(replace(MODEL, dropout=0.2)).save_pretrained(given)
    model = load_model(given, asked)
    assert model.config == model.stack.config == asked and model.stack.drop.p == 0.1
    config = replace(CONFIG, steps=3, start_from=str(given))
    tuned = run(corpus, tmp_path / "tuned", asked, config)
    saved = LanguageModel.from_pretrained(tmp_path / "tuned")
    assert tuned.model.stack.drop.p == 0.1 == saved.config.dropout
    other = replace(asked, combine="sum")
    assert_refused("has combine='mean', but combine='sum'", load_model, given, other)


def test_a_run_that_is_refused_leaves_no_empty_folder(corpus, tmp_path):
    LanguageModel(MODEL).save_pretrained(tmp_path / "given")
    config = replace(CONFIG, start_from=str(tmp_path / "given"))
    other = replace(MODEL, combine="sum")
    assert_refused("has combine=", run, corpus, tmp_path / "new", other, config)
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    assert_refused("has combine=", run, corpus, tmp_path / "there", other, config)
    assert (tmp_path / "there").exists(), "that was the user's"


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
