"""A text that appears while it is drawn: a character waits for its last byte."""

import codecs

from flash_tutorial.corpora.vocabulary import MASK_ID, import_tokenizers


def writer(vocabulary, prompt):
    """A function that takes one id after the other, behind the ids of a prompt, and gives the text that became whole
    with it; None is the end."""
    if vocabulary.tokens is None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

        def write(i):
            if i is not None and i >= MASK_ID:
                return "\N{REPLACEMENT CHARACTER}"
            last = i is None
            return decoder.decode(b"" if last else bytes([i]), final=last)

        return write
    tokenizer = vocabulary.library
    stream = import_tokenizers().decoders.DecodeStream(skip_special_tokens=False)

    def write(i):
        if i is None or i >= vocabulary.tokens:
            return ""
        return stream.step(tokenizer, i) or ""

    for i in prompt:
        write(int(i))
    return write
