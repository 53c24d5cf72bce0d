"""From images to the latents that yield them, and back: the one loop, run up and down again.

A step up is the inverse of the step down only in the limit of small steps, and at any length of
step by a reversible method, whose way back starts from the last two states.
"""

from typing import NamedTuple

import torch

from diffusion.methods import METHODS
from diffusion.sampling import sample


class Latents(NamedTuple):
    """Where images come from.

    Args:
        x: the noised images [N, C, H, W] at the last timestep of the way up.
        previous: the state one step before, where a reversible method found them; else None.
    """

    x: torch.Tensor
    previous: torch.Tensor | None = None


def to_latents(model, images, timesteps, method, callback=None, tolerance=None):
    """Finds the latents that yield images.

    Args:
        model: callable (x, t) -> v; of float64 for a reversible method, see `in_doubles`.
        images: [N, C, H, W] in [-1, 1].
        timesteps: ascending, as for `sample`.
        method: one of METHODS that adds no noise.
        callback, tolerance: as for `sample`.
    Returns:
        Latents.
    """
    last = None

    def see(progress):
        nonlocal last
        last = progress.x
        if callback is not None:
            callback(progress)

    x = sample(model, images, timesteps, method, callback=see, tolerance=tolerance)
    return Latents(x, last if METHODS[method].reversible else None)


def from_latents(model, latents, timesteps, method, callback=None, tolerance=None):
    """The images [N, C, H, W] that latents yield.

    Args:
        timesteps: descending; those of the way up in reverse, for the latents of a reversible
            method.
        model, method, callback, tolerance: as for `to_latents`.
    """
    x, before = latents.x, None
    if latents.previous is not None and METHODS[method].reversible:
        x, before, timesteps = latents.previous, (timesteps[0], latents.x), timesteps[1:]
    return sample(
        model, x, timesteps, method, callback=callback, before=before, tolerance=tolerance
    )


def in_doubles(model, device):
    """A model of states in double precision on the CPU, which not every device has."""
    return lambda x, t: model(x.float().to(device), t.float().to(device)).double().cpu()
