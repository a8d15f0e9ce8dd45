"""Which of its own operations PyTorch calls while a function runs."""

import os

from torch.profiler import profile


def operations_called(function, *inputs):
    """{operation: calls} of one call, the first one, which may compile, left out."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own
    function(*inputs)
    with profile() as profiler:
        function(*inputs)
    return {event.key.removeprefix("aten::"): event.count for event in profiler.key_averages()}
