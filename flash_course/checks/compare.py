"""Whether a value is the expected one, and if not, where it first differs: types, then shapes, then numbers."""

import numpy as np

from .texts import say

SINGLE = 1e-5  # relative error below which right values have passed through float32


def difference(expected, got, tolerance, inputs=()):
    """None if ``got`` is ``expected``, else a sentence."""
    if got is None and expected is not None:
        return say("all", "none")
    if isinstance(expected, dict):
        return of_dictionaries(expected, got, tolerance)
    if isinstance(expected, tuple | list):
        return of_sequences(expected, got, tolerance)
    if isinstance(expected, str | bool | type(None)):
        return None if is_plain(got, expected) else say("all", "value", expected=repr(expected), got=repr_of(got))
    return of_numbers(expected, got, tolerance)


def is_plain(got, expected):
    if isinstance(expected, bool) and isinstance(got, np.bool_):
        got = bool(got)
    return type(got) is type(expected) and got == expected


def repr_of(value):
    text = repr(value)
    return text if len(text) < 80 else f"{type(value).__name__}"


def of_dictionaries(expected, got, tolerance):
    if not isinstance(got, dict) or set(got) != set(expected):
        keys = ", ".join(map(str, expected))
        return say(
            "all", "keys", expected=keys, got=", ".join(map(str, got)) if isinstance(got, dict) else repr_of(got)
        )
    for key, value in expected.items():
        if said := difference(value, got[key], tolerance):
            return f"{key}: {said}"
    return None


def of_sequences(expected, got, tolerance):
    if not isinstance(got, tuple | list) or len(got) != len(expected):
        return say("all", "several", expected=len(expected), got=len(got) if isinstance(got, tuple | list) else 1)
    for number, (a, b) in enumerate(zip(expected, got), 1):
        if said := difference(a, b, tolerance):
            return f"{say('all', 'place', number=number)}{said}"
    return None


def as_array(value):
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return value.double().numpy() if value.is_floating_point() else value.numpy()
    return np.asarray(value)


def is_torch(value):
    return type(value).__module__.partition(".")[0] == "torch"


def of_numbers(expected, got, tolerance):
    if is_torch(expected) != is_torch(got):
        return say("all", "type", expected=type(expected).__name__, got=type(got).__name__)
    try:
        want, have = as_array(expected), as_array(got)
    except (TypeError, ValueError):
        return say("all", "type", expected=type(expected).__name__, got=type(got).__name__)
    if have.dtype.kind not in "biufc":
        return say("all", "type", expected=type(expected).__name__, got=type(got).__name__)
    if want.shape != have.shape:
        return say("all", "shape", expected=want.shape, got=have.shape)
    if (want.dtype.kind == "b") != (have.dtype.kind == "b"):
        return say("all", "dtype", expected=want.dtype, got=have.dtype)
    if want.dtype.kind == "b":
        return None if (want == have).all() else first_difference(want, have, want != have)
    want, have = want.astype(float), have.astype(float)
    bad = ~near(want, have, tolerance)
    if not bad.any():
        return None
    return kind_of_difference(want, have, bad)


def near(want, have, tolerance):
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.abs(want), np.max(np.abs(want[np.isfinite(want)]), initial=0) * 1e-3)
        close = np.isfinite(want) & (np.abs(want - have) <= tolerance * np.maximum(scale, 1))
    return close | (want == have) | (np.isnan(want) & np.isnan(have))


def kind_of_difference(want, have, bad):
    text = first_difference(want, have, bad)
    if np.isfinite(have).all() and near(want, have, SINGLE).all():
        return f"{text} {say('all', 'single')}"
    if have.size > 1 and not have.any():
        return f"{text} {say('all', 'zeros')}"
    return text


def first_difference(want, have, bad):
    where = tuple(int(i) for i in np.argwhere(bad)[0]) if bad.ndim else ()
    place = f" [{', '.join(map(str, where))}]" if where else ""
    a, b = (f"{x[where]:.6g}" if x.dtype.kind == "f" else str(x[where]) for x in (want, have))
    return say("all", "first", place=place, expected=a, got=b, bad=int(bad.sum()), of=bad.size)
