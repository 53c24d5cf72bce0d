"""Which kernel attention takes: the choice that torch leaves to its callers."""

import contextlib

from torch.nn.attention import SDPBackend, sdpa_kernel


def quick_backward(x):
    """A context for attention over x, if gradients flow through it, on the CPU.

    There the way back through the fused kernel is slower than through the plain one, and in half
    precision it turns large logits into NaN.
    """
    if x.requires_grad and x.device.type == "cpu":
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()
