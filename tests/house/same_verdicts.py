"""Verdicts of a copy without answers, compared with this checkout's: ``same_verdicts.py CHECKOUT COPY NN NN.N ...``

One process has both: ``flash_course`` is the copy's, and ``whole_course`` the checkout's, which has the answers.
Prints a line for each verdict that differs, and last how many were compared.
"""

import importlib.util
import re
import sys
import warnings

warnings.simplefilter("ignore")
checkout, copy, *names = sys.argv[1:]
sys.path.insert(0, copy)

from flash_course.checks import exercise, expected, interpreter, verdict  # noqa: E402

# answers of a checkout are no lines of a student's
BESIDE_THE_POINT = re.compile(r" \(in your line: .*\)|/\S*/tmp\w+")


def load_whole_course():
    folder = f"{checkout}/flash_course"
    spec = importlib.util.spec_from_file_location(
        "whole_course", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["whole_course"] = module
    spec.loader.exec_module(module)
    sys.modules["whole_course.checks.interpreter"] = interpreter  # it runs the kernels of both
    from whole_course.checks import exercise, verdict

    return exercise, verdict


def answers_of(whole):
    """(key, answer as it is handed in) of the right answer and of all kept wrong ones."""
    if whole.kind in expected.BY_INSTRUCTOR:
        return
    yield "right", whole.right
    for wrong in whole.wrong:
        yield (
            wrong.key,
            wrong.answer if wrong.of is None else {**whole.right, wrong.of: wrong.answer},
        )


def main():
    whole_exercise, whole_verdict = load_whole_course()
    assert expected.is_copy() and not whole_verdict.expected.is_copy()
    compared = 0
    for number in sorted({name[:2] for name in names}):
        for name, whole in whole_exercise.load_set(number).items():
            if not {number, name} & {*names}:
                continue
            own = exercise.load_exercise(name)
            known = {}
            for key, answer in answers_of(whole):
                texts = [
                    str(whole_verdict.judge(whole, answer, kept=True, known=known)),
                    str(verdict.judge(own, answer, kept=True)),
                ]
                here, there = (BESIDE_THE_POINT.sub("", text) for text in texts)
                compared += 1
                if here != there:
                    print(f"{name} {key}\nhere: {here}\nthere: {there}")
    print(f"{compared} compared")


main()
