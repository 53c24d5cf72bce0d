"""Weights of conditions that count at some timesteps, or in a part of the image."""

from typing import NamedTuple

import torch

from diffusion.spans import ALWAYS, Span


class Weight(NamedTuple):
    """A weight that counts at some timesteps, or in a part of the image.

    Args:
        weight: a float of any sign.
        span: the timesteps.
        mask: [H, W], as large as the images: 1 where it counts, 0 where it does not, and all that
            is between. None: it counts everywhere.
    """

    weight: float
    span: Span = ALWAYS
    mask: torch.Tensor | None = None


def box_mask(box, size, soft_edge=0.0):
    """A mask for a `Weight`: 1 in a box, 0 outside.

    Across an edge it falls along a line that is 1/2 on the edge itself, so that two boxes that
    share an edge add up to 1 there. Edges of the image are none.

    Args:
        box: (left, top, right, bottom) in shares of the image.
        size: (width, height) in pixels.
        soft_edge: how wide the fall is, as a share of the shorter side.
    Returns:
        float64 [height, width].
    """
    wide = soft_edge * min(size)
    left, top, right, bottom = box
    across, down = _within(left, right, size[0], wide), _within(top, bottom, size[1], wide)
    return down[:, None] * across[None, :]


def _within(low, high, pixels, wide):
    """How far pixels of a row are between two shares of it: 0 to 1 [pixels]."""
    at = torch.arange(pixels, dtype=torch.float64) + 0.5
    wide = max(wide, 1.0)  # a pixel that an edge cuts counts by its part inside
    rises = ((at - low * pixels) / wide + 0.5).clamp(0, 1) if low > 0 else torch.ones_like(at)
    falls = ((high * pixels - at) / wide + 0.5).clamp(0, 1) if high < 1 else torch.ones_like(at)
    return (rises + falls - 1).clamp(min=0)
