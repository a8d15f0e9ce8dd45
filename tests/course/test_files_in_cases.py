"""What an answer does to files is seen, under whatever name it imported the functions."""

import json
import pickle
from os import remove, rename, replace
from pickle import dumps, loads

import numpy as np
import pytest

from flash_course.checks.exercise import Said, lent, load_exercise
from flash_course.checks.files import Watch, is_pickle, no_pickle, pickles_refused, second_name
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge


def test_moves_are_seen_with_what_came_and_from_where(tmp_path):
    path = tmp_path / "run"
    new = tmp_path / "run.new"
    far = tmp_path / "far"
    path.write_text("old")
    far.mkdir()
    second_name(path, tmp_path / "kept")
    with Watch(path).on() as watch:
        for source in (new, far / "run"):
            source.write_text("new")
            replace(source, path)
    assert [move["came"].read_text() for move in watch.moves] == ["new", "new"]
    assert [move["beside"] for move in watch.moves] == [True, False]
    assert all(move["old there"] for move in watch.moves) and not watch.removed
    assert (
        tmp_path / "kept"
    ).read_text() == "old"  # it took the old one's place, and did not write into it


@pytest.mark.parametrize("act", [remove, lambda path: rename(path, path.with_name("away"))])
def test_a_file_that_is_removed_first_is_seen(act, tmp_path):
    path = tmp_path / "run"
    path.write_text("old")
    with Watch(path).on() as watch:
        act(path)
        (tmp_path / "new").write_text("new")
        replace(tmp_path / "new", path)
    assert watch.removed and not watch.moves[0]["old there"]


def test_a_pickle_is_refused_and_seen_under_another_name(tmp_path):
    with pytest.raises(KeyError), no_pickle(KeyError("pickle")):
        pickle.dumps([])
    with Watch(tmp_path / "run").on() as watch:
        loads(dumps(np.zeros(2)))
    assert watch.unpickled
    with Watch(tmp_path / "run").on() as watch:
        np.savez(tmp_path / "run.npz", a=np.zeros(2))
        assert len(np.load(tmp_path / "run.npz")["a"]) == 2
    assert not watch.unpickled


def test_a_pickle_of_plain_values_is_refused_by_its_bytes(tmp_path):
    path = tmp_path / "text.state"
    with pytest.raises(Said), pickles_refused("09.5", path):
        path.write_bytes(dumps({"position": 3}))
        loads(path.read_bytes())


def test_arrays_and_text_are_no_pickle(tmp_path):
    path = tmp_path / "run.npz"
    assert not is_pickle(path)
    np.savez(path, a=np.arange(3))
    assert not is_pickle(path)
    path.write_text(json.dumps({"position": 3}), encoding="utf-8")
    assert not is_pickle(path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(dumps([1, {"a": 2.5}], protocol))
        assert is_pickle(path)


def test_a_pickle_by_imported_names_loses_the_points_of_no_code():
    def save(path, run):
        part = path.with_name("part")
        part.write_bytes(dumps(run))
        replace(part, path)

    verdict = judge(
        load_exercise("07.4"), {"save": save, "load": lambda path: loads(path.read_bytes())}
    )
    assert verdict.by_part == {"goes on": 9, "whole file": 4, "no code": 0}
    assert "You use a pickle" in str(verdict)


def test_a_run_that_lost_its_last_digits_is_told_so():
    exercise = load_exercise("07.4")
    save = exercise.right["save"]
    load = lent(exercise.right["load"])

    def load_rounded(path):
        run = load(path)
        run.weights = {
            name: np.array([float(f"{x:.15g}") for x in p.flat]).reshape(p.shape)
            for name, p in run.weights.items()
        }
        return run

    verdict = judge(exercise, {"save": save, "load": load_rounded}, kept=True)
    assert verdict.by_part["goes on"] == 0 and say("07.4", "last bit") in str(verdict)


def test_an_array_that_lost_its_axes_is_named():
    exercise = load_exercise("09.5")
    save = exercise.right["save_state"]
    load = lent(exercise.right["load_state"])

    def load_lists(path):
        state = load(path)
        state["layers"] = [
            {k: v if np.size(v) else np.array([]) for k, v in layer.items()}
            for layer in state["layers"]
        ]
        return state

    verdict = judge(exercise, {"save_state": save, "load_state": load_lists}, kept=True)
    assert verdict.status == "wrong"
    assert any("`waiting` has 3 axes, and came back with 1" in line for line in verdict.lines)
