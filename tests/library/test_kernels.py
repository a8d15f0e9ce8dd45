"""Each Triton kernel against torch's form: on a CUDA card where there is one, otherwise by Triton's interpreter."""

import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faults.planter import faults_of, faulty_copy
from flash_course.bench.stored import load_stored
from flash_course.checks.interpreter import fenced
from flash_tutorial.chunks import from_chunks, to_chunks
from flash_tutorial.layers import cos_sin, rope
from flash_tutorial.mixing import earlier_chunks, mixed_chunk_attention

quick = pytest.mark.quick  # without the faults, and what starts a process

# On Linux x86_64 requirements.txt asks for Triton: there a missing one is an error, and nothing is skipped.
HAS_WHEELS = sys.platform == "linux" and platform.machine() == "x86_64"
if not HAS_WHEELS and importlib.util.find_spec("triton") is None:
    pytest.skip(
        "Triton has no wheel for this system: the kernel is tested on Linux x86_64",
        allow_module_level=True,
    )

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # for this file only: other tests share the process
try:
    from flash_tutorial.gpu import gates, kernels
finally:
    os.environ.pop("TRITON_INTERPRET", None)


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """What a kernel reads outside of its tensors is NaN: at such an address there may be no memory."""
    if not GPU:
        from triton.runtime.interpreter import GridExecutor

        start = GridExecutor.__call__

        def start_fenced(executor, *arguments, **named):
            with fenced((*arguments, *named.values())):
                start(executor, *arguments, **named)

        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(GridExecutor, "__call__", start_fenced)


# and the largest relative error
FORMATS = {
    "float32": (torch.float32, 1e-5),
    "float16": (torch.float16, 2e-3),
}
# the interpreter gets bfloat16 wrong, so kernels refuses it
if GPU and torch.cuda.get_device_capability() >= (
    8,
    0,
):
    FORMATS["bfloat16"] = (torch.bfloat16, 2e-2)
DEVICE = pytest.param("cuda", marks=pytest.mark.gpu) if GPU else "cpu"
# what is tried in one format alone
ODD = {
    "dtype": torch.float32,
    "device": "cuda" if GPU else "cpu",
}
NAN = float("nan")
GAP = 64  # tokens or numbers of NaN on each side of a tensor: more than a tile can stick out
FAR = 8192  # numbers of NaN before and behind one without gaps: more than the programs of a kernel can stick out
SIZES = {  # T, C, S, E, tile
    "three chunks and a tail": (150, 40, 24, 40, (16, 32)),
    "chunks of whole tiles": (101, 32, 16, 16, (16, 16)),
    "one tile holds a chunk": (100, 24, 8, 20, (32, 32)),
    "shorter than a chunk": (21, 32, 16, 16, (16, 16)),
    "chunks of one": (5, 1, 4, 16, (16, 16)),
    "one token": (1, 8, 16, 16, (16, 16)),
}


def guarded(*shape, dtype, device, transposed=False, seed=None):
    """A view of NaN, or of order-one numbers, in the middle of a larger memory of NaN."""
    *lead, rows, columns = shape
    memory = torch.full((*lead, rows + 2 * GAP, columns + 2 * GAP), NAN, dtype=dtype, device=device)
    if transposed:
        memory = memory.mT.contiguous().mT
    view = memory[..., GAP : GAP + rows, GAP : GAP + columns]
    if seed is not None:
        view.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    return view


def flat(numbers, parts=1, dtype=torch.float32):
    """A view of ``numbers``, or of NaN for a shape, without gaps; before and behind it the memory is NaN.

    With three ``parts`` its rows are the middle ones of longer rows, and their other parts are NaN too.
    """
    shape = numbers if isinstance(numbers, tuple) else numbers.shape
    *lead, columns = shape
    how = dict(dtype=dtype, device=ODD["device"])
    memory = torch.full((parts * math.prod(shape) + 2 * FAR,), NAN, **how)
    view = memory[FAR:-FAR].view(*lead, parts * columns)[..., parts // 2 * columns :][..., :columns]
    return view if numbers is shape else view.copy_(numbers)


def untouched(*views):
    """Whether the memory around guarded views is still NaN."""
    return all(int((~view._base.isnan()).sum()) == int((~view.isnan()).sum()) for view in views)


@contextmanager
def reads_of_nan():
    """A list that grows with each load of the interpreter that reads a NaN: what is not stored would not show it."""
    found = []
    if GPU:
        yield found
        return
    from triton.runtime.interpreter import InterpreterBuilder

    load = InterpreterBuilder.create_masked_load

    def noted(*arguments):
        out = load(*arguments)
        if np.isnan(out.data).any():
            found.append(arguments)
        return out

    with mock.patch.object(InterpreterBuilder, "create_masked_load", noted):
        yield found


def run(
    module,
    sizes,
    *,
    dtype,
    device,
    out_dtype=None,
    bias=True,
    gate=True,
    transposed=False,
    wider=1,
    B=2,
):
    """What ``weights`` and ``mix`` make, the inputs, and whether the memory around it is still NaN.

    ``mix`` has tiles of ``wider`` times as many tokens.
    """
    T, C, S, E, tile = sizes
    kinds = dict(dtype=dtype, device=device, transposed=transposed)
    heads = [guarded(B, T, S, seed=seed, **kinds) for seed in range(4)]
    # so that scores / C are of order one, and the local part shows without its bias
    heads[0].mul_(C / S**0.5)
    heads[2].mul_(8)  # a mean over many tokens is small
    v, u = (guarded(B, T, E, seed=seed, **kinds) for seed in (4, 5))
    C_now = min(C, T)
    table = guarded(C_now, C_now, seed=11, **kinds)  # a bias above 0 where a chunk is one token
    state = guarded(B, -(-T // C_now), S, E, **kinds | {"dtype": torch.float32})
    state.copy_(states_of(heads[3], v, C_now))
    out = guarded(B, T, E, **kinds | {"dtype": out_dtype or dtype})
    table, u = table if bias else None, u if gate else None
    a = flat((B, -(-T // C_now), C_now, C_now), dtype=dtype)
    module.run_weights(*heads[:2], table, None, a, C_now, 1 / C, tile)
    tile = wider * tile[0], tile[1]
    module.run_mix(heads[2], v, state, a, u, None, out, C_now, tile)
    return out, (heads, v, table, u), untouched(out, a)


def states_of(lin_k, v, C):
    """The mean of k^T v over the tokens of strictly earlier chunks, ``(B, G, S, E)``."""
    sums = earlier_chunks(to_chunks(lin_k.float() / C, C).mT @ to_chunks(v.float(), C))
    return sums / torch.arange(sums.shape[1], device=v.device).clamp(min=1)[:, None, None]


def expected(inputs, C):
    """The same by ``mixing``, in float64. Each part is large enough that a fault in it shows."""
    heads, v, table, u = inputs
    tensors, bias = (
        [t.double() for t in (*heads, v)],
        None if table is None else lambda n: table.double(),
    )
    near, far = (
        mixed_chunk_attention(*tensors, chunk_size=C, causal=True, bias=bias, **{other: False})
        for other in ("global_", "local")
    )
    if v.shape[1] > C:
        assert min(near.norm(), far.norm()) > 0.1 * (near + far).norm()
    return near + far if u is None else u.double() * (near + far)


def error(out, wanted):
    """The size of the difference over the size of what is wanted."""
    return float((out.double() - wanted).norm() / wanted.norm().clamp(min=1e-2))


def is_right(module, sizes, limit, **options):
    out, inputs, free = run(module, sizes, **options)
    wanted = expected(inputs, sizes[1])
    assert 0.1 < wanted.std() < 100 or wanted.numel() < 100
    return free and error(out, wanted) < limit  # a NaN is not below


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("dtype, limit", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_kernel_is_torch(name, dtype, limit, device):
    assert kernels.INTERPRETED != GPU, (
        "flash_tutorial.gpu.kernels was imported before this file, in the other mode"
    )
    assert is_right(kernels, SIZES[name], limit, dtype=dtype, device=device)


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize(
    "options", [{"bias": False}, {"gate": False}, {"transposed": True}, {"wider": 2}], ids=str
)
def test_options(options, device):
    sizes = SIZES["three chunks and a tail"]
    assert is_right(kernels, sizes, 1e-5, dtype=torch.float32, device=device, B=1, **options)


def half_error(module, device):
    """Error of float16 inputs with a float32 output, against float64 sums of the same float16 weights."""
    sizes = (520, 256, 16, 16, (16, 16))
    out, (heads, v, table, _), _ = run(
        module, sizes, dtype=torch.float16, out_dtype=torch.float32, device=device, gate=False, B=1
    )
    q, k, far_q, values = (to_chunks(t.double(), 256) for t in (*heads[:3], v))
    weights = torch.relu(q @ k.mT / 256 + table.double()).square().tril().half().double()
    state = states_of(heads[3], v, 256).half().double()
    return error(out, (weights @ values + far_q @ state).flatten(1, 2)[:, :520])


@pytest.mark.parametrize("device", [DEVICE])
def test_sums_of_float16_are_kept_in_float32(device):
    assert half_error(kernels, device) < 5e-5


# ---------------------------------------------------------------- the other kernels
# Each returns (what came out, what was to come out, whether nothing else was written), for one list of tensors.


def sums_case(module, later, parts=1):
    """Without documents, from an initial sum, over the chunks that are finished; and what the sum comes to."""
    x, initial = (
        flat(torch.randn(3, *shape, device=ODD["device"])) for shape in ((5, 6, 7), (6, 7))
    )
    out, last = flat((3, 5, 6, 7)), flat((3, 6, 7))
    factor = torch.rand(3, 5, device=ODD["device"]) + 0.5
    finished = torch.tensor([5, 2, 0], dtype=torch.int32, device=ODD["device"])
    module.run_scan(x, out, factor, None, None, later, initial, last, finished, parts)
    counts = torch.arange(5, device=ODD["device"]) < finished[:, None]  # (B, G)
    reads = factor[:, :, None] * torch.ones(5, 5, device=ODD["device"]).tril(-1) * counts[:, None]
    if later:  # its transpose: the gradient of what the sum came to is in each chunk that counts
        wanted = (reads.mT @ x.flatten(2)).view_as(x) + counts[..., None, None] * initial[:, None]
        end = initial + (factor[:, :, None, None] * x).sum(1)
    else:
        wanted = (reads @ x.flatten(2)).view_as(x) + factor[..., None, None] * initial[:, None]
        end = initial + (counts[..., None, None] * x).sum(1)
    return [out, last], [wanted, end], untouched(out, last)


def scan_case(module, later):
    """Three rows of five chunks; documents cross the borders of the second row, and join none of the third."""
    x, out = flat(torch.randn(3, 5, 6, 7, device=ODD["device"])), flat((3, 5, 6, 7))
    factor = torch.rand(3, 5, device=ODD["device"]) + 0.5
    joins = torch.tensor(
        [[0, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.int8, device=ODD["device"]
    )
    whole = torch.tensor(
        [[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 0, 1, 0, 1]], dtype=torch.int8, device=ODD["device"]
    )
    reads = torch.zeros(3, 5, 5, device=ODD["device"])
    for b in range(3):
        for g in range(5):
            # chunk g reads h: one document leaves h, fills all between, and enters g
            for h in range(g):
                inner = whole[b, h + 1 : g].bool().all()
                reads[b, g, h] = bool(joins[b, h + 1 : g + 1].bool().all() and inner)
    weights = factor[:, :, None] * reads
    wanted = (weights.mT if later else weights) @ x.flatten(2)
    module.run_scan(x, out, factor, joins, whole, later)
    return [out.flatten(2)], [wanted], untouched(out)


def heads_case(module):
    B, T, S = 2, 70, 12
    h, gamma, beta, angles = heads_inputs(B, T, S)
    out = flat((4, B, T, S))
    module.run_heads(h, gamma, beta, *angles, out)
    wanted = rope(torch.addcmul(beta[:, None, None], F.silu(h), gamma[:, None, None]), *angles)
    return [out], [wanted], untouched(out)


def heads_inputs(B, T, S):
    # rows of h are parts of longer ones
    h = flat(torch.randn(B, T, S, device=ODD["device"]), parts=3)
    gamma, beta = map(flat, torch.randn(2, 4, S, device=ODD["device"]))
    return h, gamma, beta, [*map(flat, cos_sin(T, S, gamma))]


def unheads_case(module):
    B, T, S = 2, 71, 12
    h, gamma, beta, angles = heads_inputs(B, T, S)
    leaves = [t.detach().requires_grad_() for t in (h, gamma, beta)]
    out = rope(
        torch.addcmul(leaves[2][:, None, None], F.silu(leaves[0]), leaves[1][:, None, None]),
        *angles,
    )
    grads = torch.randn(4, B, T, S, device=ODD["device"])
    wanted = torch.autograd.grad(out, leaves, grads)
    # each of four programs takes tokens nine times, the last of them with two that are none
    dh, sums = flat((B, T, S), parts=3), flat((4, 2, 4, S))
    module.run_unheads(h, gamma, *angles, flat(grads), dh, sums)
    dgamma, dbeta = sums.sum(0)
    return [dh, dgamma, dbeta], wanted, untouched(dh, sums)


def chunk_inputs(sizes, seed=0):
    """quad_q, quad_k, lin_k, table, v, dy and h in memory of NaN, with scores of order one."""
    T, C, S, E, _ = sizes
    quad_q, quad_k, lin_k = (guarded(2, T, S, seed=seed + i, **ODD) for i in range(3))
    quad_q.mul_(C / S**0.5)
    v, dy, h = (guarded(2, T, E, seed=seed + 3 + i, **ODD) for i in range(3))
    return quad_q, quad_k, lin_k, guarded(C, C, seed=seed + 11, **ODD), v, dy, h


def maps_case(module, sizes=(150, 40, 24, 40, (16, 32)), documents=True):
    T, C, _, _, tile = sizes
    quad_q, quad_k, _, table, v, dy, _ = chunk_inputs(sizes)
    ids = torch.tensor([[0], [1]], device=ODD["device"]) * (
        torch.arange(T, device=ODD["device"]) // 27
    )
    q, k, values, grads = (to_chunks(t, C) for t in (quad_q, quad_k, v, dy))
    owners = to_chunks(ids[..., None], C)
    seen = (
        (owners == owners.mT).tril()
        if documents
        else torch.ones(C, C, device=ODD["device"]).tril().bool()
    )
    r = (q @ k.mT / C + table).relu() * seen
    inside = to_chunks(
        torch.ones_like(ids[..., None]), C
    ).bool()  # queries behind the end of the text have no map
    read = torch.ones(
        C, C, device=ODD["device"]
    ).tril()  # above it the weights are left as they are
    wanted = [r.square() * inside, 2 * r * (grads @ values.mT) * inside]
    G = -(-T // C)
    a, ds = flat((2, G, C, C)), flat((2, G, C, C))
    ids = ids.to(torch.int32).contiguous() if documents else None
    module.run_maps(quad_q, quad_k, dy, v, table, ids, a, ds, C, 1 / C, tile)
    a_read = a.masked_fill(read == 0, 0)
    return [a_read, ds], wanted, untouched(a, ds)


def beyond(C, M):
    """``(C, C)``: the tiles above the diagonal."""
    tiles = torch.arange(C, device=ODD["device"]) // M
    return tiles[None] > tiles[:, None]


def values_case(module, silu, sizes=(150, 40, 24, 40, (16, 32))):
    T, C, S, E, tile = sizes
    _, _, lin_k, _, _, dy, h = chunk_inputs(sizes)
    G = -(-T // C)
    a = flat(torch.randn(2, G, C, C, device=ODD["device"]).tril())
    dsums = guarded(2, G, S, E, seed=9, **ODD)
    wanted = from_chunks(a.mT @ to_chunks(dy, C) + to_chunks(lin_k, C) @ dsums, T)
    if silu:
        leaf = h.detach().clone().requires_grad_()
        wanted = torch.autograd.grad(F.silu(leaf), leaf, wanted)[0]
    out = guarded(2, T, E, **ODD)
    a.masked_fill_(beyond(C, tile[0]), NAN)
    module.run_values(lin_k, dsums, a, dy, h if silu else None, out, C, tile)
    return [out], [wanted], untouched(out)


def ungate_case(module):
    B, T, E = 2, 19, 150  # more than one program, both ways
    h, y, dout = torch.randn(3, B, T, E, device=ODD["device"])
    out, dy, dh = flat((B, T, E)), flat((B, T, E)), flat((B, T, E), parts=3)
    module.run_ungate(flat(h, parts=3), flat(y), flat(dout), out, dy, dh)
    leaves = [t.clone().requires_grad_() for t in (h, y)]
    wanted = F.silu(leaves[0]) * leaves[1]
    wishes = torch.autograd.grad(wanted, leaves, dout)
    return [out, dh, dy], [wanted.detach(), *wishes], untouched(out, dy, dh)


CASES = {
    "scan": lambda m: scan_case(m, False),
    "scan back": lambda m: scan_case(m, True),
    "sums": lambda m: sums_case(m, False),
    "sums back": lambda m: sums_case(m, True),
    "sums in parts": lambda m: sums_case(m, False, parts=3),
    "sums in parts back": lambda m: sums_case(m, True, parts=3),
    "heads": heads_case,
    "unheads": unheads_case,
    "maps": maps_case,
    "maps, one document": lambda m: maps_case(m, documents=False),
    "maps, whole tiles": lambda m: maps_case(m, (101, 32, 16, 16, (16, 16))),
    "values": lambda m: values_case(m, False),
    "values of h": lambda m: values_case(m, True),
    "values, whole tiles": lambda m: values_case(m, False, (101, 32, 16, 16, (16, 16))),
    "values, no tail": lambda m: values_case(m, False, (48, 24, 8, 20, (16, 16))),
    "ungate": ungate_case,
}


def case_is_right(module, name, limit):
    torch.manual_seed(0)
    with reads_of_nan() as found:
        got, wanted, free = CASES[name](module)
    return (
        free
        and not found
        and all(error(a, b.double()) < limit for a, b in zip(got, wanted, strict=True))
    )


@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("name", CASES)
def test_backward_kernels_are_torch(name, device):
    module = gates if "heads" in name or name == "ungate" else kernels
    assert device == ODD["device"] and case_is_right(module, name, 1e-5)


# ---------------------------------------------------------------- planted faults

# three full chunks of one and a half tiles, and a tail; few programs, so quick
FAULTY = (
    80,
    24,
    8,
    20,
    (16, 16),
)
no_faults_on_a_card = pytest.mark.skipif(
    GPU, reason="a faulty kernel may stop a card: the interpreter runs them"
)


def writes_its_own_chunk_only(module, device):
    """Start the programs of the first chunk alone. Else the next chunk's programs would write over what was wrong
    there: always in the interpreter, which runs them in order; on a card the last one wins, whichever that is."""
    head, v, state = (torch.ones(1, n, 16, device=device) for n in (60, 60, 3 * 16))
    out = torch.full_like(v, NAN)
    first = v[:, :20]  # one chunk of text: its programs alone
    a = torch.ones(1, 1, 20, 20, device=device)
    module.run_mix(head, first, state.view(1, 3, 16, 16), a, None, None, out, 20, (16, 16))
    return bool(out[:, :20].isfinite().all() and out[:, 20:].isnan().all())


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_a_program_writes_its_own_chunk_only(device):
    assert writes_its_own_chunk_only(kernels, device)


def writes_its_own_share_only(module, device):
    """And the tokens of one program of ``unheads``: the next program would write over what was wrong in its share."""
    T, S = gates.ROWS_BACK, 12
    h, gamma, _, angles = heads_inputs(1, T, S)
    dheads = flat(torch.ones(4, 1, T, S, device=device))
    sums = flat((2, 2, 4, S))
    module.run_unheads(h, gamma, *angles, dheads, flat((1, T, S), parts=3), sums[:1])
    return bool(sums[0].isfinite().all()) and untouched(sums[0])


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_a_program_writes_its_own_share_only(device):
    assert writes_its_own_share_only(gates, device)


def is_wrong(module, fault):
    """Whether the case that must notice a fault does."""
    case = fault.noticed_by["case"]
    if case == "mix":
        options = {
            name: fault.noticed_by[name]
            for name in ("transposed", "wider")
            if name in fault.noticed_by
        }
        return not is_right(module, FAULTY, 1e-3, dtype=torch.float32, device="cpu", **options)
    if case == "own chunk":
        return not writes_its_own_chunk_only(module, "cpu")
    if case == "own share":
        return not writes_its_own_share_only(module, "cpu")
    if case == "half precision":
        return half_error(module, "cpu") > 1e-4
    return not case_is_right(module, case, 1e-3)


FAULTS = faults_of("kernels")


@pytest.mark.nightly
@no_faults_on_a_card
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name):
    assert is_wrong(faulty_copy(FAULTS[name]), FAULTS[name])


@no_faults_on_a_card
@pytest.mark.parametrize("options", [{}, {"transposed": True}, {"wider": 2}], ids=str)
def test_the_case_of_the_faults_is_right_without_one(options):
    assert is_right(kernels, FAULTY, 1e-5, dtype=torch.float32, device="cpu", **options)


# ---------------------------------------------------------------- without a card


def run_python(*arguments):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TRITON")
    }
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=environment
    )


def test_without_triton_one_line_says_what_is_missing():
    done = run_python(
        "-c", "import sys; sys.modules['triton'] = None; import flash_tutorial.gpu.kernels"
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: this kernel needs Triton") and "pip install triton" in last


def test_without_interpreter_and_card_one_line_says_what_to_set():
    code = "import torch; from flash_tutorial.gpu.fused import *; x = torch.ones(1, 9, 16); "
    code += "print(kernels.INTERPRETED); "
    done = run_python("-c", code + "fused_mixed_chunk(x, x, x, x, x, chunk_size=4)")
    assert done.stdout == "False\n" and done.returncode == 1
    assert "set TRITON_INTERPRET=1 before" in done.stderr.strip().splitlines()[-1]


COMPILED = Path(kernels.__file__).parents[2] / "experiments" / "timings" / "compiled_kernels.py"


def compiled(*arguments):
    done = run_python(str(COMPILED), *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def fits(row):
    """Matrix instructions where there are products, nothing spilled, and no more fast memory than the card has."""
    counts = {"8.0": 163, "8.9": 99, "9.0": 227}
    busy = (
        row["kernel"].partition("_")[0] not in ("weights", "mix", "maps", "values")
        or row["matrix_instructions"] > 0
    )
    kept = row["stack_bytes"] == row["spill_store_bytes"] == row["spill_load_bytes"] == 0
    return busy and kept and row["shared_bytes"] <= 1024 * counts[row["capability"]]


@pytest.mark.nightly
def test_compiled_for_an_a100_and_an_h100_every_kernel_fits():
    rows = compiled("8.0", "9.0")
    assert len(rows) == 16 and all(map(fits, rows)), rows


@pytest.mark.nightly
def test_compiled_for_an_h100_weights_fit_with_documents_and_without_bias():
    rows = compiled("9.0", "--kernel", "weights", "weights_documents", "weights_no_bias")
    assert all(map(fits, rows)), rows
    # none is compiled twice
    assert len({(row["registers"], row["shared_bytes"]) for row in rows}) == 3, rows


@pytest.mark.nightly
def test_compiled_for_a_t4_there_are_no_matrix_instructions():
    (row,) = compiled("7.5", "--kernel", "mix")
    assert (
        row["matrix_instructions"] == 0 and row["multiply_adds"] > 1000 and row["stack_bytes"] > 0
    )
    assert row["shared_bytes"] <= 64 * 1024  # what a T4 has; and why ``auto`` takes torch there


@quick
def test_stack_spill_stores_and_spill_loads_are_told_apart(monkeypatch):
    monkeypatch.syspath_prepend(str(COMPILED.parent))
    from compiled_kernels import read_ptxas

    said = """ptxas info    : Function properties for mix_kernel
    1280 bytes stack frame, 1260 bytes spill stores, 1240 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1280 bytes cumulative stack size, 528 bytes cmem[0]"""
    found = {
        "registers": 255,
        "stack_bytes": 1280,
        "spill_store_bytes": 1260,
        "spill_load_bytes": 1240,
    }
    assert read_ptxas(said) == found


@quick
def test_what_is_stored_of_the_compiler_is_of_these_kernels_and_fits_in_both_formats(monkeypatch):
    monkeypatch.syspath_prepend(str(COMPILED.parent))
    from compiled_kernels import text_sha256

    stored = load_stored("compiled")
    again = f"the kernels have changed: {stored['about']['command']}"
    assert stored["about"]["kernels_sha256"] == text_sha256(), again
    rows = [row for row in stored["rows"] if row["capability"] != "7.5"]
    assert len(rows) == 3 * 8 * 2 and {row["half"] for row in rows} == {"fp16", "bf16"}
    assert all(map(fits, rows))
