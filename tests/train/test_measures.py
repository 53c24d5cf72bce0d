import pytest
import torch

from train import measures
from train.vocabulary import GROUNDS


def plain(*colour, size=64):
    """An image [3, size, size] of one colour, given in levels."""
    return (torch.tensor(colour)[:, None, None] / 127.5 - 1).expand(3, size, size).clone()


def test_median_is_that_of_the_nine_around_each_pixel():
    image = torch.rand(1, 3, 8, 8)
    filtered = measures.median_filtered(image)
    assert filtered[0, 1, 4, 5] == image[0, 1, 3:6, 4:7].median()
    assert (
        filtered[0, 2, 0, 0]
        == torch.tensor(
            [
                image[0, 2, min(max(y, 0), 7), min(max(x, 0), 7)]
                for y in (0, 0, 1)
                for x in (0, 0, 1)
            ]
        ).median()
    )


def test_flat_images_and_straight_edges_have_no_speckle():
    edge = plain(10, 20, 30)
    edge[:, :, 32:] = 1
    rms, specks = measures.speckle(torch.stack([plain(10, 20, 30), edge]))
    assert rms.tolist() == specks.tolist() == [0, 0]


def test_single_pixels_are_specks_from_40_levels_on():
    image = plain(100, 100, 100)
    image[1, 10, 10] += 39 / 127.5
    image[2, 20, 20] -= 41 / 127.5
    image[:, 30, 30] += 100 / 127.5
    rms, specks = measures.speckle(image[None])
    assert specks.item() == pytest.approx(2 / 64**2)
    squares = (39**2 + 41**2 + 3 * 100**2) / (3 * 64**2)
    assert rms.item() == pytest.approx(squares**0.5, rel=1e-4)


def test_tint_is_that_of_the_ground_away_from_the_thing():
    render = plain(*GROUNDS["green"])
    render[:, 20:40, 20:40] = 1
    image = render.clone()
    assert measures.tint(image, render) == 0
    image[:, 17:43, 17:43] = 0.5  # the thing and what is near it
    assert measures.tint(image, render) == 0
    image[:, :, :16] += 6 / 127.5  # a quarter of the image
    away = 64 * 64 - 32 * 32
    uneven = pytest.approx(6 * ((16 * 64 - 2 * 32) / away) ** 0.5, rel=1e-4)
    assert measures.tint(image, render) == uneven
    image[:, 61:, 61:] = 1  # what is drawn where the render has nothing
    away -= 6 * 6
    uneven = pytest.approx(6 * ((16 * 64 - 2 * 32) / away) ** 0.5, rel=1e-4)
    assert measures.tint(image, render) == uneven
    assert measures.tint(image, torch.rand(3, 64, 64)) is None


def test_extents_are_the_sides_of_the_box_around_what_is_drawn():
    image = plain(*GROUNDS["orange"])
    image[:, 10:14, 20:50] = 1
    image[:, 40, 30] = -1
    image[:, 60, 60] += 0.1  # no more than a tint
    nothing = plain(0, 0, 0)
    whole = plain(0, 0, 0)
    whole[:, 2:-2, 2:-2] = 1
    assert measures.extents(torch.stack([image, nothing, whole])).tolist() == [
        [30, 31],
        [0, 0],
        [60, 60],
    ]


def test_nearest_render_is_the_one_with_the_least_error():
    renders = torch.stack([plain(level, level, level) for level in (0, 100, 200)])
    which, ratio = measures.nearest(plain(110, 110, 110), renders)
    assert which == 1
    assert ratio == pytest.approx(20 * torch.log10(torch.tensor(25.5)).item(), abs=1e-3)
    assert measures.nearest(renders[2], renders) == (2, 100)


def test_cleanliness_compares_drawings_with_renders_of_what_was_asked():
    def renders_of(thing, ground):
        image = plain(*GROUNDS[ground])
        image[:, 20:40, 20:40] = {"a": 1, "b": -1}[thing]
        moved = image.roll(3, dims=2)
        return torch.stack([image, moved])

    asked = [("p", "a", "red"), ("q", "b", None)]
    clean = torch.stack([renders_of("a", "red")[1], renders_of("b", "pink")[0]])
    found = measures.cleanliness(clean, asked, renders_of)
    assert found["tint"] == 0
    assert found["nearest_render_psnr"] == 100
    assert found["rms_to_median_relative"] == 1
    assert found["specks"] == found["specks_renders"]
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = measures.cleanliness(noisy, asked, renders_of)
    assert found["tint"] == pytest.approx(12.75, rel=0.1)
    assert found["nearest_render_psnr"] == pytest.approx(26, abs=0.5)
    assert found["rms_to_median_relative"] > 2
