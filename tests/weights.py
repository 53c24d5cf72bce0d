"""Weights that anybody can make again from the names and shapes of a state_dict."""

import math
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


def deterministic_state_dict(shapes):
    """Weights drawn from a generator seeded with their own key, of the scale of trained ones.

    Args:
        shapes: a dict from key to shape.
    Returns:
        A dict from key to float32 tensor.
    """
    with ThreadPoolExecutor() as pool:  # numpy draws without holding Python's lock
        drawn = pool.map(weight, shapes, map(tuple, shapes.values()))
        return {key: torch.from_numpy(n) for key, n in zip(shapes, drawn, strict=True)}


def weight(key, shape):
    """The weight called `key`, a float32 array of the given shape."""
    n = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if len(shape) >= 2:
        n /= np.float32(math.sqrt(math.prod(shape[1:])))
        n *= np.float32(0.6 if shape[2:] == (3, 3) else 1)
    else:
        n *= np.float32(0.1)
        n += np.float32(key.endswith("weight"))
    return n
