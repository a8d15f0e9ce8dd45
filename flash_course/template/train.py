"""One run: `python train.py mine --seed 0 --rate 5e-3`. Started again after a stop, it goes on where it was.

A result belongs to what made it: the code of the layer, the model, the training, the text. A key of all four ends the
name of a run's folder, so that an edited layer or setting begins new runs, and an old result is never taken for theirs.
"""

import argparse
import ast
import hashlib
import inspect
import io
import json
import sys
import tokenize
from dataclasses import replace
from functools import cache
from pathlib import Path

from settings import MODELS, RATES, SEEDS, TRAIN, TUNING_STEPS

from flash_tutorial import load_corpus
from flash_tutorial.config import TrainConfig
from flash_tutorial.files import read_json, write_json
from flash_tutorial.training import Diverged, train
from flash_tutorial.training.run_folder import read_result

HERE = Path(__file__).parent
RUNS = HERE / "runs"


# ---------------------------------------------------------------- what a run is
def settings_of(rate, seed, steps=None):
    """TRAIN with a run's own rate, seed and number of updates; a shorter run warms up for the same share of it."""
    steps = TRAIN.steps if steps is None else steps
    return replace(
        TRAIN, learning_rate=rate, seed=seed, steps=steps, warmup=TRAIN.warmup * max(steps, 0) // TRAIN.steps
    )


def code_of(name, seen=None):
    """The code of a module of this project and of those that it imports: module -> code without its comments."""
    seen, parts = {} if seen is None else seen, name.split(".")
    for depth in range(1, len(parts) + 1):  # of a.b the package a runs as well
        module, path = ".".join(parts[:depth]), HERE.joinpath(*parts[:depth])
        is_package = (path / "__init__.py").exists() or not path.with_suffix(".py").exists()
        file = path / "__init__.py" if is_package else path.with_suffix(".py")
        if module not in seen and file.exists():
            source = file.read_text(encoding="utf-8")
            seen[module] = without_comments(source)
            for each in imported_by(source, parts[: depth if is_package else depth - 1]):
                code_of(each, seen)
    return seen


def imported_by(source, package):
    """The modules that a source in a package (the parts of its name) may import; names that are none do no harm."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def without_comments(source):
    """The lines of a source without comments and empty lines: the same in each version of Python, as no dump of its
    syntax tree is, so that a run made with one is found with another."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def code_of_layer(config):
    """The code that a model's layer is made of; nothing for the layers of the package."""
    if isinstance(config.architecture, str):
        return {}
    module = config.architecture.__module__
    return code_of(module) or {module: inspect.getsource(sys.modules[module])}


# Read once, when it is imported: who edits a file while runs are going has the old code in them, and its key.
CODE = {name: code_of_layer(config) for name, config in MODELS.items()}


@cache
def corpus():
    """The text, and its sha256."""
    whole = load_corpus(TRAIN.corpus)
    splits = (whole.train, whole.validation)
    return whole, hashlib.sha256(b"".join(s.tokens.tobytes() + s.offsets.tobytes() for s in splits)).hexdigest()


def folder_of(name, rate, seed, steps=None):
    """The folder of a run; its name says which run it is, and ends with the key."""
    settings = settings_of(rate, seed, steps)
    made_of = [MODELS[name].to_dict(), settings.to_dict(), CODE[name], corpus()[1]]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:8]
    return RUNS / f"{name}_rate{rate:g}_steps{settings.steps}_seed{seed}_{key}"


# ---------------------------------------------------------------- its result
def find(name, rate, seed, steps=None):
    """The result of a run as plain values, or None if it has not ended. Nothing is trained."""
    folder = folder_of(name, rate, seed, steps)
    if (folder / "diverged.json").exists():
        return read_json(folder / "diverged.json")
    result = read_result(folder)
    asked = json.loads(json.dumps([settings_of(rate, seed, steps).to_dict(), MODELS[name].to_dict()]))
    if result and [result["train_config"], result["model_config"]] != asked:
        raise ValueError(f"{folder / 'result.json'} is of another run: move that folder out of {RUNS.name}/")
    return result


def run(name, rate, seed, steps=None):
    """The result of a run; what is finished is read, and what was stopped goes on. A run whose loss is no longer a
    number has ended too: its result says at which update, and it is not tried again."""
    folder = folder_of(name, rate, seed, steps)
    if find(name, rate, seed, steps) is None:
        print(f"{folder.name}:", flush=True)
        settings = settings_of(rate, seed, steps)
        try:
            train(MODELS[name], settings, corpus=corpus()[0], out=folder, resume=folder.exists())
        except Diverged as error:
            print(error, flush=True)
            write_json(folder / "diverged.json", {"diverged_at_step": error.step, "train_config": settings.to_dict()})
    return find(name, rate, seed, steps)


# ---------------------------------------------------------------- errors in one line
def check_settings():
    """Refuse settings that would have no effect, or that lack a part."""
    for name in ("learning_rate", "seed"):
        if getattr(TRAIN, name) != getattr(TrainConfig(), name):
            raise ValueError(
                f"TRAIN has {name}={getattr(TRAIN, name)!r} in settings.py: RATES and SEEDS say it, leave it out"
            )
    if TRAIN.eval_bytes == 0:
        raise ValueError("TRAIN has eval_bytes=0 in settings.py, so no run would have a score: give some bytes")
    for name, config in MODELS.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"MODELS in settings.py has the name {name!r}: it names a folder, so leave out '/'")
        layer = config.architecture
        if not isinstance(layer, str) and not inspect.isclass(layer) and not inspect.isfunction(layer):
            found = (
                f"MODELS in settings.py has {layer!r:.60} for {name!r}, whose code and options no run would be known by"
            )
            raise ValueError(f"{found}: give the class, and its options in unit_options")
    if set(RATES) != set(MODELS) or not all(RATES.values()):
        raise ValueError(f"RATES in settings.py has {sorted(RATES)}: expected rates for each of {sorted(MODELS)}")
    if not SEEDS or len(set(SEEDS)) < len(SEEDS):
        raise ValueError(f"SEEDS in settings.py is {SEEDS}: expected one seed or more, all different")
    for name in MODELS:
        for rate in RATES[name]:
            settings_of(rate, 0, TUNING_STEPS)
        for seed in SEEDS:
            settings_of(RATES[name][0], seed)


def in_one_line(main):
    """Run a program; what it refuses, and Ctrl-C, end it in one line."""
    try:
        check_settings()
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def main():
    """The command of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--rate", type=float, default=5e-3, help="peak of the learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=TRAIN.steps, help="updates")
    args = parser.parse_args()
    try:
        settings_of(args.rate, args.seed, args.steps)
    except ValueError as error:
        flags = {"learning_rate=": "--rate ", "seed=": "--seed ", "steps=": "--steps "}
        name = next((name for name in flags if str(error).startswith(name)), "")
        raise ValueError(flags.get(name, "") + str(error).removeprefix(name)) from None
    result = run(args.name, args.rate, args.seed, args.steps)
    print(f"its result is in {folder_of(args.name, args.rate, args.seed, args.steps).relative_to(HERE)}")
    return result


if __name__ == "__main__":
    in_one_line(main)
