"""Text in, text out: what a model writes is what it draws, in whole characters, up to a stop."""

import pytest
import torch
from refusals import assert_one_line
from small_model import ALL, NAMES, ids, model
from small_tokens import tokenizer

from flash_tutorial import LanguageModel, ModelConfig, writing
from flash_tutorial.check import draw_order_one
from flash_tutorial.corpora.vocabulary import vocabulary_of
from flash_tutorial.writing import Text, held_back


@pytest.fixture(scope="module")
def of_bytes():
    """Three chunks and a tail of prompt and answer fit many times; weights of order one."""
    torch.manual_seed(0)
    whole = LanguageModel(ModelConfig("flash", dim=16, depth=2, qk_dim=8, chunk_size=4)).double()
    draw_order_one(whole, torch.Generator().manual_seed(0))
    return whole.eval()


def seeded():
    return torch.Generator().manual_seed(3)


def test_a_text_is_what_generate_draws(of_bytes):
    prompt, how = "Anne was", dict(temperature=0.7, top_k=50)
    rows = torch.from_numpy(of_bytes.vocabulary.encode(prompt))[None]
    new = of_bytes.generate(rows, 13, generator=seeded(), **how)[0]
    tokens = list(of_bytes.stream(prompt, 13, generator=seeded(), **how))
    assert [token.id for token in tokens] == new.tolist()
    text = of_bytes.vocabulary.decode(new)
    assert "".join(token.text for token in tokens) == text
    assert of_bytes.write(prompt, 13, generator=seeded(), **how) == text
    assert of_bytes.write("", 5, temperature=0) == of_bytes.write("\0", 5, temperature=0)
    assert of_bytes.write("x", 0) == ""


@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_log_probs_are_the_models_own_of_the_whole_text(architecture):
    m, prompt = model(architecture), ids(2, 9)
    how = dict(temperature=0.5, top_k=3, generator=torch.Generator().manual_seed(0))
    new, log_probs = m.generate(prompt, 6, return_log_probs=True, **how)
    whole = torch.cat([prompt, new], 1)
    with torch.no_grad():
        expected = m(whole).log_softmax(-1)[:, 8:-1].gather(-1, new[:, :, None])[:, :, 0]
    assert (log_probs - expected).abs().max() < 1e-5 and expected.std() > 0.1


def test_behind_a_rows_end_log_probs_are_0_and_each_of_several_ids_ends_it():
    m, prompt = model(), ids(3, 5)
    free = m.generate(prompt, 12, temperature=0)
    stops = (int(free[0, 2]), int(free[1, 4]))
    new, log_probs = m.generate(prompt, 12, temperature=0, stop_id=stops, return_log_probs=True)
    for row, alone, log_prob in zip(new.tolist(), free.tolist(), log_probs):
        end = next((i for i, token in enumerate(alone) if token in stops), len(row) - 1)
        assert row[: end + 1] == alone[: end + 1] and set(row[end:]) == {row[end]}
        assert (log_prob[: end + 1] != 0).all() and (log_prob[end + 1 :] == 0).all()


def drawing(monkeypatch, tokens):
    def draw_on(model, ids, count, **how):
        for token in tokens[:count]:
            yield torch.tensor([token]), torch.zeros(1, 300)

    monkeypatch.setattr(writing, "draw_on", draw_on)


@pytest.mark.parametrize(
    "stop, expected",
    [
        ("\n\n", "one\ntwo"),
        (("zzz", "two"), "one\n"),
        (ord("w"), "one\nt"),
        ("one", ""),
        ("three four", "one\ntwo\n\nthree"),
        ((), "one\ntwo\n\nthree"),
        (None, "one\ntwo\n\nthree"),
    ],
)
def test_a_stop_ends_the_text_before_it_and_no_part_of_it_is_handed_out(
    stop, expected, of_bytes, monkeypatch
):
    written = "one\ntwo\n\nthree"
    drawing(monkeypatch, [*written.encode()])
    handed_out = ""
    for token in of_bytes.stream("x", len(written), stop=stop):
        handed_out += token.text
        assert expected.startswith(handed_out)
    assert handed_out == expected == of_bytes.write("x", len(written), stop=stop)


def test_a_character_is_handed_out_once_it_is_whole(of_bytes, monkeypatch):
    drawing(monkeypatch, [*"é€a".encode(), 0xE2])
    pieces = [token.text for token in of_bytes.stream("é", 7)]
    assert pieces == ["", "é", "", "", "€", "a", "\N{REPLACEMENT CHARACTER}"]
    text = Text(of_bytes.vocabulary, [0xC3])  # the prompt ends inside a character
    assert text.add(0xA9) == ("", False) or text.given == 1


def test_only_what_may_become_a_stop_is_held_back():
    assert held_back("one\n", ["\n\n", "zz"]) == 1
    assert held_back("abab", ["ababc"]) == 4
    assert held_back("one", ["two"]) == held_back("", ["two"]) == held_back("one", []) == 0


@pytest.mark.parametrize(
    "how, parts",
    [
        (dict(prompt=[1, 2]), ("prompt is [1, 2]", "expected a text")),
        (dict(stop=""), ("stop=''", "not empty")),
        (dict(stop=b" the"), ("stop=b' the'", "expected texts")),
        (dict(stop=1.5), ("stop=1.5", "expected texts")),
        (dict(stop=300), ("stop=300", "0 to 255")),
        (dict(stop=("a", True)), ("stop=('a', True)", "expected texts")),
        (dict(temperature=-1.0), ("temperature=-1.0", "0 (most likely")),
        (dict(max_new_tokens=-1), ("max_new_tokens=-1", "at least 0")),
        (dict(max_tokens=3), ("max_tokens", "max_new_tokens")),
    ],
)
def test_what_cannot_be_written_is_said_at_once(how, parts, of_bytes):
    """By the call itself, not by the first token that is asked for."""
    assert_one_line(lambda: of_bytes.stream(**how), *parts)


def test_a_stop_that_stands_in_the_prompt_ends_nothing(of_bytes, monkeypatch):
    drawing(monkeypatch, [*b"one\n\ntwo"])
    assert of_bytes.write("Q: who?\n\n", 8, stop="\n\n") == "one"


def test_without_a_prompt_a_model_of_tokens_begins_at_the_start_of_a_document():
    options = dict(tokens=300, vocab_size=301, dim=16, depth=1, qk_dim=8, chunk_size=4)
    of_tokens = LanguageModel(ModelConfig(**options))
    draw_order_one(of_tokens, torch.Generator().manual_seed(0)).eval()
    of_tokens.vocabulary = vocabulary_of(tokenizer())
    (first,) = of_tokens.stream("", 1, temperature=0)
    with torch.no_grad():
        expected = of_tokens(torch.tensor([[300]]))[0, 0].log_softmax(-1)
    assert first.id == int(expected.argmax())
    assert first.log_prob == pytest.approx(float(expected.max()), abs=1e-4)
