"""The kernel that the reader of lecture 11 builds computes what the package computes."""

import pytest
import torch

from flash_course.builds import lecture_11, on_tiles
from flash_course.checks.interpreter import missing
from flash_tutorial import mixing

pytestmark = pytest.mark.skipif(missing() is not None, reason="the interpreter of Triton is needed")


def test_the_readers_kernel_is_mixed_chunk_attention():
    T, C, S, E = 70, 20, 24, 20
    draw = torch.Generator().manual_seed(0)
    quad_q, quad_k, lin_q, lin_k = torch.randn(4, T, S, generator=draw)
    v, u = torch.randn(2, T, E, generator=draw)
    bias = torch.randn(C, C, generator=draw)
    state = on_tiles.states(lin_k, v, C)
    pieces = lecture_11.mix_program, lecture_11.program_place
    got = on_tiles.all_programs(*pieces, quad_q, quad_k, lin_q, v, state, bias, u)
    assert on_tiles.programs_of(T, C, E) == 4 * 2 * 2
    heads = [head[None] for head in (quad_q, quad_k, lin_q, lin_k)]
    how = {"chunk_size": C, "causal": True, "bias": lambda n: bias[:n, :n]}
    wanted = u * mixing.mixed_chunk_attention(*heads, v[None], **how)[0]
    assert (got - wanted).norm() < 1e-5 * wanted.norm()
