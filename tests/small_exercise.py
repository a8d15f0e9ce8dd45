"""A small exercise that the tests of the checks share."""

import numpy as np

from flash_course.checks import exercise as model


def exercise(run, **changed):
    """A small exercise: double a number."""
    facts = dict(
        id="05.1",
        title="double",
        kind="build",
        points=10,
        difficulty=1,
        importance=1,
        minutes=1,
        names=("double",),
        parts={"small": 4, "large": 6},
        cases=lambda rng, numbers: run,
        right=lambda x: 2 * x,
        wrong=(model.Wrong("strided", lambda x: x * x), model.Wrong("front", lambda x: x + 2)),
        hints=("a",) * 3,
    )
    return model.Exercise(**facts | changed)


CASES = [model.call("two", "small", 2.0), model.call("five", "large", np.array([5.0, 1.0]))]
