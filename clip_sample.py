#!/usr/bin/env python3
"""Draw images with any model, steered by what CLIP sees in them towards weighted prompts."""

import math
import sys

import diffusion
import models
from cli import arguments, drawing, prompts, run
from cli.errors import UserError
from cli.prompts import Prompt
from cli.scripts import CLIP
from cli.settle import settle
from models import NETWORKS

EXAMPLES = (
    'clip_sample.py "a red apple" --model emoji --steps 50 -n 4',
    'clip_sample.py "a lighthouse in a storm" --model yfcc_1 -cs 1000 -n 4 --seed 0',
    'clip_sample.py "oil painting:2" "blurry:-1" --images photo.jpg --init photo.jpg -st 0.6',
    "clip_sample.py --from-png out_00000.png --cutn 32",
)
DEFAULTS = {
    "clip_guidance_scale": 500.0,
    "cutn": 16,
    "cut_pow": 1.0,
    "guide_every": 1,
    "low_memory": False,
}


def parse(argv=None):
    """The arguments, settled and checked; nothing slow is imported yet."""
    parser = arguments.Parser(__doc__, EXAMPLES)
    arguments.add_prompts(parser, CLIP)
    arguments.add_guidance(parser)
    arguments.add_start(parser)
    which = "the weights of the CLIP that steers (default: open_clip finds them)"
    arguments.add_model(parser, CLIP, which)
    arguments.add_sampling(parser, CLIP)
    arguments.add_output(parser)
    arguments.add_help(parser)
    args = settle(parser.parse_args(argv), CLIP)
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    conditions = [*args.prompts, *args.images]
    total = math.fsum(prompt.weight for prompt in conditions)
    if args.asks and abs(total) < 1e-9:
        raise UserError("the weights of the prompts add up to 0, and are divided by their sum")
    args.conditions = [Prompt(p.text, p.weight / abs(total)) for p in conditions]
    args.weights = [prompt.weight for prompt in args.conditions]
    own = NETWORKS[args.model].clip
    args.clip_model = args.clip_model or own or "ViT-B-16"
    args.steers = bool(conditions) and args.clip_guidance_scale > 0
    args.needs_gradients = args.steers
    if args.steers and diffusion.METHODS[args.method].evaluations is None:
        raise UserError(
            f"--method {args.method}: CLIP looks at other crops in every evaluation, so that no "
            "step would be short enough: choose another, or -cs 0"
        )
    return args


def main():
    args = parse()
    row = NETWORKS[args.model]
    clips = {}
    if args.steers:
        clips["guiding_clip_sha256"] = (args.clip_model, args.clip_checkpoint)
    if args.conditions and row.clip:
        clips["clip_sha256"] = (row.clip, own_checkpoint(args, row))

    def build(photos, path, device, dtype):
        return build_model(args, row, path, photos, device, dtype)

    steering = ("clip_guidance_scale", "cutn", "cut_pow", "guide_every", "guidance_interval")
    described = {name: getattr(args, name) for name in (*steering, "clip_model", "low_memory")}
    drawing.draw(args, build, clips, {"script": CLIP.name, **described})


def own_checkpoint(args, row):
    """The weights of the CLIP that the model reads prompts with: given where it steers, too."""
    return args.clip_checkpoint if args.clip_model == row.clip else None


def build_model(args, row, path, photos, device, dtype):
    """A function (generators of a batch) -> the model to sample (x [N, 3, H, W], t [N]) -> v."""
    import torch

    from cli.prompt_reader import PromptReader
    from models.unet import recompute_gradients

    def reader(name, checkpoint, steers):
        return PromptReader(args, name, checkpoint, photos, device, steers)

    own = guide = None
    for line in prompts.describe(args.conditions):
        print(line, file=sys.stderr)
    if args.steers:
        guide = reader(args.clip_model, args.clip_checkpoint, steers=True)
    if args.conditions and row.clip:
        own = guide
        if guide is None or row.clip != args.clip_model:
            own = reader(row.clip, own_checkpoint(args, row), steers=False)
    net = models.load(row.name, path, device, dtype)
    if args.low_memory:
        recompute_gradients(net)

    def model_for(sources):
        call = diffusion.in_chunks(net, args.chunk)
        targets = {r: r.target(sources) for r in (guide, own) if r}
        if row.clip is None:
            model = call
        else:
            cond = targets[own] if own else torch.zeros(1, row.architecture.clip_dim, device=device)

            def model(x, t):
                return call(x, t, cond.repeat(len(x) // len(cond), 1))

        model = diffusion.clamp_t(model, row.min_t, row.max_t)
        if guide is None:
            return model
        gradient = guide.gradient(targets[guide], sources)
        return diffusion.steered(
            model, gradient, args.guidance_interval, args.guide_every, args.low_memory
        )

    return model_for


if __name__ == "__main__":
    run.script(main)
