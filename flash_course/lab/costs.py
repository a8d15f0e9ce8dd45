"""Sliders for T and C: who reads whom, and what the mixing of FLASH costs against softmax attention."""

from flash_course import drawing
from flash_course.bench.counts import causal_pairs, chunk_pairs

from .page import Page

TS = (
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
    3072,
    4096,
    6144,
    8192,
)
CS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
WIDTHS = (
    (2, 2, "the six tokens of lecture 05"),
    (32, 128, "the course's tiny model"),
    (128, 1536, "the paper's base"),
)


def cost(T=4096, C=256, *, widths="the paper's base"):
    """The page of costs, its sliders at ``T`` tokens in chunks of ``C``; ``widths`` is a name in ``WIDTHS``."""
    names = [name for _, _, name in WIDTHS]
    if not 1 <= C <= 4096 or not 2 <= T <= 8192:
        raise ValueError(f"T={T}, C={C}: expected 2 to 8192 tokens in chunks of 1 to 4096")
    if widths not in names:
        raise ValueError(f"widths={widths!r}: expected one of {', '.join(names)}")
    S, E, _ = WIDTHS[names.index(widths)]
    lengths = [n for n in TS if n >= 128 and n & (n - 1) == 0]
    both = {  # multiply-adds of one sequence, causal: pairs that are read, and two products with the state
        "softmax": [(n, causal_pairs(n) * (S + E) / 1e6) for n in lengths],
        "mixed chunks (FLASH)": [
            (n, (chunk_pairs(n, C, True) * (S + E) + 2 * n * S * E) / 1e6) for n in lengths
        ],
    }
    figure, alt = drawing.cost_against_length(
        {"": (both, {})},
        ylabel="multiply-adds, millions",
        title=f"C = {C}: softmax pays for T (T + 1) / 2 pairs, FLASH in proportion to T",
    )
    data = {
        "T": T,
        "C": C,
        "Ts": sorted({*TS, T}),
        "Cs": sorted({*CS, C}),
        "widths": WIDTHS,
        "selected": names.index(widths),
    }
    return Page(
        "cost",
        "Who reads whom, and what it costs",
        "Two sliders, the tokens and the length of a chunk: see from which length on FLASH costs less than softmax "
        "attention.",
        alt,
        figure,
        data,
    )
