"""Small whole numbers for the cases of builds in torch."""

import torch


def integers(*shape, low=-2, high=3, seed=0):
    """Small whole numbers, the same each time, as float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator).double()
