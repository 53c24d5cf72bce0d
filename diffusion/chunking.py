"""Calls of a network in parts that fit into memory."""

import math

import torch

from diffusion.errors import is_out_of_memory


def in_chunks(net, chunk=None):
    """A function that calls net on all rows of its arguments, at most `chunk` of them at once.

    Without a chunk all rows go in one call; where memory runs out, in two calls, then in four, and
    so on. The number of rows that fitted is kept for later calls.

    Args:
        net: callable (tensors [N, ...]) -> tensor [N, ...], row by row.
        chunk: the largest number of rows in a call; None: as many as memory allows.
    """
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
