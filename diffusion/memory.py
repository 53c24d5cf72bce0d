"""Running out of memory: which errors say so, and calls in parts that fit."""

import math


def is_out_of_memory(error):
    """Whether an exception says that memory has run out, on whatever device."""
    # On the CPU torch raises a plain RuntimeError, MPS and parts of CUDA as well.
    words = ("out of memory", "allocate memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))
    )


def in_chunks(net, chunk=None):
    """A function that calls net on all rows of its arguments, at most `chunk` of them at once.

    Without a chunk all rows go in one call; where memory runs out, in two calls, in four, ...; what
    fitted is remembered.

    Args:
        net: callable (tensors [N, ...]) -> tensor [N, ...], row by row.
        chunk: the largest number of rows in a call; None: as many as memory allows.
    """
    import torch

    fits = chunk

    def call(*arguments):
        nonlocal fits
        size = min(fits or len(arguments[0]), len(arguments[0]))
        while True:
            try:
                parts = [a.split(size) for a in arguments]
                return torch.cat([net(*part) for part in zip(*parts, strict=True)])
            except (RuntimeError, MemoryError) as error:
                if chunk is not None or size == 1 or not is_out_of_memory(error):
                    raise
            fits = size = math.ceil(size / 2)

    return call
