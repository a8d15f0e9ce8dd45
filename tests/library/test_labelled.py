"""The two tasks for encoders: nested lists and novels."""

import re

import numpy as np
import pytest
from refusals import assert_refused

from flash_tutorial.corpora import load_austen, load_listops, load_novels
from flash_tutorial.corpora.listops import TOKENS, spelled
from flash_tutorial.corpora.novels import chapters_of, names_of, pages_of, plain, texts_of

SMALL = dict(shortest=20, longest=60, train=300, held_out=50)


@pytest.fixture(scope="module")
def lists():
    return load_listops(**SMALL)


@pytest.fixture(scope="module")
def pages():
    return load_novels(512)


def splits(task):
    return task.train, task.validation, task.test


# ---------------------------------------------------------------- lists


def value_of(words):
    """What a list is worth, by another way than the generator's: a stack; and the value at each closing bracket."""
    stack = []
    at_brackets = {}
    for place, word in enumerate(words):
        if word != "]":
            stack.append(word)
            continue
        values = []
        while stack[-1] not in ("[MIN", "[MAX", "[MED", "[SM"):
            values.append(int(stack.pop()))
        name = stack.pop()
        known = {"[MIN": min(values), "[MAX": max(values), "[SM": sum(values) % 10}
        at_brackets[place] = known.get(name, int(np.median(values)))
        stack.append(at_brackets[place])
    (value,) = stack
    return value, at_brackets


@pytest.mark.quick
def test_labels_are_the_values_of_the_lists(lists):
    for split in splits(lists):
        for row, label, of_tokens in zip(split.ids, split.labels, split.token_labels):
            value, at_brackets = value_of(spelled(row).split())
            assert label == value
            assert {i: v for i, v in enumerate(of_tokens) if v != -100} == at_brackets


def test_lists_have_the_length_asked_and_each_value_equally_often(lists):
    for split in splits(lists):
        lengths = split.mask.sum(1)
        assert lengths.min() >= 20 and lengths.max() <= 60
        assert {*np.bincount(split.labels)} == {len(split) // 10}
        assert ((split.ids < len(TOKENS) - 1) == split.mask).all()


def test_no_list_is_there_twice(lists):
    seen = [row.tobytes() for split in splits(lists) for row in split.ids]
    assert len({*seen}) == len(seen)


def test_a_seed_gives_one_set_of_lists(lists):
    assert (load_listops(**SMALL).train.ids == lists.train.ids).all()
    assert (load_listops(1, **SMALL).train.ids[:50] != lists.train.ids[:50]).any()


def test_every_operator_and_the_whole_depth_are_there(lists):
    texts = [spelled(row) for row in lists.train.ids]
    assert all(any(name in text for text in texts) for name in TOKENS[10:14])
    assert max(deepest(text) for text in texts) >= 5


def deepest(text):
    depths = np.cumsum([word.startswith("[") - (word == "]") for word in text.split()])
    return depths.max()


@pytest.mark.parametrize(
    "sizes, said",
    [
        (dict(shortest=3), "shortest=3: expected an integer of at least 4"),
        (dict(shortest=50, longest=40), "longest=40: .* at least 50"),
        (dict(train=5), "train=5: .* at least 10"),
        (dict(held_out=2.5), "held_out=2.5"),
        (dict(shortest=4, longest=4, train=1000, held_out=10), "no further tree of 4 to 4 tokens"),
    ],
)
def test_lists_that_cannot_be(sizes, said):
    assert_refused(said, load_listops, **sizes)


# ---------------------------------------------------------------- novels


def text_of(split):
    return [row.tobytes().decode() for row in split.ids]


def test_each_novel_has_as_many_pages(pages):
    assert len(pages.classes) == 6 and "Persuasion" in pages.classes
    for split in splits(pages):
        assert {*np.bincount(split.labels, minlength=6)} == {len(split) // 6}
        assert split.mask.all() and split.ids.shape[1] == 512


def test_a_chapter_has_pages_in_one_split_alone(pages):
    found = texts_of(load_austen())
    names = names_of(found.values())
    for label, text in enumerate(found.values()):
        chapters = [plain(chapter, names) for chapter in chapters_of(text)]
        used = [chapters_with(texts, chapters) for texts in texts_by_split(pages, label)]
        assert all(used) and sum(map(len, used)) == len(set.union(*used))


def texts_by_split(task, label):
    """The pages of one novel in each split."""
    for split in splits(task):
        yield [row.tobytes().decode() for row in split.ids[split.labels == label]]


def chapters_with(texts, chapters):
    """The numbers of the chapters that hold one of the texts."""
    return {i for i, chapter in enumerate(chapters) if any(text in chapter for text in texts)}


def test_pages_show_neither_heading_nor_layout_nor_name(pages):
    for split in splits(pages):
        for text in text_of(split):
            assert not re.search(r"\n|  |_|--", text)
            assert not re.search(r"\bchapter [\divxlc]+\b", text, re.IGNORECASE)
            assert not re.search(
                r"\b(Elinor|Darcy|Fanny|Emma|Catherine|Anne|Kellynch|Bath)\b", text
            )


def test_with_names_they_are_there():
    named = load_novels(512, names=True)
    text = " ".join(text_of(named.train))
    assert all(name in text for name in ("Elinor", "Darcy", "Fanny", "Emma", "Catherine", "Anne"))


def test_pages_by_a_seed(pages):
    assert (load_novels(512).train.ids == pages.train.ids).all()
    assert (load_novels(512, seed=1).train.ids[:20] != pages.train.ids[:20]).any()


@pytest.mark.parametrize(
    "length, said", [(8, "length=8: .* at least 16"), (10**6, "length=1000000: no chapter")]
)
def test_pages_that_cannot_be(length, said):
    assert_refused(said, load_novels, length)


def test_pages_lie_end_to_end():
    assert pages_of("abcdefgh", 3) == [b"abc", b"def"]
