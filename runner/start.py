"""Where the images of a batch start: at noise, at an image with noise, or at saved latents."""

import functools
import os
from typing import Any, NamedTuple

import torch

import diffusion
from media.images import fitted
from media.tensors import to_tensor
from runner import latents


class Start(NamedTuple):
    """Where a run along the flow starts.

    Args:
        x: noised images at timesteps[0] [N, 3, H, W].
        timesteps: of the run, descending.
        before: the state before, as `diffusion.sample` takes it; or None.
    """

    x: torch.Tensor
    timesteps: Any
    before: tuple | None = None


def start(items, eps, device):
    """The Start of a batch.

    Args:
        items: `jobs.jobs.Item`s, alike in shape.
        eps: noise [N, 3, H, W]; more rows than items where one image fills a batch by itself.
        device: where x goes; of a reversible method it stays on the CPU, in float64.
    """
    parts = zip(items, eps.chunk(len(items)), strict=True)
    starts = [_start_of(item, noise) for item, noise in parts]
    x, before = torch.cat([start.x for start in starts]), starts[0].before
    if before:
        before = before[0], torch.cat([start.before[1] for start in starts])
    reversible = diffusion.METHODS[items[0].image.method].reversible
    return Start(x.double() if reversible else x.to(device), starts[0].timesteps, before)


def photos(items, device):
    """The photos of a batch as tensors [N, 3, H, W], where `start` puts its x."""
    x = torch.stack([photo_of(item.photo, tuple(item.image.size)) for item in items])
    reversible = diffusion.METHODS[items[0].image.method].reversible
    return x.double() if reversible else x.to(device)


def photo_of(source, size):
    return to_tensor(fitted(source, size))


def _start_of(item, eps):
    image = item.image
    if image.latent:
        return _latents_of(image, item.number, eps)
    if image.init:
        timesteps = diffusion.timesteps(image.schedule, image.steps, image.starting_timestep)
        photo = photo_of(image.init, tuple(image.size))
        return Start(diffusion.add_noise(photo, eps, float(timesteps[0])), timesteps)
    return Start(eps, diffusion.schedule(image.schedule, image.steps))


def _latents_of(image, number, eps):
    """The Start at a saved latent; the way back, where the method has one."""
    t, way = image.head.timestep, image.latent_timesteps
    file = os.stat(image.latent)
    version = os.path.abspath(image.latent), file.st_mtime_ns, file.st_size, file.st_ino
    found, previous = _stored(image.latent, image.head.reversible, version)
    index = image.latent_indices[number]
    # One that is drawn again in a batch of its old shape fills that batch.
    x = found[index].expand(len(eps), -1, -1, -1)
    if way is None:
        way = diffusion.timesteps(image.schedule, image.steps, t)
    elif previous is not None and diffusion.METHODS[image.method].reversible:
        return Start(previous[index].expand(len(eps), -1, -1, -1), way[1:], (t, x))
    return Start(x.float(), way)


@functools.lru_cache(maxsize=4)
def _stored(path, reversible, version):
    """What a file holds, kept for the next batch; version: tells one content from another."""
    return latents.load(path, reversible)
