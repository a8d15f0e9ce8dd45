"""Devices, number formats, and memory that is kept."""

import time

import pytest
import torch

from flash_tutorial.training import devices


@pytest.mark.parametrize(
    "capability, dtype",
    [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")],
)
def test_number_format_follows_the_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    chosen, why = devices.pick_dtype("cuda")
    assert chosen == getattr(torch, dtype) and "{}.{}".format(*capability) in why


def test_mps_and_small_models_on_a_cpu_take_float32(monkeypatch):
    monkeypatch.setattr(devices, "bfloat16_gain", lambda threads: 9.0)
    assert devices.pick_dtype("cpu")[0] == devices.pick_dtype("mps")[0] == torch.float32
    assert devices.pick_dtype("cpu", parameters=devices.LARGE - 1)[0] == torch.float32
    assert devices.measured_gain(torch.device("cpu"), "auto", devices.LARGE - 1) == ""


@pytest.mark.parametrize("gain, dtype", [(2.4, "bfloat16"), (1.2, "float32"), (0.1, "float32")])
def test_a_large_model_on_a_cpu_follows_a_measurement(monkeypatch, gain, dtype):
    monkeypatch.setattr(devices, "bfloat16_gain", lambda threads: gain)
    cpu, large = torch.device("cpu"), devices.LARGE
    assert devices.pick_dtype("cpu", parameters=large)[0] == getattr(torch, dtype)
    said = devices.measured_gain(cpu, "auto", large)
    assert f"{gain:.1f} times as fast in bfloat16" in said
    assert devices.pick_dtype("cpu", "float32", large)[0] == torch.float32
    assert not devices.measured_gain(cpu, "float32", large)


def test_the_measurement_is_short_and_made_once():
    devices.bfloat16_gain.cache_clear()
    began = time.process_time()
    gain = devices.bfloat16_gain(torch.get_num_threads())
    # a processor that emulates bfloat16 takes longer for a pair
    assert gain > 0 and time.process_time() - began < 3
    began = time.process_time()
    assert devices.bfloat16_gain(torch.get_num_threads()) == gain
    assert time.process_time() - began < 0.01


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: devices.pick_dtype("cpu", "float16"), "float16"),
        (lambda: devices.pick_dtype("cpu", "int8"), "int8"),
        (lambda: devices.pick_device("gpu"), "gpu"),
        (lambda: devices.pick_device("cuda:99"), "cuda:99"),
        (lambda: devices.pick_device("meta"), "meta"),
        (lambda: devices.pick_device("xla"), "xla"),
    ],
)
def test_device_that_is_not_there_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_description_is_one_line():
    line = devices.describe_device("cpu")
    assert "\n" not in line and torch.__version__ in line and "float32 (" in line


def test_freed_memory_is_reused_without_page_faults():
    resource = pytest.importorskip(
        "resource", reason="counts page faults, which Windows does not tell"
    )
    if not devices.keep_freed_memory():
        pytest.skip("only glibc on Linux hands freed memory back at once")
    x = torch.randn(1, 2048, 1152)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.nn.functional.silu(x)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(), faults()
    assert faults() < 200  # 9.4 MB are 2304 pages


@pytest.mark.parametrize(
    "system, libc", [("Darwin", ("", "")), ("Windows", ("", "")), ("Linux", ("musl", "1"))]
)
def test_other_systems_are_left_alone(monkeypatch, system, libc):
    monkeypatch.setattr(devices.platform, "system", lambda: system)
    monkeypatch.setattr(devices.platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: pytest.fail("called"))
    assert devices.keep_freed_memory() is False
