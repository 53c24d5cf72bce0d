#!/usr/bin/env python3
"""Put images in a grid, in rows from left to right, with labels and titles if you like."""

from cli import arguments, outputs
from cli.errors import printable
from cli.flag_types import MAX_SIDE, checked_by, name_of, whole
from cli.parser import Parser
from cli.picture_types import FITS, GAP, WHITE, colour, label_fields, picture_file
from runner import run

EXAMPLES = (
    "make_grid.py out_*.png -o grid.png --nrow 4",
    "make_grid.py runs/ --label seed,prompt --overwrite",
    "make_grid.py a.png b.png c.png d.png --column-titles before after --row-titles ddim plms",
    "make_grid.py photos/ --size 256 256 --fit cover --spacing 4 --background black",
)
DEFAULT_OUTPUT = "grid.png"


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    group = parser.add_argument_group("what to show")
    group.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help='files, folders and patterns like "runs/*.png"; what a folder or a pattern holds is '
        "shown in the order of the names, 2 before 10",
    )
    group.add_argument(
        "--size",
        nargs=2,
        metavar=("W", "H"),
        type=whole(1, MAX_SIDE),
        help="width and height of each image (default: the largest there are)",
    )
    group.add_argument(
        "--fit",
        metavar="HOW",
        type=name_of("way to fit", FITS),
        help="what becomes of images of another size: contain shows them whole, cover fills the "
        "place and cuts off what sticks out, stretch changes their shape (default: contain with "
        "--size; without, all must be alike)",
    )
    group.add_argument(
        "--scale",
        metavar="N",
        type=whole(1, 64),
        default=1,
        help="show images N times as wide and high, each pixel as a square (1)",
    )
    group = parser.add_argument_group("how to arrange them")
    group.add_argument(
        "--nrow",
        metavar="N",
        type=whole(1, MAX_SIDE),
        help="images in a row (default: as many as the titles say, or as make a square)",
    )
    group.add_argument(
        "--spacing",
        metavar="N",
        type=whole(0, 1000),
        help=f"pixels between images and around them (0; with labels or titles {GAP})",
    )
    group.add_argument(
        "--background",
        metavar="COLOUR",
        type=checked_by(colour),
        default=WHITE,
        help="like black or #202020 (white)",
    )
    group = parser.add_argument_group("what to write")
    group.add_argument(
        "--label",
        metavar="FIELDS",
        type=checked_by(label_fields),
        default=[],
        help="below each image, by its recipe: prompt, prompts (with weights), seed, steps, "
        "method, model, ... or file, its name; several like seed,prompt",
    )
    group.add_argument("--title", metavar="TEXT", help="above all")
    for side, where in (("row", "at the left of each row"), ("column", "above each column")):
        group.add_argument(f"--{side}-titles", nargs="+", metavar="TEXT", default=[], help=where)
    group = parser.add_argument_group("where to save")
    group.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        type=checked_by(picture_file),
        default=picture_file(DEFAULT_OUTPUT),
        help=f"a PNG ({DEFAULT_OUTPUT})",
    )
    policy = group.add_mutually_exclusive_group()
    policy.add_argument("--skip-existing", action="store_true", help="do nothing if it exists")
    policy.add_argument("--overwrite", action="store_true", help="replace it if it exists")
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    """The arguments, each checked by itself."""
    return make_parser().parse_args(argv)


def main():
    args = parse()
    policy = outputs.Policy.REFUSE
    if args.skip_existing or args.overwrite:
        policy = outputs.Policy.OVERWRITE if args.overwrite else outputs.Policy.SKIP
    targets = outputs.plan(args.output, [{"index": 0}], policy)
    if not targets:
        return
    [target] = targets

    from media import folders, grids, images  # once the arguments are checked

    paths = folders.find_images(args.images, target.path)
    sizes = [images.size_of(path) for path in paths]  # each is found readable on the way
    if args.size:
        size, fit = tuple(args.size), args.fit or "contain"
    else:
        size, fit = grids.common_size(paths, sizes, any_size=args.fit is not None), args.fit
    plan = grids.layout(
        len(paths),
        size,
        args.nrow,
        labels=[grids.label(path, args.label) for path in paths] if args.label else (),
        row_titles=args.row_titles,
        column_titles=args.column_titles,
        title=args.title,
        spacing=args.spacing,
        background=args.background,
        fit=fit,
        scale=args.scale,
    )
    picture = grids.draw(plan, map(images.open_image, paths))
    run.finished_images_are_kept()
    print(printable(outputs.publish(picture, target), 1000))


if __name__ == "__main__":
    run.program(main)
