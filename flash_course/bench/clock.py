"""The library's clock, under the name by which lectures know it."""

from flash_tutorial.clock import machine as machine
from flash_tutorial.clock import peak_bytes as peak_bytes
from flash_tutorial.clock import rounds_in_turn as rounds_in_turn
from flash_tutorial.clock import summary as summary
from flash_tutorial.clock import synchronize as synchronize
from flash_tutorial.clock import time_in_turn as time_in_turn
from flash_tutorial.clock import time_to_reach as time_to_reach
