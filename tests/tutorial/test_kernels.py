"""The Triton kernel against torch's form: on a CUDA card where there is one, otherwise by Triton's interpreter."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flash_tutorial.chunks import to_chunks
from flash_tutorial.mixing import mixed_chunk_attention

quick = pytest.mark.quick  # without the faults, and what starts a process

# On Linux x86_64 requirements.txt asks for Triton: there a missing one is an error, and nothing is skipped.
HAS_WHEELS = sys.platform == "linux" and platform.machine() == "x86_64"
if not HAS_WHEELS and importlib.util.find_spec("triton") is None:
    pytest.skip("Triton has no wheel for this system: the kernel is tested on Linux x86_64", allow_module_level=True)

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # for this file only: other tests share the process
try:
    from flash_tutorial import kernels
finally:
    os.environ.pop("TRITON_INTERPRET", None)


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not GPU:
        monkeypatch.setenv("TRITON_INTERPRET", "1")


FORMATS = {"float32": (torch.float32, 1e-5), "float16": (torch.float16, 2e-3)}  # and the largest relative error
if GPU and torch.cuda.get_device_capability() >= (8, 0):  # the interpreter gets bfloat16 wrong, so kernels refuses it
    FORMATS["bfloat16"] = (torch.bfloat16, 2e-2)
DEVICE = pytest.param("cuda", marks=pytest.mark.gpu) if GPU else "cpu"
NAN = float("nan")
GAP = 64  # tokens or numbers of NaN on each side of a tensor: more than a tile can stick out
SIZES = {  # T, C, S, E, tile
    "three chunks and a tail": (150, 40, 24, 40, (16, 32)),
    "chunks of whole tiles": (101, 32, 16, 16, (16, 16)),
    "one tile holds a chunk": (100, 24, 8, 20, (32, 32)),
    "shorter than a chunk": (21, 32, 16, 16, (16, 16)),
    "chunks of one": (5, 1, 4, 16, (16, 16)),
    "one token": (1, 8, 16, 16, (16, 16)),
}


def guarded(*shape, dtype, device, transposed=False, seed=None):
    """A view of NaN, or of order-one numbers, in the middle of a larger memory of NaN; and that memory."""
    *lead, rows, columns = shape
    memory = torch.full((*lead, rows + 2 * GAP, columns + 2 * GAP), NAN, dtype=dtype, device=device)
    if transposed:
        memory = memory.mT.contiguous().mT
    view = memory[..., GAP : GAP + rows, GAP : GAP + columns]
    if seed is not None:
        view.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    return view, memory


def run(module, sizes, *, dtype, device, out_dtype=None, bias=True, gate=True, transposed=False, B=2):
    """The kernel's output, the inputs, and whether the memory around the output is still NaN."""
    T, C, S, E, tile = sizes
    kinds = dict(dtype=dtype, device=device, transposed=transposed)
    heads = [guarded(B, T, S, seed=seed, **kinds)[0] for seed in range(4)]
    heads[0].mul_(C / S**0.5)  # so that scores / C are of order one, and the local part shows without its bias
    heads[2].mul_(8)  # a mean over many tokens is small
    v, u = (guarded(B, T, E, seed=seed, **kinds)[0] for seed in (4, 5))
    C_now = min(C, T)
    table = guarded(C_now, C_now, seed=11, **kinds)[0]  # a bias above 0 where a chunk is one token
    state = guarded(B, -(-T // C_now), S, E, **kinds | {"dtype": torch.float32})[0]
    state.copy_(module.state_before_chunks(heads[3], v, C_now))
    out, memory = guarded(B, T, E, **kinds | {"dtype": out_dtype or dtype})
    module.launch(*heads[:3], v, state, table if bias else None, u if gate else None, out, C_now, 1 / C, tile)
    around = torch.ones_like(memory, dtype=torch.bool)
    around[..., GAP : GAP + T, GAP : GAP + E] = False
    return out, (heads, v, table if bias else None, u if gate else None), bool(memory[around].isnan().all())


def expected(inputs, C):
    """The same by ``mixing``, in float64. Each part is large enough that a fault in it shows."""
    heads, v, table, u = inputs
    tensors, bias = [t.double() for t in (*heads, v)], None if table is None else lambda n: table.double()
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
    out, inputs, untouched = run(module, sizes, **options)
    wanted = expected(inputs, sizes[1])
    assert 0.1 < wanted.std() < 100 or wanted.numel() < 100
    return untouched and error(out, wanted) < limit  # a NaN is not below


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("dtype, limit", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_kernel_is_torch(name, dtype, limit, device):
    assert kernels.INTERPRETED != GPU, "flash_tutorial.kernels was imported before this file, in the other mode"
    assert is_right(kernels, SIZES[name], limit, dtype=dtype, device=device)


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("options", [{"bias": False}, {"gate": False}, {"transposed": True}], ids=str)
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
    state = module.state_before_chunks(heads[3], v, 256).half().double()
    return error(out, (weights @ values + far_q @ state).flatten(1, 2)[:, :520])


@pytest.mark.parametrize("device", [DEVICE])
def test_sums_of_float16_are_kept_in_float32(device):
    assert half_error(kernels, device) < 5e-5


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_fused_mixed_chunk(combine, device):
    heads = [torch.randn(2, 70, 16, device=device) for _ in range(4)]
    v, gate = torch.randn(2, 2, 70, 32, device=device)
    table = torch.randn(20, 20, device=device)

    def bias(n):
        return table[:n, :n]

    how = dict(chunk_size=20, bias=bias, combine=combine)
    wanted = gate * mixed_chunk_attention(*heads, v, causal=True, **how)
    got = kernels.fused_mixed_chunk(*heads, v, gate=gate, tile=(16, 16), **how)
    assert got.dtype == v.dtype and error(got, wanted.double()) < 1e-5
    short = mixed_chunk_attention(*(t[:, :9] for t in (*heads, v)), causal=True, **how)
    got = kernels.fused_mixed_chunk(*(t[:, :9] for t in (*heads, v)), **how)
    assert error(got, short.double()) < 1e-5


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_padding_on_the_right_needs_no_mask(device):
    """It is never read: as in mixing, whose mean leaves it out, and whatever stands there."""
    heads = [torch.randn(3, 70, 16, device=device) for _ in range(4)]
    v = torch.randn(3, 70, 32, device=device)
    mask = torch.arange(70, device=device) < torch.tensor([[70], [53], [9]], device=device)
    wanted = mixed_chunk_attention(*heads, v * mask[..., None], chunk_size=20, causal=True, mask=mask)
    got = kernels.fused_mixed_chunk(*heads, v.masked_fill(~mask[..., None], 100.0), chunk_size=20)
    assert error(got[mask], wanted[mask].double()) < 1e-5


# ---------------------------------------------------------------- planted faults

FAULTY = (80, 24, 8, 20, (16, 16))  # three full chunks of one and a half tiles, and a tail; few programs, so quick
MASK = "mask=inside, other=0.0"
GATE = "load_tile(u + b * u_strides[0], u_strides[1:], rows, columns, end, E)"
FAULTS = {  # what the catalogue of wrong answers names, and a few more
    "load without mask": (MASK, ""),
    "columns masked, rows not": ("(rows < row_end)[:, None] & (columns", "(rows < row_end + 99)[:, None] & (columns"),
    "rows masked, columns not": ("(columns < column_end)[None, :]", "(columns < column_end + 99)[None, :]"),
    "multiplied by a mask": (f", {MASK})", ") * inside"),
    "store without mask": (", mask=(rows < end)[:, None] & (columns < E)[None, :]", ""),
    "store masked by the chunk, not by the text": ("mask=(rows < end)", "mask=(rows < chunk + C)"),
    "contiguous strides assumed": ("columns[None, :] * strides[1]", "columns[None, :]"),
    "output's strides assumed": ("columns[None, :] * out_strides[2]", "columns[None, :]"),
    "one block a chunk assumed": ("-(-C // M)", "1"),
    "tiles rounded down": ("-(-E // E_tile)", "E // E_tile"),
    "own tile left out": ("(tl.program_id(1) + 1) * M", "tl.program_id(1) * M"),
    "no causal mask": ("rows[:, None] >= keys[None, :]", "rows[:, None] > -1"),
    "own token left out": ("rows[:, None] >= keys[None, :]", "rows[:, None] > keys[None, :]"),
    "mask in tile coordinates": ("rows[:, None] >= keys[None, :]", "rows[:, None] >= (keys - first + chunk)[None, :]"),
    "bias from the table's corner": ("rows - chunk, keys - chunk, C, C", "rows - chunk, keys - first, C, C"),
    "bias transposed": ("rows - chunk, keys - chunk, C, C)", "keys - chunk, rows - chunk, C, C).T"),
    "bias divided too": ("rows - chunk, keys - chunk, C, C)", "rows - chunk, keys - chunk, C, C) * scale"),
    "divided by the tile": (") * scale\n", ") / M\n"),
    "only the last tile counts": ("y += tl.dot", "y = tl.dot"),
    "not squared": ("a * a, 0.0", "a, 0.0"),
    "state of the next chunk": ("g * state_strides[1], ", "(g + 1) * state_strides[1], "),
    "no global part": ("before.to(q.dtype)", "(before * 0).to(q.dtype)"),
    "gate on the local part only": (
        "y += tl.dot(a", f"y += {GATE} * tl.dot(a", "    if u is not None:", "    if False:",
    ),
    "gate of another token": ("u_strides[1:], rows, columns", "u_strides[1:], rows - 1, columns"),
    "first sequence for all": ("b * v_strides[0]", "0 * v_strides[0]"),
    "inclusive state": ("earlier_chunks(chunk_means", "(lambda x: x.cumsum(1))(chunk_means",
                        "C * torch.arange", "C + C * torch.arange"),
}  # fmt: skip


def planted(tmp_path, *pairs):
    """The kernel's module with some of its text exchanged."""
    text = Path(kernels.__file__).read_text(encoding="utf-8")
    for old, new in zip(pairs[::2], pairs[1::2]):
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in kernels.py"
        text = text.replace(old, new)
    path = tmp_path / "faulty.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("flash_tutorial.faulty", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


no_faults_on_a_card = pytest.mark.skipif(GPU, reason="a faulty kernel may stop a card: the interpreter runs them")


@no_faults_on_a_card
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name, tmp_path):
    module = planted(tmp_path, *FAULTS[name])
    options = {"dtype": torch.float32, "device": "cpu", "transposed": "strides" in name}
    assert is_right(kernels, FAULTY, 1e-5, **options)
    assert not is_right(module, FAULTY, 1e-3, **options)


def writes_its_own_chunk_only(module, device):
    """Start the programs of the first chunk alone. Else the next chunk's programs would write over what was wrong
    there: always in the interpreter, which runs them in order; on a card the last one wins, whichever that is."""
    head, v, state = (torch.ones(1, n, 16, device=device) for n in (60, 60, 3 * 16))
    out = torch.full_like(v, NAN)
    module.launch(head, head, head, v, state.view(1, 3, 16, 16)[:, :1], None, None, out, 20, 1 / 20, (16, 16))
    return bool(out[:, :20].isfinite().all() and out[:, 20:].isnan().all())


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_a_program_writes_its_own_chunk_only(device):
    assert writes_its_own_chunk_only(kernels, device)


@no_faults_on_a_card
def test_rows_of_the_next_chunk_are_noticed(tmp_path):
    module = planted(tmp_path, "mask=(rows < end)", "mask=(rows < T)")
    assert not writes_its_own_chunk_only(module, "cpu")


@no_faults_on_a_card
def test_sums_in_float16_are_noticed(tmp_path):
    module = planted(tmp_path, "y += tl.dot(a.to(value.dtype)", "y = y.to(tl.float16) + tl.dot(a.to(value.dtype)")
    assert half_error(module, "cpu") > 1e-4


# ---------------------------------------------------------------- what is refused


@quick
@pytest.mark.parametrize(
    "change, words",
    [
        (dict(tile=(24, 64)), r"tile=\(24, 64\): expected powers of two"),
        (dict(tile=(8, 64)), "at least 16"),
        (dict(gate=torch.ones(1, 20, 4)), r"gate has shape \(1, 20, 4\)"),
        (dict(gate=torch.ones(1, 20, 16, dtype=torch.float64)), "dtypes"),
        (dict(v=torch.ones(1, 19, 16)), "heads have shapes"),
        (dict(v=torch.ones(1, 20, 16, requires_grad=True)), "no backward pass"),
        (dict(bias=lambda n: torch.ones(n, n, requires_grad=True)), "no backward pass"),
        (dict(bias=lambda n: torch.ones(n, 1)), r"bias\(8\) has shape \(8, 1\): expected \(8, 8\)"),
        (dict(combine="median"), "combine='median' is unknown: expected 'mean'"),
    ],
    ids=[*range(9)],
)
def test_refused(change, words):
    heads = [torch.ones(1, 20, 16) for _ in range(4)]
    with pytest.raises(ValueError, match=words):
        kernels.fused_mixed_chunk(*heads, **{"v": torch.ones(1, 20, 16), "chunk_size": 8} | change)


@pytest.mark.skipif(GPU, reason="on a card the kernel takes bfloat16")
def test_bfloat16_is_refused_by_the_interpreter_which_gets_it_wrong():
    with pytest.raises(ValueError, match="TRITON_INTERPRET was set"):
        tensors = [torch.ones(1, 20, 16, dtype=torch.bfloat16) for _ in range(5)]
        kernels.fused_mixed_chunk(*tensors, chunk_size=8)


def run_python(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=environment)


def test_without_triton_one_line_says_what_is_missing():
    done = run_python("-c", "import sys; sys.modules['triton'] = None; import flash_tutorial.kernels")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: this kernel needs Triton") and "pip install triton" in last


def test_without_interpreter_and_card_one_line_says_what_to_set():
    code = "import torch; from flash_tutorial.kernels import *; x = torch.ones(1, 9, 16); print(INTERPRETED); "
    done = run_python("-c", code + "fused_mixed_chunk(x, x, x, x, x, chunk_size=4)")
    assert done.stdout == "False\n" and done.returncode == 1
    assert "set TRITON_INTERPRET=1 before" in done.stderr.strip().splitlines()[-1]


def test_it_compiles_in_bfloat16():
    code = "from flash_course.bench.kernels import *; print(compile_for('8.0', half='bf16')['matrix_instructions'])"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_compiled_for_a_t4_it_has_no_matrix_instructions():
    done = run_python("-m", "flash_course.bench.kernels", "7.5", "8.0")
    assert done.returncode == 0, done.stderr
    old, new = map(json.loads, done.stdout.splitlines())
    assert old["capability"] == "7.5" and old["matrix_instructions"] == 0 and old["multiply_adds"] > 1000
    assert new["matrix_instructions"] > 10 and new["multiply_adds"] < 100
    assert max(old["shared_bytes"], new["shared_bytes"]) <= 64 * 1024  # what a T4 has
