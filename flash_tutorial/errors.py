"""Words for errors: what was given, on one line; and whether a module can be called as asked."""

import inspect


def described(value):
    """What was given in place of a tensor of another shape or type, in words."""
    import torch  # a text and its errors need none

    tensor = isinstance(value, torch.Tensor)
    return (
        f"of shape {tuple(value.shape)} and {value.dtype}"
        if tensor
        else f"a {type(value).__name__}"
    )


def short(value):
    """A value in an error, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def one_line(error):
    """What an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def check_call(module, method, said, *arguments, **named):
    """Refuse a module of one's own, or a method of it, that cannot be called so."""
    try:
        inspect.signature(method).bind(*arguments, **named)
    except TypeError as error:
        given = f"{type(module).__name__} cannot be called as {said} ({error})"
        raise ValueError(f"{given}: it is handed a mask by its name") from None


def check_constructor(given, dim, **options):
    """Refuse what makes no unit: an object in place of its class, or one that does not take its width and options."""
    said = ", ".join(["dim", *(f"{name}={value!r:.30}" for name, value in options.items())])
    name = getattr(given, "__name__", type(given).__name__)
    if not inspect.isclass(given) and hasattr(given, "parameters"):
        raise ValueError(
            f"the architecture is an object of {name}: give the class, which is built as {name}({said})"
        )
    try:
        inspect.signature(given).bind(dim, **options)
    except TypeError as error:
        advice = "options besides causal come from unit_options"
        raise ValueError(f"{name} cannot be built as {name}({said}) ({error}): {advice}") from None
