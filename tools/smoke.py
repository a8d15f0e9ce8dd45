"""What an installed flash-tutorial does where nothing else of the project is. tools/release.py runs it.

Each function is one promise. The first that is broken ends the run with its traceback.
"""

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import metadata
from pathlib import Path


def import_waits_for_no_torch():
    """Kept first: what follows loads torch."""
    import flash_tutorial

    assert "torch" not in sys.modules, "import flash_tutorial loads torch"
    assert flash_tutorial.LanguageModel and "torch" in sys.modules


def both_packages_are_the_installed_ones():
    import flash_course
    import flash_tutorial

    place = Path(sysconfig.get_path("purelib")).resolve()
    for package in (flash_tutorial, flash_course):
        assert Path(package.__file__).resolve().is_relative_to(place), package.__file__
    assert metadata("flash-tutorial")["Version"] == flash_tutorial.__version__


def a_tiny_model_reads_learns_and_writes():
    import torch

    from flash_tutorial import LanguageModel, ModelConfig
    from flash_tutorial.generate import generate

    model = LanguageModel(ModelConfig("flash", dim=16, depth=2, qk_dim=8, chunk_size=8))
    ids = torch.randint(256, (2, 21))
    assert model(ids).shape == (2, 21, 256)
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    assert generate(model, ids, 5).shape == (2, 5)


def packaged_models_load_by_name():
    from flash_tutorial import LanguageModel, load_corpus

    for name in ("austen-flash", "austen-transformer++", "austen-flash-student"):
        text = LanguageModel.from_pretrained(name).write("It is a truth ", 20)
        assert len(text) > len("It is a truth "), text
    assert len(load_corpus("austen").validation.tokens) > 100_000


def the_course_is_there():
    from flash_course import lab
    from flash_course.bench.stored import load_stored
    from flash_course.checks.exercise import load_set, there
    from flash_course.new_project import create_project

    assert there() and all(load_set(number) for number in there())
    assert load_stored("recall")
    lab.cost().save("cost.html")
    assert Path("cost.html").stat().st_size > 1000
    assert "grid.py" in os.listdir(create_project("mine"))


def the_command_answers():
    command = Path(sysconfig.get_path("scripts"), "flash-tutorial")
    assert "train" in said_by(command, "--help")
    assert re.search(r"torch +\d", said_by(command, "doctor"))
    assert said_by(command, "generate", "austen-flash", "--prompt", "Anne ").strip()


def said_by(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


PROMISES = (
    import_waits_for_no_torch,
    both_packages_are_the_installed_ones,
    a_tiny_model_reads_learns_and_writes,
    packaged_models_load_by_name,
    the_course_is_there,
    the_command_answers,
)

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
