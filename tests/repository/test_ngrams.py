"""The yardstick of the benchmarks: `benchmarks/ngrams.py`."""

import numpy as np
import pytest

pytestmark = pytest.mark.quick


def test_witten_bell_against_its_formula_and_sums_to_one(benchmark_script):
    ngrams = benchmark_script("ngrams")
    train = [np.frombuffer(b"abracadabra", np.uint8), np.frombuffer(b"cadabra, abba", np.uint8)]
    model = ngrams.WittenBell(train, 2)

    def by_hand(context, byte):
        if context is None:
            return 1 / 256
        padded = [bytes(len(context)) + text.tobytes() for text in train]
        k = len(context)
        after = [text[i + k] for text in padded for i in range(len(text) - k) if text[i : i + k] == context]
        shorter = by_hand(context[1:] if context else None, byte)
        kinds = len(set(after))
        return (after.count(byte) + kinds * shorter) / (len(after) + kinds) if after else shorter

    text = b"cabra"
    expected = [by_hand((b"\0\0" + text)[i : i + 2], text[i]) for i in range(len(text))]
    assert np.allclose(model.probabilities(np.frombuffer(text, np.uint8)), expected, rtol=1e-12)
    every = [np.array([97, 98, byte], np.uint8) for byte in range(256)]
    assert abs(sum(model.probabilities(text)[2] for text in every) - 1) < 1e-12
