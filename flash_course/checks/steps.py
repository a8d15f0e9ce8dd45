"""How many lines of Python a function runs. A loop shows itself: the number grows with the sizes."""

import sys


def lines_run(function, *args):
    """Lines, calls and returns, those of functions that it calls included; what runs in C is not seen.

    A list that is made in one line counts once for each of its entries.
    """
    count = 0

    def look(frame, event, argument):
        nonlocal count
        count += 1
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return count
