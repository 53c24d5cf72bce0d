#!/usr/bin/env python3
"""Edit a photo with prompts: find its noise, or not even that, and draw it again under others."""

import functools

import diffusion
from cli import arguments, flag_types, outputs, prompts
from cli.errors import UserError, printable
from cli.jobs import Jobs
from cli.parser import Parser
from cli.scripts import MODIFY
from cli.settle import settle
from media import images
from models import NETWORKS
from runner import drawing, run, ways
from runner.guided_model import build_models

EXAMPLES = (
    'cfg_modify_image.py photo.jpg "an oil painting of a dog:4" --source "a dog" -o edited.png',
    'cfg_modify_image.py photo.jpg "a blue heart" --source "a red heart" --strength 0.7',
    'cfg_modify_image.py photo.jpg "a straw hat" --mask head.png',
    'cfg_modify_image.py photo.jpg "a tiger" --source "a cat" --direct -n 4',
)
# Those that go from one given timestep to the next alike on both ways, without noise.
METHODS = {n: row for n, row in diffusion.METHODS.items() if row.eta != 1 and row.evaluations}
SOURCE_WEIGHT = 1.0  # at which a way up is steady, and costs one evaluation a step
DEFAULT_OUTPUT = "out.png"
NOT_FLAGS = dict.fromkeys(("init", "latent", "eta"))


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    parser.set_defaults(**NOT_FLAGS)
    group = parser.add_argument_group("what to edit")
    group.add_argument(
        "words",
        nargs="*",
        metavar="PHOTO [TEXT[:WEIGHT] ...]",
        help="a photo, a file or an http(s) address, then prompts for what it is to become "
        "(default weight 3; negative: away from it)",
    )
    arguments.add_image_prompts(group, MODIFY)
    group.add_argument(
        "--source",
        nargs="+",
        metavar="TEXT[:WEIGHT]",
        type=flag_types.checked_by(functools.partial(prompts.parse, default_weight=SOURCE_WEIGHT)),
        help="what the photo shows (default weight 1)",
    )
    group.add_argument(
        "--mask",
        metavar="IMAGE",
        help="a picture as large as the photo: white where it may change, black where it stays",
    )
    group.add_argument(
        "--from-png",
        metavar="FILE",
        type=flag_types.existing_file,
        help="edit as for the image in this PNG; flags given beside it win",
    )
    group = parser.add_argument_group("how")
    group.add_argument(
        "--max-timestep",
        "-mt",
        "--strength",
        dest="starting_timestep",
        metavar="T",
        type=flag_types.number(0, 1, above=True),
        help="how far to go towards noise: lower keeps more of the photo (1)",
    )
    group.add_argument(
        "--direct",
        action="store_true",
        default=None,
        help="do not find the photo's noise; change it along the difference of two flows instead",
    )
    arguments.add_model(parser, MODIFY)
    arguments.add_sampling(parser, MODIFY, METHODS)
    arguments.add_output(parser, f"{DEFAULT_OUTPUT}, or numbered ones for -n", many=False)
    arguments.add_watching(parser)
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    """The run's jobs, of which there is one; nothing slow is imported yet."""
    parser = make_parser()
    return Jobs(parser, parser.parse_args(argv), settled)


def settled(args):
    """Arguments with all values filled in, checked as far as one can before slow things."""
    args.prompts = None
    if args.words:
        photos, args.prompts = prompts.photos_and_prompts(args.words, MODIFY.weight)
        if len(photos) > 1:
            raise UserError(f"one photo at a time: {printable(photos[1], 100)} is another")
        args.init = photos[0]
    if args.output is None and args.n is None and args.seeds is None:
        args.output = outputs.Template(DEFAULT_OUTPUT)
    settle(args, MODIFY)
    if args.init is None:
        raise UserError("name the photo to edit, then the prompts")
    args.source = [prompt for prompt in prompts.merge(args.source or []) if prompt.weight]
    if args.source and NETWORKS[args.model].clip is None:
        raise UserError(f"{args.model} takes no prompts: leave out --source")
    if args.n > 1 and not args.direct:
        raise UserError("only --direct draws noise: without it all images would be the same")
    return args


def read_mask(args):
    """The picture of where to change the photo, in grey and of the size of what is drawn; None."""
    if args.mask is None:
        return None
    mask, photo = images.open_image(args.mask), images.open_image(args.init)
    if mask.size not in (photo.size, args.size):
        sizes = ", not ".join(f"{w} x {h}" for w, h in (photo.size, mask.size))
        raise UserError(
            f"--mask {printable(args.mask, 200)}: make it as large as the photo, {sizes}"
        )
    mask = images.resize_and_crop(mask, args.size).convert("L")
    if mask.getextrema() == (0, 0):
        raise UserError(f"--mask {printable(args.mask, 200)} is all black: nothing may change")
    return mask


def main():
    jobs = parse()
    args, row = jobs.args, NETWORKS[jobs.args.model]
    mask = read_mask(args)
    asks = args.prompts or args.images or args.source
    clips = {"clip_sha256": (row.clip, args.clip_checkpoint)} if row.clip and asks else {}

    def build(path, device, dtype):
        photos = [images.open_image(prompt.text) for prompt in args.images]
        askings = {
            "from": (args.source, [], []),
            "to": (args.prompts, args.images, photos),
        }
        pair = build_models(args, row, path, askings, device, dtype)
        return lambda batch, sources: pair

    described = {
        "script": MODIFY.name,
        "source": [[p.text, p.weight] for p in args.source],
        "mask": args.mask,
        "direct": args.direct,
    }
    way = functools.partial(editing, mask=mask)
    drawing.draw(jobs, build, lambda job: clips, lambda job: described, way)


def editing(batch, device, mask):
    """The Way from a photo to its edit: by its latents and back, or directly."""
    from media.tensors import to_tensor

    args = batch[0].job.args
    photo = images.resize_and_crop(ways.open_photo(args.init), args.size)
    row = NETWORKS[args.model]
    ends = (args.starting_timestep, row.min_t, row.max_t)
    up = diffusion.ascending(args.schedule, args.steps, *ends)
    photo = to_tensor(photo)[None]
    free = None if mask is None else to_tensor(mask)[:1] / 2 + 0.5
    doubles = diffusion.METHODS[args.method].reversible

    def at_home(x):
        return x.double() if doubles else x.to(device)

    def go(models, noise, callback):
        if doubles:
            models = [diffusion.in_doubles(model, device) for model in models]
        options = {"mask": None if free is None else at_home(free), "callback": callback}
        if args.direct:
            options["callback"] = lambda p: callback(change_of(at_home(photo), p))
            edited = diffusion.edit_directly(
                *models, at_home(photo), up, args.method, lambda: at_home(noise()), **options
            )
        else:
            edited = diffusion.edit_by_latents(*models, at_home(photo), up, args.method, **options)
        edited = edited.float().cpu()
        # Outside the mask not even rounding may show.
        return (edited if free is None else edited.where(free > 0, photo)), None

    return ways.Way((len(up) - 1) * (1 if args.direct else 2), go, not args.direct)


def change_of(photo, progress):
    """A Progress of the photo, from that of the change which is made to it."""
    return progress._replace(x=photo + progress.x, pred=photo + progress.pred)


if __name__ == "__main__":
    run.program(main)
