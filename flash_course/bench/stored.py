"""Results that come with the package, as lectures read them: what was measured or trained once, in
``results``.
"""

import json
from importlib import resources
from pathlib import Path

import numpy as np

from .clock import time_to_reach

RESULTS = Path(__file__).resolve().parent / "results"
NEAR = 0.01  # of a loss: how far a repeated run may be from the stored one
# What lectures call the arms of an experiment; "model" otherwise.
ARMS_ARE = {"ablations": "variant", "curves": "cause", "quality": "architecture"}


def load_stored(name: str) -> dict:
    """The stored result of that name, such as ``"bench_cpu"``; ValueError with the names that are
    there.

    An experiment's rows become flat runs: ``{"model": ..., "learning_rate": ..., "seed": ...,
    "steps": ...}`` with the arm's settings and all that was measured.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in RESULTS.glob("*.json")))
        raise ValueError(f"no result {name!r} is stored: there are {names}")
    stored = json.loads(path.read_text(encoding="utf-8"))
    if "experiment" not in stored:  # of a script that times, or counts
        return stored
    runs = [flat(row, ARMS_ARE.get(name, "model")) for row in stored["runs"]]
    return stored["about"] | SHAPES.get(name, as_list)(runs)


def flat(row: dict, arm: str) -> dict:
    """A row with its settings and measures at the top; one that times all arms in turn is of none
    of them.
    """
    key = {
        arm: row["arm"],
        "learning_rate": row["rate"],
        "seed": row["seed"],
        "steps": row["steps"],
    }
    key = {name: value for name, value in key.items() if value is not None}
    if row["arm"] is None:
        key = {}
    return key | row["settings"] | row["measures"] | {"machine": row["machine"]}


def as_list(runs):
    return {"runs": runs}


def with_best_rates(runs):
    """Of the ablations: beside the runs the rate that was best with seed 0, by variant."""
    first = [run for run in runs if run["seed"] == 0]
    best = {}
    for run in first:
        if (
            run["variant"] not in best
            or run["bits_per_byte"] < best[run["variant"]]["bits_per_byte"]
        ):
            best[run["variant"]] = run
    return {
        "runs": runs,
        "best_rates": {variant: run["learning_rate"] for variant, run in best.items()},
    }


def by_name(runs):
    """Of recall: {name: run}, the other seeds under names of their own."""
    named = {}
    for run in runs:
        name = f"{run['model']} seed {run['seed']}" if run["seed"] else run["model"]
        named[name] = run
    return {"runs": named}


def by_mixer(runs):
    """Of the scoreboard: the first seed's run of each mixer, and the scores of all seeds."""
    first = {run["model"]: run for run in runs if run["seed"] == 0}
    seeds = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        seeds.setdefault(run["model"], []).append(run["bits_per_byte"])
    return {"runs": first, "seeds": seeds}


SHAPES = {
    "ablations": with_best_rates,
    "ngrams": lambda runs: {"rows": runs},
    "recall": by_name,
    "scoreboard": by_mixer,
}


def timed_runs(T: int, budget: int = 600) -> dict:
    """{model: its runs of ``budget`` seconds, 600 or 300, at length T, by seed} of
    experiments/time_to_quality.py.

    All of a model are at one rate: of those with three seeds, the one at which seed 0 ended best.
    """
    by_model = {}
    for run in load_stored("time_to_quality")["runs"]:
        if (run.get("T"), run.get("budget")) == (T, budget):
            by_model.setdefault(run["model"], {}).setdefault(run["learning_rate"], []).append(run)
    for model, by_rate in by_model.items():
        whole = [
            sorted(runs, key=lambda run: run["seed"]) for runs in by_rate.values() if len(runs) == 3
        ]
        by_model[model] = min(whole, key=lambda runs: runs[0]["bits_per_byte"], default=[])
    return by_model


def times_sooner(T: int, budget: int = 600, model: str = "flash") -> list:
    """How many times sooner than at the end a model is as good as Transformer++ at the end, by
    seed, of timed_runs.

    None where it never is.
    """
    runs = timed_runs(T, budget)
    pairs = zip(runs[model], runs["transformer++"], strict=True)
    times = (time_to_reach(last["bits_per_byte"], *zip(*run["on_the_way"])) for run, last in pairs)
    return [budget / seconds if seconds else None for seconds in times]


def update_ratios(T: int) -> list:
    """Time of an update of Transformer++ over FLASH's: on the machine that timed_runs counts by,
    and on another.
    """
    timings = [run["seconds"] for run in load_stored("time_to_quality")["runs"] if "what" in run]
    return [seconds[f"transformer++ {T}"] / seconds[f"flash {T}"] for seconds in timings]


def best_by_start() -> dict:
    """{model: {start: bits per byte at its best rate}} after the 600 updates that chose the rates
    of experiments/starts.py.
    """
    found = {}
    for run in load_stored("starts")["runs"]:
        if (run.get("seed"), run["steps"]) == (100, 600):
            by_start = found.setdefault(run["model"], {})
            bits = run["bits_on_choosing_text"]
            by_start[run["start"]] = min(bits, by_start.get(run["start"], bits))
    return found


def runs_by_start(updates=1700) -> dict:
    """{model: {start: bits per byte by seed}} after 600 or 1,700 updates of experiments/starts.py."""
    found = {}
    for run in load_stored("starts")["runs"]:
        if run["steps"] == updates and run["seed"] != 100:  # which chose the rates
            by_start = found.setdefault(run["model"], {})
            by_start.setdefault(run["start"], []).append(run["bits_per_byte"])
    return found


def runs_of_look_up() -> dict:
    """{model: its runs} of experiments/look_up.py; the last is "Transformer++ of the race", which had more updates."""
    found = {}
    for run in load_stored("look_up")["runs"]:
        found.setdefault(run["model"], []).append(run)
    whole = [run for run in load_stored("race_short")["runs"] if "saved_over_256" in run]
    own = [run for run in whole if (run["model"], run["learning_rate"]) == ("Transformer++", 0.02)]
    return found | {"Transformer++ of the race": own}


def shipped_cards() -> dict:
    """{name: the card} of the models that come with the package: scores on whole novels, and sizes."""
    cards = {}
    for name in ("austen-flash", "austen-transformer++"):
        path = resources.files("flash_tutorial") / "models" / name / "card.json"
        cards[name] = json.loads(path.read_text(encoding="utf-8"))
    return cards


def longer_windows(stage: str) -> dict:
    """{model: {T: (bits per byte by seed, and at sixteen places of the window, a row for each
    seed)}}.

    Of experiments/longer.py; stages are ``"trained_at_1024"`` and, trained a little more,
    ``"tuned_at_4096"``.
    """
    found = {}
    for run in load_stored("longer")["runs"]:
        for T, both in run[stage].items():
            found.setdefault(run["model"], {}).setdefault(int(T), []).append(both)
    return {
        model: {T: tuple(map(np.array, zip(*of))) for T, of in by_T.items()}
        for model, by_T in found.items()
    }


def recalls(pairs: int) -> dict:
    """{model: {entries of its state: {learning rate: recall of so many pairs, by seed}}} of
    experiments/recall_state.py.

    The rate that was chosen for a model comes first among those with three seeds; others were tried
    with one seed, or later.
    """
    found = {}
    for run in load_stored("recall_state")["runs"]:
        rates = found.setdefault(run["model"], {}).setdefault(run["state_numbers"], {})
        rates.setdefault(run["learning_rate"], []).append(run["recall"][str(pairs)])
    return found


def recalls_at_best_rate(pairs: int) -> dict:
    """{model: {entries of its state: recall of so many pairs, by seed}}, each model at one rate for
    all sizes.

    That is the rate with three seeds at every size; of two such rates the one that recalls more of
    16 pairs.
    """
    found = {}
    for model, by_entries in recalls(16).items():
        whole = [
            {rate for rate, seeds in rates.items() if len(seeds) == 3}
            for rates in by_entries.values()
        ]
        shares = {
            rate: np.mean([rates[rate] for rates in by_entries.values()])
            for rate in set.intersection(*whole)
        }
        best = max(shares, key=shares.get)
        found[model] = {n: rates[best] for n, rates in recalls(pairs)[model].items()}
    return found


def is_stored_run(losses, stored_losses, updates: int) -> bool:
    """Whether the first ``updates`` losses are those of a stored run, each to 1%."""
    live = np.array(losses[:updates])
    stored = np.array(stored_losses[:updates])
    if len(live) < updates or len(stored) < updates:
        raise ValueError(
            f"{len(live)} live and {len(stored)} stored losses: {updates} of each are needed"
        )
    return bool(np.allclose(live, stored, rtol=NEAR, atol=0))


def compare_with_stored(lecture: str, runs: dict, updates: int = 30):
    """Say in one line that a lecture's runs begin as the stored ones do, and of one that does not
    how far it is off.

    ``runs``: {mixer: what ``training.train`` returned}. The stored runs have the same seed and
    settings: ``python experiments/scoreboard.py run``.
    """
    stored = load_stored("scoreboard")["runs"]
    pairs = {}
    for name, run in runs.items():
        if f"{lecture} {name}" in stored:
            losses = [row["loss"] for row in run.log]
            pairs[name] = losses, stored[f"{lecture} {name}"]["losses"]
        else:
            print(f"{name}: no run of this name is stored")
    say_how_runs_begin(pairs, updates)


def say_how_runs_begin(pairs: dict, updates: int):
    """Print whether the first losses of runs are those of stored ones: {name: (losses, stored losses)}."""
    same = 0
    for name, (losses, stored_losses) in pairs.items():
        if is_stored_run(losses, stored_losses, updates):
            same += 1
        else:
            off = np.abs(np.array(losses[:updates]) / np.array(stored_losses[:updates]) - 1).max()
            print(
                f"{name}: the first {updates} losses differ from those of the stored run by up to {off:.1%}"
            )
    if same:
        said = "1 run begins as its stored run does"
        if same > 1:
            said = f"{same} runs begin as their stored runs do"
        print(said)
