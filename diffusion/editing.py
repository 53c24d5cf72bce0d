"""Edits of images by two models, one that knows an image as it is and one of what it is to become.

`edit_by_latents` finds the noise of an image and goes forward again under other conditions.
`edit_directly` changes the image without finding any noise.
"""

import math

import torch

from diffusion.inversion import from_latents, to_latents
from diffusion.objective import like, rotate
from diffusion.sampling import sample
from diffusion.schedules import alpha_sigma


def edit_by_latents(source, target, images, timesteps, method, mask=None, callback=None):
    """Goes up from images under one model and down again under another.

    Editing as with DDIM inversion (Song et al., 2020, arXiv 2010.02502), by any method.

    Args:
        source, target: models (x [N, C, H, W], t [N]) -> v, of the way up and of the way down.
        images: [N, C, H, W] in [-1, 1].
        timesteps: ascending, from the images to where they turn back.
        method: one of METHODS that adds no noise.
        mask: [1, H, W], 1 where images may change, 0 where they are to stay. None: everywhere.
        callback: as for `sample`, on both ways.
    Returns:
        The edits [N, C, H, W].
    """
    trail = Trail()

    def see(progress):
        if mask is not None:
            trail.add(progress.t, progress.x, progress.v)
        if callback is not None:
            callback(progress)

    latents = to_latents(source, images, timesteps, method, see)
    if mask is not None:
        trail.add(timesteps[-1], latents.x, torch.zeros_like(latents.x))
        target = inside(target, mask, trail.at)
    edited = from_latents(target, latents, timesteps[::-1], method, callback)
    return edited if mask is None else mask * edited + (1 - mask) * images


def edit_directly(source, target, images, timesteps, method, noise, mask=None, callback=None):
    """Changes images along the difference of two flows; no noise of theirs has to be found.

    FlowEdit (Kulikov et al., 2024, arXiv 2412.08629), for the v objective. An image and its edit,
    noised alike, are x = alpha image + sigma eps and x + change. Both follow their flows, so
    `d change / dtheta = v_target(x + change) - v_source(x)`, from no change at the last timestep.

    Args:
        images: [N, C, H, W] in [-1, 1], or one of them for N draws of noise.
        noise: a function of no arguments that draws noise [N, C, H, W], called once an evaluation,
            for changes averaged over it.
        source, target, timesteps, method, mask, callback: as for `edit_by_latents`.
    Returns:
        The edits [N, C, H, W].
    """

    def difference(change, t):
        alpha, sigma = alpha_sigma(like(t, change))
        x = alpha * images + sigma * noise()
        return target(x + change, t) - source(x, t)

    if mask is not None:
        difference = inside(difference, mask, lambda t: 0)
    change = sample(difference, 0 * noise(), timesteps[::-1], method, callback=callback)
    return images + (change if mask is None else mask * change)


def inside(model, mask, outside):
    """A model that finds what is known outside of a mask, whatever has become of it.

    Args:
        outside: function t -> what is known at that timestep [N, C, H, W].
    """

    def masked(x, t):
        return model(mask * x + (1 - mask) * outside(float(t[0])), t)

    return masked


class Trail:
    """The states of a run, and those between them."""

    def __init__(self):
        self.states = []

    def add(self, t, x, v):
        self.states.append((t, x, v))

    def at(self, t):
        """The state at a timestep: the nearest one, taken there along its own v."""
        nearest, x, v = min(self.states, key=lambda state: abs(state[0] - t))
        return rotate(x, v, (t - nearest) * (math.pi / 2))
