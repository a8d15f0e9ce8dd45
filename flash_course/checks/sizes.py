"""Sizes of cases, drawn by the seed: an answer that knows those of `check` meets others in `grade`."""


def grown(rng, *least, more=4):
    """Each size is the least one, or up to ``more`` above it; a 1 stays a 1. Different ones stay different."""
    while True:
        sizes = [n + int(rng.integers(more + 1)) * (n > 1) for n in least]
        if len({*sizes}) == len({*least}):
            return sizes


def chunked(rng, T, C, more=4):
    """(T, C) of the same kind: as many full chunks, a tail if there is one, and fewer tokens than C where T is less."""
    (size,) = grown(rng, C, more=more)
    full, tail = divmod(T, C)
    if T == 1 or size == 1:
        return grown(rng, T, more=more)[0], size
    least = 1 if full else 2
    return full * size + int(rng.integers(least, size)) * (tail > 0), size
