"""Each measurement has the pseudo-inverse of its matrix, and is what other tools make."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.measurements import MEASUREMENTS, Measurement, blurred, grey, smaller
from jobs.restoring import TOGETHER

SIDE = 8
KNOWN = (torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) > 0.4).double()
SMALL = KNOWN[:, ::2, ::2]
PARAMETERS = {
    "upscale": (2,),
    "deblur": (1.3,),
    "denoise": (),
    "colourise": (),
    "inpaint": (KNOWN,),
    "outpaint": (KNOWN,),
}


def of(*names):
    """The Measurement of some tasks; a mask is of what is left once it is smaller."""
    tasks = {name: PARAMETERS[name] for name in names}
    if "upscale" in names and "inpaint" in names:
        tasks["inpaint"] = (SMALL,)
    return Measurement(tasks)


def all_allowed():
    for size in (1, 2, 3):
        for names in itertools.combinations(MEASUREMENTS, size):
            if all({a, b} in TOGETHER for a, b in itertools.combinations(names, 2)):
                yield names


def matrix(function, shape):
    """The matrix of a linear function of tensors [1, *shape], in float64."""
    size = int(np.prod(shape))
    basis = torch.eye(size, dtype=torch.float64).view(size, *shape)
    return function(basis).flatten(1).T


def matrices(names):
    measured = of(*names)
    shape = measured.degrade(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64)).shape[1:]
    return matrix(measured.degrade, (3, SIDE, SIDE)), matrix(measured.lift, shape)


@pytest.mark.parametrize("names", list(all_allowed()), ids="+".join)
def test_lift_is_the_pseudo_inverse(names):
    a, plus = matrices(names)
    for left, right in ((a @ plus @ a, a), (plus @ a @ plus, plus)):
        assert torch.allclose(left, right, atol=1e-9)
    for product in (a @ plus, plus @ a):
        assert torch.allclose(product, product.T, atol=1e-9)
    assert torch.allclose(plus, torch.linalg.pinv(a, rtol=1e-6), atol=1e-6)


def test_every_task_is_among_them():
    assert {(name,) for name in MEASUREMENTS} <= set(all_allowed())
    assert ("upscale", "colourise", "inpaint") in set(all_allowed())


def test_what_is_refused_has_another_one():
    a, plus = matrices(("deblur", "inpaint"))
    assert not torch.allclose(plus, torch.linalg.pinv(a, rtol=1e-6), atol=1e-3)


def picture(size=32):
    levels = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    return Image.fromarray(levels), torch.from_numpy(levels).double().permute(2, 0, 1)[None]


def test_grey_is_that_of_pillow():
    image, x = picture()
    assert (grey(x)[0, 0] - torch.from_numpy(np.array(image.convert("L")))).abs().max() <= 0.51


def test_smaller_is_a_box_filter():
    image, x = picture()
    box = np.array(image.reduce(4)).transpose(2, 0, 1)
    assert (smaller(x, 4)[0] - torch.from_numpy(box)).abs().max() <= 0.51


@pytest.mark.parametrize("deviation", [0.4, 0.7])
def test_blur_is_a_convolution_mirrored_at_the_edges(deviation):
    _, x = picture(9)
    place = np.arange(-5, 6)
    kernel = np.exp(-((place / deviation) ** 2) / 2)
    kernel /= kernel.sum()
    wanted = np.pad(x[0].numpy(), ((0, 0), (5, 5), (5, 5)), mode="symmetric")
    for axis in (1, 2):
        wanted = np.apply_along_axis(np.convolve, axis, wanted, kernel, mode="valid")
    # Of the narrow one no frequency is faint; of the wide one those are that leave little.
    limit = 1e-2 if deviation == 0.4 else 256 * 0.05
    assert np.abs(blurred(x, deviation)[0].numpy() - wanted).max() < limit


def test_blur_keeps_a_plain_ground():
    x = torch.full((1, 3, 12, 20), 0.3)
    assert torch.allclose(blurred(x, 2.0), x, atol=1e-5)


def test_picture_is_measured_by_what_looks_at_pixels_alone():
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    y = of("upscale", "colourise").of_picture(x)
    assert torch.equal(y, grey(x))


def test_fitted_is_the_nearest_image_that_looks_so():
    measured = of("upscale", "colourise")
    x = torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    y = torch.randn(1, 1, SIDE // 2, SIDE // 2, dtype=torch.float64)
    found = measured.fitted(x, y)
    assert torch.allclose(measured.degrade(found), y)
    a = matrix(measured.degrade, (3, SIDE, SIDE))
    change = torch.linalg.lstsq(a, (y - measured.degrade(x)).flatten(), driver="gelsd").solution
    assert torch.allclose((found - x).flatten(), change)
