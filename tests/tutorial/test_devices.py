"""Devices, number formats, and memory that is kept."""

import pytest
import torch

from flash_tutorial import devices

pytestmark = pytest.mark.quick

CAPABILITIES = [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")]


@pytest.mark.parametrize("capability, dtype", CAPABILITIES)
def test_number_format_follows_the_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    chosen, why = devices.pick_dtype("cuda")
    assert chosen == getattr(torch, dtype) and "{}.{}".format(*capability) in why


def test_cpu_and_mps_take_float32():
    assert devices.pick_dtype("cpu")[0] == devices.pick_dtype("mps")[0] == torch.float32


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: devices.pick_dtype("cpu", "float16"), "float16"),
        (lambda: devices.pick_dtype("cpu", "int8"), "int8"),
        (lambda: devices.pick_device("gpu"), "gpu"),
        (lambda: devices.pick_device("cuda:99"), "cuda:99"),
    ],
)
def test_device_that_is_not_there_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_description_is_one_line():
    line = devices.describe_device("cpu")
    assert "\n" not in line and torch.__version__ in line and "float32 (" in line


def test_freed_memory_is_reused_without_page_faults():
    resource = pytest.importorskip("resource", reason="counts page faults, which Windows does not tell")
    if not devices.keep_freed_memory():
        pytest.skip("only glibc on Linux hands freed memory back at once")
    x = torch.randn(1, 2048, 1152)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.nn.functional.silu(x)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(), faults()
    assert faults() < 200  # 9.4 MB are 2304 pages


@pytest.mark.parametrize("system, libc", [("Darwin", ("", "")), ("Windows", ("", "")), ("Linux", ("musl", "1"))])
def test_other_systems_are_left_alone(monkeypatch, system, libc):
    monkeypatch.setattr(devices.platform, "system", lambda: system)
    monkeypatch.setattr(devices.platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: pytest.fail("called"))
    assert devices.keep_freed_memory() is False
