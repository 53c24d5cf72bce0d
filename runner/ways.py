"""How images come about: from noise, an image or saved latents, along the flow to what is drawn."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import diffusion
from media import images
from runner import latents

open_photo = functools.lru_cache(maxsize=32)(images.open_image)


def photos_of(job):
    """The PIL images of a job's image prompts."""
    return [open_photo(prompt.text) for prompt in job.args.images]


class Way(NamedTuple):
    """How the images of a batch come about.

    Args:
        steps: of one image.
        go: the function (what `build` made, function that draws noise [N, 3, H, W], callback that
            wants a `diffusion.Progress` in each step) -> (images [N, 3, H, W], evaluations of the
            model for each or None).
        noised: whether the callback's x are images with the noise of their timesteps.
    """

    steps: int
    go: Callable
    noised: bool = True


def sampling(batch, device):
    """The Way of a run from noise, or wherever it starts, to images."""
    args = batch[0].job.args
    begins = [start(item.job) for item in batch]
    timesteps, reversible = begins[0].timesteps, diffusion.METHODS[args.method].reversible

    def go(model, noise, callback):
        import torch

        asked, eps = 0, noise()
        # One image may fill a batch by itself, in as many rows.
        parts = zip(batch, begins, eps.chunk(len(batch)), strict=True)
        states = [begin.states(part, [item.number]) for item, begin, part in parts]
        x = torch.cat([x for x, _ in states])
        before = states[0][1]
        if before:
            before = before[0], torch.cat([x for _, (_, x) in states])
        x = x.double() if reversible else x.to(device)
        if reversible:
            model = diffusion.in_doubles(model, device)

        def counted(x, t):
            nonlocal asked
            asked += len(x)
            return model(x, t)

        way = (args.method, args.eta, noise, callback, before, args.tolerance)
        return diffusion.sample(counted, x, timesteps, *way), round(asked / len(eps), 1)

    return Way(len(timesteps) - 1, go)


class Start(NamedTuple):
    """Where a run starts.

    Args:
        timesteps: of the run.
        states: the function (noise [N, 3, H, W], the images' numbers in the job) -> (noised images
            at timesteps[0], the state before as `diffusion.sample` takes it or None).
    """

    timesteps: Sequence
    states: Callable


@functools.lru_cache(maxsize=64)
def start(job):
    """The Start of a job's images."""
    args = job.args
    if args.latent:
        return start_from_latents(args)
    if args.init:
        init = images.resize_and_crop(open_photo(args.init), args.size)
        timesteps = diffusion.timesteps(args.schedule, args.steps, args.starting_timestep)
        image, t = images.to_tensor(init), float(timesteps[0])
        return Start(timesteps, lambda eps, _: (diffusion.add_noise(image, eps, t), None))
    timesteps = diffusion.schedule(args.schedule, args.steps)
    return Start(timesteps, lambda eps, _: (eps, None))


def start_from_latents(args):
    """The Start of a run from saved latents; the way back, where the method has one."""
    t, way = args.found.timestep, args.timesteps
    found, previous = (
        stored if stored is None else stored[list(args.latent_indices)]
        for stored in latents.load(args.latent, args.found)
    )
    if way is None:
        way = diffusion.timesteps(args.schedule, args.steps, start=t)

    def fill(latents_, eps):
        # One that is drawn again in a batch of its old shape fills that batch.
        return latents_.expand(len(eps), -1, -1, -1)

    if args.timesteps and previous is not None and diffusion.METHODS[args.method].reversible:
        return Start(
            way[1:],
            lambda eps, numbers: (
                fill(previous[numbers], eps),
                (t, fill(found[numbers], eps)),
            ),
        )
    return Start(way, lambda eps, numbers: (fill(found[numbers].float(), eps), None))
