"""What an answer costs and does, seen from outside and from within one: a set's own functions would be shut there."""

import functools
import math
import re
import sys
import tracemalloc
import weakref
from contextlib import contextmanager

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .exercise import Case, reject_if


# ---------------------------------------------------------------- multiplications, calls, lines, memory
class Factor:
    """A number that counts the multiplications it takes part in, in ``count``, a list of one number."""

    def __init__(self, value, count):
        self.value, self.count = value, count

    def __mul__(self, other):
        self.count[0] += 1
        return Factor(self.value * getattr(other, "value", other), self.count)

    def __add__(self, other):
        return Factor(self.value + getattr(other, "value", other), self.count)

    def __float__(self):
        return float(self.value)

    __rmul__, __radd__ = __mul__, __add__


def multiplications(function, *arrays):
    """How many multiplications a function needs, or None where it cannot be counted: its way of writing is free."""
    count = [0]
    factors = [
        np.array([[Factor(x, count) for x in row] for row in array], dtype=object)
        for array in arrays
    ]
    try:
        function(*factors)
    except Exception:
        return None
    return count[0]


class Followed(np.ndarray):
    """An array that notes, in ``seen``, the calls of NumPy that it takes part in; so does what comes of it."""

    seen = None

    def __array_finalize__(self, parent):
        self.seen = getattr(parent, "seen", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        given = [plain(x) for x in inputs]
        if out is not None:
            more["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*given, **more)
        self.saw_ufunc(ufunc, method, given, result)
        if out is not None:
            return out[0]
        return following(type(self), result, self.seen)

    def __array_function__(self, function, types, args, kwargs):
        inside = self.seen.get("inside", False)
        self.seen["inside"] = True  # what NumPy calls for it is no call of the answer's
        try:
            result = super().__array_function__(function, types, args, kwargs)
        finally:
            self.seen["inside"] = inside
        self.saw_function(function, [plain(each) for each in args], plain(result))
        return following(type(self), result, self.seen)

    def dot(self, other, out=None):  # a method of C, which nothing would see
        return np.dot(self, other, out)

    def saw_ufunc(self, ufunc, method, given, result):
        self.saw_call()

    def saw_function(self, function, args, result):
        self.saw_call()

    def saw_call(self):
        self.seen["calls"] += not self.seen.get("inside", False)


def plain(x):
    return x.view(np.ndarray) if isinstance(x, Followed) else x


def following(kind, array, seen):
    if not isinstance(array, np.ndarray):
        return array
    array = array.view(kind)
    array.seen = seen
    return array


# what makes an array of NumPy's own kind, whatever it is made from
MAKERS = ("array", "asarray", "ascontiguousarray", "copy", "empty", "full", "ones", "zeros")


@contextmanager
def in_sight(kind, seen, function):
    """Within it the arrays that NumPy makes for a function are followed too: no copy or buffer hides what is done."""

    def followed(make):
        @functools.wraps(make)
        def made(*args, **kwargs):
            return following(kind, make(*args, **kwargs), seen)

        return made

    makers = [getattr(np, name) for name in MAKERS]
    own = []
    # where they are called: as `np.zeros`, and as `zeros` behind `from numpy import zeros`
    for place in (vars(np), getattr(function, "__globals__", {})):
        own += [
            (place, name, value)
            for name, value in place.items()
            if any(value is make for make in makers)
        ]
    for place, name, value in own:
        place[name] = followed(value)
    try:
        yield
    finally:
        for place, name, value in own:
            place[name] = value


def followed_call(kind, seen, function, arrays, *more):
    """What a function returns for arrays that are followed; the caller's stay as they are."""
    given = [following(kind, array.copy(), seen) for array in arrays]
    with in_sight(kind, seen, function):
        return function(*given, *more)


class Weighed(Followed):
    """Notes how many numbers NumPy's functions are given of it, or of what came of it."""

    def saw_ufunc(self, ufunc, method, given, result):
        self.seen["calls"] += sum(map(np.size, given))

    def saw_function(self, function, args, result):
        if function is np.einsum or function in CONTRACTIONS:
            self.seen["calls"] += sum(
                np.size(each) for each in args if isinstance(each, np.ndarray)
            )


def numbers_read(function, *arrays):
    """How many numbers NumPy's functions are given; 0 where it cannot be counted."""
    seen = {"calls": 0}
    try:
        followed_call(Weighed, seen, function, arrays)
    except Exception:  # of an answer that does not bear to be watched
        return 0
    return seen["calls"]


class Dispatched(TorchDispatchMode):
    """Sees torch's operations. Torch would hide it from its compiler, and import that for it, which takes a second."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Held(Dispatched):
    """The bytes that tensors made within it hold, ``now`` and at ``most``. A view holds nothing of its own."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.owners = {}  # address of a memory: how many tensors look into it
        self.noted = set()  # which tensors are counted there already

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for tensor in tensors_in((args, kwargs)):
            self.note(tensor, new=False)
        out = function(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            self.note(tensor, new=True)
        return out

    def note(self, tensor, new):
        if tensor.layout is not torch.strided or tensor.device.type == "meta":
            return
        if id(tensor) in self.noted:
            return
        self.noted.add(id(tensor))
        memory = tensor.untyped_storage()
        place = memory.data_ptr()
        size = memory.nbytes() * new
        if place not in self.owners:
            self.owners[place] = [0, size]
            self.now += size
            self.most = max(self.most, self.now)
        self.owners[place][0] += 1
        weakref.finalize(tensor, self.leave, place, id(tensor))

    def leave(self, place, noted):
        self.noted.discard(noted)
        self.owners[place][0] -= 1
        if not self.owners[place][0]:
            self.now -= self.owners.pop(place)[1]


def tensors_in(value):
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def megabytes(function, *args):
    """(what a function returns, the most that NumPy, Python and torch took meanwhile); again, if it had to import."""
    running = tracemalloc.is_tracing()
    modules = len(sys.modules)
    if not running:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with Held() as tensors:
            value = function(*args)
        taken = (tracemalloc.get_traced_memory()[1] - before + tensors.most) / 1e6
        if len(sys.modules) != modules:  # an import takes memory, too
            return megabytes(function, *args)
        return value, taken
    finally:
        if not running:
            tracemalloc.stop()


# NumPy's own loop over all entries, of which nothing is seen
BY_ENTRIES = np.vectorize.__call__.__code__


def lines_run(function, *args):
    """Lines, calls and returns of Python, in what it calls too, not in C. A one-line list counts for each entry."""
    count = 0

    def look(frame, event, argument):
        nonlocal count
        count += 1
        if event == "call" and frame.f_code is BY_ENTRIES:
            count += max(map(np.size, frame.f_locals["args"]), default=0)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return count


class Listed(TorchFunctionMode):
    """Counts the numbers of the lists that torch is given: `map` and `range` make a table in C, where no line runs."""

    A_LINE = 100  # numbers that count as a line of Python: a list of all rows is no loop, one of all entries is

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.numbers += sum(map(numbers_listed, args))
        return function(*args, **(kwargs or {}))


def numbers_listed(value):
    """How many numbers a list holds, or one of lists."""
    if isinstance(value, range):
        return len(value)
    if not isinstance(value, list | tuple):
        return 0
    return sum(1 if isinstance(each, int | float) else numbers_listed(each) for each in value)


def steps(function, *args):
    """What Python does, and how often NumPy and torch are called: `sum` over rows counts, as a loop over them does."""
    given = list(args)
    for place, arg in enumerate(args):
        if isinstance(arg, np.ndarray):
            given[place] = following(Followed, arg.copy(), {"calls": 0})
    try:
        with Dispatched():  # torch's operations run through Python, and count as lines
            lines = lines_run(function, *given)
        with Listed() as listed:
            function(*given)
        return lines + listed.numbers // Listed.A_LINE
    except Exception:  # where it does not bear to be watched, Python's own steps are left
        return lines_run(function, *args)


def loops(function, few, many):
    """Whether a function takes more steps for ``many`` than for ``few``, arguments of two sizes, but for a constant."""
    steps(function, *few)  # the first call of an operation sets it up
    return 1.25 * steps(function, *few) + 30 < steps(function, *many)


def no_loop(part, what, few, many, sizes, of=None):
    """A case of an exercise that asks for no loop: the answer may not loop over ``what``, of which there are more."""

    def run(answer):
        function = answer if of is None else getattr(answer, of)
        reject_if(loops(function, few, many), "all", "loop", what=what)

    return Case(f"more {what}", part, run, sizes)


# ---------------------------------------------------------------- arrays and tensors that are watched
class Watched(Followed):
    """Notes its calls, the multiplications it takes part in, and the largest array: one that collects tiles, too."""

    def __array_function__(self, function, types, args, kwargs):
        if function is np.einsum:  # with optimize it would call tensordot, and be counted twice
            kwargs = kwargs | {"optimize": False}
        return super().__array_function__(function, types, args, kwargs)

    def saw_ufunc(self, ufunc, method, given, result):
        self.saw_call()
        if method in ("__call__", "outer"):
            inner = int(ufunc is np.multiply)
            if ufunc.signature:  # a product of matrices or vectors
                inner = np.shape(given[0])[-1]
            self.note(np.size(result) * inner, result, *given)

    def saw_function(self, function, args, result):
        self.saw_call()
        if function in CONTRACTIONS:
            # of an (m, k) and a (k, n), however they are laid out: m k, k n and m n numbers
            sizes = [np.size(array) for array in (*args[:2], result)]
            self.note(math.isqrt(math.prod(sizes)), result, *args[:2])
        elif function is np.einsum:
            products, arrays = products_of_einsum(args)
            self.note(products, result, *arrays)
        elif isinstance(result, np.ndarray):
            self.note(0, result)

    def note(self, products, *arrays):
        self.seen["products"] += products
        self.seen["largest"] = max(self.seen["largest"], *map(np.size, arrays))


CONTRACTIONS = (np.dot, np.inner, np.outer, np.tensordot, np.kron, np.vdot)


def products_of_einsum(args):
    """(how many products ``np.einsum`` of these arguments makes, its arrays)."""
    if isinstance(args[0], str):
        parts = args[0].replace(" ", "").partition("->")[0].split(",")
        names, arrays = [re.findall(r"\.\.\.|\w", part) for part in parts], args[1:]
    else:  # an array and a list of its axes' numbers in turn
        arrays = args[: len(args) // 2 * 2 : 2]
        names = [["..." if name is Ellipsis else name for name in axes] for axes in args[1::2]]
    sizes = {}
    for axes, array in zip(names, arrays):
        for name, size in zip(all_axes(axes, np.ndim(array)), np.shape(array)):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values()), arrays


def all_axes(names, axes):
    """A name for each of so many axes: the dots are those that have none."""
    if "..." not in names:
        return names
    place = names.index("...")
    free = axes - len(names) + 1
    return [*names[:place], *(f"dots {i - free}" for i in range(free)), *names[place + 1 :]]


def watched(function, arrays, *more):
    """(what a function returns, {"calls", "products", "largest"} of what NumPy did for it)."""
    seen = {"calls": 0, "products": 0, "largest": 0}
    value = followed_call(Watched, seen, function, arrays, *more)
    return plain(value), seen


def work(function, arrays, *more):
    """(calls, multiplications) of NumPy and torch for a function; (0, 0) where nothing of them is seen."""
    try:
        with Operations() as operations:
            _, seen = watched(function, arrays, *more)
    except Exception:  # of an answer that does not bear to be watched
        return 0, 0
    calls = seen["calls"] + operations.computed
    products = seen["products"] + operations.multiply_adds + operations.multiplied
    return calls, products


def reads_all_pairs(function, arrays, *more):
    """Whether a function of q, k and v multiplies more than T² (S + E) / 4 times: the scores of all pairs of tokens
    and their sums of values need T² (S + E), and those of a token and one before it half of that.
    """
    (T, S), E = arrays[0].shape[-2:], arrays[2].shape[-1]
    _, products = work(function, arrays, *more)
    return products > T * T * (S + E) / 4


def chosen_by_flags(name, args):
    """Whether places are chosen by True and False: a card has to count them first. One number for all is a fill."""
    flags = any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
    return flags and (name == "index" or args[2].numel() > 1)


class Asked(TorchFunctionMode):
    """Counts, in ``calls``, how often a tensor is turned into a list or an array: no operation of torch shows that."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in ("tolist", "numpy", "__array__"):
            self.calls[name] = self.calls.get(name, 0) + 1
        return function(*args, **(kwargs or {}))


class Operations(Dispatched):
    """Counts what torch does within it: calls by name, those that compute, products, numbers joined or padded."""

    WAITS = (
        "_local_scalar_dense",
        "nonzero",
        "equal",
        "masked_select",
        "tolist",
        "numpy",
        "__array__",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "repeat_interleave",
        "allclose",
        "bincount",
        "boolean index",
    )
    PRODUCTS = ("mm", "bmm", "mv", "dot", "vdot", "_cdist_forward")  # of their first argument
    ADDED_PRODUCTS = ("addmm", "baddbmm", "addmv")  # of their second
    TABLES = ("sin", "cos", "polar", "exp", "sin_", "cos_")

    def __init__(self):
        super().__init__()
        self.calls, self.multiply_adds, self.joined, self.double = {}, 0, 0, 0
        self.computed = 0
        self.multiplied = 0
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
        several = out if isinstance(out, tuple | list) else [out]
        tensors = [t for t in several if isinstance(t, torch.Tensor)]
        self.double += any(t.dtype == torch.float64 for t in tensors)
        if name in ("index", "index_put", "index_put_") and chosen_by_flags(name, args):
            self.calls["boolean index"] = self.calls.get("boolean index", 0) + 1
        self.computed += not function.is_view
        if name in ("mul", "mul_"):
            self.multiplied += sum(t.numel() for t in tensors)
        kind = name.removesuffix("_")  # in place or not
        if kind in self.PRODUCTS:
            self.multiply_adds += out.numel() * args[0].shape[-1]
        if kind in self.ADDED_PRODUCTS:
            self.multiply_adds += out.numel() * args[1].shape[-1]
        if kind == "addbmm":
            self.multiply_adds += out.numel() * args[1].shape[0] * args[1].shape[-1]
        if kind == "addr":
            self.multiply_adds += out.numel()
        if name in ("cat", "stack", "constant_pad_nd"):
            self.joined += sum(t.numel() for t in tensors)
        return out

    def count(self, names):
        return sum(self.calls.get(name, 0) for name in names)
