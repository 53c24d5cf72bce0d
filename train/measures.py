"""What `train.evaluate` measures of drawings: the right thing, the right ground, diversity."""

import math

import torch

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


def grounds_of(images):
    """The named colour nearest to the median of each image's border, two pixels wide.

    Args:
        images: [N, 3, H, W] in [-1, 1].
    Returns:
        N keys of GROUNDS.
    """
    inner = torch.zeros(images.shape[2:], dtype=torch.bool)
    inner[2:-2, 2:-2] = True
    border = images[:, :, ~inner].median(dim=2).values * 127.5 + 127.5
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
    grounds = zip(grounds_of(images), [ground for _, _, ground in asked], strict=True)
    colours = [shown == ground for shown, ground in grounds if ground]
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
