"""Pictures that the bundled model never saw, to invert and to edit, and how near others come."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from media.tensors import to_tensor

SIDE = 64
SHAPE = (3, SIDE, SIDE)


def pictures(draw):
    """Photo-like pictures, plain noise and a drawn picture, in 8 bits: [4, 3, 64, 64]."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 63
    disc = np.stack([x, y, 1 - x * y])
    disc[:, (x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.06] = np.array([[0.9], [0.3], [0.1]])
    disc += 0.06 * random.standard_normal(disc.shape)
    waves = [0.4 + 0.3 * np.sin(9 * x + 4 * y), 0.5 + 0.3 * np.cos(7 * x * y + 2), 0.3 + x * y / 2]
    waves = np.stack(waves)
    waves[:, 40:56, 8:30] *= 0.3
    waves += 0.15 * random.standard_normal((1, 64, 64)) * (y > 0.5)
    made = torch.from_numpy(np.stack([disc, waves, random.random(SHAPE)])) * 2 - 1
    return in_8_bits(torch.cat([made, draw]))


def in_8_bits(images):
    """Images as a PNG holds them."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def psnr(images, others):
    """Of the worst image, in dB at a range of 2; at most 320, the precision of float64."""
    worst = float((images - others).square().mean(dim=(1, 2, 3)).max())
    return math.nan if not math.isfinite(worst) else 10 * math.log10(4 / max(worst, 4e-32))


def paint(source):
    """A picture of the source like a photo of it: shaded, lit from a side, with grain, 64 x 64."""
    random, scale = np.random.default_rng(0), 4
    image = Image.new("RGB", (SIDE * scale, SIDE * scale))
    pen = ImageDraw.Draw(image)
    thing, ground = source.removesuffix(" background").split(" on a ")
    colour = {"gray": "#8a8782", "white": "#e9e6e0"}.get(ground, "#3b62b5")
    pen.rectangle((0, 0, *image.size), colour)
    if "heart" in thing:
        angles = np.linspace(0, 2 * np.pi, 200)
        x = 16 * np.sin(angles) ** 3
        waves = ((13, 1), (-5, 2), (-2, 3), (-1, 4))
        y = sum(size * np.cos(times * angles) for size, times in waves)
        pen.polygon([(128 + 5 * a, 120 - 5 * b) for a, b in zip(x, y, strict=True)], "#c01f2e")
    elif "star" in thing:
        turns = np.pi * (np.arange(10) / 5 - 0.5)
        x, y = np.tile([90, 40], 5) * np.stack([np.cos(turns), np.sin(turns)])
        pen.polygon([(128 + a, 132 + b) for a, b in zip(x, y, strict=True)], "#f2c230")
    else:
        pen.ellipse((48, 56, 208, 208), "#cf2a1b")
        pen.polygon([(128, 70), (96, 44), (126, 56), (140, 36), (138, 58), (168, 50)], "#2f7d32")
    small = image.filter(ImageFilter.GaussianBlur(3)).resize((SIDE, SIDE))
    levels = np.asarray(small, float)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    light = 1.15 - 0.5 * np.hypot(x - 0.3, y - 0.25)
    levels = levels * light[..., None] + random.normal(0, 4, levels.shape)
    return to_tensor(Image.fromarray(levels.clip(0, 255).round().astype(np.uint8)))[None]
