"""Words for errors: what was given, on one line; and whether a class or a method can be called as asked."""

import inspect

MASK_BY_NAME = "it is handed a mask by its name"


def described(value):
    """What was given in place of a tensor of another shape or type, in words."""
    import torch  # a text and its errors need none

    if isinstance(value, torch.Tensor):
        return f"of shape {tuple(value.shape)} and {value.dtype}"
    return f"a {type(value).__name__}"


def out_of_range(what, ids, N, then=""):
    """The error of ids ``(...)`` of which one is none of 0 to N - 1."""
    wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
    return ValueError(f"{what} hold {wrong}: expected 0 to {N - 1}{then}")


def short(value):
    """A value in an error, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def one_line(error):
    """What an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def is_out_of_memory(error):
    """Whether an error says that there is too little memory, in the words of torch, of a card or of Python."""
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or "out of memory" in words
        or "can't allocate memory" in words
    )


def check_call(called, said, advice, /, *arguments, **named):
    """Refuse a class, a module or a method of one's own that cannot be called so; ``said`` is the call in words."""
    try:
        inspect.signature(called).bind(*arguments, **named)
    except TypeError as error:
        raise ValueError(f"{said} ({error}): {advice}") from None
