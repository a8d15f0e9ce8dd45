"""What benchmarks/on_a_card.py stores of a card, and when, tried with ways that fail; its kernels are pretended."""

import argparse
import json

import pytest
import torch

pytestmark = pytest.mark.quick


@pytest.fixture
def on_a_card(benchmark_script):
    return benchmark_script("on_a_card")


@pytest.fixture
def card(on_a_card, tmp_path):
    return on_a_card.Card(argparse.Namespace(device="cpu", small=True, t4=False, out=tmp_path))


@pytest.fixture
def with_kernels(card):
    card.is_real = True
    return card


def rows(folder):
    return json.loads((folder / "card_try.json").read_text(encoding="utf-8"))["runs"]


def failing(call, error):
    """A way whose call of that number fails: the first is for its memory, two are warm-up, two are timed."""
    calls = []

    def step():
        calls.append(1)
        if len(calls) == call:
            raise error

    return lambda: (step, None)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("call", [1, 2, 5])
def test_too_little_memory_at_any_call_is_stored_and_the_others_go_on(card, tmp_path, call):
    ways = {
        "large": failing(call, torch.OutOfMemoryError("CUDA out of memory")),
        "wrong": failing(call, ValueError("so\nnot")),
        "fine": failing(0, None),
    }
    card.row("try", {"T": 8}, lambda: ways)
    (row,) = rows(tmp_path)
    assert row["complete"] and (row["card"], row["T"]) == ("no card", 8) and list(row["ways"]) == list(ways)
    assert row["ways"]["large"] == {"out_of_memory": True}
    assert row["ways"]["wrong"] == {"failed": "ValueError: so not"}
    assert row["ways"]["fine"]["seconds"]["rounds"] == 2


def test_what_was_measured_stays_where_the_run_is_stopped_and_is_measured_anew(card, tmp_path):
    def ways(stopped_at):
        return lambda: {"fine": failing(0, None), "last": failing(stopped_at, KeyboardInterrupt())}

    card.row("try", {"T": 4}, ways(0))
    found = []
    for call in (1, 5):  # before the second way's memory is known, and in the last round
        with pytest.raises(KeyboardInterrupt):
            card.row("try", {"T": 8}, ways(call))
        other, row = rows(tmp_path)
        assert other["T"] == 4 and other["complete"] and not row["complete"]
        found.append({name: way.get("seconds", {}).get("rounds") for name, way in row["ways"].items()})
    assert found == [{"fine": None}, {"fine": 1, "last": 1}]
    card.row("try", {"T": 8}, ways(0))
    card.row("try", {"T": 8}, lambda: pytest.fail("a complete row was measured again"))
    assert [(row["T"], row["complete"]) for row in rows(tmp_path)] == [(4, True), (8, True)]


# ---------------------------------------------------------------- the card's name


@pytest.mark.parametrize("t4, name", [(False, "A card"), (True, "A card as a T4")])
def test_what_is_measured_as_a_t4_has_another_card_and_no_bfloat16(on_a_card, t4, name, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    card = on_a_card.Card(argparse.Namespace(device="cuda", small=False, t4=t4, out=tmp_path))
    assert card.name == name and card.settings.tokens == (8192 if t4 else 32_768)
    formats = {"mixing": [], "steps": []}
    monkeypatch.setattr(card, "row", lambda what, key, ways: formats[what].append(key["format"]))
    on_a_card.mixing(card)
    on_a_card.steps(card)
    halves = {"float16"} if t4 else {"bfloat16", "float16"}
    assert {what: set(names) for what, names in formats.items()} == {"mixing": halves, "steps": halves | {"float32"}}


# ---------------------------------------------------------------- ways


@pytest.mark.parametrize("what", ["a_step", "mixing"])
def test_a_name_says_whether_it_was_compiled(on_a_card, with_kernels, what, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model, **how: compiled.append(model) or model)
    monkeypatch.setattr(on_a_card, "make_guest", lambda settings: (torch.nn.Identity(), None))
    ways = getattr(on_a_card, f"ways_of_{what}")(with_kernels, with_kernels.settings, 64)
    assert [name for name in ways if "compiled" in name]
    for name, make in ways.items():
        compiled.clear()
        make()
        assert bool(compiled) == name.endswith(", compiled"), name
        said = name.endswith("compiled") or name.startswith("kernels, ") or name == "fused attention of a block"
        assert said, f"{name} leaves open whether it was compiled"


class Kernel:
    """In place of a kernel: it notes its tile and its warps."""

    def __init__(self, name, started):
        self.name, self.started = name, started

    def __getitem__(self, programs):
        return lambda *args, **how: self.started.append((self.name, how.get("M"), how.get("num_warps")))


def test_the_mixing_is_timed_with_four_and_eight_warps_for_each_tile(on_a_card, with_kernels, monkeypatch):
    from flash_tutorial.gpu import kernels

    started, fakes = [], {}
    monkeypatch.setattr(kernels, "check_device", lambda device, dtype: None)
    for name in ("mix_kernel", "maps_kernel", "values_kernel", "scan_kernel"):
        fakes[name] = Kernel(name, started)
        monkeypatch.setattr(kernels, name, fakes[name])
    ways = on_a_card.ways_of_mixing(with_kernels, with_kernels.settings, 64)
    timed = [name for name in ways if name.startswith("kernels")]
    assert len(timed) == 2 * len(on_a_card.TILES)
    for name in timed:
        started.clear()
        step, _ = ways[name]()
        step()
        tile, warps = name.removeprefix("kernels, ").split(", ")
        expected = int(tile.split(" x ")[0]), int(warps.split()[0])
        assert {start[1:] for start in started if start[0] != "scan_kernel"} == {expected}, name
        assert {"mix_kernel", "maps_kernel", "values_kernel"} <= {start[0] for start in started}
        assert all(getattr(kernels, kernel) is fake for kernel, fake in fakes.items())  # as they were, for the next
