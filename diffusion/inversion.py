"""Inversion: the latents that yield given images, and edits of images by them or without them.

Inversion is the sampling loop over ascending timesteps. A step up is the inverse of the step down
only in the limit of small steps; with a reversible method it is for any step, and the run back
starts from the last two states.

An edit has two models, one conditioned on what an image shows and one on what it is to become.
`edit_by_latents` finds the latents of an image under the first and samples from them under the
second. `edit_directly` needs no latents.
"""

import math
from typing import NamedTuple

import torch

from diffusion.methods import METHODS
from diffusion.objective import alpha_sigma, like, rotate
from diffusion.sampling import sample


class Latents(NamedTuple):
    """What yields images.

    Args:
        x: the noised images [N, C, H, W] at the last timestep of the run up.
        previous: the state one step before, if a reversible method found them; else None.
    """

    x: torch.Tensor
    previous: torch.Tensor | None = None


def to_latents(model, images, timesteps, method="exact", callback=None, tolerance=None):
    """Finds the latents that yield images.

    Args:
        model: callable (x, t) -> v. For a reversible method it is called in float32, and states
            are kept in float64.
        images: [N, C, H, W] in [-1, 1].
        timesteps: ascending, as for `sample`.
        method: one of METHODS that adds no noise. `exact` is reversible, and costs no more.
        callback, tolerance: as for `sample`.
    Returns:
        Latents, of a reversible method in float64.
    """
    _check_way(timesteps, upwards=True)
    if METHODS[method].reversible:
        model, images = _between_doubles(model, images.device), _doubles(images)
    last = None

    def see(progress):
        nonlocal last
        last = progress.x
        if callback is not None:
            callback(progress)

    x = sample(model, images, timesteps, method, callback=see, tolerance=tolerance)
    return Latents(x, last if METHODS[method].reversible else None)


def from_latents(model, latents, timesteps, method="exact", callback=None, tolerance=None):
    """The images [N, C, H, W] that latents yield.

    Args:
        timesteps: descending; for the latents of a reversible method, those of the run up in
            reverse.
        model, method, callback, tolerance: as for `to_latents`.
    """
    _check_way(timesteps, upwards=False)
    if not isinstance(latents, Latents):
        raise ValueError("latents are what to_latents returns; Latents(x) makes them of a tensor")
    if METHODS[method].reversible:
        model = _between_doubles(model, latents.x.device)
    x, before = latents.x, None
    if latents.previous is not None and METHODS[method].reversible:
        x, before, timesteps = latents.previous, (timesteps[0], latents.x), timesteps[1:]
    return sample(
        model, x, timesteps, method, callback=callback, before=before, tolerance=tolerance
    )


def _doubles(x):
    """States in float64, on the CPU where their device has no such numbers."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _between_doubles(model, device):
    """A model for states in float64, itself called in float32 on its device."""
    return lambda x, t: model(x.float().to(device), t.float().to(device)).to(x)


def in_doubles(model, device):
    """A model for states in float64 on the CPU, which not every device has."""
    return lambda x, t: model(x.float().to(device), t.float().to(device)).double().cpu()


def _check_way(timesteps, upwards):
    """ValueError for timesteps that go the other way."""
    if len(timesteps) > 1 and (timesteps[-1] > timesteps[0]) != upwards:
        ways = ("ascending", "descending")
        wanted, given = ways if upwards else ways[::-1]
        raise ValueError(f"these timesteps are {given}: {wanted} ones are needed here")


def edit_by_latents(source, target, images, timesteps, method, mask=None, callback=None):
    """Finds the latents of images under one model and samples from them under another.

    Editing as with DDIM inversion (Song et al., 2020, arXiv 2010.02502), by any method.

    Args:
        source, target: models (x [N, C, H, W], t [N]) -> v, for the run up and the run down.
        images: [N, C, H, W] in [-1, 1].
        timesteps: ascending, from the images to the timestep of the latents.
        method: one of METHODS that adds no noise.
        mask: [1, H, W], 1 where images may change, 0 where they are to stay. None: everywhere.
        callback: as for `sample`, in both runs.
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
    """Changes images along the difference of two flows, without finding their latents.

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
    nothing = 0 * noise()  # as many rows; without this draw old recipes would give other edits
    change = sample(difference, nothing, timesteps[::-1], method, callback=callback)
    return images + (change if mask is None else mask * change)


def inside(model, mask, outside):
    """A model whose x is replaced by known states outside of a mask.

    Args:
        outside: function t -> the known state at that timestep [N, C, H, W].
    """

    def masked(x, t):
        return model(mask * x + (1 - mask) * outside(float(t[0])), t)

    return masked


class Trail:
    """The states that a run visited, and estimates of those between them."""

    def __init__(self):
        self.states = []

    def add(self, t, x, v):
        self.states.append((t, x, v))

    def at(self, t):
        """The state at a timestep: the nearest one, moved there along its own v."""
        nearest, x, v = min(self.states, key=lambda state: abs(state[0] - t))
        return rotate(x, v, (t - nearest) * (math.pi / 2))
