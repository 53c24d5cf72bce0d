#!/usr/bin/env python3
"""Draw images from weighted text and image prompts, by classifier-free guidance."""

import functools

from cli import arguments
from cli.jobs import Jobs
from cli.parser import Parser
from cli.scripts import CFG
from cli.settle import settle
from diffusion.methods import NOISY, WHOLE
from models import NETWORKS
from runner import drawing, run
from runner.guided_model import describe, guide, load_network, reader_of
from runner.ways import photos_of

EXAMPLES = (
    'cfg_sample.py "a red apple on a blue background" -n 4',
    'cfg_sample.py "the rise of consciousness:5" "oil painting:2" "blurry:-1" -n 4 --seed 0',
    'cfg_sample.py "oil painting" --init photo.jpg -st 0.7 -o "{prompt}_{seed}.png"',
    "cfg_sample.py --from-png out_00000.png --steps 100",
    'cfg_sample.py --from-file jobs.txt -bs 8 -o "runs/{line:06}_{seed:06}.png" --skip-existing',
    'cfg_sample.py "a {red,blue} heart" -n 4 --sweep steps=5,10,20 method=plms,ab23',
)


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    arguments.add_prompts(parser, CFG)
    low, high = NOISY
    usual = f"{low:g} {high:g} for ab2 to deis, if weights add up to more than 1, else 0 1"
    arguments.add_interval(parser.add_argument_group("the guidance"), usual)
    arguments.add_start(parser)
    arguments.add_model(parser, CFG)
    arguments.add_sampling(parser, CFG)
    arguments.add_jobs(parser)
    arguments.add_output(parser)
    arguments.add_watching(parser)
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    """The run's jobs, settled and checked; nothing slow is imported yet."""
    parser = make_parser()
    return Jobs(parser, parser.parse_args(argv), functools.partial(settle, script=CFG))


def main():
    jobs = parse()
    args, row = jobs.args, NETWORKS[jobs.args.model]

    def clips(job):
        reads = row.clip and (job.prompts or job.images)
        return {"clip_sha256": (row.clip, job.clip_checkpoint)} if reads else {}

    def described(job):
        interval = job.guidance_interval if job.prompts or job.images else None
        return {"script": CFG.name, "guidance_interval": interval}

    def build(path, device, dtype):
        return build_model(args, row, path, device, dtype)

    def guides():
        interval = WHOLE if jobs.sweep else args.guidance_interval  # of all images, if at all
        describe(row, {"": [*args.prompts, *args.images]}, interval)

    drawing.draw(jobs, build, clips, described, guides=guides)


def build_model(args, row, path, device, dtype):
    """A function (items of a batch, generators) -> the model to sample (x [N, 3, H, W], t) -> v."""
    reader, net = reader_of(args, row), None

    def model_for(batch, sources):
        nonlocal net
        asked = [(item.prompts, photos_of(item.job)) for item in batch]
        embeds = [embed.to(device) for embed in reader.embed(asked)]
        if not (args.from_file or args.makes_choices):
            reader.forget_clip()
        net = net or load_network(args, row, path, device, dtype)
        weights = [[p.weight for p in [*item.prompts, *item.job.args.images]] for item in batch]
        return guide(batch[0].job.args, net, row, embeds, weights)

    return model_for


if __name__ == "__main__":
    run.program(main)
