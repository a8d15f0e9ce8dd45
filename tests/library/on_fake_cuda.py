"""Units, models, a training step and decoding on fake CUDA tensors; started by test_fake_cuda.py.

    python tests/library/on_fake_cuda.py LIBRARY       prints how many cases there were

Fake tensors have a device and a type and no numbers. What mixes devices or types that do not go together raises.
"""

import ctypes
import importlib.util
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unittest import mock

LIBRARIES = Path(importlib.util.find_spec("torch").origin).parent / "lib"
ctypes.CDLL(str(LIBRARIES / "libtorch_cpu.so"), ctypes.RTLD_GLOBAL)
ctypes.CDLL(sys.argv[1])

import torch  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from flash_tutorial import (  # noqa: E402
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    TransformerBlock,
    layers,
    model,
    states,
)
from flash_tutorial import generate as decoding  # noqa: E402
from flash_tutorial.sampling import draw  # noqa: E402

FORMATS = (torch.float32, torch.float16, torch.bfloat16)
HAS_TRITON = importlib.util.find_spec("triton") is not None
UNITS = {
    "gau": lambda: GAU(32, qk_dim=8, bias_length=64, causal=True),
    "gau, both sides": lambda: GAU(32, qk_dim=8, bias_length=64),
    "gau, softmax": lambda: GAU(32, qk_dim=8, bias_length=64, causal=True, attention="softmax"),
    "flash": lambda: FLASH(32, qk_dim=8, chunk_size=16, causal=True, backend="torch"),
    "flash, both sides": lambda: FLASH(32, qk_dim=8, chunk_size=16, bias="rotary", norm="layer"),
    "transformer++": lambda: TransformerBlock(32, heads=2, rope=True, glu=True, causal=True),
    "transformer, both sides": lambda: TransformerBlock(32, heads=2),
    "mc_transformer++": lambda: MCTransformerBlock(32, heads=2, chunk_size=16, causal=True),
} | (
    {"flash, triton": lambda: FLASH(32, qk_dim=8, chunk_size=16, causal=True, backend="triton")}
    if HAS_TRITON
    else {}
)


def pretending():
    """A context in which this torch says that it has a card, and no fake number is asked for."""
    stack = ExitStack()
    stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
    for name, answer in {
        "torch.cuda.is_available": True,
        "torch.cuda.is_bf16_supported": True,
        "torch.cuda.device_count": 1,
        "torch.cuda.amp.common.amp_definitely_not_available": False,
        "torch.cuda.get_device_capability": (8, 0),
        "torch.cuda.get_device_name": "a card that is not there",
        "flash_tutorial.gpu.tiles.shared_memory": 163 * 1024,
    }.items():
        stack.enter_context(mock.patch(name, lambda *args, answer=answer, **options: answer))
    for module in (layers, model):  # the door looks at numbers
        stack.enter_context(
            mock.patch.object(module, "check_reading", lambda mask, ids, *args, **options: ids)
        )
    stack.enter_context(mock.patch("torch.cuda.device_of", lambda tensor: nullcontext()))
    # a prompt's longest row
    stack.enter_context(mock.patch.object(torch.Tensor, "__int__", lambda tensor: 50))
    # no card, no graph
    stack.enter_context(mock.patch.object(decoding.RecordedStep, "_record", lambda step: None))
    return stack


def readings(B, T):
    """Nothing, a mask, documents, both."""
    with torch.device("cuda"):
        mask, ids = torch.ones(B, T, dtype=torch.bool), torch.zeros(B, T, dtype=torch.long)
    return {}, {"mask": mask}, {"segment_ids": ids}, {"mask": mask, "segment_ids": ids}


def autocast(dtype):
    return nullcontext() if dtype == torch.float32 else torch.autocast("cuda", dtype)


def run_units():
    """Forward and backward of every unit, in every format and reading."""
    done = 0
    for make in UNITS.values():
        for dtype in FORMATS:
            for how in readings(2, 50):
                with torch.device("cuda"):
                    unit, x = make(), torch.empty(2, 50, 32, requires_grad=True)
                with autocast(dtype):
                    y = unit(x, **how)
                y.sum().backward()
                assert (
                    y.device.type == "cuda" and x.grad.shape == x.shape and y.dtype == torch.float32
                )
                assert all(
                    p.grad is not None and p.grad.dtype == torch.float32 for p in unit.parameters()
                )
                done += 1
    return done


def run_models():
    """A training step and three steps of decoding in every reading, of every architecture, and a recorded step."""
    done = 0
    for architecture in (
        "flash",
        "flash_quad",
        "transformer",
        "transformer+",
        "transformer++",
        "mc_transformer++",
    ):
        for dtype in FORMATS:
            with torch.device("cuda"):
                net = LanguageModel(ModelConfig(architecture, dim=32, depth=2, max_length=64))
                ids = torch.zeros(2, 50, dtype=torch.long)
            optimizer = torch.optim.AdamW(net.parameters(), fused=True)
            for how in readings(2, 50):
                with autocast(dtype):
                    loss = net.loss(ids, ids, **how)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            with autocast(dtype):
                for how in readings(2, 50)[:2]:
                    logits, state = net.eval().prefill(ids, **how)
                    for options in ({"temperature": 0}, {}, {"top_k": 3, "top_p": 0.9}):
                        logits, state = net.step(draw(logits, **options), state)
                if isinstance(state.units[0], states.ChunkState):
                    _, state = net.prefill(ids)
                    logits = decoding.RecordedStep(net, state, room=60)(ids[:, 0])
            assert logits.device.type == "cuda" and logits.shape == (2, 256)
            done += 1
    return done


with pretending():
    print(run_units(), "units and", run_models(), "models")
