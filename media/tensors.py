"""Images as tensors [3, height, width] with values from -1 to 1, and back."""

import numpy as np
import torch
from PIL import Image

import diffusion
from values.errors import UserError


def to_tensor(image):
    """A PIL image as a float32 tensor [3, height, width] from -1 to 1."""
    levels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return levels.contiguous().float() / 127.5 - 1


def to_image(tensor):
    """A tensor [3, height, width] from -1 to 1 as a PIL image, each value to its nearest level.

    Values beyond -1 and 1 are clamped. `to_image(to_tensor(image))` is `image`.

    Raises:
        UserError: for a tensor with values that are not finite.
    """
    tensor = tensor.detach().float().cpu()
    if not torch.isfinite(tensor).all():
        raise UserError(
            "the sample holds values that are not finite and is no image: try float32, "
            "smaller weights or more steps"
        )
    levels = ((tensor.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def in_levels(x):
    """Images from -1 to 1 with each value at the nearest of 256 levels, as `to_image` rounds."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def visible(x, t):
    """Noised images at timestep t, scaled so that two standard deviations of noise can be shown."""
    alpha, sigma = diffusion.alpha_sigma(t)
    return x / (alpha + 2 * sigma)
