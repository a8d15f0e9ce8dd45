"""The benchmark against length as it is printed: a line for each row, and what follows from them."""

from .ratios import ratio_in_turn

NAMES = {
    "flash": "FLASH",
    "flash_quad": "FLASH-Quad",
    "transformer++": "Transformer++",
    "flash_pytorch": "FLASH-pytorch",
}
TRAINING_HEAD = (
    f"{'model':<14}{'T':>7}{'B':>5}  {'seconds: median, low to high':<34}{'/floor':>7}{'tokens/s':>10}{'peak MB':>9}"
    f"{'GMAC':>9}"
)
UNIT_HEAD = (
    f"{'B':>3}  {'seconds: median, low to high':<34}{'floor: median, low to high':<34}{'/floor':>7}"
)
DECODING_HEAD = (
    f"{'model':<14}{'position':>9}  {'ms: median, low to high':<34}{'/floor':>7}{'state numbers':>15}"
    f"{'MMAC':>9}"
)


def spread(s, unit=1.0):
    """ "1.234, 1.200 to 1.300" in thousandths or other units."""
    return "{:.4g}, {:.4g} to {:.4g}".format(*(s[k] * unit for k in ("median", "low", "high")))


def _or_dash(value, form):
    return "-" if value is None else format(value, form)


def training_line(row):
    """A row of the table of training steps."""
    start = f"{NAMES[row['model']]:<14}{row['T']:>7}{row['batch']:>5}  "
    if row["reason"]:
        return f"{start}{row['reason']}"
    peak = None if row["peak_bytes"] is None else row["peak_bytes"] / 1e6
    return (
        f"{start}{spread(row['seconds']):<34}{_or_dash(ratio_in_turn(row['seconds'], row['floor']), '.2f'):>7}"
        f"{row['tokens_per_second']:>10.0f}{_or_dash(peak, '.0f'):>9}{row['multiply_adds'] / 1e9:>9.1f}"
    )


def unit_line(row):
    """A row of the table of the unit and its floor."""
    return f"{row['batch']:>3}  {spread(row['seconds']):<34}{spread(row['floor']):<34}{row['over_floor']:>7.2f}"


def decoding_line(row):
    """A row of the table of decoding."""
    over = ratio_in_turn(row["seconds"], row["floor"])
    return (
        f"{NAMES[row['model']]:<14}{row['position']:>9}  {spread(row['seconds'], 1e3):<34}"
        f"{over:>7.2f}{row['state_numbers']:>15,}{row['multiply_adds'] / 1e6:>9.2f}"
    )


def overtaking(speedups, crossing):
    """From where on FLASH is faster than Transformer++, in words."""
    known = [row["measured"] for row in speedups if row["measured"]]
    if crossing is not None:
        return f"FLASH is faster than Transformer++ from about T={crossing} on"
    if not known:
        return "No length has a time of both FLASH and Transformer++"
    if min(known) >= 1:
        return "FLASH is faster than Transformer++ at every length measured"
    if max(known) < 1:
        return "FLASH is slower than Transformer++ at every length measured"
    return "FLASH is faster than Transformer++ at some of the lengths measured, and no longer at the last"


def conclusion_lines(end):
    """What follows, in words and one more table."""
    columns = f"{'T':>7}{'measured':>10}{'counted':>9}{'fraction':>10}{'against public':>16}"
    lines = [f"\nFLASH against Transformer++\n{columns}"]
    for s in end["speedups"]:
        lines.append(
            f"{s['T']:>7}{_or_dash(s['measured'], '.2f'):>10}{s['counted']:>9.2f}{_or_dash(s['fraction'], '.2f'):>10}"
            f"{_or_dash(s['flash_over_public'], '.2f'):>16}"
        )
    cross, same = end["crossover"], end["constant_tokens"]
    lines.append(
        f"{overtaking(end['speedups'], cross['measured'])}, by the count from T={cross['counted']} on."
    )
    lines.append(
        f"The same tokens at T={same['long']} cost {_or_dash(same['ratio'], '.2f')} times those at T={same['short']}."
    )
    for name, d in end["decoding"].items():
        lines.append(
            f"{NAMES[name]}: a token at position {d['long']} costs {d['ratio']:.2f} times one at {d['short']}."
        )
    return lines
