"""Triton on any Linux machine, without a card: ``jit`` and ``tl`` for the kernels of problem set 11.

``jit`` is ``triton.jit`` with Triton's interpreter switched on for that kernel alone. The variable TRITON_INTERPRET and
the rest of the process stay as they are, so it does not matter what was imported before. Where Triton is missing,
``jit`` and ``tl`` are stand-ins: a notebook runs, and its check says what it needs.
"""

import dis
import functools
import itertools
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from inspect import ismodule
from types import CodeType, SimpleNamespace
from unittest import mock

import numpy as np
import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None
    tl = SimpleNamespace(constexpr=int)

watching = []  # the innermost Memory that sees what kernels touch


@contextmanager
def interpreted():
    """Within it, a kernel is interpreted, and so are Triton's own functions written in Triton, such as tl.zeros."""
    modules = [tl, tl.standard]
    old = []
    for module in modules:
        for name, function in vars(module).items():
            if isinstance(function, triton.JITFunction):
                old.append((module, name, function))
    with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
        try:
            for module, name, function in old:
                setattr(module, name, interpreted_form(function.fn))
            without_overflow_checks()
            yield
        finally:
            for module, name, function in old:
                setattr(module, name, function)


@functools.cache
def without_overflow_checks():
    """Triton compares every integer with the limits of its type, also where nobody asks for what was found."""
    from triton.runtime.interpreter import interpreter_builder as builder

    if hasattr(builder.options, "sanitize_overflow"):
        builder.options = replace(builder.options, sanitize_overflow=False)


@functools.cache
def interpreted_form(fn):
    return triton.jit(fn)


class Kernel:
    """An interpreted kernel: ``kernel[grid](arguments)`` starts it, and other kernels may call it."""

    def __init__(self, fn):
        self.fn = fn
        with interpreted():
            self.interpreted = triton.jit(fn)
        functools.update_wrapper(self, fn)

    def __call__(self, *args, **kwargs):
        return self.interpreted(*args, **kwargs)

    def __getitem__(self, grid):
        return functools.partial(self.start, grid)

    def start(self, grid, /, *args, **kwargs):
        """Run the kernel for each place of the grid."""
        memory = watching[-1] if watching else Memory()
        memory.started += 1
        # NaN, and what follows, is for the check to tell
        quiet = np.errstate(over="ignore", invalid="ignore")
        with interpreted(), fenced((*args, *kwargs.values())), memory.seen_from_inside(), quiet:
            try:
                with unwatched(self.interpreted.rewrite(), (grid, args, *kwargs.values())):
                    self.interpreted[grid](*args, **kwargs)
            except triton.runtime.errors.InterpreterError as error:
                raise cause_of(error) from None  # with the line of the kernel that raised it


STARTS = {Kernel.__call__.__code__, Kernel.start.__code__}  # the two ways in


# ---------------------------------------------------------------- what a kernel can call
HARMLESS = {"range", "min", "max", "abs", "len"}  # functions of Python
# by Triton's interpreter, in the form that it runs
PUT_IN = {
    "interpreter_semantic",
    "_InterpreterComparison",
}


@contextmanager
def unwatched(function, given):
    """Where a kernel calls nothing but Triton nobody has to look at each call: that would take most of its time."""
    hook = sys.getprofile()
    sys.setprofile(None)
    if not (is_plain((given, function.__defaults__)) and is_closed(function)):
        sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(hook)


def is_plain(value):
    """Whether an argument brings no code with it."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return type(value) in (int, float, bool, type(None), torch.Tensor)


def is_closed(function, seen=()):
    """Whether a function, in the form that is run, names nothing but Triton's language, numbers and kernels like it."""
    if function in seen:
        return True
    from triton.runtime import interpreter

    def is_known(instruction):
        name, values = instruction.argval, function.__globals__
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            # of PUT_IN
            there = (
                hasattr(tl, name) or hasattr(tl.tensor, name) or name in ("to_tensor", "get_result")
            )
            return there and not name.startswith("_") and not ismodule(getattr(tl, name, None))
        if instruction.opname != "LOAD_GLOBAL":
            return False
        if name not in values:
            return name in HARMLESS
        value = values[name]
        if isinstance(value, Kernel):
            file = value.fn.__code__.co_filename
            if file.startswith(os.path.dirname(__file__)) and not same_file(
                file, function.__code__.co_filename
            ):
                return False  # one of the course's, in an answer
            return is_closed(value.interpreted.rewrite(), (*seen, function))
        put_in = name in PUT_IN and value is getattr(interpreter, name, None)
        return put_in or value is tl or type(value) in (int, float, bool, tl.constexpr, tl.dtype)

    steps = itertools.chain.from_iterable(map(dis.get_instructions, codes_in(function.__code__)))
    return all(is_known(each) for each in steps if each.opcode in dis.hasname)


def same_file(one, other):
    """Whether the code of two functions comes from one file; that of an edited function has more behind the name."""
    return one.partition(".py")[0] == other.partition(".py")[0]


def codes_in(code):
    """A function's code and that of the functions inside it."""
    codes = [code]
    for each in code.co_consts:
        if isinstance(each, CodeType):
            codes += codes_in(each)
    return codes


def cause_of(error):
    """What was raised inside a kernel: each kernel on the way wraps it once more."""
    while isinstance(error, triton.runtime.errors.InterpreterError) and error.__cause__ is not None:
        error = error.__cause__
    return error


# ---------------------------------------------------------------- what a kernel can touch
@contextmanager
def fenced(given):
    """What lies outside of the memory of the tensors ``given`` to a kernel reads as NaN, and cannot be written.

    The interpreter would go to any address: a kernel that goes astray must cost its answer, not the process.
    """
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    if not can_be_watched(builder):
        yield
        return
    owned = storages(given)
    load, store = builder.create_masked_load, builder.create_masked_store

    def fenced_load(ptrs, mask, other, *more):
        own = is_owned(ptrs.data, owned)
        tile = load(ptrs, both(mask, own), other, *more)
        if tile.data.dtype.kind == "f":
            tile.data[mask.data & ~own] = np.nan
        return tile

    def fenced_store(ptrs, value, mask, *more):
        return store(ptrs, value, both(mask, is_owned(ptrs.data, owned)), *more)

    with mock.patch.multiple(
        builder, create_masked_load=fenced_load, create_masked_store=fenced_store
    ):
        yield


def can_be_watched(builder):
    """Triton's own parts are looked at. If another version names them otherwise, nothing is seen and nothing fenced."""
    return all(hasattr(builder, name) for name in ("create_masked_load", "create_masked_store"))


def storages(given):
    """The first address and the end of the whole memory of each tensor, also of those in tuples."""
    if isinstance(given, torch.Tensor):
        memory = given.untyped_storage()
        return {(memory.data_ptr(), memory.data_ptr() + memory.nbytes())}
    if isinstance(given, tuple):
        return set().union(*map(storages, given))
    return set()


def is_owned(places, storages):
    """Which of the addresses lie in one of the memories."""
    own = np.zeros(places.shape, bool)
    for first, end in storages:
        own |= (places >= first) & (places < end)
    return own


def both(mask, own):
    """A mask of the interpreter that holds where ``own`` does too."""
    return type(mask)(mask.data & own, mask.dtype)


class Memory:
    """What kernels started inside ``watch`` touch: the addresses that were read and written, and what was written.

    ``readers``, ``writers``: for each of ``reads`` and of ``writes``, which program of which start it was.
    """

    def __init__(self):
        self.started = 0
        self.reads, self.readers = [], []
        self.writes, self.writers, self.values = [], [], []

    @contextmanager
    def watch(self):
        watching.append(self)
        try:
            yield self
        finally:
            watching.pop()

    @contextmanager
    def seen_from_inside(self):
        from triton.runtime import interpreter

        builder = interpreter.interpreter_builder
        if not can_be_watched(builder):
            yield
            return
        load, store = builder.create_masked_load, builder.create_masked_store

        def program():
            return self.started, *getattr(builder, "grid_idx", ())

        def seen_load(ptrs, mask, other, *more):
            self.reads.append(ptrs.data[mask.data])
            self.readers.append(program())
            tile = load(ptrs, mask, other, *more)
            if other is None and tile.data.dtype.kind == "f":
                # on a card anything may be there; the interpreter alone gives zeros
                tile.data[~mask.data] = np.nan
            return tile

        def seen_store(ptrs, value, mask, *more):
            self.writes.append(ptrs.data[mask.data])
            self.values.append(value.data[mask.data])
            self.writers.append(program())
            return store(ptrs, value, mask, *more)

        with mock.patch.multiple(
            builder, create_masked_load=seen_load, create_masked_store=seen_store
        ):
            yield

    def stored_in(self, tensor):
        """A tensor's numbers as kernels have stored them, NaN where none was stored. The last one counts."""
        latest = {}
        for places, values in zip(self.writes, self.values):
            latest.update(zip(places.tolist(), values.tolist()))
        numbers = [latest.get(place, np.nan) for place in addresses(tensor).ravel().tolist()]
        return torch.tensor(numbers, dtype=tensor.dtype).reshape(tensor.shape)

    def written_by_program(self):
        """The addresses that each program wrote, by program."""
        return joined(self.writers, self.writes)

    def read_by_program(self):
        """The addresses that each program read, by program."""
        return joined(self.readers, self.reads)


def joined(programs, touched):
    """{program: all of its addresses}"""
    found = {}
    for program, places in zip(programs, touched):
        found.setdefault(program, []).append(places)
    return {program: np.concatenate(places) for program, places in found.items()}


def jit(fn):
    """``triton.jit``, interpreted."""
    return fn if triton is None else Kernel(fn)


@functools.cache
def missing():
    """None where kernels can be checked, else the key of the sentence that says why they cannot."""
    if triton is None:
        return "needs Linux"
    one = torch.ones(16, 16)
    try:
        probe[(1,)](one, M=16)
    except Exception:
        return "interpreter broken"
    if bool((one == 17).all()):
        return None
    return "interpreter broken"


@functools.cache
def sees():
    """Whether what kernels touch can be seen with this version of Triton."""
    one = torch.ones(16, 16)
    with Memory().watch() as memory:
        probe[(1,)](one, M=16)
    return torch.equal(memory.stored_in(one), one) and set(addresses(one).ravel()) == set(
        np.concatenate(memory.reads)
    )


@jit
def probe(x, M: tl.constexpr):
    """What a check needs of an interpreter: a product, a sum, a mask."""
    row = tl.arange(0, M)[:, None]
    column = tl.arange(0, M)[None, :]
    place = x + row * M + column
    tile = tl.load(place, mask=row < M, other=0.0)
    tl.store(place, tl.zeros((M, M), tl.float32) + tl.dot(tile, tl.trans(tile)) + tile)


def addresses(tensor):
    """The addresses of a tensor's numbers, in its own order."""
    places = np.zeros((1,) * max(tensor.dim(), 1), dtype=np.uint64)
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride())):
        shape = [1] * tensor.dim()
        shape[axis] = size
        places = places + (np.arange(size, dtype=np.uint64) * np.uint64(stride)).reshape(shape)
    return places * np.uint64(tensor.element_size()) + np.uint64(tensor.data_ptr())
