"""Words across a border."""

import pytest
import torch

from flash_course.bench.words import beginnings_of, invented_across, words_across, words_of

PAGE = b"The party had been to Bath. She was distressed, and spoke no more of it"


class Copies:
    """A model that goes on with the page as it is, from any place."""

    def generate(self, ids, n, temperature, generator):
        assert ids.shape[1] + n <= len(PAGE) and 0 <= torch.rand((), generator=generator) < 1
        return torch.tensor([list(PAGE[ids.shape[1] :][:n])] * len(ids))


def pages(rows=2):
    return torch.tensor([list(PAGE)] * rows)


def test_words_are_those_that_lie_on_both_sides_of_the_border():
    border = PAGE.index(b"distressed") + 3
    assert words_across(Copies(), pages(), border) == [(b"dis", b"tressed")] * 2
    assert words_across(Copies(), pages(1), PAGE.index(b"Bath") + 1) == [(b"b", b"ath")]


@pytest.mark.parametrize("word, letters", [(b"Bath", 0), (b"Bath", 4), (b". She", 1)])
def test_a_word_that_begins_or_ends_at_the_border_does_not_lie_across_it(word, letters):
    assert words_across(Copies(), pages(), PAGE.index(word) + letters) == []


def test_a_word_that_was_not_finished_is_left_out():
    border = PAGE.index(b"distressed") + 3
    assert words_across(Copies(), pages(1), border, behind=8) == [(b"dis", b"tressed")]
    assert words_across(Copies(), pages(1), border, behind=7) == []


def test_a_word_begins_with_all_that_is_shorter_and_with_itself():
    assert beginnings_of({b"she", b"so"}) == {b"s", b"sh", b"she", b"so"}


def test_words_of_a_text_are_known_in_small_letters():
    assert words_of(b"She, she: Bath's 3 hats") == {b"she", b"bath", b"s", b"hats"}


def test_words_that_no_text_has_and_cut_words_that_some_word_begins_with():
    border = PAGE.index(b"distressed") + 3
    words, invented, fits = invented_across(Copies(), pages(), border, {b"distant", b"so"})
    assert words == 2 and invented == ["distressed", "distressed"]
    assert fits == [1, 0]  # dist, as in distant; distr, as in none
    assert invented_across(Copies(), pages(), border, {b"distressed"})[1] == []
