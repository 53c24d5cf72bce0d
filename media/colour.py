"""From any colours that a file may hold to 8 bits of RGB."""

import math

import numpy as np
from PIL import Image


def to_rgb(image):
    """A PIL image of any mode in 8 bits of RGB, on white where it is transparent.

    Raises:
        ValueError: for values that are not finite.
    """
    if image.mode[0] in "IF":  # I;16, I;16B, I, F: 16 or 32 bits of grey
        return _grey_levels(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _grey_levels(image):
    """Grey of 16 or 32 bits to 8: by the range its values are in, stretched if in no usual one."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("it has values that are not finite")
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    else:
        usual = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
        ranges = [top for top in usual if low >= 0 and high <= top]
        low, high = (0.0, ranges[0]) if ranges else (low, high)
    scaled = (values.astype(np.float64) - low) * 255 / max(high - low, 1e-30)
    levels = scaled.round().astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        levels[values == transparent] = 255
    return Image.fromarray(levels)
