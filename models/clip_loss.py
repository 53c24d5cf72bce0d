"""How far images are from what prompts ask for, as a CLIP sees both, and which way is nearer."""

import torch
from torch.nn.functional import interpolate, normalize

from models.attention import quick_backward
from models.cutouts import cutouts, draw_boxes, only_the_whole

ROOM = 1024  # keeps gradients through a CLIP in float16 from becoming 0


def spherical_distance(a, b):
    """The squared great-circle distance of unit vectors, halved: 2 asin(|a - b| / 2)^2.

    Args:
        a, b: [..., D] of unit length.
    Returns:
        [...], from 0 (the same) to pi^2 / 2 (opposite).
    """
    # At opposite ends the arc sine has no slope; all other gradients are finite.
    half = (torch.linalg.vector_norm(a - b, dim=-1) / 2).clamp_max(1 - 1e-6)
    return 2 * half.asin().square()


def blend(embeds, weights):
    """One target out of several embeddings, each brought to unit length before it is weighted.

    Args:
        embeds: [..., K, D].
        weights: K floats.
    Returns:
        [..., D] of unit length.
    """
    w = torch.tensor(weights, dtype=embeds.dtype, device=embeds.device)
    return normalize((normalize(embeds, dim=-1) * w[:, None]).sum(-2), dim=-1)


def boxes_for(reader, images, generators, cutn, cut_pow):
    """Crops of images as a CLIP gets them.

    Args:
        generators: one for each image, or fewer where the images are several copies of the first.
    Returns:
        (the images, doubled where they are small, and boxes [N, K, 3]).
    """
    if min(images.shape[2:]) < reader.enlarge_below:
        images = interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    shape = images.shape[2:]
    if only_the_whole(shape, reader.image_size):
        cutn = 1
    boxes = draw_boxes(generators, cutn, shape, reader.image_size, cut_pow)
    return images, boxes.repeat(len(images) // len(boxes), 1, 1)


def embed_crops(reader, images, boxes):
    """Embeddings of crops, of unit length: [N, K, D]."""
    crops = cutouts(images, boxes, reader.image_size)
    return reader.encode_image(crops).unflatten(0, boxes.shape[:2])


def clip_loss(reader, targets, pred, boxes):
    """The distance between images and what they should show.

    Args:
        reader: a `models.clip.Clip`.
        targets: unit embeddings [N, D], or fewer where the images are several copies.
        pred: images [N, 3, H, W] in [-1, 1].
        boxes: the crops that CLIP looks at [N, K, 3].
    Returns:
        [N], the mean over an image's crops.
    """
    seen = embed_crops(reader, pred, boxes)
    targets = targets.repeat(len(pred) // len(targets), 1)
    return spherical_distance(seen, targets[:, None]).mean(1)


def clip_gradient(reader, targets, generators, cutn=16, cut_pow=1.0, scale=1.0, at_once=None):
    """A function that says how a CLIP loss of pred grows, for `diffusion.steered`.

    Args:
        reader, targets: as for `clip_loss`.
        generators: as for `boxes_for`; every call draws the images' crops from them.
        cutn: crops of each image.
        cut_pow: see `models.cutouts.draw_boxes`.
        scale: what the loss is multiplied by.
        at_once: crops of an image in one call of CLIP; fewer take less memory. None: all.
    Returns:
        pred [N, 3, H, W] -> the gradient of the loss at pred [N, 3, H, W].
    """

    def part_of_it(images, boxes):
        images = images.detach().requires_grad_()
        with quick_backward(images):
            loss = clip_loss(reader, targets, images, boxes).sum() * ROOM
        return torch.autograd.grad(loss, images)[0] / ROOM

    def gradient(pred):
        with torch.enable_grad():
            pred = pred.detach().requires_grad_()
            images, boxes = boxes_for(reader, pred, generators, cutn, cut_pow)
            total = torch.zeros_like(images)
            for part in boxes.split(at_once or boxes.shape[1], dim=1):
                share = part.shape[1] / boxes.shape[1]
                total += part_of_it(images, part) * (scale * share)
            return torch.autograd.grad(images, pred, total)[0]

    return gradient
