"""What a run shows of itself while it trains."""

import math
import sys
import time
from collections import deque
from contextlib import contextmanager


def print_line(text):
    """Print a line. What the console cannot show, as in the name of a folder, is a question mark and ends no run."""
    try:
        print(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding))


@contextmanager
def progress_of(config, first, unit, on):
    """A function that shows the log's last row: in a bar on a terminal, in a line now and then elsewhere."""
    from tqdm import tqdm  # nothing else needs it

    hidden = None if on else True  # None: where there is no terminal
    began, tokens = time.perf_counter(), config.batch * config.length
    ends = deque(maxlen=20)  # of the last updates: the first is slow where torch compiles in it
    if on and config.compile:
        print("compiling, which may take a minute", flush=True)
    with tqdm(
        total=config.steps,
        initial=first,
        unit="step",
        disable=hidden,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left]{postfix}",
    ) as bar:

        def show(rows):
            step = rows[-1]["step"]
            recent = [row["loss"] for row in rows[-20:]]
            loss = sum(recent) / len(recent)
            ends.append(time.perf_counter())
            taken = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else ends[0] - began
            speed = tokens / max(taken, 1e-9)
            bits = f"{loss / math.log(2):.3f} bits/{unit}"
            text = f"loss {loss:.3f}, {bits} (mean of {len(recent)}), {speed:,.0f} tokens/s"
            bar.set_postfix_str(text, refresh=False)
            bar.update()
            now_and_then = step % max(1, config.steps // 20) == 0 or step in (
                first + 1,
                config.steps,
            )
            if on and bar.disable and now_and_then:
                left = (config.steps - step) * tokens / speed
                print(f"step {step}/{config.steps}: {text}, {left:.0f} s left", flush=True)

        yield show
