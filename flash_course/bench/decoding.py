"""The stored times of one step at a position, of ``flash-tutorial bench``: who grows, and who is the faster where."""

from .stored import load_stored


def steps_by_position():
    """{(model, position): a row of the benchmark}."""
    return {(row["model"], row["position"]): row for row in load_stored("bench_cpu")["decoding"]}


def growth(first, last):
    """{model: (times as many multiply-adds, times as long)} of a step at position ``last`` beside one at ``first``."""
    rows = steps_by_position()
    times = load_stored("bench_cpu")["conclusions"]["decoding"]  # medians of the rounds' ratios
    found = {}
    for model in times:
        counted = rows[model, last]["multiply_adds"] / rows[model, first]["multiply_adds"]
        found[model] = counted, times[model]["ratio"]
    return found


def faster_from(model, rival):
    """The first position at which a step of ``model`` takes less time than one of its rival."""
    rows = steps_by_position()
    for position in sorted({position for _, position in rows}):
        a, b = (rows[name, position]["seconds"]["median"] for name in (model, rival))
        if a < b:
            return position
    return None
