#!/usr/bin/env python3
"""Draw images from weighted text and image prompts, by classifier-free guidance."""

import sys

from cli import arguments, images, latents, outputs, prompts, run
from cli.errors import UserError

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
    args = parser.parse_args(argv)
    if args.latent:
        n = latents.count(args.latent)
        if args.seeds is None and args.n is None:
            args.n = n
    arguments.settle(args)
    if args.latent and args.n != n:
        raise UserError(f"{args.latent} holds {n} latents, but {args.n} images are asked for")
    return args


def main():
    args = parse()
    text = " ".join(p.text for p in [*args.prompts, *args.images] if p.weight > 0)
    targets = outputs.plan(
        args.output,
        [
            {"index": i, "seed": seed, "prompt": text, "model": args.model}
            for i, seed in enumerate(args.seeds)
        ],
        args.policy,
    )
    if not targets:
        print("nothing to draw: all files exist", file=sys.stderr)
        return
    # All that can be wrong with what the user named is found before torch is imported.
    init = args.init and images.resize_and_crop(images.open_image(args.init), args.size)
    photos = [images.open_image(prompt.text) for prompt in args.images]

    if args.note:
        print(args.note, file=sys.stderr)
    import torch

    import diffusion
    import models
    from models import NETWORKS, checkpoints, clip

    row = NETWORKS[args.model]
    device = run.pick_device(args.device)
    dtype = run.pick_dtype(args.dtype, device)
    path = checkpoints.find(row, args.checkpoint, args.mirror)
    digest = checkpoints.sha256(path)
    if args.expected_sha256 not in (None, digest):
        print(f"note: {path} is not the checkpoint of the recipe", file=sys.stderr)

    if row.clip:
        embeds = torch.zeros(0, row.architecture.clip_dim)
        if args.prompts or photos:
            reader = clip.load(row.clip, args.clip_checkpoint)
            embeds = embed(reader, [p.text for p in args.prompts], photos)
        weights = [p.weight for p in [*args.prompts, *args.images]]
        conditions = [*args.prompts, *args.images]
        for line in prompts.describe(conditions, 1 - sum(weights)) if conditions else ():
            print(line, file=sys.stderr)
        net = models.load(args.model, path, device, dtype)
        model = diffusion.guided(net, embeds.to(device), weights, args.chunk)
    else:
        net = models.load(args.model, path, device, dtype)

        def model(x, t):
            return diffusion.guidance.in_chunks(net, (x, t), args.chunk)

    model = diffusion.clamp_t(model, row.min_t, row.max_t)
    shape = (3, args.size[1], args.size[0])
    start = args.starting_timestep if init else None
    if args.latent:
        stored, start = latents.load(args.latent, args.model, args.size)
    timesteps = diffusion.schedule(args.schedule, args.steps, start)
    if args.latent and timesteps[0] != start:
        timesteps = torch.cat([timesteps.new_tensor([start]), timesteps])

    @torch.inference_mode()
    def sample(batch, callback):
        sources = diffusion.generators([target.image["seed"] for target in batch])
        x = diffusion.noise(sources, shape)
        if init:
            x = diffusion.add_noise(images.to_tensor(init), x, float(timesteps[0]))
        if args.latent:
            x = stored[[target.image["index"] for target in batch]]
        return diffusion.sample(
            model,
            x.to(device),
            timesteps,
            args.method,
            args.eta,
            lambda: diffusion.noise(sources, shape),
            callback,
        )

    def recipe(target):
        if args.no_metadata:
            return None
        return {
            "script": "cfg_sample.py",
            "prompts": [[p.text, p.weight] for p in args.prompts],
            "images": [[p.text, p.weight] for p in args.images],
            "seed": target.image["seed"],
            "steps": args.steps,
            "method": args.method,
            "schedule": args.schedule,
            "eta": args.eta,
            "starting_timestep": args.starting_timestep if init else None,
            "init": args.init,
            "latent": args.latent and str(args.latent),
            "size": list(args.size),
            "model": args.model,
            "model_sha256": digest,
            "checkpoint": path.name,
            "clip": row.clip,
            "dtype": str(dtype).removeprefix("torch."),
            "device": device.type,
            "software": run.SOFTWARE,
        }

    run.draw(targets, args.batch_size, len(timesteps) - 1, sample, recipe)


def embed(reader, texts, photos):
    """The CLIP embeddings of texts, then of photos (PIL images): [K, D]."""
    import torch

    size = (reader.image_size, reader.image_size)
    tensors = [images.to_tensor(images.resize_and_crop(photo, size)) for photo in photos]
    with torch.inference_mode():
        parts = [reader.encode_text(texts)]
        if tensors:
            parts.append(reader.encode_image(torch.stack(tensors)))
        return torch.cat(parts)


if __name__ == "__main__":
    run.script(main)
