"""How an error of a user looks."""

import pytest


def one_line_error(match, call, *args, **kwargs):
    """The message of the ValueError, which must match and be a single line."""
    with pytest.raises(ValueError, match=match) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)
