import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

import diffusion
from models.cutouts import cutouts, draw_boxes, only_the_whole


def one_by_one(images, boxes, size):
    """Crop, then pool, in a loop: what the products must agree with."""
    return torch.cat(
        [
            adaptive_avg_pool2d(image[None, :, top : top + side, left : left + side], size)
            for image, its in zip(images, boxes.tolist(), strict=True)
            for top, left, side in its
        ]
    )


@pytest.mark.parametrize("shape", [(96, 96), (70, 131), (256, 64), (40, 40), (65, 64)])
def test_crops_are_those_of_pooling_each_on_its_own(shape):
    images = torch.rand(3, 3, *shape) * 2 - 1
    boxes = draw_boxes(diffusion.generators([1, 2, 3]), 16, shape, 48)
    crops = cutouts(images, boxes, 48)
    assert crops.shape == (48, 3, 48, 48)
    assert (crops - one_by_one(images, boxes, 48)).abs().max() < 1e-5


def test_gradients_are_those_of_pooling_each_on_its_own():
    images = torch.rand(2, 3, 50, 60, dtype=torch.float64, requires_grad=True)
    boxes = draw_boxes(diffusion.generators([1, 2]), 8, (50, 60), 20)
    weight = torch.rand(16, 3, 20, 20, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((f(images, boxes, 20) * weight).sum(), images)[0]
        for f in (cutouts, one_by_one)
    )
    # The averages are single precision, as the images are in use.
    assert (ours - theirs).abs().max() < 1e-6


def test_boxes_lie_in_the_image_and_reach_its_edges():
    boxes = draw_boxes(diffusion.generators([5]), 20_000, (90, 120), 30)[0]
    top, left, side = boxes.unbind(1)
    assert (side.min(), side.max()) == (30, 89)
    assert (top.min(), left.min()) == (0, 0)
    assert (top + side).max() == 90
    assert (left + side).max() == 120


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_sides_are_uniform_to_the_power(power):
    side = draw_boxes(diffusion.generators([5]), 20_000, (1000, 1000), 0, power)[0, :, 2] / 1000
    # u^p of a uniform u has the mean 1 / (p + 1).
    assert abs(side.mean() - 1 / (power + 1)) < 0.01
    assert abs((side ** (1 / power)).mean() - 0.5) < 0.01


def test_boxes_of_an_image_come_from_its_own_generator():
    together = draw_boxes(diffusion.generators([7, 8]), 4, (64, 64), 16)
    alone = draw_boxes(diffusion.generators([8]), 4, (64, 64), 16)
    assert torch.equal(together[1:], alone)
    source = diffusion.generators([8])
    draw_boxes(source, 4, (64, 64), 16)
    assert not torch.equal(draw_boxes(source, 4, (64, 64), 16), alone)  # every step its own


def test_image_smaller_than_clips_input_is_cut_at_its_shorter_side():
    boxes = draw_boxes(diffusion.generators([5]), 50, (48, 64), 224)[0]
    assert (boxes[:, 2] == 48).all()
    assert not only_the_whole((48, 64), 224)
    assert only_the_whole((64, 64), 64)
    assert not only_the_whole((65, 65), 64)
