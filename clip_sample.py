#!/usr/bin/env python3
"""Draw images with any model, steered by what CLIP sees in them towards weighted prompts."""

import functools
import math
import sys

import diffusion
from cli import arguments, prompts
from cli.errors import UserError
from cli.jobs import Jobs
from cli.parser import Parser
from cli.prompts import Prompt
from cli.scripts import CLIP
from cli.settle import settle
from models import NETWORKS
from runner import drawing, run
from runner.guided_model import Reader, chunk_of, load_network

EXAMPLES = (
    'clip_sample.py "a red apple" --model emoji --steps 50 -n 4',
    'clip_sample.py "a lighthouse in a storm" --model yfcc_1 -cs 1000 -n 4 --seed 0',
    'clip_sample.py "oil painting:2" "blurry:-1" --images photo.jpg --init photo.jpg -st 0.6',
    "clip_sample.py --from-png out_00000.png --cutn 32",
    'clip_sample.py --from-file jobs.txt -o "runs/{line:06}_{seed:06}.png" --skip-existing',
)
DEFAULTS = {
    "clip_guidance_scale": 500.0,
    "cutn": 16,
    "cut_pow": 1.0,
    "guide_every": 1,
    "low_memory": False,
}


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    arguments.add_prompts(parser, CLIP)
    arguments.add_guidance(parser)
    arguments.add_start(parser)
    which = "the weights of the CLIP that steers (default: open_clip finds them)"
    arguments.add_model(parser, CLIP, which)
    arguments.add_sampling(parser, CLIP)
    arguments.add_jobs(parser)
    arguments.add_output(parser)
    arguments.add_watching(parser)
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    """The run's jobs, settled and checked; nothing slow is imported yet."""
    parser = make_parser()
    return Jobs(parser, parser.parse_args(argv), settled)


def settled(args):
    """Arguments with all values filled in, those of the steering too."""
    args = settle(args, CLIP)
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    asked = [*args.prompts, *args.images]
    total = math.fsum(prompt.weight for prompt in asked)
    if args.asks and abs(total) < 1e-9:
        raise UserError("the weights of the prompts add up to 0, and are divided by their sum")
    args.clip_model = args.clip_model or NETWORKS[args.model].clip or "ViT-B-16"
    args.steers = bool(asked) and args.clip_guidance_scale > 0
    # A line may steer where the command line does not.
    args.needs_gradients = args.steers or bool(args.from_file)
    if args.steers and diffusion.METHODS[args.method].evaluations is None:
        raise UserError(
            f"--method {args.method}: CLIP looks at other crops in every evaluation, so that no "
            "step would be short enough: choose another, or -cs 0"
        )
    return args


def main():
    jobs = parse()
    args, row = jobs.args, NETWORKS[jobs.args.model]

    def clips(job):
        read = {}
        if job.steers:
            read["guiding_clip_sha256"] = (job.clip_model, job.clip_checkpoint)
        if (job.prompts or job.images) and row.clip:
            read["clip_sha256"] = (row.clip, own_checkpoint(job, row))
        return read

    def described(job):
        steering = ("clip_guidance_scale", "cutn", "cut_pow", "guide_every", "guidance_interval")
        steering = {name: getattr(job, name) for name in (*steering, "clip_model", "low_memory")}
        return {"script": CLIP.name, **steering}

    def build(path, device, dtype):
        return build_model(args, row, path, device, dtype)

    def guides():
        asked = [*args.prompts, *args.images]
        total = abs(math.fsum(prompt.weight for prompt in asked))
        for line in prompts.describe([Prompt(p.text, p.weight / total) for p in asked]):
            print(line, file=sys.stderr)

    drawing.draw(jobs, build, clips, described, guides=guides)


def own_checkpoint(args, row):
    """The weights of the CLIP that the model reads prompts with: given where it steers, too."""
    return args.clip_checkpoint if args.clip_model == row.clip else None


def build_model(args, row, path, device, dtype):
    """A function (items of a batch, generators) -> the model to sample (x [N, 3, H, W], t) -> v."""
    import torch

    from models.unet import recompute_gradients
    from runner.prompt_reader import PromptReader

    @functools.cache
    def steering():
        cached = not args.no_embedding_cache
        reader = Reader(args.clip_model, args.clip_checkpoint, None, cached, device)
        return PromptReader(args, reader, steers=True)

    @functools.cache
    def conditioning():
        checkpoint, dim = own_checkpoint(args, row), row.architecture.clip_dim
        reader = Reader(row.clip, checkpoint, dim, not args.no_embedding_cache, device)
        return PromptReader(args, reader, steers=False)

    @functools.cache
    def network():
        net = load_network(args, row, path, device, dtype)
        if args.low_memory:
            recompute_gradients(net)
        return net

    def model_for(batch, sources):
        job, item = batch[0].job.args, batch[0]
        asked = bool(item.prompts or job.images)
        guide = steering() if job.steers else None
        own = conditioning() if asked and row.clip else None
        if guide and row.clip == args.clip_model:
            own = guide
        targets = {reader: reader.target(batch, sources) for reader in (guide, own) if reader}
        call = diffusion.in_chunks(network(), chunk_of(job, network()))
        if row.clip is None:
            model = call
        else:
            cond = targets[own] if own else torch.zeros(1, row.architecture.clip_dim, device=device)

            def model(x, t):
                return call(x, t, cond.repeat(len(x) // len(cond), 1))

        model = diffusion.clamp_t(model, row.min_t, row.max_t)
        if guide is None:
            return model
        gradient = guide.gradient(targets[guide], sources, job)
        return diffusion.steered(
            model, gradient, job.guidance_interval, job.guide_every, job.low_memory
        )

    return model_for


if __name__ == "__main__":
    run.program(main)
