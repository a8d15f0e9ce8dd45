"""What the compiler makes of the Triton kernels, for cards that need not be there.

python experiments/timings/compiled_kernels.py 7.5 8.0      one line for each kernel and card, in fp16
python experiments/timings/compiled_kernels.py 8.0 --kernel weights_documents weights_no_bias
python experiments/timings/compiled_kernels.py 7.5 8.0 8.9 9.0 --store      and in bf16
"""

import argparse
import hashlib
import itertools
import json
import re
import subprocess
import tempfile
from pathlib import Path

from triton.backends.nvidia.compiler import get_ptxas

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_tutorial.files import write_text
from flash_tutorial.gpu import gates, kernels
from flash_tutorial.gpu.kernels import INTERPRETED, triton
from flash_tutorial.gpu.tiles import KIB, LARGE, SHARED, SMALL, Tile, largest

CARDS = {"7.5": "T4", "8.0": "A100", "8.6": "A10", "8.9": "L4", "9.0": "H100"}
KERNELS = ("heads", "scan", "weights", "mix", "ungate", "maps", "values", "unheads")
VARIANTS = ("weights_documents", "weights_no_bias", "scan_share", "scan_parts")  # as others call it
FLOATS = (
    "gamma",
    "beta",
    "cos",
    "sin",
    "factor",
    "sums",
    "bias",
    "initial",
    "shares",
    "last",
)  # float32, whatever the rest is
WHOLE = {"documents": "*i32", "finished": "*i32", "joins": "*i8", "whole": "*i8", "scale": "fp32"}


def tile_on(capability, kernel, S=128, itemsize=2):
    """The tile that ``tiles.tile_for`` takes in half precision on a card on which nothing was measured."""
    card = tuple(map(int, capability.split(".")))
    if kernel == "scan":
        return SMALL._replace(warps=kernels.SCAN["num_warps"])
    if card < (8, 0) or kernel not in LARGE:
        return SMALL
    return largest(kernel, S, itemsize, card, KIB * SHARED[card])


def kernel_of(name):
    """The kernel of that name, wherever it stands."""
    return getattr(gates if hasattr(gates, f"{name}_kernel") else kernels, f"{name}_kernel")


# Numbers of the paper's sizes that are multiples of 16, as Triton finds out by itself when it is called.
ALIGNED = ("T", "C", "S", "E", "N", "h_stride")
PLAIN = (*ALIGNED, "G", "chunks", "rows_end", "factor_stride")


def known(kernel, S, tile, variant):
    """The arguments whose values are known when a kernel is compiled.

    As it is called in training: with bias and gate, without documents, unless ``variant`` says otherwise.
    """
    none = ("documents", "joins", "whole", "finished", "initial", "shares", "last")
    nothing = dict.fromkeys(none)
    of_gates = {"HALF": S // 2, "R": gates.ROWS}
    if kernel is gates.unheads_kernel:
        of_gates |= {"R": gates.ROWS_BACK, "STAGES": gates.STAGES}
    if kernel is gates.ungate_kernel:
        of_gates = gates.UNGATE
    if hasattr(gates, kernel.fn.__name__):
        return of_gates
    if variant == "documents":
        del nothing["documents"]
    if variant == "no_bias":
        nothing["bias"] = None
    if variant == "share":  # of a part of a row
        nothing["out"] = None
        del nothing["last"]
    if variant == "parts":
        nothing = dict.fromkeys(("joins", "whole"))
    sizes = {"M": tile.M, "E_TILE": tile.E, "S": S, "E": 12 * S, "S_TILE": S}
    return nothing | sizes | {"SILU": True, "LATER": False} | kernels.SCAN


def signature(kernel, half, S, tile, variant=""):
    """The kinds of a kernel's arguments, the values of those that are known, and what is aligned, at the paper's
    sizes."""
    fixed = known(kernel, S, tile, variant)
    kinds, constants, aligned = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name == "bias_strides" and variant == "no_bias":
            kinds[name] = ()
        elif name in fixed:
            kinds[name], constants[(i,)] = "constexpr", fixed[name]
        elif name.endswith("_strides"):
            dims = {"state_strides": 4, "dsums_strides": 4, "bias_strides": 2}.get(name, 3)
            kinds[name] = ("i32",) * (dims - 1) + ("constexpr",)
            constants[i, dims - 1] = 1  # the numbers of a row lie side by side
            aligned |= {(i, j): SIXTEEN for j in range(dims - 1)}
        else:
            kinds[name] = kind_of(name, half)
            if name in ALIGNED or name not in (*WHOLE, *PLAIN):
                aligned[(i,)] = SIXTEEN
    return kinds, constants, aligned


SIXTEEN = [["tt.divisibility", 16]]


def kind_of(name, half):
    """The type of a number, or of what lies at an address."""
    if name in WHOLE:
        return WHOLE[name]
    if name in PLAIN:
        return "i32"
    return "*fp32" if name in FLOATS else f"*{half}"


def compile_for(capability, name="mix", *, half="fp16", S=128, tile=None):
    """Compile a kernel for a card that need not be there: ``capability`` "7.5" is a T4, "8.0" an A100.

    Returns the counts, in the code, of matrix-unit instructions and of ordinary multiply-adds, the bytes of fast
    (shared) memory that a program takes, the registers of a thread, and what did not fit into them: the bytes of main
    memory that a thread keeps for it (its stack), and those that the code's spill stores and spill loads move.
    """
    if INTERPRETED:
        raise ValueError(
            "TRITON_INTERPRET was set, and the interpreter compiles nothing: unset it and restart"
        )
    plain, _, variant = name.partition("_")
    tile = Tile(*tile) if tile else tile_on(capability, plain, S)
    kernel = kernel_of(plain)
    source = triton.compiler.ASTSource(kernel, *signature(kernel, half, S, tile, variant))
    target = triton.backends.compiler.GPUTarget("cuda", int(capability.replace(".", "")), 32)
    options = {"num_warps": tile.warps, "num_stages": tile.stages} | kernels.FUSED
    compiled = triton.compile(source, target=target, options=options)
    code = compiled.asm["ptx"]
    return {
        "kernel": name,
        "capability": capability,
        "half": half,
        "tile": tile[:2],
        "warps": tile.warps,
        "stages": tile.stages,
        "matrix_instructions": len(re.findall(r"\bw?g?mma\.(?:mma_async\.)?sync", code)),
        "multiply_adds": len(re.findall(r"\bfma\.rn\.f", code)),
        "shared_bytes": compiled.metadata.shared,
        **registers_of(code),
    }


def registers_of(code):
    """Registers of a thread, its bytes of stack, and those of spill stores and loads, as ptxas says of PTX code.

    A place on the stack is stored and loaded by many instructions, so the last two count a byte more than once.
    """
    card = re.search(r"^\.target sm_(\d+)\w*", code, re.MULTILINE)
    ptxas = get_ptxas(int(card[1])).path
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(code, encoding="utf-8")
        call = [
            ptxas,
            "-v",
            f"--gpu-name={card[0].split()[1]}",
            str(path),
            "-o",
            str(Path(folder) / "kernel.cubin"),
        ]
        said = subprocess.run(call, capture_output=True, text=True, check=True).stderr
    return read_ptxas(said)


def read_ptxas(said):
    """The numbers in what ``ptxas -v`` says of one kernel."""
    words = {
        "registers": "Used (\\d+) registers",
        "stack_bytes": "(\\d+) bytes stack frame",
        "spill_store_bytes": "(\\d+) bytes spill stores",
        "spill_load_bytes": "(\\d+) bytes spill loads",
    }
    return {name: int(re.search(word, said)[1]) for name, word in words.items()}


def text_sha256():
    """Of the text of the kernels, whatever ends its lines: another text may compile to something else."""
    texts = [Path(module.__file__).read_text(encoding="utf-8") for module in (kernels, gates)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capabilities", nargs="+", choices=CARDS)
    parser.add_argument("--kernel", nargs="+", choices=KERNELS + VARIANTS, default=KERNELS)
    parser.add_argument("--store", action="store_true", help="among the results")
    args = parser.parse_args()
    halves = ("fp16", "bf16") if args.store else ("fp16",)
    wanted = itertools.product(args.capabilities, args.kernel, halves)
    rows = []
    for capability, name, half in wanted:
        # a T4 has no bfloat16, and Triton refuses it
        if not (half == "bf16" and capability == "7.5"):
            rows.append(compile_for(capability, name, half=half))
            print(json.dumps(rows[-1]), flush=True)
    if args.store:
        about = {
            "command": f"python experiments/timings/compiled_kernels.py {' '.join(args.capabilities)} --store",
            "triton": triton.__version__,
            "kernels_sha256": text_sha256(),
            "machine": machine(),
        }
        lines = ",\n  ".join(map(json.dumps, rows))
        path = RESULTS / "compiled.json"
        write_text(path, f'{{\n "about": {json.dumps(about)},\n "rows": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
