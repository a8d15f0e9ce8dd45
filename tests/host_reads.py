"""A count of the numbers that Python asks of a device: on a card each waits for all that was started."""

from torch.utils._python_dispatch import TorchDispatchMode

ASKING = {
    "_local_scalar_dense",
    "_unique2",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_dim",
}


class HostReads(TorchDispatchMode):
    """``with HostReads() as reads: ...`` leaves their number in ``reads.count``."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ in ASKING
        return function(*args, **(kwargs or {}))
