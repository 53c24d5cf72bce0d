"""What `train.evaluate` measures of drawings: right thing and ground, diversity, cleanliness."""

import math

import torch
from torch.nn import functional as F

from train import judge
from train.vocabulary import GROUNDS


def interval(hits, count):
    """A share with its 95% confidence interval (Wilson, 1927), ready for JSON."""
    if not count:
        return None
    z, share = 1.959964, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return {"share": round(share, 4), "low": round(low, 4), "high": round(high, 4), "of": count}


def _border(images):
    """The pixels around images [N, 3, H, W], two wide: [N, 3, M]."""
    inner = torch.zeros(images.shape[2:], dtype=torch.bool)
    inner[2:-2, 2:-2] = True
    return images[:, :, ~inner]


def grounds_of(images):
    """The named colour nearest to the median of each image's border, two pixels wide.

    Args:
        images: [N, 3, H, W] in [-1, 1].
    Returns:
        N keys of GROUNDS.
    """
    border = _border(images).median(dim=2).values * 127.5 + 127.5
    colours = torch.tensor(list(GROUNDS.values()), dtype=border.dtype)
    return [list(GROUNDS)[i] for i in torch.cdist(border, colours).argmin(dim=1).tolist()]


def judged(images, asked, critic):
    """How many drawings show the thing and the ground that they were asked for.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        asked: N triples (prompt, thing, ground or None).
        critic: the judge and the names of its things.
    """
    judging, names = critic
    order = judge.ranking(judging, images)
    right = order == torch.tensor([names.index(thing) for _, thing, _ in asked])[:, None]
    pairs = zip(grounds_of(images), [ground for _, _, ground in asked], strict=True)
    colours = [shown == ground for shown, ground in pairs if ground]
    wrong = [
        f"{prompt}: {names[first]}"
        for (prompt, thing, _), first in zip(asked, order[:, 0].tolist(), strict=True)
        if names[first] != thing
    ]
    return {
        "top1": interval(right[:, :1].sum().item(), len(asked)),
        "top5": interval(right[:, :5].sum().item(), len(asked)),
        "ground": interval(sum(colours), len(colours)),
        "wrong": sorted(wrong),
    }


def diversity(vectors):
    """The mean distance between the images of one prompt.

    Args:
        vectors: [prompts, seeds, D].
    Returns:
        The mean Euclidean distance over all pairs of seeds, over all prompts.
    """
    return torch.stack([torch.pdist(v) for v in vectors.double()]).mean().item()


SPECK = 40  # levels off the median of its neighbours from which on a pixel is a speck
AWAY = 3  # pixels that a ground pixel is away from the thing


def median_filtered(images):
    """Each value replaced by the median of the 3 x 3 around it: [N, C, H, W], edges repeated."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    return windows.median(dim=4).values


def speckle(images):
    """How far images are from their own 3 x 3 median filter.

    Args:
        images: [N, 3, H, W] in [-1, 1].
    Returns:
        (RMS distances in levels of 255 [N], shares of pixels that are more than SPECK levels off
        in one of their colours [N]).
    """
    off = (images - median_filtered(images)).abs() * 127.5
    return off.square().mean(dim=(1, 2, 3)).sqrt(), (off.amax(1) > SPECK).float().mean(dim=(1, 2))


def tint(image, render):
    """How uneven the ground of a drawing is.

    Ground is what is not within AWAY pixels of the thing, neither where the render has it nor where
    the drawing has: what is SPECK levels off the ground's colour. Without the second, the figure
    would tell how much a drawn thing stands out of its render, not how even the ground is.

    Args:
        image, render: [3, H, W] in [-1, 1]; the render's ground has the colour of its corner.
    Returns:
        The RMS distance of the ground pixels from their median colour, in levels of 255; None: no
        pixel is ground.
    """
    image = image * 127.5
    away = ~_around((render != render[:, :1, :1]).any(dim=0))
    if not away.any():
        return None
    middle = image[:, away].median(dim=1).values[:, None, None]
    away &= ~_around(((image - middle).abs() > SPECK).any(dim=0))
    ground = image[:, away]
    if not ground.numel():
        return None
    return (ground - ground.median(dim=1, keepdim=True).values).square().mean().sqrt().item()


def _around(thing):
    """Where a pixel of the thing [H, W] is within AWAY pixels."""
    wide = F.max_pool2d(thing.float()[None, None], 2 * AWAY + 1, stride=1, padding=AWAY)
    return wide[0, 0] > 0


def extents(images):
    """(width, height) of what is drawn on the grounds of images, in pixels: [N, 2].

    What is drawn is what is more than SPECK levels off the median colour of the border, two pixels
    wide; nothing: (0, 0).

    Args:
        images: [N, 3, H, W] in [-1, 1].
    """
    drawn = (images - _border(images).median(dim=2).values[:, :, None, None]).abs() * 127.5
    drawn = (drawn > SPECK).any(dim=1)
    sides = []
    for along in (drawn.any(dim=1), drawn.any(dim=2)):  # columns, rows
        places = torch.arange(1, along.shape[1] + 1)
        last = (along * places).amax(dim=1)
        first = (along * places.flip(0)).amax(dim=1)  # the same from the other end
        sides.append((last + first - along.shape[1]).clamp_min(0))
    return torch.stack(sides, dim=1)


def nearest(image, renders):
    """The render that an image is nearest to.

    Args:
        image: [3, H, W] in [-1, 1].
        renders: [M, 3, H, W] in [-1, 1].
    Returns:
        (its number, the peak signal-to-noise ratio in decibels).
    """
    errors = (renders - image).square().mean(dim=(1, 2, 3))
    error, which = errors.min(dim=0)
    return which.item(), -10 * math.log10(max(error.item() / 4, 1e-10))


def cleanliness(images, asked, renders_of):
    """How clean drawings are, beside the nearest renders of what they were to show.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        asked: N triples (prompt, thing, ground or None: the one that is shown).
        renders_of: callable (thing, ground) -> [M, 3, H, W] in [-1, 1].
    Returns:
        Figures, ready for JSON: in levels of 255, shares of pixels, decibels.
    """
    shown, ratios, tints = [], [], []
    seen_on = grounds_of(images)
    for image, (_, thing, ground), seen in zip(images, asked, seen_on, strict=True):
        renders = renders_of(thing, ground or seen)
        which, ratio = nearest(image, renders)
        shown.append(renders[which])
        ratios.append(ratio)
        tints.append(tint(image, renders[which]))
    tints = torch.tensor([t for t in tints if t is not None], dtype=torch.float64)
    rms, specks = speckle(images)
    rms_renders, specks_renders = speckle(torch.stack(shown))
    return {
        "rms_to_median": round(rms.mean().item(), 3),
        "rms_to_median_renders": round(rms_renders.mean().item(), 3),
        "rms_to_median_relative": round((rms.mean() / rms_renders.mean()).item(), 3),
        "specks": round(specks.mean().item(), 5),
        "specks_renders": round(specks_renders.mean().item(), 5),
        "tint": round(tints.square().mean().sqrt().item(), 3) if len(tints) else None,
        "nearest_render_psnr": round(torch.tensor(ratios).median().item(), 2),
    }
