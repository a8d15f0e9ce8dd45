"""The score: bits per token, and per byte where the bytes are known."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import assert_refused
from small_own_model import own_model
from small_run import CONFIG, MODEL, run
from small_tokens import TEXT, counting, tokenizer

from flash_course.cli import main
from flash_tutorial import LanguageModel
from flash_tutorial.check import draw_order_one
from flash_tutorial.corpora import Split, evaluation_windows, load_tokens
from flash_tutorial.losses import cross_entropy
from flash_tutorial.training import train
from flash_tutorial.training.score import (
    Evaluation,
    bits_of_targets,
    check_vocabulary,
    evaluate,
    first_bytes,
    in_words,
    is_causal,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def knows_nothing(**options):
    model = LanguageModel(replace(MODEL, **options))
    torch.nn.init.zeros_(model.embedding.weight)
    return model


def test_model_that_knows_nothing_scores_eight_bits(corpus):
    score = evaluate(knows_nothing(), corpus.validation, 20)
    assert abs(score.bits_per_byte - 8) < 1e-6 and np.allclose(score.by_position, 8)
    assert score.n_bytes == len(corpus.validation.tokens)


def test_score_counts_every_byte_once_whatever_the_batch():
    """Against a loop over single windows; documents end inside a window."""
    rng = np.random.default_rng(1)
    documents = [bytes(rng.integers(97, 123, n).tolist()) for n in (6, 63, 1, 20)]
    split = Split.from_documents(documents)
    model = draw_order_one(LanguageModel(MODEL), torch.Generator().manual_seed(0))
    nats, by_position = 0.0, np.zeros((2, 20))
    for document in documents:
        for start in range(0, len(document), 20):
            target = list(document[start : start + 20])
            ids = [document[start - 1] if start else 0, *target[:-1]]
            log_p = model(torch.tensor([ids])).log_softmax(-1)[0].detach()
            losses = np.array([-float(log_p[i, t]) for i, t in enumerate(target)])
            nats += losses.sum()
            by_position[:, : len(target)] += [losses, np.ones(len(target))]
    for batch in (1, 3, 8):
        score = evaluate(model, split, 20, batch)
        assert score.n_bytes == 90
        assert abs(score.bits_per_byte - nats / np.log(2) / 90) < 1e-5
        assert np.allclose(
            score.by_position, by_position[0] / by_position[1] / np.log(2), atol=1e-5
        )


def test_first_bytes_cuts_the_last_document():
    split = Split.from_documents([b"abc", b"defg", b"hi"], ("x", "y", "z"))
    cut = first_bytes(split, 5)
    assert (
        cut.tokens.tobytes() == b"abcde"
        and cut.offsets.tolist() == [0, 3, 5]
        and cut.titles == ("x", "y")
    )
    assert first_bytes(split, 3).offsets.tolist() == [0, 3]
    assert first_bytes(split, None) is split and first_bytes(split, 100) is split
    with pytest.raises(ValueError, match="n=0"):
        first_bytes(split, 0)


def test_evaluation_leaves_the_model_as_it_was(corpus):
    model = LanguageModel(MODEL).train()
    evaluate(model, first_bytes(corpus.validation, 50), 20)
    assert model.training and all(p.grad is None for p in model.parameters())


# ---------------------------------------------------------------- tokens


def test_bits_per_byte_are_all_bits_over_all_bytes():
    """A model that knows nothing pays log2 N for each token, of which the text has fewer than bytes."""
    made = tokenizer()
    ids = made.encode(TEXT).ids
    corpus = load_tokens({"train": ids, "validation": ids, "test": ids}, 300, made)
    score = evaluate(knows_nothing(vocab_size=301, tokens=300), corpus.test, 20)
    assert score.n_tokens == len(ids) and score.n_bytes == len(TEXT.encode())
    assert score.bits_per_token == pytest.approx(np.log2(301))
    assert score.bits_per_byte == pytest.approx(np.log2(301) * len(ids) / len(TEXT.encode()))
    assert "bits per token" in in_words(score, "token") and "bits per byte" in in_words(
        score, "token"
    )
    whole = first_bytes(corpus.test, 50)
    assert whole.n_bytes == len(made.decode(ids[:50]).encode())


def test_tokens_without_a_tokenizer_have_no_bits_per_byte():
    score = evaluate(knows_nothing(vocab_size=6, tokens=5), counting().test, 20)
    assert score.bits_per_token == pytest.approx(np.log2(6)) and score.bits_per_byte is None
    assert in_words(score, "token") == f"{np.log2(6):.4f} bits per token"


def test_of_bytes_both_are_one_number(corpus):
    for options in ({}, dict(causal=False, vocab_size=257)):
        score = evaluate(knows_nothing(**options), corpus.validation, 20)
        assert score.bits_per_byte == score.bits_per_token and score.n_bytes == score.n_tokens
    assert in_words(score, "hidden byte").endswith(" bits per hidden byte")
    assert Evaluation(2.0, None, 10, 0).bits_per_byte is None


@pytest.mark.parametrize("vocab_size, causal", [(65, True), (2, False)])
def test_small_vocabularies_train_and_are_scored(vocab_size, causal):
    corpus = counting(2000, vocab_size)
    model = replace(MODEL, vocab_size=vocab_size + 1 + (not causal), causal=causal)
    result = run(
        corpus,
        model=model,
        config=replace(CONFIG, steps=100, warmup=8, learning_rate=0.03, eval_bytes=None),
    )
    assert result.model.config.tokens == vocab_size
    assert result.evaluation.bits_per_token < 0.3 * np.log2(vocab_size), (
        "the next token follows from the last one"
    )
    assert "bits_per_token" in result.log[-1] and "bits_per_byte" not in result.log[-1]


def test_a_text_that_means_something_else_is_refused(corpus):
    bytes_model, tokens_model = LanguageModel(MODEL), knows_nothing(vocab_size=6, tokens=5)
    said = "model reads bytes, the text holds 5 tokens"
    assert_refused(said, evaluate, bytes_model, counting().test, 20)
    said = "model reads 5 tokens, the text holds bytes"
    assert_refused(said, evaluate, tokens_model, corpus.test, 20)
    said = "model reads 5 tokens, the text holds 7 tokens"
    assert_refused(said, check_vocabulary, tokens_model, counting(400, 7).vocabulary)


def test_who_reads_both_sides_says_so():
    assert is_causal(LanguageModel(MODEL)) and not is_causal(
        LanguageModel(replace(MODEL, causal=False))
    )
    module = torch.nn.Linear(2, 2)
    assert is_causal(module)
    module.causal = False
    assert not is_causal(module)


def test_a_whole_corpus_is_no_split(corpus):
    assert_refused("a Corpus: expected a split", evaluate, LanguageModel(MODEL), corpus, 20)


# ---------------------------------------------------------------- the length of a window
def test_a_model_is_scored_in_windows_as_long_as_those_it_was_trained_on(corpus, tmp_path):
    """Through every way in which it is kept; max_length is that of another length."""
    longer = replace(CONFIG, length=30, steps=2, warmup=0, eval_every=1)
    done = run(corpus, tmp_path / "run", config=longer)
    done.model.save_pretrained(tmp_path / "saved")
    assert MODEL.max_length == 20
    kept = [copy.deepcopy(done.model), pickle.loads(pickle.dumps(done.model))]
    for folder in ("run", "run/best", "saved"):
        kept.append(LanguageModel.from_pretrained(tmp_path / folder))
    for model in (done.model, *kept):
        assert len(evaluate(model, corpus.validation).by_position) == 30
        assert len(evaluate(model, corpus.validation, 7).by_position) == 7


def test_a_run_that_was_cut_short_says_how_long_its_windows_were(corpus, tmp_path):
    run(corpus, tmp_path, config=replace(CONFIG, length=30), stop_at=3)
    with pytest.warns(UserWarning, match="has not ended"):
        model = LanguageModel.from_pretrained(tmp_path)
    assert model.trained_length == 30


def test_a_run_that_starts_from_another_has_its_own_length(corpus, tmp_path):
    run(corpus, tmp_path, config=replace(CONFIG, length=30, steps=2, warmup=0))
    again = replace(CONFIG, length=10, steps=2, warmup=0, start_from=str(tmp_path))
    assert run(corpus, config=again).model.trained_length == 10


def test_a_model_that_was_not_trained_is_scored_at_its_max_length(corpus, tmp_path):
    model = knows_nothing()
    assert len(evaluate(model, corpus.validation).by_position) == MODEL.max_length
    model.save_pretrained(tmp_path)
    assert "trained_length" not in (tmp_path / "config.json").read_text(encoding="utf-8")
    model.trained_length = 12  # after a loop of one's own
    assert len(evaluate(model, corpus.validation).by_position) == 12


def test_a_model_of_ones_own_says_its_length_or_is_asked_for_it(corpus):
    own = own_model()
    with pytest.raises(ValueError, match="OwnModel does not say how long its windows were"):
        evaluate(own, corpus.validation)
    assert len(evaluate(own, corpus.validation, 9).by_position) == 9
    train(own, replace(CONFIG, steps=2, warmup=0), corpus=corpus, progress=False)
    assert len(evaluate(own, corpus.validation).by_position) == CONFIG.length


def test_the_command_scores_as_it_was_trained(corpus, tmp_path, capsys):
    run(corpus, tmp_path, config=replace(CONFIG, length=30, steps=2, warmup=0))
    assert main(["evaluate", str(tmp_path)]) == 2  # its text was never a file
    assert "trained on 'text.txt'; --corpus takes another" in capsys.readouterr().err
    main(["evaluate", str(tmp_path), "--corpus", "austen", "--bytes", "200"])
    assert "windows of 30\n" in capsys.readouterr().out
    main(["evaluate", str(tmp_path), "--corpus", "austen", "--bytes", "200", "--length", "15"])
    assert "windows of 15\n" in capsys.readouterr().out


def test_what_fills_up_a_window_has_no_part_in_a_masked_score():
    masked = LanguageModel(replace(MODEL, causal=False, vocab_size=257))
    draw_order_one(masked, torch.Generator().manual_seed(0))
    split = Split.from_documents([bytes(range(97, 113))])
    scores = [evaluate(masked, split, length).bits_per_byte for length in (16, 20, 40)]
    assert scores == pytest.approx(scores[:1] * 3, abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_score_drops_nothing_and_leaves_the_model_in_its_mode(corpus, training):
    dropping = LanguageModel(replace(MODEL, dropout=0.5)).train(training)
    first = evaluate(dropping, corpus.validation, 20).bits_per_byte
    again = evaluate(dropping, corpus.validation, 20).bits_per_byte
    assert first == again and dropping.training == training


def test_bits_per_byte_count_the_bytes_of_each_document():
    made = tokenizer()
    texts = [TEXT[:100], "naïve — he", TEXT[100:300]] * 10
    tokens = [made.encode(text).ids for text in texts]
    offsets = np.cumsum([0, *map(len, tokens)])
    corpus = load_tokens(np.concatenate(tokens), 300, made, offsets=offsets)
    counted = sum(split.n_bytes for split in (corpus.train, corpus.validation, corpus.test))
    assert counted == sum(len(text.encode()) for text in texts)


class Halved(torch.nn.Module):
    """A model whose logits come in bfloat16, as an autocast gives them; ``wide``: the same numbers in float32."""

    def __init__(self, wide):
        super().__init__()
        self.model = draw_order_one(LanguageModel(MODEL), torch.Generator().manual_seed(0))
        self.config, self.wide = self.model.config, wide

    def forward(self, ids, mask=None):
        logits = self.model(ids, mask=mask).bfloat16()
        return logits.float() if self.wide else logits


def test_logits_in_half_are_scored_in_float32(corpus):
    split = first_bytes(corpus.validation, 100)
    ids, targets, _ = evaluation_windows(split, 20)
    halved, wide = Halved(wide=False), Halved(wide=True)
    assert evaluate(halved, split, 20).bits_per_byte == evaluate(wide, split, 20).bits_per_byte
    scores = [bits_of_targets(model, ids, targets) for model in (halved, wide)]
    assert np.array_equal(*scores)
    logits, asked = wide(torch.from_numpy(ids)), torch.from_numpy(targets)
    loss = cross_entropy(logits.bfloat16(), asked)
    assert loss.dtype == torch.float32 and torch.equal(loss, cross_entropy(logits, asked))


def test_an_error_leaves_a_model_in_its_mode(corpus):
    model = LanguageModel(MODEL).train()

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, corpus.validation, 20, look=stop)
    assert model.training


class WithoutMask(torch.nn.Linear):
    def forward(self, ids):
        return super().forward(torch.nn.functional.one_hot(ids, 256).float())


def test_a_model_that_takes_no_mask_is_named(corpus):
    parts = r"WithoutMask cannot be called as model\(ids, mask=None\)"
    assert_refused(parts, evaluate, WithoutMask(256, 256), corpus.validation, 20)
