"""The library's clock, under the name by which lectures know it, and the median that they draw."""

from flash_tutorial.clock import machine as machine
from flash_tutorial.clock import peak_bytes as peak_bytes
from flash_tutorial.clock import rounds_in_turn as rounds_in_turn
from flash_tutorial.clock import summary as summary
from flash_tutorial.clock import synchronize as synchronize
from flash_tutorial.clock import time_in_turn as time_in_turn
from flash_tutorial.clock import time_to_reach as time_to_reach


def milliseconds(functions, device="cpu", rounds=5):
    """The median time of each function, by name. They take turns, so that a busy moment hits all of them."""
    seconds = time_in_turn(functions, rounds, device=device)
    return {name: 1000 * summary(each)["median"] for name, each in seconds.items()}
