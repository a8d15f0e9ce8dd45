"""``flash_tutorial.hf``: the numbers are the library's, and ``generate`` uses its state."""

import copy
import doctest
import inspect
import itertools

import pytest
import torch
from refusals import assert_one_line
from small_hf import LENGTHS, all_of_ours, both, hf_config, prompts, transformers
from small_model import N, ids

from flash_tutorial import hf
from flash_tutorial.hf import FlashCache, FlashForCausalLM, FlashModel

pytestmark = pytest.mark.usefixtures("one_thread")

CLOSE = dict(rtol=0, atol=1e-6)


def close(a, b):
    torch.testing.assert_close(a, b, **CLOSE)


def without_cache(model, text, n, **how):
    """Greedy, each token from the whole text."""
    for _ in range(n):
        text = torch.cat([text, model(text, **how).logits[:, -1:].argmax(-1)], 1)
    return text


@pytest.mark.parametrize("name", hf.__all__)
def test_a_public_name_has_types_and_an_example_that_runs(name, capsys):
    value = getattr(hf, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(value, name, globs={})
    assert example.examples
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example)
    assert runner.failures == 0, capsys.readouterr().out
    signature = inspect.signature(value)
    assert all(of.annotation is not of.empty for of in signature.parameters.values())
    assert inspect.isclass(value) or signature.return_annotation is not signature.empty


# ---------------------------------------------------------------- the same numbers


@all_of_ours
@pytest.mark.parametrize("causal", [True, False])
def test_logits_are_the_librarys(architecture, causal):
    native, model = both(architecture, causal=causal)
    with torch.no_grad():
        close(model(ids()).logits, native(ids()))
        embedded = model.get_input_embeddings()(ids())
        close(model(inputs_embeds=embedded).logits, native(ids()))


@all_of_ours
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_is_the_row_alone(architecture, causal, side):
    _, model = both(architecture, causal=causal)
    padded, mask, rows = prompts(side)
    with torch.no_grad():
        logits = model(padded, mask).logits
        for b, row in enumerate(rows):
            close(logits[b, mask[b].bool()], model(row[None]).logits[0])


def test_documents_in_one_row_are_the_librarys():
    native, model = both(causal=False)
    segment_ids = (torch.arange(14) // 5).expand(2, -1)
    position_ids = (torch.arange(14) % 5).expand(2, -1)
    with torch.no_grad():
        there = model(ids(), segment_ids=segment_ids, position_ids=position_ids).logits
        close(there, native(ids(), None, segment_ids, position_ids=position_ids))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_loss_is_the_librarys(side):
    native, model = both()
    padded, mask, rows = prompts(side)
    loss = model(padded, mask, labels=padded.masked_fill(mask == 0, -100)).loss
    of_rows = [native.loss(row[None, :-1], row[None, 1:]) * (len(row) - 1) for row in rows]
    close(loss.double(), sum(of_rows) / sum(n - 1 for n in LENGTHS))


# ---------------------------------------------------------------- the cache


@all_of_ours
@pytest.mark.parametrize("cut", [1, 6, 13])
def test_reading_on_from_a_cache_is_reading_the_whole(architecture, cut):
    _, model = both(architecture)
    padded, mask, _ = prompts("left", (14, 11, 5))
    with torch.no_grad():
        whole = model(padded, mask).logits
        first = model(padded[:, :cut], mask[:, :cut], use_cache=True)
        second = model(padded[:, cut:], mask, past_key_values=first.past_key_values)
    read = torch.cat([first.logits, second.logits], 1)
    close(read[mask.bool()], whole[mask.bool()])
    assert second.past_key_values.get_seq_length() == 14


@all_of_ours
def test_greedy_with_the_cache_is_greedy_without(architecture):
    _, model = both(architecture)
    text = model.generate(ids(), max_new_tokens=9, do_sample=False)
    assert torch.equal(text, without_cache(model, ids(), 9))
    assert torch.equal(text, model.generate(ids(), max_new_tokens=9, use_cache=False))
    in_parts = model.generate(ids(), max_new_tokens=9, prefill_chunk_size=5)
    assert torch.equal(text, in_parts)


def test_the_cache_of_flash_has_one_size():
    _, model = both()
    how = dict(return_dict_in_generate=True)
    few, many = (model.generate(ids(), max_new_tokens=n, **how) for n in (2, 40))
    assert isinstance(few.past_key_values, FlashCache)
    assert many.past_key_values.get_seq_length() == 53
    assert few.past_key_values.numel() == many.past_key_values.numel() > 0


@all_of_ours
def test_prompts_that_are_padded_on_the_left_go_on_as_alone(architecture):
    _, model = both(architecture)
    padded, mask, rows = prompts("left")
    together = model.generate(padded, attention_mask=mask, max_new_tokens=9)[:, padded.shape[1] :]
    for b, row in enumerate(rows):
        assert torch.equal(together[b], model.generate(row[None], max_new_tokens=9)[0, len(row) :])


def test_what_is_drawn_is_drawn_by_the_librarys_probabilities():
    native, model = both()
    how = dict(do_sample=True, top_k=0, temperature=1.5)
    out = model.generate(
        ids(), max_new_tokens=6, return_dict_in_generate=True, output_scores=True, **how
    )
    for t, scores in enumerate(out.scores):
        close(scores, (native(out.sequences[:, : 14 + t])[:, -1] / 1.5).float())
    torch.manual_seed(0)
    one = model.generate(ids(), max_new_tokens=6, **how)
    other = model.generate(ids(), max_new_tokens=6, **how)
    torch.manual_seed(0)
    again = model.generate(ids(), max_new_tokens=6, **how)
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_row_that_draws_a_stop_token_stops():
    _, model = both()
    how = dict(attention_mask=torch.ones(4, 14, dtype=torch.long), max_new_tokens=12)
    free = model.generate(ids(4), **how)[:, 14:]
    stop = int(free[0, 4])
    stopped = model.generate(ids(4), eos_token_id=stop, pad_token_id=0, **how)[:, 14:]
    for row, there in zip(free.tolist(), stopped.tolist()):
        end = row.index(stop) + 1 if stop in row else len(row)
        assert there[:end] == row[:end] and not any(there[end:])


def test_the_repetition_penalty_weighs_what_was_read():
    _, model = both()
    text = ids(1)
    for _ in range(8):
        scores = model(text).logits[0, -1].clone()
        seen = text[0].unique()
        scores[seen] = torch.where(scores[seen] > 0, scores[seen] / 1.7, scores[seen] * 1.7)
        text = torch.cat([text, scores.argmax()[None, None]], 1)
    assert torch.equal(text, model.generate(ids(1), max_new_tokens=8, repetition_penalty=1.7))


@pytest.mark.parametrize("architecture", ["flash", "flash_quad", "transformer++"])
def test_beams_find_the_best_of_all_texts(architecture):
    """So many beams that none is lost: of the N^2 texts they keep every one."""
    _, model = both(architecture)
    padded, mask, rows = prompts("left")
    out = model.generate(
        padded,
        attention_mask=mask,
        max_new_tokens=3,
        num_beams=N * N,
        return_dict_in_generate=True,
        output_scores=True,
    )
    texts = torch.tensor([*itertools.product(range(N), repeat=2)])
    for b, row in enumerate(rows):
        whole = torch.cat([row.expand(len(texts), -1), texts], 1)
        with torch.no_grad():
            log_p = model(whole).logits[:, len(row) - 1 :].log_softmax(-1)
        of_texts = log_p[:, :2].gather(2, texts[..., None]).sum((1, 2))
        scores = of_texts[:, None] + log_p[:, 2]
        best = divmod(int(scores.argmax()), N)
        expected = [*texts[best[0]].tolist(), best[1]]
        assert out.sequences[b, padded.shape[1] :].tolist() == expected
        close(out.sequences_scores[b].double(), scores.max() / 3)


@pytest.mark.parametrize("beams", [1, 3])
def test_few_beams_are_those_of_reading_the_whole_each_time(beams):
    _, model = both()
    how = dict(max_new_tokens=9, num_beams=beams, num_return_sequences=beams)
    with_cache = model.generate(ids(), **how)
    assert torch.equal(with_cache, model.generate(ids(), use_cache=False, **how))


# ---------------------------------------------------------------- a second turn


@all_of_ours
def test_a_second_turn_is_the_whole_text_at_once(architecture):
    _, model = both(architecture)
    padded, mask, _ = prompts("left", (8, 5, 3))
    first = model.generate(
        padded, attention_mask=mask, max_new_tokens=5, return_dict_in_generate=True
    )
    asked = ids(3, 6, seed=7)
    text = torch.cat([first.sequences, asked], 1)
    mask = torch.cat([mask, mask.new_ones(3, text.shape[1] - mask.shape[1])], 1)
    how = dict(attention_mask=mask, max_new_tokens=5)
    kept = copy.deepcopy(first.past_key_values)
    on = model.generate(text, past_key_values=first.past_key_values, **how)
    assert torch.equal(on, model.generate(text, **how))
    assert torch.equal(on, model.generate(text, past_key_values=kept, **how))


def test_a_turn_whose_rows_differ_in_length():
    _, model = both()
    padded, mask, rows = prompts("left", (8, 5, 3))
    more, more_mask, more_rows = prompts("right", (7, 2, 4), seed=20)
    with torch.no_grad():
        cache = model(padded, mask, use_cache=True).past_key_values
        logits = model(more, more_mask, past_key_values=cache).logits
        for b, (row, behind) in enumerate(zip(rows, more_rows)):
            alone = model(torch.cat([row, behind])[None]).logits[0, len(row) :]
            close(logits[b, : len(behind)], alone)


def test_a_mask_that_hides_what_was_read_is_refused():
    _, model = both()
    first = model(ids(), use_cache=True)
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, 12:14] = 0
    said = ["12 valid tokens of row 1", "read 14", "cannot forget", "without the cache"]
    assert_one_line(lambda: model(ids(2, 6), mask, past_key_values=first.past_key_values), *said)
    said = ["(2, 9)", "(2, 20)", "(2, 6)"]
    assert_one_line(
        lambda: model(ids(2, 6), mask[:, :9], past_key_values=first.past_key_values), *said
    )


# ---------------------------------------------------------------- what is refused


def test_what_cannot_be_is_said():
    _, model = both()
    padded, mask, _ = prompts("right")
    said = ["attention_mask", "last column", "padding_side = 'left'"]
    assert_one_line(lambda: model.generate(padded, attention_mask=mask, max_new_tokens=2), *said)
    assert_one_line(lambda: model(), "input_ids", "inputs_embeds")
    assert_one_line(lambda: model(torch.tensor([[N]])), f"hold {N}", f"0 to {N - 1}", "tokenizer")
    assert_one_line(lambda: model(ids(), atention_mask=mask), "atention_mask", "attention_mask")
    assert_one_line(lambda: model(ids(), output_attentions=True), "output_attentions", "no such")
    cache = transformers.DynamicCache()
    assert_one_line(lambda: model(ids(), past_key_values=cache), "DynamicCache", "FlashCache")
    assert_one_line(
        lambda: model(ids(), use_cache=True).past_key_values.crop(3), "crop(3)", "deepcopy"
    )
    reading = FlashModel(hf_config(causal=False))
    assert_one_line(lambda: reading(ids(), use_cache=True), "not causal")
    said = ["causal=False", "FlashConfig(causal=True)", "FlashForMaskedLM"]
    assert_one_line(lambda: FlashForCausalLM(hf_config(causal=False)), *said)


def test_the_loss_of_what_is_read_on_counts_each_of_its_tokens():
    """The mask is of all that was read, and longer than the labels."""
    _, model = both()
    padded, mask, _ = prompts("left", (14, 8, 5))
    with torch.no_grad():
        cache = model(padded[:, :9], mask[:, :9], use_cache=True).past_key_values
        read = model(padded[:, 9:], mask, past_key_values=cache, labels=padded[:, 9:])
    targets = padded[:, 10:].flatten()
    close(
        read.loss,
        torch.nn.functional.cross_entropy(read.logits[:, :-1].flatten(0, 1).float(), targets),
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_in_the_labels_is_not_asked_for(side):
    _, model = both()
    padded, mask, _ = prompts(side)
    hidden = padded.masked_fill(mask == 0, -100)
    close(model(padded, mask, labels=padded).loss, model(padded, mask, labels=hidden).loss)
