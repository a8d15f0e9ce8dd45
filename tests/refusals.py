"""How an error of a user looks: one line, which says what was given and what is expected."""

import pytest


def assert_one_line(call, *parts):
    """The message of the ValueError of ``call()``, a single line that holds all of ``parts``."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    return message


def assert_refused(match, call, *args, **kwargs):
    """The same of ``call(*args, **kwargs)``, by a pattern."""
    with pytest.raises(ValueError, match=match) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)
