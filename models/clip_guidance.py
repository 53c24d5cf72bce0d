"""CLIP guidance: how far images are from what prompts ask for, and which way is nearer.

CLIP looks at an image through many random square crops at once (Crowson et al., 2022, arXiv
2204.08583), each pooled to the size that it reads, all in two products.
"""

import torch
from torch.nn.functional import interpolate, normalize

from models.cpu import quick_backward

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
        cut_pow: see `draw_boxes`.
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


def draw_boxes(generators, count, shape, least, power=1.0):
    """Random squares, uniform in place; those of an image come from its own generator.

    Args:
        generators: N torch generators on the CPU, which go on.
        count: squares for each image.
        shape: (height, width) of the images, in pixels.
        least: the smallest side, in pixels; the largest is the shorter side of the image, and
            where that is smaller, all squares have that side.
        power: sides are spread between the two as u**power of uniform u: above 1 small ones are
            more frequent, below 1 large ones.
    Returns:
        int64 tensor [N, count, 3] on the CPU: top, left and side of each square.
    """
    height, width = shape
    most = min(shape)
    least = min(least, most)
    u = torch.stack([torch.rand(3, count, generator=g) for g in generators]).double()
    # float32 draws stop just short of 1, so the floor stays below the number of places.
    side = (u[:, 0] ** power * (most - least) + least).long()
    top = (u[:, 1] * (height - side + 1)).long()
    left = (u[:, 2] * (width - side + 1)).long()
    return torch.stack([top, left, side], dim=2)


def only_the_whole(shape, least):
    """Whether every box is the whole image, so that one is as good as many."""
    return shape[0] == shape[1] <= least


def pool_matrix(start, side, size, length):
    """The matrix that averages `side` pixels from `start` on into `size`, as adaptive pooling does.

    Args:
        start, side: int tensors [...].
        size: pixels of the result.
        length: pixels of the whole.
    Returns:
        float32 [..., size, length]; its rows sum to 1.
    """
    i = torch.arange(size, device=start.device)
    start, side = start[..., None], side[..., None]
    first = start + i * side // size
    end = start + -((i + 1) * -side // size)  # rounded up
    pixel = torch.arange(length, device=start.device)
    inside = (first[..., None] <= pixel) & (pixel < end[..., None])
    return inside / (end - first)[..., None]


def cutouts(images, boxes, size):
    """Squares of images, pooled to one size; gradients flow through.

    Rows and columns are pooled apart, each by a product with a matrix: the same averages as
    `adaptive_avg_pool2d` of each crop takes, without a loop over crops.

    Args:
        images: [N, C, H, W].
        boxes: as `draw_boxes` returns them [N, K, 3].
        size: the side of the results, in pixels.
    Returns:
        [N * K, C, size, size] in the dtype of the images, those of an image side by side.
    """
    top, left, side = boxes.to(images.device).unbind(2)
    rows = pool_matrix(top, side, size, images.shape[2]).to(images.dtype)  # [N, K, size, H]
    columns = pool_matrix(left, side, size, images.shape[3]).to(images.dtype)
    n, c, h, w = images.shape
    # All crops of an image in one product: [K size, H] x [H, C W].
    half = rows.flatten(1, 2) @ images.transpose(1, 2).reshape(n, h, c * w)
    half = half.view(n, -1, size, c, w).transpose(2, 3)  # [N, K, C, size, W]
    return (half @ columns.transpose(2, 3)[:, :, None]).flatten(0, 1)
