"""From the colours of a file, of any mode and colour profile, to 8 bits of sRGB."""

import io
import math

import numpy as np
from PIL import Image, ImageChops, ImageCms

from values.errors import printable

SRGB = ImageCms.createProfile("sRGB")


class ProfileError(Exception):
    """A colour profile that cannot be used; the message says why."""


def to_8_bits(image):
    """A PIL image in 8 bits: grey of 16 or 32 bits is scaled, all other modes are returned.

    Raises:
        ValueError: for values that are not finite.
    """
    if image.mode[0] not in "IF":  # I;16, I;16B, I, F
        return image
    values = np.asarray(image)
    levels = Image.fromarray(_levels(values, image.mode))
    if isinstance(transparent := image.info.get("transparency"), int):
        levels.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return levels


def in_srgb(image, profile):
    """A PIL image of 8 bits in sRGB by its embedded profile, with its alpha as it is.

    Args:
        image: of any mode of 8 bits.
        profile: the bytes of an ICC profile, or None.
    Returns:
        a PIL image; the given one if the profile is sRGB by another name.
    Raises:
        ProfileError: for a profile that is damaged or is for other colours.
    """
    if not profile or image.mode == "LAB":  # Lab needs no profile
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip())
        grey = image.mode in ("1", "L", "LA", "La")
        if mode is None or (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and not grey):
            raise ProfileError(f"it is for {printable(profile.profile.xcolor_space, 10)} images")
        transform = ImageCms.buildTransform(
            *(profile, SRGB, mode, "RGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if _is_neutral(transform, mode):
            return image
        alpha = None
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = image.getchannel("A")
        colours = ImageCms.applyTransform(image.convert(mode), transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileError(f"it is damaged ({printable(error, 80)})") from None
    if alpha:
        colours.putalpha(alpha)
    return colours


def has_colours(image):
    """Whether a PIL image of mode RGB has a pixel whose colours differ by more than a level."""
    red, green, blue = image.split()
    pairs = (red, green), (green, blue), (blue, red)
    return max(ImageChops.difference(*pair).getextrema()[1] for pair in pairs) > 1


def is_seen_through(image):
    """Whether a PIL image of 8 bits has a pixel that is not opaque."""
    if not image.has_transparency_data:
        return False
    return image.convert("RGBA").getchannel("A").getextrema()[0] < 255


def on_ground(image, ground):
    """A PIL image of 8 bits as RGB, on a ground of a colour where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


def _is_neutral(transform, mode):
    """Whether a transform changes no colour by more than its rounding, a level."""
    if mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 16).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    if mode == "L":
        colours = np.arange(256, dtype=np.uint8).reshape(16, 16)
    before = Image.fromarray(colours)
    after = ImageCms.applyTransform(before, transform)
    return np.abs(np.asarray(after).astype(int) - np.asarray(before.convert("RGB"))).max() <= 1


def _levels(values, mode):
    """Grey of 16 or 32 bits to 8: by the range its values are in, stretched if in no usual one."""
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("it has values that are not finite")
    if mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    else:
        usual = (1.0, 255.0) if mode == "F" else (255.0, 65535.0)
        ranges = [top for top in usual if low >= 0 and high <= top]
        low, high = (0.0, ranges[0]) if ranges else (low, high)
    scaled = (values.astype(np.float64) - low) * 255 / max(high - low, 1e-30)
    return scaled.round().astype(np.uint8)
