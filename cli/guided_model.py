"""The models that prompts guide by classifier-free guidance, from settled arguments."""

import functools
import math
import sys

import diffusion
import models
from cli import images, prompts, run
from cli.embedding_cache import embed_texts
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
    asking = {title: [*texts, *pictures] for title, (texts, pictures, _) in askings.items()}
    if row.clip and any(asking.values()):
        for title, conditions in asking.items():
            rest = 1 - math.fsum(prompt.weight for prompt in conditions)
            lines = prompts.describe(conditions, rest) if conditions else ["  no prompt"]
            print(*([title] if title else []), *lines, sep="\n", file=sys.stderr)

    @functools.cache
    def reader():
        clip.announce(row.clip, args.clip_checkpoint)
        return clip.load(row.clip, args.clip_checkpoint)

    embeds = [embed(args, row, texts, photos, reader) for texts, _, photos in askings.values()]
    reader.cache_clear()  # it need not be in memory beside the network
    net = models.load(row.name, path, device, dtype)
    if args.compile:
        net = run.compiled(net)
    return [
        guide(args, net, row, known.to(device), [prompt.weight for prompt in conditions])
        for known, conditions in zip(embeds, asking.values(), strict=True)
    ]


def guide(args, net, row, embeds, weights):
    """The model of a network under weighted embeddings; of one that takes none, its own."""
    if row.clip is None:
        model = diffusion.in_chunks(net, args.chunk)
    else:
        interval = getattr(args, "guidance_interval", (0.0, 1.0))
        model = diffusion.guided(net, embeds, weights, args.chunk, interval)
    return diffusion.clamp_t(model, row.min_t, row.max_t)


def embed(args, row, texts, photos, reader):
    """The CLIP embeddings of text prompts, then of photos (PIL images): [K, D].

    Args:
        reader: function () -> the Clip; not called if there is no need to.
    """
    import torch

    texts = [prompt.text for prompt in texts]
    dim, cached = row.architecture.clip_dim, not args.no_embedding_cache
    embeds = [embed_texts(texts, row.clip, args.clip_checkpoint, dim, reader, cached)]
    for photo in photos:
        image = images.resize_and_crop(photo, (reader().image_size,) * 2)
        embeds.append(reader().encode_image(images.to_tensor(image)[None]))
    return torch.cat(embeds)
