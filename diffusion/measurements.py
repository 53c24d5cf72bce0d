"""What is known of an image: a linear measurement of it, with its pseudo-inverse.

A task is a row of `MEASUREMENTS`, a pair of functions: what an image looks like once degraded,
y = A x, and the smallest image that looks so, A+ y. They satisfy the four conditions of Penrose:
`A A+ A = A`, `A+ A A+ = A+`, and A A+ and A+ A are symmetric. Of these two everything else is made:
A+ y + (I - A+ A) x is the image nearest to x that looks like y.

Measurements follow one another where they are of different axes, such as a smaller image in grey.

Uses the methods of tensors alone: the table is read where torch is not wanted.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601), as Pillow weighs them
# Frequencies that a blur leaves less of are taken to be lost: 8 bits hold nothing of them.
FAINT = 0.05


def kept(x, known):
    """The pixels of x [N, C, H, W] where `known` [1, H, W] is 1; 0 where it is 0."""
    return x * known


def smaller(x, factor):
    """The means of squares of factor x factor pixels."""
    return x.unflatten(3, (-1, factor)).mean(4).unflatten(2, (-1, factor)).mean(3)


def larger(y, factor):
    """Each pixel as a square of factor x factor."""
    return y.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def grey(x):
    """The brightness of x [N, 3, H, W] as an image of one channel."""
    weights = x.new_tensor(LUMA)[:, None, None]
    return (x * weights).sum(1, keepdim=True)


def coloured(y):
    """The smallest image of the brightness y [N, 1, H, W]."""
    weights = y.new_tensor(LUMA)[:, None, None]
    return y * weights / weights.square().sum()


def blurred(x, deviation):
    """x under a Gaussian of so many pixels' standard deviation, mirrored at the edges."""
    return _filtered(x, deviation, lambda gain: gain)


def sharpened(y, deviation):
    """What `blurred` has left of y, as strong as it was before."""
    return _filtered(y, deviation, lambda gain: 1 / gain)


def _filtered(x, deviation, of):
    """x with each of its cosine waves times of(what the blur leaves of it), the faint ones 0."""
    rows, columns = (_cosines(side, x) for side in x.shape[-2:])
    gains = [_gain(side, deviation, x) for side in x.shape[-2:]]
    gain = gains[0][:, None] * gains[1]
    weight = of(gain.clamp_min(FAINT)) * (gain >= FAINT)
    return rows.T @ (weight * (rows @ x @ columns.T)) @ columns


def _cosines(side, x):
    """The orthonormal cosines [side, side] that a symmetric blur of a mirrored line only scales."""
    k = _count(side, x)
    waves = ((k + 0.5) * k[:, None] * (math.pi / side)).cos() * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves.to(x)


def _gain(side, deviation, x):
    """What a sampled Gaussian leaves of each of these cosines [side]."""
    reach = max(1, math.ceil(4 * deviation))
    place = _count(2 * reach + 1, x) - reach
    kernel = (-((place / deviation) ** 2) / 2).exp()
    waves = (_count(side, x)[:, None] * place * (math.pi / side)).cos()
    return (waves @ (kernel / kernel.sum())).to(x)


def _count(n, x):
    """0, 1, ..., n - 1 in float64 on the CPU, which not every device of x has."""
    return x.new_ones(n, device="cpu").double().cumsum(0) - 1


def same(x):
    return x


class Row(NamedTuple):
    """A row of MEASUREMENTS.

    Args:
        degrade: function (x [N, C, H, W], parameters) -> y, linear in x.
        lift: function (y, parameters) -> the smallest x that is degraded to A A+ y.
        needs: the option that says more of it, by name; None: nothing needs to be said.
        of_pixels: whether it looks at each pixel alone: a picture that is given is degraded so,
            too. Otherwise it is given as it has become.
    """

    degrade: Callable
    lift: Callable
    needs: str | None = None
    of_pixels: bool = False


# In the order in which they are applied: pixels are left out of what the others have made.
MEASUREMENTS = {
    "upscale": Row(smaller, larger, "factor"),
    "deblur": Row(blurred, sharpened, "blur"),
    "denoise": Row(same, same, "noise"),
    "colourise": Row(grey, coloured, of_pixels=True),
    "inpaint": Row(kept, kept, "mask", of_pixels=True),
    "outpaint": Row(kept, kept, "pad", of_pixels=True),
}


class Measurement:
    """A and A+ of one task, or of several that follow one another.

    Args:
        tasks: a dict from names of MEASUREMENTS to tuples of their parameters.
    """

    def __init__(self, tasks):
        self.parts = [(row, tasks[name]) for name, row in MEASUREMENTS.items() if name in tasks]

    def degrade(self, x):
        """y = A x, of images [N, 3, H, W]."""
        for row, parameters in self.parts:
            x = row.degrade(x, *parameters)
        return x

    def lift(self, y):
        """A+ y [N, 3, H, W]."""
        for row, parameters in reversed(self.parts):
            y = row.lift(y, *parameters)
        return y

    def of_picture(self, picture):
        """y of a picture as it is given: small, or blurred, already, but with all of its pixels."""
        for row, parameters in self.parts:
            if row.of_pixels:
                picture = row.degrade(picture, *parameters)
        return picture

    def fitted(self, x, y):
        """The images nearest to x that look like y: A+ y + (I - A+ A) x."""
        return x + self.lift(y - self.degrade(x))
