"""Tests that prove nothing, kept as wrong answers of every exercise that asks for a test."""

import itertools

CALLS = itertools.count()


def fails_all(*version):
    raise AssertionError


def passes_all(*version):
    assert version


def returns(*version):
    return False


def never_runs(*version):
    yield


def counts_calls(*version):
    assert next(CALLS) % 20 < 3


TESTS = {
    "fails all": fails_all,
    "passes all": passes_all,
    "returns": returns,
    "test never ran": never_runs,
}
TESTS["fickle"] = counts_calls
