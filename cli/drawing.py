"""From settled arguments to images on disk: what the scripts that draw have in common."""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import diffusion
from cli import images, latents, metadata, outputs, run
from models import NETWORKS, checkpoints, clip


class Way(NamedTuple):
    """How images come about.

    Args:
        steps: of one image.
        go: the function (what `build` made, function that draws noise [N, 3, H, W], the images'
            numbers in the run, callback for each step) -> images [N, 3, H, W].
    """

    steps: int
    go: Callable


def draw(args, build, clips, described, way=None):
    """Draws the images that the arguments ask for and saves each as soon as it is there.

    Args:
        args: as `settle` leaves them.
        build: function (photos of --images, path of the checkpoint, device, dtype) -> function
            (generators of a batch's images, whose noise is drawn) -> model (x, t) -> v.
        clips: a dict from "clip_sha256" and the like to (name of a CLIP, checkpoint or None), for
            those that the run reads.
        described: what a recipe says beyond what `recipe_of` does; a dict.
        way: function (args, the image to start from or None, device) -> Way; None: `sampling`.
    """
    row = NETWORKS[args.model]
    targets = plan(args)
    if not targets:
        print("nothing to draw: all files exist", file=sys.stderr)
        return
    # All that can be wrong with what the user named is found before torch is imported.
    init = args.init and images.resize_and_crop(images.open_image(args.init), args.size)
    photos = [images.open_image(prompt.text) for prompt in args.images]
    if args.note:
        print(args.note, file=sys.stderr)

    import torch

    device = run.pick_device(args.device)
    dtype = run.pick_dtype(args.dtype, device)
    path = checkpoints.find(row, args.checkpoint, args.mirror)
    facts = {
        "model_sha256": checkpoints.sha256(path),
        "checkpoint": path.name,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        **{what: clip.sha256(*which) for what, which in clips.items()},
    }
    for what, digest in args.expected.items():
        if digest is not None and facts.get(what) not in (None, digest):
            whose = what.removesuffix("_sha256").replace("_", " ")
            print(f"note: the {whose}'s weights are not those of the recipe", file=sys.stderr)
    steps, go = (way or sampling)(args, init, device)
    # What gradients flow through cannot be made in inference mode.
    mode = torch.no_grad if args.needs_gradients else torch.inference_mode
    with mode():
        model_for = build(photos, path, device, dtype)
    run.keep_freed_memory()

    rows, its_row = args.batch or (None, None)

    @mode()
    def sample(batch, callback):
        sources = diffusion.generators([target.image["seed"] for target in batch])

        def noise():
            eps = diffusion.noise(sources, (3, args.size[1], args.size[0]))
            # An image that is drawn again is rounded as then in a batch of the same shape alone.
            return eps.repeat(rows or 1, 1, 1, 1)

        numbers = [target.image["index"] for target in batch]
        drawn = go(model_for(sources), noise, numbers, callback)
        return drawn[its_row : its_row + 1] if rows else drawn

    def recipe(target, batch):
        if args.no_metadata:
            return None
        own = {**recipe_of(args, target.image), **described}
        return {**own, **facts, "batch": args.batch or batch}

    run.draw(targets, args.batch_size, steps, sample, recipe)


def plan(args):
    """Where each image goes."""
    texts = [p.text for p in args.prompts if p.weight > 0]
    texts += [metadata.file_name(p.text) for p in args.images if p.weight > 0]
    text = " ".join(texts)
    wanted = [
        {"index": i, "seed": seed, "prompt": text, "model": args.model}
        for i, seed in enumerate(args.seeds)
    ]
    return outputs.plan(args.output, wanted, args.policy)


def sampling(args, init, device):
    """The Way of a run from noise, or wherever it starts, to images."""
    begin = start(args, init)
    reversible = diffusion.METHODS[args.method].reversible

    def go(model, noise, numbers, callback):
        x, before = begin.states(noise(), numbers)
        x = x.double() if reversible else x.to(device)
        if reversible:
            model = diffusion.in_doubles(model, device)
        return diffusion.sample(
            model,
            x,
            begin.timesteps,
            args.method,
            args.eta,
            noise,
            callback,
            before,
            args.tolerance,
        )

    return Way(len(begin.timesteps) - 1, go)


class Start(NamedTuple):
    """Where a run starts.

    Args:
        timesteps: of the run.
        states: the function (noise [N, 3, H, W], the images' numbers in the run) -> (noised images
            at timesteps[0], the state before as `diffusion.sample` takes it or None).
    """

    timesteps: Sequence
    states: Callable


def start(args, init):
    """The Start of a run.

    Args:
        init: the image to start from, a PIL image of the right size; None: there is none.
    """
    if args.latent:
        return start_from_latents(args)
    if init:
        timesteps = diffusion.schedule(args.schedule, args.steps, args.starting_timestep)
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
        below = diffusion.schedule(args.schedule, args.steps, start=t)
        way = below if below[0] == t else [t, *below.tolist()]

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


def recipe_of(args, image):
    """What the recipe of an image (its number in the run and its seed) says of the arguments."""
    return {
        "prompts": [[p.text, p.weight] for p in args.prompts],
        "images": [[p.text, p.weight] for p in args.images],
        "seed": image["seed"],
        "steps": args.steps,
        "method": args.method,
        "schedule": args.schedule,
        "eta": args.eta,
        "tolerance": args.tolerance,
        "starting_timestep": args.starting_timestep if args.init else None,
        "init": args.init,
        "latent": args.latent and str(args.latent),
        "timesteps_of_latent": True if args.timesteps else None,
        "latent_index": args.latent_indices[image["index"]] if args.latent else None,
        "chunk": args.chunk,
        "size": list(args.size),
        "model": args.model,
        "clip": NETWORKS[args.model].clip,
        "software": run.SOFTWARE,
    }
