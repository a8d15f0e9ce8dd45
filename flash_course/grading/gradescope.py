"""Started by Gradescope's script: ``python -m flash_course.grading.gradescope NN SUBMISSION POOL RESULTS SEED``."""

import sys
import tempfile
import time
from pathlib import Path

from .export import gradescope_form, pool_of, write_json
from .grade import grade


def main(number, submission, pool, results, seed):
    begun = time.monotonic()
    Path(results).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as out:
        try:
            found = grade([submission], out, number=number, seed=int(seed), pool=pool_of(pool), workers=1, quiet=True)
            best = max(found, key=lambda result: result["points"])
            form = gradescope_form(best, time.monotonic() - begun)
        except ValueError as error:
            form = {"score": 0, "output": str(error), "visibility": "visible", "tests": []}
    write_json(Path(results) / "results.json", form)


if __name__ == "__main__":
    main(*sys.argv[1:])
