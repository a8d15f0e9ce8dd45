"""The fastest tile of each kernel: what is wrong is not timed, and the choice is kept by card, sizes and versions."""

import json
from unittest import mock

import pytest
import torch

# it asks for the interpreter where it must
from test_kernels import GPU, gates, kernels
from torch.utils._python_dispatch import TorchDispatchMode

from faults.planter import faults_of, faulty_copy
from flash_tutorial.gpu import tiles, tuning
from flash_tutorial.gpu.tiles import LARGE, SMALL, Tile

pytestmark = pytest.mark.skipif(
    GPU, reason="a card is pretended; tools/gpu_evidence asks a real one"
)
SIZES = tuning.Sizes(C=32, S=16, E=32, dtype=torch.float16, B=1, T=64)
SOME = (Tile(16, 32), Tile(32, 16), Tile(16, 16))


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A function that pretends the name of a card, whose choices lie in a folder of the test."""
    monkeypatch.setattr(tiles, "MEASURED", tmp_path / "tiles.json")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(tiles, "shared_memory", lambda device: 227 * tiles.KIB)
    tiles.forget()

    def pretend(name):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)

    yield pretend
    tiles.forget()


def clock(*microseconds):
    """Times in the order of the tiles, again and again."""
    count = iter(range(10**6))

    def bench(function):
        median = microseconds[next(count) % len(microseconds)]
        return [median, median - 0.1, median + 0.1]

    return bench


def found(kernel="mix", dtype=torch.float16, C=32, S=16, E=32):
    return tiles.tile_for(kernel, "cuda", dtype, C, S, E)


@pytest.fixture
def without_kernels(monkeypatch):
    """What they would write is torch's."""

    def starts(sizes, given):
        return {name: lambda tile, name=name: right(name, sizes, given) for name in LARGE}

    def right(kernel, sizes, given):
        return [rows[None] for rows in tuning.wanted(kernel, sizes, given)]

    monkeypatch.setattr(tuning, "starts", starts)


@pytest.mark.usefixtures("without_kernels")
def test_the_fastest_is_kept_by_card_sizes_format_and_version(card, monkeypatch):
    card("Card 1")
    tuning.tune(SIZES, "cpu", clock(5, 3, 4), SOME)
    assert [found(kernel) for kernel in LARGE if kernel != "weights"] == 3 * [SOME[1]]
    assert found("weights", E=0) == SOME[1]  # it has no columns
    usual = LARGE["mix"][0]
    assert found(C=40) == found(S=32) == found(E=64) == found(dtype=torch.bfloat16) == usual
    card("Card 2")
    assert found() == usual
    tuning.tune(SIZES, "cpu", clock(5, 4, 3), SOME)
    assert found() == SOME[2]
    card("Card 1")
    assert found() == SOME[1]
    tuning.tune(SIZES, "cpu", clock(1, 4, 3), SOME)  # once more: in place of the first time
    assert found() == SOME[0]
    rows = json.loads(tiles.MEASURED.read_text(encoding="utf-8"))["runs"]
    assert len(rows) == 2 * len(LARGE) and all(len(row["microseconds"]) == 3 for row in rows)
    monkeypatch.setattr("triton.__version__", "9.9.9")
    assert found() == usual


@pytest.mark.usefixtures("without_kernels")
def test_a_file_that_cannot_be_written_whole_stays_as_it_was(card, monkeypatch):
    card("Card 1")
    tuning.tune(SIZES, "cpu", clock(5, 3, 4), SOME)
    before = tiles.MEASURED.read_text(encoding="utf-8")

    def disk_is_full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", disk_is_full)
    with pytest.raises(ValueError, match=r"could not be written .no space"):
        tuning.tune(SIZES, "cpu", clock(1, 3, 4), SOME)
    assert tiles.MEASURED.read_text(encoding="utf-8") == before


FAULTS = {
    "weights": "divided by the tile",
    "mix": "only the last tile counts",
    "maps": "two forgotten",
    "values": "map not transposed",
}


@pytest.mark.parametrize("kernel", FAULTS)
def test_what_is_wrong_is_not_timed(kernel, monkeypatch):
    right = tuning.tried(kernel, SIZES, "cpu", clock(1), SOME)
    assert all("microseconds" in row for row in right), right
    faulty = faulty_copy(faults_of("kernels")[FAULTS[kernel]])
    monkeypatch.setattr(kernels, f"run_{kernel}", getattr(faulty, f"run_{kernel}"))
    wrong = tuning.tried(kernel, SIZES, "cpu", clock(1), SOME[:1])
    assert all(row["off"] > 0.01 for row in wrong) and tuning.fastest(wrong) is None


def test_a_tile_that_cannot_be_compiled_is_passed_over(card):
    """As one for which there are too few registers; what fits is counted before, and what does not is not tried."""
    rows = tuning.tried("mix", SIZES, "cpu", clock(1), (Tile(16, 24), SOME[0]))
    assert "failed" in rows[0] and tuning.fastest(rows)["tile"] == list(SOME[0])
    card("Card 1")
    big = SIZES._replace(S=128)
    for kernel, usual in LARGE.items():
        tried = tuning.candidates(kernel, big, "cpu")
        assert tried[0] == usual[0] and SMALL in tried and len(tried) == len({*tried})
        takes = [tiles.shared_bytes(kernel, tile, 128, 2, (9, 0)) for tile in tried]
        assert max(takes) <= 227 * tiles.KIB
        assert {tile.warps for tile in tried} == {4, 8}
        assert kernel == "weights" or {2, 3, 4} <= {tile.stages for tile in tried}


def test_a_tile_that_writes_nothing_does_not_pass_with_what_another_wrote(monkeypatch):
    run_mix = kernels.run_mix

    def run_one(*args):
        if args[-1] == SOME[0]:
            run_mix(*args)

    monkeypatch.setattr(kernels, "run_mix", run_one)
    rows = tuning.tried("mix", SIZES, "cpu", clock(1), SOME[:2])
    assert "microseconds" in rows[0] and rows[1]["off"] == "not finite"


def test_what_is_not_finite_in_one_of_two_results_is_wrong(monkeypatch):
    run_maps = kernels.run_maps

    def run_to_nan(*args):
        run_maps(*args)
        args[7].fill_(float("nan"))  # ds; the weights are right

    monkeypatch.setattr(kernels, "run_maps", run_to_nan)
    (row,) = tuning.tried("maps", SIZES, "cpu", clock(1), SOME[:1])
    assert row["off"] == "not finite"


# ---------------------------------------------------------------- those without a tile
SMALL_SIZES = SIZES._replace(dtype=torch.float32)


def test_a_kernel_without_a_tile_writes_all_that_it_gives():
    for name, start in tuning.without_tiles(SMALL_SIZES, "cpu").items():
        tuning.spoil(start())
        assert all(bool(each.isfinite().all()) for each in start()), name


class Operations(TorchDispatchMode):
    """Those of torch's that are done meanwhile; a view is nothing to a card."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, types, args=(), options=None):
        self.done += [] if function.is_view else [str(function)]
        return function(*args, **(options or {}))


def test_of_a_kernel_without_a_tile_it_alone_is_timed(monkeypatch):
    """One start, and nothing of torch's: no memory is taken, and no shares are added up."""
    for name, start in tuning.without_tiles(SMALL_SIZES, "cpu").items():
        module = kernels if name == "scan" else gates
        kernel = mock.MagicMock()
        monkeypatch.setattr(module, f"{name}_kernel", kernel)
        with Operations() as operations:
            start()
        assert kernel.__getitem__.call_count == 1 and operations.done == [], name
