"""Draw the README's pictures again, the mechanism and the stored benchmark: `python tools/readme_figures.py`."""

import json
from pathlib import Path

from flash_course import drawing
from flash_course.lab import moving
from flash_tutorial.files import whole_file, write_text

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"


def step_time(result):
    """Time of a training step for each token against T, FLASH and Transformer++, with their crossover."""
    tokens = result["settings"]["tokens"]
    curves = drawing.curves_of_models(
        result["training"],
        "T",
        lambda row: row["seconds"] and 1e6 * row["seconds"]["median"] / tokens,
    )
    cross = result["conclusions"]["crossover"]["measured"]
    last = result["conclusions"]["speedups"][-1]
    faster = f"{last['measured']:.1f} times as fast at T = {last['T']:,}"
    title = f"FLASH costs the same at any length: {faster}"
    figure, axes = drawing.new_axes(
        7.4, 3.9, "T, tokens in a sequence", "microseconds a token", title
    )
    drawing.lines(axes, {name: curves[name] for name in ("FLASH", "Transformer++")})
    drawing.powers_of_two(axes, curves["FLASH"][0])
    drawing.logarithmic(axes)
    drawing.name_lines(axes)
    axes.axvline(cross, color=drawing.BLACK, linewidth=1, linestyle=":")
    axes.text(cross, axes.get_ylim()[1], f" even at T = {cross:,}", va="top")
    alt = (
        "Line plot, both axes logarithmic: microseconds for each token of a training step against T. Transformer++ "
        f"climbs, FLASH stays flat; they meet at T = {cross}, and FLASH is {faster}."
    )
    return figure, alt


def main():
    result = json.loads(
        (ROOT / "flash_course" / "bench" / "results" / "bench_cpu.json").read_text()
    )
    figure, alt = step_time(result)
    FIGURES.mkdir(parents=True, exist_ok=True)
    with whole_file(FIGURES / "step_time.png") as path:
        figure.savefig(path, format="png", metadata={"Software": None})
    write_text(FIGURES / "mechanism.svg", moving.picture())
    print(alt, moving.alt(), sep="\n\n")


if __name__ == "__main__":
    main()
