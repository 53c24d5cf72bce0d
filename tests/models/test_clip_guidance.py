import math

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, normalize

import diffusion
from models import clip, clip_guidance
from models.clip_guidance import cutouts, draw_boxes, only_the_whole


@pytest.fixture(scope="module")
def reader():
    return clip.load("emoji")


@pytest.mark.parametrize("degrees", [1e-4, 1, 30, 60, 90, 120, 179])
def test_distance_is_half_the_squared_angle(degrees):
    angle = math.radians(degrees)
    a = torch.tensor([1.0, 0, 0]).double()
    b = torch.tensor([math.cos(angle), math.sin(angle), 0]).double()
    assert clip_guidance.spherical_distance(a, b) == pytest.approx(angle**2 / 2, rel=1e-5)


@pytest.mark.parametrize("degrees", [0, 180])
def test_distance_has_a_finite_slope_at_both_ends(degrees):
    a = torch.tensor([1.0, 0, 0], requires_grad=True)
    b = torch.tensor([math.cos(math.radians(degrees)), 0, 0])
    distance = clip_guidance.spherical_distance(a, b)
    distance.backward()
    assert torch.isfinite(a.grad).all()
    assert distance.item() == pytest.approx(math.radians(degrees) ** 2 / 2, abs=0.01)


def test_embeddings_weigh_the_same_whatever_their_length():
    embeds = torch.tensor([[10.0, 0], [0, 0.1]])
    target = clip_guidance.blend(embeds, [0.5, 0.5])
    assert torch.allclose(target, torch.full((2,), 0.5**0.5))
    away = clip_guidance.blend(embeds, [1.5, -0.5])
    assert torch.allclose(away, normalize(torch.tensor([1.5, -0.5]), dim=0))


def test_loss_is_the_mean_over_crops_of_the_distance(reader):
    images = torch.rand(2, 3, 80, 96) * 2 - 1
    targets = normalize(reader.encode_text(["a cat", "a fox"]))
    images, boxes = clip_guidance.boxes_for(reader, images, diffusion.generators([1, 2]), 5, 1.0)
    loss = clip_guidance.clip_loss(reader, targets, images, boxes)
    by_hand = []
    for image, target, its in zip(images, targets, boxes.tolist(), strict=True):
        crops = [adaptive_avg_pool2d(image[:, y : y + s, x : x + s], 64) for y, x, s in its]
        cosines = reader.encode_image(torch.stack(crops)) @ target
        by_hand.append((cosines.double().acos() ** 2 / 2).mean())
    assert torch.allclose(loss.double(), torch.stack(by_hand), rtol=1e-4)


@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_gradient_is_that_of_the_loss(reader, at_once):
    pred = torch.rand(2, 3, 72, 72) * 2 - 1
    targets = normalize(reader.encode_text(["a cat", "a fox"]))
    g = clip_guidance.clip_gradient(
        reader, targets, diffusion.generators([1, 2]), cutn=6, scale=50.0, at_once=at_once
    )(pred)
    pred.requires_grad_()
    images, boxes = clip_guidance.boxes_for(reader, pred, diffusion.generators([1, 2]), 6, 1.0)
    loss = 50 * clip_guidance.clip_loss(reader, targets, images, boxes).sum()
    (wanted,) = torch.autograd.grad(loss, pred)
    assert (g - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_small_images_are_doubled_before_they_are_cut(reader):
    sizes = []
    for side in (48, 64):
        images = torch.zeros(1, 3, side, side)
        images, boxes = clip_guidance.boxes_for(reader, images, diffusion.generators([1]), 4, 1.0)
        sizes.append((images.shape[2], boxes.shape[1]))
    # One crop where all would be the whole image.
    assert sizes == [(96, 4), (64, 1)]


def test_copies_of_an_image_are_cut_alike(reader):
    images = torch.zeros(3, 3, 80, 80)
    _, boxes = clip_guidance.boxes_for(reader, images, diffusion.generators([1]), 4, 1.0)
    assert torch.equal(boxes[0], boxes[2])


def test_half_precision_points_the_same_way():
    pred = torch.rand(1, 3, 64, 64) * 2 - 1
    directions = []
    for dtype in (torch.float32, torch.bfloat16):
        reader = clip.load("emoji")
        target = normalize(reader.encode_text(["a cat"]))
        reader.read_images_in(dtype)
        g = clip_guidance.clip_gradient(reader, target, diffusion.generators([1]))(pred)
        directions.append(normalize(g.flatten(), dim=0))
    assert directions[0] @ directions[1] > 0.97


# ---- crops ---------------------------------------------------------------------------------------


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
