"""What on_a_card.py stores of a card, and when, tried with ways that fail; its kernels are pretended."""

import argparse
import json
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

pytestmark = pytest.mark.quick


@pytest.fixture
def on_a_card(benchmark_script):
    return benchmark_script("on_a_card")


@pytest.fixture
def card(on_a_card, tmp_path):
    card = on_a_card.Card(argparse.Namespace(device="cpu", small=True, t4=False, out=tmp_path))
    card.small = False  # warmed up as on a real one
    return card


@pytest.fixture
def with_kernels(card, monkeypatch):
    """On a pretended H100."""
    card.is_real = True
    properties = argparse.Namespace(shared_memory_per_block_optin=227 * 1024, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
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
    assert (
        row["complete"]
        and (row["card"], row["T"]) == ("no card", 8)
        and list(row["ways"]) == list(ways)
    )
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
        found.append(
            {name: way.get("seconds", {}).get("rounds") for name, way in row["ways"].items()}
        )
    assert found == [{"fine": None, "last": None}, {"fine": 1, "last": 1}]
    card.row("try", {"T": 8}, ways(0))
    card.row("try", {"T": 8}, lambda: pytest.fail("a complete row was measured again"))
    assert [(row["T"], row["complete"]) for row in rows(tmp_path)] == [(4, True), (8, True)]


def test_a_way_in_which_two_runs_ended_is_left_out(card, tmp_path):
    """As one that hangs until the job's limit, or after which the card does nothing more for the process."""
    ways = {"fatal": failing(1, KeyboardInterrupt()), "behind it": failing(0, None)}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            card.row("try", {"T": 8}, lambda: ways | {"fatal": failing(1, KeyboardInterrupt())})
    card.row("try", {"T": 8}, lambda: ways)
    (row,) = rows(tmp_path)
    assert row["complete"] and row["ways"]["fatal"] == {"left_out": "2 runs ended in it"}
    assert row["ways"]["behind it"]["seconds"]["rounds"] == 2


def test_a_card_that_does_nothing_more_ends_the_process(on_a_card, card, tmp_path, monkeypatch):
    def dead(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(on_a_card, "synchronize", dead)
    ways = {
        "illegal": failing(1, RuntimeError("an illegal memory access")),
        "next": failing(0, None),
    }
    with pytest.raises(SystemExit, match="illegal memory access"):
        card.row("try", {"T": 8}, lambda: ways)
    (row,) = rows(tmp_path)
    assert not row["complete"] and list(row["ways"]) == ["illegal"]


# ---------------------------------------------------------------- the card's name


@pytest.mark.parametrize("t4, name", [(False, "A card"), (True, "A card as a T4")])
def test_what_is_measured_as_a_t4_has_another_card_and_no_bfloat16(
    on_a_card, t4, name, monkeypatch, tmp_path
):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    card = on_a_card.Card(argparse.Namespace(device="cuda", small=False, t4=t4, out=tmp_path))
    assert card.name == name and card.settings.tokens == (8192 if t4 else 65_536)
    monkeypatch.setattr(card, "tile", lambda name: on_a_card.tiles.SMALL)
    measured = []
    monkeypatch.setattr(
        card, "row", lambda what, key, ways: measured.append((what, key["format"], key["T"]))
    )
    for job in (on_a_card.mixing, on_a_card.steps, on_a_card.formats):
        job(card)
    halves = {"float16"} if t4 else {"bfloat16", "float16"}
    assert {name for what, name, _ in measured if what == "mixing"} == halves
    assert {name for what, name, _ in measured if what == "steps"} == halves | {"float32"}
    assert max(T for *_, T in measured) == (8192 if t4 else 65_536)


# ---------------------------------------------------------------- ways


@pytest.mark.parametrize("what", ["a_step", "mixing"])
def test_a_name_says_whether_it_was_compiled(on_a_card, with_kernels, what, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model, **how: compiled.append(model) or model)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model, **how: compiled.append(model))
    monkeypatch.setattr(on_a_card, "make_guest", lambda settings: (torch.nn.Identity(), None))
    ways = getattr(on_a_card, f"ways_of_{what}")(with_kernels, with_kernels.settings, 64)
    assert [name for name in ways if "compiled" in name]
    for name, make in ways.items():
        compiled.clear()
        with suppress(on_a_card.LeftOut):
            make()
        assert bool(compiled) == name.endswith(", compiled"), name
        said = (
            name.endswith("compiled")
            or name.startswith("kernels, ")
            or name == "fused attention of a block"
        )
        assert said, f"{name} leaves open whether it was compiled"


# ---------------------------------------------------------------- tiles
class Kernel:
    """In place of a kernel: it notes its tile, warps and stages."""

    def __init__(self, started):
        self.started = started

    def __getitem__(self, programs):
        def start(*args, M=None, E_TILE=None, num_warps=None, num_stages=None, **how):
            self.started.add((M, E_TILE, num_warps, num_stages))

        return start


@pytest.fixture
def started(with_kernels, monkeypatch):
    """What the kernels that work in tiles were started with."""
    from flash_tutorial.gpu import kernels

    found = set()
    monkeypatch.setattr(kernels, "check_device", lambda device, dtype: None)
    monkeypatch.setattr(kernels, "scan_kernel", Kernel(set()))
    for name in ("mix_kernel", "maps_kernel", "values_kernel"):
        monkeypatch.setattr(kernels, name, Kernel(found))
    return found


def test_each_tile_that_fits_is_timed_with_its_warps_and_stages(
    on_a_card, with_kernels, started, monkeypatch
):
    with_kernels.settings = replace(with_kernels.settings, qk_dim=128, dtype="bfloat16")
    ways = on_a_card.ways_of_mixing(with_kernels, with_kernels.settings, 64)
    tried, left_out = [], []
    for tile in with_kernels.tiles_to_try():
        started.clear()
        try:
            step, _ = ways[f"kernels, {tile}"]()
        except on_a_card.LeftOut as why:
            left_out.append((tile, str(why)))
            continue
        step()
        assert started == {tuple(tile)}
        tried.append(tile)
    assert {tile.stages for tile in tried} == {1, 2, 3, 4} and {tile.warps for tile in tried} == {
        4,
        8,
    }
    assert (
        on_a_card.tiles.Tile(128, 64),
        "it takes 384 KiB of shared memory, and there are 227",
    ) in left_out


def test_out_of_resources_is_a_row_that_says_so(card, tmp_path):
    OutOfResources = type("OutOfResources", (Exception,), {})
    error = OutOfResources(
        "out of resource: shared memory, Required: 360448, Hardware limit: 232448"
    )
    card.row("try", {"T": 8}, lambda: {"large": failing(1, error), "fine": failing(0, None)})
    (row,) = rows(tmp_path)
    assert (
        "Required: 360448" in row["ways"]["large"]["out_of_resources"]
        and "seconds" in row["ways"]["fine"]
    )


def test_the_tile_that_was_fastest_is_the_one_that_the_package_takes(
    on_a_card, with_kernels, tmp_path, monkeypatch
):
    tiles = on_a_card.tiles
    tried = with_kernels.tiles_to_try()
    seconds = {f"kernels, {tile}": {"seconds": {"median": 9.0 - i}} for i, tile in enumerate(tried)}
    failed, torch_alone = {"out_of_resources": "so"}, {"seconds": {"median": 0.1}}
    ways = seconds | {f"kernels, {tried[-1]}": failed, "torch, compiled": torch_alone}
    row = {
        "card": "no card",
        "code": on_a_card.code_digest(),
        "format": "float16",
        "S": 128,
        "complete": True,
    }
    on_a_card.StoredRuns("card_mixing", "", tmp_path).put(row, row | {"ways": ways})
    on_a_card.store_fastest(with_kernels)
    monkeypatch.setattr(tiles, "MEASURED", tmp_path / "card_tiles.json")
    monkeypatch.setattr(tiles, "_measured", tiles._measured.__wrapped__)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "no card")
    assert tiles.tile_for("cuda", torch.float16, 128) == tried[-2]
