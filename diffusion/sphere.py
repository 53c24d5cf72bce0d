"""Between two noises: along the great circle through them, where what lies between is noise, too.

The mean of two noises has half of their variance, and a network draws a blur from it. On the
sphere that both lie on, as all noise nearly does, the variance stays (Shoemake, 1985; White, 2016,
arXiv 1609.04468).
"""

import math

import torch

NEAR = 1e-6  # an angle in radians at which two tensors have one direction


def turned(eps, other, share):
    """Noise turned towards other noise by a share of the right angle that lies between them.

    Independent noises are at right angles, all but exactly, so that their statistics stay: what is
    returned is standard normal if both are, whatever the share.

    Args:
        eps, other: independent standard normal noise [...], of one shape.
        share: from 0, eps itself, to 1, the other itself; to the bit.
    Returns:
        cos(share pi / 2) eps + sin(share pi / 2) other. Where both are one and the same noise, and
        not independent, that noise.
    Raises:
        ValueError: for a share out of its range.
    """
    if at_end := _end(eps, other, share):
        return at_end[0]
    if torch.equal(eps, other):
        return eps
    angle = share * math.pi / 2
    return math.cos(angle) * eps + math.sin(angle) * other


def between(a, b, share):
    """The weights (of a, of b) of the point between two tensors at a share of the angle they make.

    The sum's norm goes evenly from that of a to that of b. Of tensors that are not exactly normal,
    such as latents found of photos, this keeps what `turned` takes for granted.

    Args:
        a, b: tensors of one shape, at one timestep.
        share: from 0 (a) to 1 (b), where the weights are exactly 1 and 0.
    Raises:
        ValueError: for a share out of its range, for a tensor that is 0 and for two that are
            opposite: no way between these is the shortest.
    """
    if _end(a, b, share):
        return 1.0 - share, float(share)
    a, b = a.double().flatten(), b.double().flatten()
    norms = float(a.norm()), float(b.norm())
    if not all(norms):
        raise ValueError("a tensor that is 0 has no direction")
    a, b = a / norms[0], b / norms[1]
    # Exact where the angle is small or nearly pi, too, unlike the arc cosine of a product.
    angle = 2 * math.atan2(float((a - b).norm()), float((a + b).norm()))
    if math.pi - angle < NEAR:
        raise ValueError("tensors that are opposite have no shortest way between them")
    if angle < NEAR:
        parts = 1 - share, share
    else:
        parts = [math.sin(part * angle) / math.sin(angle) for part in (1 - share, share)]
    norm = (1 - share) * norms[0] + share * norms[1]
    return norm / norms[0] * parts[0], norm / norms[1] * parts[1]


def _end(a, b, share):
    """The end, in a tuple, that a share names; else None."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share is from 0 to 1, not {share}")
    return (a,) if share == 0 else (b,) if share == 1 else None
