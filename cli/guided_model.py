"""The models that prompts guide by classifier-free guidance, from settled arguments."""

import math
import sys

import diffusion
import models
from cli import images, prompts
from models import clip


def build_model(args, row, path, photos, device, dtype):
    """The model to sample: (x [N, 3, H, W], t [N]) -> v, guided by the prompts and the photos."""
    asking = {"": (args.prompts, args.images, photos)}
    return build_models(args, row, path, asking, device, dtype)[0]


def build_models(args, row, path, askings, device, dtype):
    """A model for each of several sets of prompts, around one network.

    Args:
        askings: a dict from a title to (text prompts, image prompts, the PIL images of those).
    Returns:
        a list of models (x [N, 3, H, W], t [N]) -> v.
    """
    reader = None
    asking = {title: [*texts, *pictures] for title, (texts, pictures, _) in askings.items()}
    if row.clip and any(asking.values()):
        for title, conditions in asking.items():
            rest = 1 - math.fsum(prompt.weight for prompt in conditions)
            lines = prompts.describe(conditions, rest) if conditions else ["  no prompt"]
            print(*([title] if title else []), *lines, sep="\n", file=sys.stderr)
        clip.announce(row.clip, args.clip_checkpoint)
        reader = clip.load(row.clip, args.clip_checkpoint)
    embeds = [embed(reader, texts, photos, row) for texts, _, photos in askings.values()]
    net = models.load(row.name, path, device, dtype)
    return [
        guide(net, row, known.to(device), [prompt.weight for prompt in conditions], args.chunk)
        for known, conditions in zip(embeds, asking.values(), strict=True)
    ]


def guide(net, row, embeds, weights, chunk):
    """The model of a network under weighted embeddings; of one that takes none, its own."""
    if row.clip is None:
        model = diffusion.in_chunks(net, chunk)
    else:
        model = diffusion.guided(net, embeds, weights, chunk)
    return diffusion.clamp_t(model, row.min_t, row.max_t)


def embed(reader, texts, photos, row):
    """The CLIP embeddings of text prompts, then of photos (PIL images): [K, D]."""
    import torch

    if not (texts or photos):
        return torch.zeros(0, row.architecture.clip_dim or 0)
    size = (reader.image_size, reader.image_size)
    embeds = [reader.encode_text([prompt.text for prompt in texts])]
    for photo in photos:
        image = images.to_tensor(images.resize_and_crop(photo, size))
        embeds.append(reader.encode_image(image[None]))
    return torch.cat(embeds)
