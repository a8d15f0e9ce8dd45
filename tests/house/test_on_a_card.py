"""experiments/timings/on_a_card.py: what stands beside a kernel's time, and where a card ends a run."""

import pytest
import torch
from house.scripts import ROOT, importable

from flash_course.bench.stored import load_stored
from flash_tutorial.gpu.tuning import Sizes

with importable(ROOT / "experiments" / "timings"):
    import on_a_card

PAPER = Sizes(C=256, S=128, E=1536, dtype=torch.bfloat16, B=8, T=8192)


@pytest.mark.parametrize(
    "name, card",
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("NVIDIA H200", None),
    ],
)
def test_a_prediction_is_of_that_card(name, card):
    rows = load_stored("kernel_times")["rows"]
    wanted = [row["microseconds"] for row in rows if (row["kernel"], row["card"]) == ("mix", card)]
    assert on_a_card.predicted("mix", PAPER, name) == (wanted[0] if card else None)


@pytest.mark.parametrize("other", [{"E": 1024}, {"B": 4}, {"T": 4096, "B": 16}], ids=str)
def test_a_prediction_is_of_those_sizes(other):
    assert on_a_card.predicted("mix", PAPER._replace(**other), "NVIDIA L4") is None


class Card(on_a_card.Card):
    """One that does nothing more once a way has failed."""

    def __init__(self):
        self.device, self.small = torch.device("cpu"), True
        self.settings = on_a_card.PRESETS["tiny"]
        self.is_dead = False

    def check_alive(self, failed):
        if self.is_dead:
            raise SystemExit("the card does nothing more")


def test_a_way_that_ends_the_card_in_a_later_round_ends_the_run():
    """Else all others would fail behind it, and the row would be complete."""
    card, calls = Card(), []

    def step():
        calls.append(1)
        card.is_dead = len(calls) > 1
        if card.is_dead:
            raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(SystemExit):
        list(card.time({"a way": lambda: (step, None)}))


def test_kernels_without_a_tile_come_first(monkeypatch):
    """They take seconds, and the tiles of the others all that a job may take."""
    begun = []
    card = Card()
    card.is_real, card.name, card.halves, card.out = True, "a card", ("bfloat16", "float16"), None
    monkeypatch.setattr(on_a_card.tuning, "without_tiles", lambda *_: {"heads": None})
    monkeypatch.setattr(
        on_a_card,
        "row_of_a_kernel",
        lambda card, kernel, *_: begun.append(kernel) or {"tiles": []},
    )
    on_a_card.kernels(card)
    assert begun == 2 * ["heads"] + 2 * list(on_a_card.tiles.LARGE)
