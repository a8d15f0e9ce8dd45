"""What an answer does, seen from inside: products and arrays of NumPy, operations of torch. Instruments of set 11.

They are called from within an answer, so they stand apart from the set, whose own functions are shut then.
"""

import math

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Watched(np.ndarray):
    """An array that notes, in ``seen``, the multiplications it takes part in and the largest array it meets there.

    Its partners count too: who collects the tiles in an array of its own has the whole map after all.
    """

    seen = None

    def __array_finalize__(self, parent):
        self.seen = getattr(parent, "seen", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        plain = [x.view(np.ndarray) if isinstance(x, Watched) else x for x in inputs]
        if out is not None:
            more["out"] = tuple(x.view(np.ndarray) if isinstance(x, Watched) else x for x in out)
        result = getattr(ufunc, method)(*plain, **more)
        if method == "__call__":
            inner = plain[0].shape[-1] if ufunc is np.matmul else ufunc is np.multiply
            self.note(np.size(result) * inner, max(map(np.size, (result, *plain))))
        return result if out is not None or not isinstance(result, np.ndarray) else watched(result, self.seen)

    def __array_function__(self, function, types, args, kwargs):
        result = super().__array_function__(function, types, args, kwargs)
        if function in (np.dot, np.inner):
            self.note(np.size(result) * np.shape(args[0])[-1], max(map(np.size, (result, *args[:2]))))
        elif function is np.einsum and isinstance(args[0], str):
            sizes = {}
            for names, array in zip(args[0].replace(" ", "").partition("->")[0].split(","), args[1:]):
                sizes |= dict(zip(names, np.shape(array)))
            self.note(math.prod(sizes.values()), max(map(np.size, (result, *args[1:]))))
        elif isinstance(result, np.ndarray):
            self.note(0, result.size)
        return result

    def note(self, products, size):
        self.seen["products"] += products
        self.seen["largest"] = max(self.seen["largest"], size)


def watched(array, seen):
    array = array.view(Watched)
    array.seen = seen
    return array


class Asked(TorchFunctionMode):
    """Counts, in ``calls``, how often a tensor is turned into a list or an array: no operation of torch shows that."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in ("tolist", "numpy"):
            self.calls[name] = self.calls.get(name, 0) + 1
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts what torch does within it: calls by name, multiply-adds of products, numbers joined by cat."""

    WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "tolist", "numpy")
    TABLES = ("sin", "cos", "polar", "exp", "sin_", "cos_")

    def __init__(self):
        super().__init__()
        self.calls, self.multiply_adds, self.joined, self.double = {}, 0, 0, 0
        self.asked = Asked(self.calls)

    def __enter__(self):
        self.asked.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.asked.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.calls[name] = self.calls.get(name, 0) + 1
        tensors = [t for t in (out if isinstance(out, tuple | list) else [out]) if isinstance(t, torch.Tensor)]
        self.double += any(t.dtype == torch.float64 for t in tensors)
        if name in ("mm", "bmm", "addmm", "baddbmm", "mv", "dot"):
            left = args[1] if name in ("addmm", "baddbmm") else args[0]
            self.multiply_adds += out.numel() * left.shape[-1]
        if name in ("cat", "stack"):
            self.joined += sum(t.numel() for t in tensors)
        return out

    def count(self, names):
        return sum(self.calls.get(name, 0) for name in names)
