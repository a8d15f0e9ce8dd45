"""Which device and which number format a model is trained with, and why."""

import platform

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name="auto") -> torch.device:
    """ "auto" takes a CUDA card, then Apple's MPS, then the CPU; any other name must be there."""
    has_mps = torch.backends.mps.is_available()
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={name!r} is unknown: expected 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'") from None
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not has_mps
    )
    if missing:
        raise ValueError(
            f"device={name!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA cards and "
            f"{'an' if has_mps else 'no'} MPS device; choose 'auto' or 'cpu'"
        )
    return device


def pick_dtype(device, name="auto") -> tuple[torch.dtype, str]:
    """The format of autocast on ``device``, and the reason in words.

    By compute capability, not by ``torch.cuda.is_bf16_supported()``: that is true as well where bfloat16 is only
    emulated, and slow.
    """
    device = torch.device(device)
    if name not in (None, "auto"):
        if name not in DTYPES:
            raise ValueError(f"dtype={name!r} is unknown: expected 'auto', {', '.join(map(repr, DTYPES))}")
        if name == "float16" and device.type != "cuda":
            raise ValueError(f"dtype='float16' on {device.type}: its loss scaling needs a CUDA card; choose 'auto'")
        return DTYPES[name], "asked for"
    if device.type != "cuda":
        return torch.float32, f"half precision is not faster on every {device.type.upper()}"
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return torch.bfloat16, f"compute capability {major}.{minor} has bfloat16 units"
    if major >= 7:
        return torch.float16, f"compute capability {major}.{minor} has float16 but no bfloat16 units; loss is scaled"
    return torch.float32, f"compute capability {major}.{minor} has no half-precision matrix units"


def describe_device(device="auto", dtype="auto") -> str:
    """One line: versions, device, number format and why."""
    from . import __version__

    device = pick_device(device)
    dtype, why = pick_dtype(device, dtype)
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
    return (
        f"flash-tutorial {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{where}, {str(dtype).removeprefix('torch.')} ({why})"
    )
