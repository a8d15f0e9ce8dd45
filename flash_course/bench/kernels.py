"""What the compiler makes of the Triton kernel, for cards that need not be there.

python -m flash_course.bench.kernels 7.5 8.0
"""

import json
import re
import sys

from flash_tutorial.kernels import INTERPRETED, TILE, mixed_chunk_kernel, triton


def compile_for(capability, *, S=128, tile=TILE, half="fp16"):
    """Compile for a card that need not be there: ``capability`` "7.5" is a T4, "8.0" an A100; ``half`` fp16 or bf16.

    Returns the counts, in the code, of matrix-unit instructions and of ordinary multiply-adds, and the bytes of fast
    (shared) memory that a program takes.
    """
    if INTERPRETED:
        raise ValueError("TRITON_INTERPRET was set, and the interpreter compiles nothing: unset it and restart")
    names = mixed_chunk_kernel.arg_names
    fixed = {"M": tile[0], "S_TILE": S, "E_TILE": tile[1]}
    kinds = dict.fromkeys(names[:8], f"*{half}") | {"state": "*fp32", "bias": "*fp32"}
    kinds |= {f"{name}_strides": ("i32", "i32", "constexpr") for name in names[:8]}  # the last stride is 1
    kinds |= {"state_strides": ("i32", "i32", "i32", "constexpr"), "bias_strides": ("i32", "constexpr")}
    kinds |= dict.fromkeys("TCSE", "i32") | {"scale": "fp32"} | dict.fromkeys(fixed, "constexpr")
    constants = {(names.index(name),): value for name, value in fixed.items()}
    aligned = {}  # as they are at the usual sizes: addresses and strides are multiples of 16
    for i, kind in enumerate(kinds[name] for name in names):
        if isinstance(kind, tuple):
            constants[i, len(kind) - 1] = 1
            aligned |= {(i, j): [["tt.divisibility", 16]] for j in range(len(kind) - 1)}
        elif kind[0] == "*":
            aligned[(i,)] = [["tt.divisibility", 16]]
    source = triton.compiler.ASTSource(mixed_chunk_kernel, {name: kinds[name] for name in names}, constants, aligned)
    target = triton.backends.compiler.GPUTarget("cuda", int(capability.replace(".", "")), 32)
    compiled = triton.compile(source, target=target)
    code = compiled.asm["ptx"]
    return {
        "capability": capability, "matrix_instructions": len(re.findall(r"\bw?g?mma\.(?:mma_async\.)?sync", code)),
        "multiply_adds": len(re.findall(r"\bfma\.rn\.f", code)), "shared_bytes": compiled.metadata.shared,
    }  # fmt: skip


if __name__ == "__main__":  # python -m flash_course.bench.kernels 7.5 8.0
    for wanted in sys.argv[1:]:
        print(json.dumps(compile_for(wanted)))
