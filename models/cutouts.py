"""Random square crops of images, each pooled to the size that CLIP reads, all in two products.

CLIP looks at an image through many crops at once (Crowson et al., 2022, arXiv 2204.08583).
"""

import torch


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
