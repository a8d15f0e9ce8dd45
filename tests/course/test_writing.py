"""Text that appears while it is drawn."""

import pytest
from small_tokens import tokenizer

from flash_course.writing import writer
from flash_tutorial.corpora.vocabulary import BYTES, vocabulary_of


@pytest.mark.parametrize("kind", ["bytes", "tokens"])
def test_a_writer_gives_whole_characters_and_nothing_twice(kind):
    vocabulary = BYTES if kind == "bytes" else vocabulary_of(tokenizer())
    prompt = "It is a "
    rest = "truth — naïve \N{GRINNING FACE} as he is"
    write = writer(vocabulary, vocabulary.encode(prompt))
    pieces = [write(int(i)) for i in vocabulary.encode(rest)]
    assert "".join(pieces) + write(None) == rest
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)
    write = writer(vocabulary, [])
    # an id that no text holds ends nothing
    assert write(vocabulary.mask_id) in ("", "\N{REPLACEMENT CHARACTER}")
