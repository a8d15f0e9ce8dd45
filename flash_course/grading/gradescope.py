"""Started by Gradescope's script, ``python -m flash_course.grading.gradescope``.

It gets NN SUBMISSION POOL RESULTS SEED, and ONLY where not all of the set counts.
"""

import sys
import tempfile
import time
from pathlib import Path

from flash_tutorial.shown import clean

from .due import due, read_due
from .export import AS_TEXT, gradescope_form, pool_of, write_json
from .grade import grade


def main(number, submission, pool, results, seed, only=None):
    begun = time.monotonic()
    Path(results).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as out:
        try:
            found = grade(
                [submission],
                out,
                number=number,
                seed=int(seed),
                pool=pool_of(pool),
                workers=1,
                quiet=True,
            )
            best = max(due(found, read_due(only)), key=lambda result: result["points"])
            form = gradescope_form(best, time.monotonic() - begun)
        except ValueError as error:
            form = {
                "score": 0,
                "output": clean(str(error)),
                **AS_TEXT,
                "visibility": "visible",
                "tests": [],
            }
    write_json(Path(results) / "results.json", form)


if __name__ == "__main__":
    main(*sys.argv[1:])
