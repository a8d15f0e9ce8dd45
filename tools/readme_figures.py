"""Draw the README's picture again from the stored benchmark: `python tools/readme_figures.py`."""

import json
from pathlib import Path

from flash_course import drawing
from flash_tutorial.files import whole_file

ROOT = Path(__file__).parent.parent


def main():
    result = json.loads(
        (ROOT / "flash_course" / "bench" / "results" / "bench_cpu.json").read_text()
    )
    figure, alt = drawing.step_time(result)
    (ROOT / "docs" / "figures").mkdir(parents=True, exist_ok=True)
    with whole_file(ROOT / "docs" / "figures" / "step_time.png") as path:
        figure.savefig(path, format="png", metadata={"Software": None})
    print(alt)


if __name__ == "__main__":
    main()
