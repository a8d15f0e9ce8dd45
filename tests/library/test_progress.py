"""What a run shows of itself while it trains."""

from types import SimpleNamespace

import pytest

from flash_tutorial.training import TrainConfig, progress


def shown(monkeypatch, capsys, seconds, **settings):
    """The lines of a run whose updates took so many seconds."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    config = TrainConfig(batch=2, length=50, steps=len(seconds), warmup=0, **settings)
    rows = []
    with progress.progress_of(config, 0, "byte", True) as show:
        for step, each in enumerate(seconds, 1):
            now[0] += each
            rows.append({"step": step, "loss": 2.0})
            show(rows)
    return capsys.readouterr().out.splitlines()


def test_the_time_that_is_left_is_that_of_the_last_updates(monkeypatch, capsys):
    lines = shown(monkeypatch, capsys, [40, *[0.5] * 3])
    assert lines[0].endswith("2 tokens/s, 120 s left")
    assert lines[1].endswith("200 tokens/s, 1 s left")
    assert lines[-1].endswith("200 tokens/s, 0 s left")


@pytest.mark.parametrize("compiles", [True, False])
def test_who_waits_for_a_compiler_is_told(compiles, monkeypatch, capsys):
    lines = shown(monkeypatch, capsys, [1.0], compile=compiles)
    assert ("compiling, which may take a minute" in lines) == compiles
