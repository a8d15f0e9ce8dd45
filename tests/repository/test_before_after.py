"""How `benchmarks/before_after.py` compares two states of the package: turns, ratios, and which rounds count."""

import argparse

import pytest

pytestmark = pytest.mark.quick


class Worker:
    """Answers as a worker does, at a speed of its own; its first two answers to each line are far slower."""

    parameters = ("100", "90")

    def __init__(self, name, seconds, turns):
        self.name, self.seconds, self.turns = name, seconds, turns

    def communicate(self):
        self.turns.append((self.name, "end"))


@pytest.fixture
def script(benchmark_script, monkeypatch):
    script = benchmark_script("before_after")

    def ask(worker, line):
        asked = worker.turns.count((worker.name, line))
        worker.turns.append((worker.name, line))
        return worker.seconds * (100 if asked < 2 else 1)

    monkeypatch.setattr(script, "ask", ask)
    return script


def test_ratios_are_now_to_before_and_the_first_rounds_do_not_count(script):
    turns, taken = [], {line: [] for line in script.ASKED}
    script.measure_pair({"before": Worker("before", 2.0, turns), "now": Worker("now", 3.0, turns)}, taken)
    assert all(found == [(2.0, 3.0)] * script.ROUNDS for found in taken.values())
    assert {f"{name} {what}" for name in ("flash", "transformer++") for what in ("update", "token", "far")} == {*taken}
    assert turns[-2:] == [("before", "end"), ("now", "end")], "no worker is left behind"


def test_models_of_two_sizes_are_not_compared(script):
    before, now = Worker("before", 1.0, []), Worker("now", 1.0, [])
    before.parameters = ("100", "180")
    with pytest.raises(SystemExit, match=r"had 100 and 180 parameters before and have 100 and 90 now"):
        script.measure_pair({"before": before, "now": now}, {})


def test_each_of_the_two_is_first_in_every_other_round(script):
    turns, ratios = [], {line: [] for line in script.ASKED}
    script.measure_pair({"before": Worker("before", 1.0, turns), "now": Worker("now", 1.0, turns)}, ratios)
    first = [name for name, line in turns if line == "flash update"][::2]
    assert first == ["now", "before"] * (len(first) // 2)


def test_what_is_stored_are_the_quartiles_of_all_pairs(script, monkeypatch):
    speeds = iter([1.0, 2.0] * script.PAIRS)  # now is twice as slow in each pair
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(script, "start", lambda _: Worker(object(), next(speeds), []))
    found = script.measure("a commit")
    assert found["now_to_before"] == {line: [2.0, 2.0, 2.0] for line in script.ASKED}
    assert found["milliseconds"]["flash update"] == [1000, 2000]
    assert found["milliseconds"]["flash far"] == [1000 / script.TOKENS, 2000 / script.TOKENS]  # of one token


def test_the_table_has_tokens_a_second_before_and_now(script):
    assert script.said_of("flash token", 2.0, 0.5) == ", 2 ms before and 0.5 now, 500 and 2000 a second"
    assert script.said_of("flash update", 2.0, 0.5) == ", 2 ms before and 0.5 now"
    assert script.said_of("flash token") == ""


def test_uncommitted_code_is_not_measured_under_the_name_of_a_commit(script, monkeypatch):
    said = iter(["aaaaaaa", "bbbbbbb", " M flash_tutorial/units.py"])
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: argparse.Namespace(stdout=next(said)))
    monkeypatch.setattr(script, "measure", lambda _: pytest.fail("measured"))
    with pytest.raises(SystemExit, match=r"differ from bbbbbbb.*\n M flash_tutorial/units\.py"):
        script.run("aaaaaaa")


def test_a_worker_times_both_models_and_all_kinds_of_work(benchmark_script):
    script = benchmark_script("before_after")
    worker = script.start(script.ROOT, 64)
    took = {line: script.ask(worker, line) for line in script.ASKED}
    worker.communicate()
    assert worker.parameters == ["1712386", "1775110"]
    assert worker.returncode == 0 and all(0 < seconds < 60 for seconds in took.values())
