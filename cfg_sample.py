#!/usr/bin/env python3
"""Draw images from weighted text and image prompts, by classifier-free guidance."""

from cli import arguments, drawing, run
from cli.guided_model import build_model
from cli.scripts import CFG
from cli.settle import settle
from models import NETWORKS

EXAMPLES = (
    'cfg_sample.py "a red apple on a blue background" -n 4',
    'cfg_sample.py "the rise of consciousness:5" "oil painting:2" "blurry:-1" -n 4 --seed 0',
    'cfg_sample.py "oil painting" --init photo.jpg -st 0.7 -o "{prompt}_{seed}.png"',
    "cfg_sample.py --from-png out_00000.png --steps 100",
)


def parse(argv=None):
    """The arguments, settled and checked; nothing slow is imported yet."""
    parser = arguments.Parser(__doc__, EXAMPLES)
    arguments.add_prompts(parser, CFG)
    arguments.add_interval(parser.add_argument_group("the guidance"))
    arguments.add_start(parser)
    arguments.add_model(parser, CFG)
    arguments.add_sampling(parser, CFG)
    arguments.add_output(parser)
    arguments.add_help(parser)
    return settle(parser.parse_args(argv), CFG)


def main():
    args = parse()
    row = NETWORKS[args.model]
    reads = row.clip and (args.prompts or args.images)
    clips = {"clip_sha256": (row.clip, args.clip_checkpoint)} if reads else {}

    def build(photos, path, device, dtype):
        model = build_model(args, row, path, photos, device, dtype)
        return lambda sources: model  # the same for every batch

    whole = args.guidance_interval == [0.0, 1.0]
    described = {"guidance_interval": None if whole else args.guidance_interval}
    drawing.draw(args, build, clips, {"script": CFG.name, **described})


if __name__ == "__main__":
    run.script(main)
