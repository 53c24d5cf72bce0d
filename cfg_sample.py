#!/usr/bin/env python3
"""Draw images from weighted text and image prompts, by classifier-free guidance."""

import math
import sys

import diffusion
import models
from cli import arguments, images, latents, metadata, outputs, prompts, run
from cli.settle import settle
from models import NETWORKS, checkpoints, clip

EXAMPLES = (
    'cfg_sample.py "a red apple on a blue background" -n 4',
    'cfg_sample.py "the rise of consciousness:5" "oil painting:2" "blurry:-1" -n 4 --seed 0',
    'cfg_sample.py "oil painting" --init photo.jpg -st 0.7 -o "{prompt}_{seed}.png"',
    "cfg_sample.py --from-png out_00000.png --steps 100",
)


def parse(argv=None):
    """The arguments, settled and checked; nothing slow is imported yet."""
    parser = arguments.Parser(__doc__, EXAMPLES)
    arguments.add_prompts(parser)
    arguments.add_start(parser)
    arguments.add_model(parser)
    arguments.add_sampling(parser)
    arguments.add_output(parser)
    arguments.add_help(parser)
    return settle(parser.parse_args(argv))


def main():
    args = parse()
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
    }
    if row.clip and (args.prompts or args.images):
        facts["clip_sha256"] = clip.sha256(row.clip, args.clip_checkpoint)
    for what, digest in args.expected.items():
        if digest is not None and facts.get(what) not in (None, digest):
            whose = what.removesuffix("_sha256")
            print(f"note: the {whose}'s weights are not those of the recipe", file=sys.stderr)
    start, timesteps = begin(args, init)
    with torch.inference_mode():
        model = build_model(args, row, path, photos, device, dtype)

    rows, its_row = args.batch or (None, None)

    @torch.inference_mode()
    def sample(batch, callback):
        sources = diffusion.generators([target.image["seed"] for target in batch])

        def noise():
            eps = diffusion.noise(sources, (3, args.size[1], args.size[0]))
            # An image that is drawn again is rounded as then in a batch of the same shape alone.
            return eps.repeat(rows, 1, 1, 1) if rows else eps

        x = start(noise(), [target.image["index"] for target in batch])
        drawn = diffusion.sample(
            model, x.to(device), timesteps, args.method, args.eta, noise, callback
        )
        return drawn[its_row : its_row + 1] if rows else drawn

    def recipe(target, batch):
        if args.no_metadata:
            return None
        return {**described(args, target.image), **facts, "batch": args.batch or batch}

    run.draw(targets, args.batch_size, len(timesteps) - 1, sample, recipe)


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


def begin(args, init):
    """Where a run starts.

    Args:
        init: the image to start from, a PIL image of the right size; None: there is none.
    Returns:
        (start, timesteps): the function (noise [N, 3, H, W], the images' numbers in the run) ->
        noised images at timesteps[0].
    """
    if args.latent:
        stored, t = latents.load(args.latent)[list(args.latent_indices)], args.latent_timestep
        below = diffusion.schedule(args.schedule, args.steps, start=t)
        timesteps = below if below[0] == t else [t, *below.tolist()]
        # One that is drawn again in a batch of its old shape fills that batch.
        return lambda eps, numbers: stored[numbers].expand(len(eps), -1, -1, -1), timesteps
    if init:
        timesteps = diffusion.schedule(args.schedule, args.steps, args.starting_timestep)
        image = images.to_tensor(init)
        return lambda eps, _: diffusion.add_noise(image, eps, float(timesteps[0])), timesteps
    return lambda eps, _: eps, diffusion.schedule(args.schedule, args.steps)


def build_model(args, row, path, photos, device, dtype):
    """The model to sample: (x [N, 3, H, W], t [N]) -> v, guided by the prompts and the photos."""
    import torch

    if row.clip is None:
        net = models.load(row.name, path, device, dtype)
        return diffusion.clamp_t(diffusion.in_chunks(net, args.chunk), row.min_t, row.max_t)
    conditions = [*args.prompts, *args.images]
    weights = [prompt.weight for prompt in conditions]
    embeds = torch.zeros(0, row.architecture.clip_dim)
    if conditions:
        for line in prompts.describe(conditions, 1 - math.fsum(weights)):
            print(line, file=sys.stderr)
        if clip.CLIPS[row.clip].file is None and args.clip_checkpoint is None:
            print(f"CLIP {row.clip}: open_clip downloads it on first use", file=sys.stderr)
        embeds = embed(clip.load(row.clip, args.clip_checkpoint), args.prompts, photos)
    net = models.load(row.name, path, device, dtype)
    model = diffusion.guided(net, embeds.to(device), weights, args.chunk)
    return diffusion.clamp_t(model, row.min_t, row.max_t)


def embed(reader, texts, photos):
    """The CLIP embeddings of text prompts, then of photos (PIL images): [K, D]."""
    import torch

    size = (reader.image_size, reader.image_size)
    embeds = [reader.encode_text([prompt.text for prompt in texts])]
    for photo in photos:
        image = images.to_tensor(images.resize_and_crop(photo, size))
        embeds.append(reader.encode_image(image[None]))
    return torch.cat(embeds)


def described(args, image):
    """What the recipe of an image (its number in the run and its seed) says of the arguments."""
    return {
        "script": "cfg_sample.py",
        "prompts": [[p.text, p.weight] for p in args.prompts],
        "images": [[p.text, p.weight] for p in args.images],
        "seed": image["seed"],
        "steps": args.steps,
        "method": args.method,
        "schedule": args.schedule,
        "eta": args.eta,
        "starting_timestep": args.starting_timestep if args.init else None,
        "init": args.init,
        "latent": args.latent and str(args.latent),
        "latent_index": args.latent_indices[image["index"]] if args.latent else None,
        "chunk": args.chunk,
        "size": list(args.size),
        "model": args.model,
        "clip": NETWORKS[args.model].clip,
        "software": run.SOFTWARE,
    }


if __name__ == "__main__":
    run.script(main)
