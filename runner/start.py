"""Where the images of a batch start: at noise, at an image with noise, or at saved latents."""

import functools
import os
from typing import Any, NamedTuple

import torch

import diffusion
from media.images import fitted
from media.tensors import to_tensor
from runner import latents
from values.errors import UserError, printable


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
    x = torch.stack([photo_of(item.photo, item.image.photo_size) for item in items])
    reversible = diffusion.METHODS[items[0].image.method].reversible
    return x.double() if reversible else x.to(device)


def photo_of(source, size):
    return to_tensor(fitted(source, size))


def _start_of(item, eps):
    image = item.image
    if image.latent:
        return _latents_of(image, item.number, eps)
    if image.variation:
        other = diffusion.noise([image.variation.other], eps.shape[1:]).expand_as(eps)
        eps = diffusion.turned(eps, other, image.variation.share)
    if image.init and image.starting_timestep is not None:  # else only a part of it is known
        timesteps = diffusion.timesteps(image.schedule, image.steps, image.starting_timestep)
        photo = photo_of(image.init, tuple(image.size))
        return Start(diffusion.add_noise(photo, eps, float(timesteps[0])), timesteps)
    return Start(eps, diffusion.schedule(image.schedule, image.steps))


def _latents_of(image, number, eps):
    """The Start at a saved latent; the way back, where the method has one."""
    t, way = image.head.timestep, image.latent_timesteps
    index = image.latent_indices[number]
    x, previous = _latent_at(image.latent, image.head, index)
    if image.variation:
        other = _latent_at(image.variation.other, image.other_head, index)
        x, previous = _turned(image, (x, previous), other)
    # One that is drawn again in a batch of its old shape fills that batch.
    x = x.expand(len(eps), -1, -1, -1)
    if way is None:
        way = diffusion.timesteps(image.schedule, image.steps, t)
    elif previous is not None and diffusion.METHODS[image.method].reversible:
        return Start(previous.expand(len(eps), -1, -1, -1), way[1:], (t, x))
    return Start(x.float(), way)


def _turned(image, states, others):
    """The states of a latent [3, H, W], and of one step before or None, turned towards another's.

    Both take the same weights, so that the difference of the two, the last step, is mixed likewise.
    """
    share = image.variation.share
    if share in (0, 1):
        return (states, others)[int(share)]
    try:
        weights = diffusion.between(states[0], others[0], share)
    except ValueError as error:
        names = f"{printable(image.latent, 200)} and {printable(image.variation.other, 200)}"
        raise UserError(f"{names}: {error}") from None
    (x, previous), (other, previous_other) = states, others
    if previous is None or previous_other is None:
        return weights[0] * x + weights[1] * other, None
    return (
        weights[0] * x + weights[1] * other,
        weights[0] * previous + weights[1] * previous_other,
    )


def _latent_at(path, head, index):
    """(latent [3, H, W], the state one step before or None) of a file."""
    file = os.stat(path)
    version = os.path.abspath(path), file.st_mtime_ns, file.st_size, file.st_ino
    found, previous = _stored(path, head.reversible, version)
    return found[index], None if previous is None else previous[index]


@functools.lru_cache(maxsize=4)
def _stored(path, reversible, version):
    """What a file holds, kept for the next batch; version: tells one content from another."""
    return latents.load(path, reversible)
