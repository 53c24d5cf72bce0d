"""From images to the latents that yield them, and back: the one loop, run up and down again.

A step up is the inverse of the step down only in the limit of small steps, and at any length of
step by a reversible method, whose way back starts from the last two states.
"""

from typing import NamedTuple

import torch

from diffusion.sampling import sample
from diffusion.solvers import METHODS


class Latents(NamedTuple):
    """Where images come from.

    Args:
        x: the noised images [N, C, H, W] at the last timestep of the way up.
        previous: the state one step before, where a reversible method found them; else None.
    """

    x: torch.Tensor
    previous: torch.Tensor | None = None


def to_latents(model, images, timesteps, method, callback=None):
    """Finds the latents that yield images.

    Args:
        model: callable (x, t) -> v; of float64 for a reversible method, see `in_doubles`.
        images: [N, C, H, W] in [-1, 1].
        timesteps: ascending, as for `sample`.
        method: one of METHODS that adds no noise.
        callback: as for `sample`.
    Returns:
        Latents.
    """
    last = None

    def see(progress):
        nonlocal last
        last = progress.x
        if callback is not None:
            callback(progress)

    x = sample(model, images, timesteps, method, callback=see)
    return Latents(x, last if METHODS[method].reversible else None)


def from_latents(model, latents, timesteps, method, callback=None):
    """The images [N, C, H, W] that latents yield.

    Args:
        timesteps: descending; those of the way up in reverse, for the latents of a reversible
            method.
        model, method, callback: as for `to_latents`.
    """
    if latents.previous is None or not METHODS[method].reversible:
        return sample(model, latents.x, timesteps, method, callback=callback)
    before = (timesteps[0], latents.x)
    return sample(model, latents.previous, timesteps[1:], method, callback=callback, before=before)


def in_doubles(model, device):
    """A model of states in double precision on the CPU, which not every device has."""
    return lambda x, t: model(x.float().to(device), t.float().to(device)).double().cpu()
