"""The model that prompts guide by classifier-free guidance, from settled arguments."""

import math
import sys

import diffusion
import models
from cli import images, prompts
from models import clip


def build_model(args, row, path, photos, device, dtype):
    """The model to sample: (x [N, 3, H, W], t [N]) -> v, guided by the prompts and the photos."""
    import torch

    if row.clip is None:
        net = models.load(row.name, path, device, dtype)
        return diffusion.clamp_t(diffusion.in_chunks(net, args.chunk), row.min_t, row.max_t)
    conditions = [*args.prompts, *args.images]
    weights = [prompt.weight for prompt in conditions]
    embeds = torch.zeros(0, row.architecture.clip_dim)
    if conditions:
        for line in prompts.describe(conditions, 1 - math.fsum(weights)):
            print(line, file=sys.stderr)
        clip.announce(row.clip, args.clip_checkpoint)
        embeds = embed(clip.load(row.clip, args.clip_checkpoint), args.prompts, photos)
    net = models.load(row.name, path, device, dtype)
    model = diffusion.guided(net, embeds.to(device), weights, args.chunk)
    return diffusion.clamp_t(model, row.min_t, row.max_t)


def embed(reader, texts, photos):
    """The CLIP embeddings of text prompts, then of photos (PIL images): [K, D]."""
    import torch

    size = (reader.image_size, reader.image_size)
    embeds = [reader.encode_text([prompt.text for prompt in texts])]
    for photo in photos:
        image = images.to_tensor(images.resize_and_crop(photo, size))
        embeds.append(reader.encode_image(image[None]))
    return torch.cat(embeds)
