"""How `train.evaluate` draws: with the calls of `cfg_sample.py`, and a prompt for each image."""

import time

import torch

import diffusion
from media.tensors import to_image, to_tensor
from models import NETWORKS


def device_of(net):
    return next(net.parameters()).device


def one_each(net, embeds):
    """A network for `guided` under which image i has a condition of its own, embeds[i].

    It takes a one for that condition and a zero for none, so that one batch can hold images of
    many prompts: `guided(one_each(net, embeds), ones [1, 1], [weight])`.
    """

    def conditioned(x, t, on):
        return net(x, t, embeds.repeat(len(on) // len(embeds), 1) * on.to(embeds))

    return conditioned


@torch.inference_mode()
def sampled(args, model, seeds, device):
    """Images of a model, one a seed, as their PNGs would hold them: float32 [N, 3, H, W]."""
    x = diffusion.noise(seeds, NETWORKS[args.model].shape).to(device)
    timesteps = diffusion.schedule(args.schedule, args.steps)
    images = diffusion.sample(model, x, timesteps, args.method)
    return torch.stack([to_tensor(to_image(image)) for image in images])


def draw(args, net, embeds, weight, seeds, what):
    """An image for each embedding, in batches, with progress: float32 [N, 3, H, W] in [-1, 1].

    Args:
        net: the network.
        embeds: [N, D] on its device; the condition of each image.
        weight: of the condition.
        seeds: N integers.
        what: a name for the lines of progress.
    """
    images, start = [], time.time()
    for first in range(0, len(embeds), args.batch_size):
        part = embeds[first : first + args.batch_size]
        if NETWORKS[args.model].takes_weight:
            model = diffusion.distilled(net, list(part[:, None]), [[weight]] * len(part))
        else:
            model = diffusion.guided(one_each(net, part), part.new_ones(1, 1), [weight])
        images.append(sampled(args, model, seeds[first : first + len(part)], part.device))
        done, seconds = first + len(part), time.time() - start
        print(f"{what}: {done} of {len(embeds)} images, {seconds:.0f} s", flush=True)
    return torch.cat(images)
